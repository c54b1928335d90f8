"""Dealing data out to clients: rotated groups, label shares, Dirichlet label skew."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import rotate as torchvision_rotate

from fedshap.federated import Dataset, load_dataset, partition, partition_dirichlet, partition_label_shares
from fedshap.federated.partitions import rotate

N_IMAGES = 120


@pytest.fixture
def traceable():
    """Images of one grey level each, so that an image keeps its identity however it is turned."""
    levels = np.arange(N_IMAGES) / N_IMAGES
    return Dataset(np.broadcast_to(levels[:, None, None, None], (N_IMAGES, 1, 8, 8)), np.arange(N_IMAGES) % 5, 5)


def identities(data):
    return np.rint(data.inputs[:, 0, 3, 3] * N_IMAGES).astype(int).tolist()


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_quarter_turns_are_exact_and_counter_clockwise(quarter_turns):
    images = load_dataset().inputs[:50]
    expected = np.rot90(images, quarter_turns, axes=(2, 3))
    np.testing.assert_array_equal(rotate(images, 90.0 * quarter_turns), expected)


def test_half_turn_twice_is_the_identity():
    images = load_dataset().inputs
    np.testing.assert_array_equal(rotate(rotate(images, 180.0), 180.0), images)


@pytest.mark.parametrize("angle", [10.0, -33.0, 145.0])
def test_other_angles_agree_with_torchvision(angle):
    images = np.random.default_rng(3).uniform(size=(4, 1, 9, 9)).astype(np.float32)
    theirs = torchvision_rotate(torch.tensor(images), angle, InterpolationMode.BILINEAR).numpy()
    ours = rotate(images, angle)
    # within the inscribed circle no pixel is interpolated with the outside, which the two treat differently
    y, x = np.mgrid[-4:5, -4:5]
    inside = np.hypot(x, y) <= 3.9
    np.testing.assert_allclose(ours[..., inside], theirs[..., inside], atol=1e-5)
    assert np.abs(ours - images).max() > 0.1


def test_partition_deals_every_image_once_and_keeps_tests_unseen(traceable):
    federation = partition(traceable, test_fraction=0.25, rng=7)
    assert federation.groups.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    trained = [identity for data in federation.train for identity in identities(data)]
    assert len(trained) == len(set(trained)) == 90
    for t in range(3):
        tested = [
            k for data, g in zip(federation.test, federation.groups, strict=True) if g == t for k in identities(data)
        ]
        assert sorted(tested + trained) == list(range(N_IMAGES))  # so the test images of all groups are the same
    for data in federation.train + federation.test:
        np.testing.assert_array_equal(data.labels, np.array(identities(data)) % 5)


def test_partition_turns_each_group_by_its_angle():
    digits = load_dataset()
    plain, turned = (partition(digits, angles=angles, rng=1) for angles in [(0, 0, 0), (10, 90, 180)])
    for i, t in enumerate(plain.groups):
        for before, after in [(plain.train[i], turned.train[i]), (plain.test[i], turned.test[i])]:
            np.testing.assert_array_equal(after.inputs, rotate(before.inputs, (10, 90, 180)[t]))
            np.testing.assert_array_equal(after.labels, before.labels)


def test_partition_depends_on_its_seed_alone(traceable):
    first = partition(traceable, rng=1)
    np.random.seed(5)  # noqa: NPY002 - the global state is what must not matter
    again = partition(traceable, rng=np.random.default_rng(1))
    assert [identities(data) for data in first.train] == [identities(data) for data in again.train]
    other = partition(traceable, rng=2)
    assert [identities(data) for data in first.train] != [identities(data) for data in other.train]


@pytest.mark.parametrize(
    ("n_clients", "angles", "sizes"), [(5, (0, 90), [3, 2]), (4, (0, 90, 180), [2, 1, 1]), (3, (0,), [3])]
)
def test_partition_of_uneven_groups(traceable, n_clients, angles, sizes):
    federation = partition(traceable, n_clients=n_clients, angles=angles, rng=0)
    assert np.bincount(federation.groups).tolist() == sizes
    lengths = [len(data) for data in federation.train]
    assert max(lengths) - min(lengths) <= 1
    assert federation.batches(10).tolist() == [length // 10 for length in lengths]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_clients": 2}, "angles must be a sequence of 1 to n_clients=2 numbers"),
        ({"angles": ()}, "angles must be a sequence of 1 to n_clients=9"),
        ({"angles": (0.0, np.inf)}, "every entry of angles must be finite"),
        ({"n_clients": 0}, "n_clients must be an integer of at least 1; got 0"),
        ({"n_clients": 100}, "dataset must leave every client an image .* got 120 images, 36 of them"),
        ({"n_clients": 120, "test_fraction": 0.01}, "dataset must leave every client an image"),
        ({"test_fraction": 0.0}, "test_fraction must lie in"),
        ({"test_fraction": 1.0}, "dataset must leave every client an image|test_fraction must lie in"),
        ({"test_fraction": 1.5}, "test_fraction must lie in"),
        ({"rng": None}, "rng"),
    ],
)
def test_partition_refuses(traceable, arguments, message):
    with pytest.raises(ValueError, match=message):
        partition(traceable, **{"rng": 0, **arguments})


@pytest.mark.parametrize(
    ("way", "more"),
    [
        (partition, {}),
        (partition_label_shares, {}),
        (partition_dirichlet, {"n_clients": 2, "concentration": 1.0}),
    ],
    ids=["rotated", "label shares", "dirichlet"],
)
@pytest.mark.parametrize("dataset", [None, "digits", np.zeros((9, 3))], ids=["nothing", "a name", "an array"])
def test_what_is_no_data_set_is_refused(way, more, dataset):
    with pytest.raises(ValueError, match="dataset must be a Dataset, which load_dataset reads; got"):
        way(dataset, rng=0, **more)


def test_partition_refuses_rows():
    with pytest.raises(ValueError, match="dataset must hold images to be rotated; got .*partition_dirichlet"):
        partition(load_dataset("quadratic"), rng=0)


# ---- label shares and label skew ---------------------------------------------------------------------


def numbered(*sizes):
    """Images of one pixel that tell their places in the data set, ``sizes[c]`` of them of class ``c``, mixed."""
    labels = np.random.default_rng(4).permutation(np.repeat(np.arange(len(sizes)), sizes))
    levels = np.arange(len(labels)) / len(labels)
    return Dataset(levels[:, None, None, None], labels, max(len(sizes), 2))


def places(data, n_rows):
    return np.rint(data.inputs.ravel() * n_rows).astype(int)


def all_places(parts, n_rows):
    return np.concatenate([places(data, n_rows) for data in parts])


def counts(parts, n_classes):
    """Rows of each class each client has, shape (n, classes)."""
    return np.array([np.bincount(data.labels, minlength=n_classes) for data in parts])


WAYS = {
    "two shares": lambda data, rng: partition_label_shares(data, rng=rng),
    "three shares": lambda data, rng: partition_label_shares(data, (0.2, 0.5, 0.9), test_fraction=0.4, rng=rng),
    "skew": lambda data, rng: partition_dirichlet(data, n_clients=4, concentration=0.5, rng=rng),
}


@pytest.fixture(params=WAYS)
def way(request):
    return WAYS[request.param]


@pytest.mark.parametrize("sizes", [(40, 40), (200, 31), (31, 200)])
def test_no_row_is_dealt_out_twice_and_labels_stay_with_their_rows(way, sizes):
    data = numbered(*sizes)
    federation = way(data, 3)
    dealt = all_places(federation.train + federation.test, len(data))
    assert len(dealt) == len(set(dealt.tolist()))
    for part in federation.train + federation.test:
        np.testing.assert_array_equal(part.labels, data.labels[places(part, len(data))])
    assert federation.groups.tolist() == list(range(federation.n_clients))


def test_the_seed_decides_alone(way):
    data = numbered(40, 40)
    first, again, other = (way(data, rng) for rng in (1, np.random.default_rng(1), 2))
    for one, two in zip(first.train + first.test, again.train + again.test, strict=True):
        np.testing.assert_array_equal(one.inputs, two.inputs)
    different = zip(first.train, other.train, strict=True)
    assert any(one.inputs.tolist() != two.inputs.tolist() for one, two in different)


def test_classes_are_mixed_within_a_part(way):
    changes = [np.count_nonzero(np.diff(part.labels)) for part in way(numbered(400, 400), 0).train]
    assert sum(changes) > 50  # sorted by class there would be one per client


def test_features_are_standardised_by_all_training_rows_and_no_other(way):
    images = numbered(60, 50)
    rng = np.random.default_rng(8)
    rows = np.stack([rng.lognormal(size=110), 1e4 + 10 * rng.normal(size=110), np.full(110, 0.1)], axis=1)
    rows = rows.astype(np.float32)
    dealt = way(images, 5)
    got = way(Dataset(rows, images.labels, 2), 5)
    scaler = StandardScaler().fit(rows[all_places(dealt.train, 110)].astype(float))
    for part, where in zip(got.train + got.test, dealt.train + dealt.test, strict=True):
        expected = scaler.transform(rows[places(where, 110)].astype(float))
        np.testing.assert_allclose(part.inputs, expected, atol=1e-5)
        np.testing.assert_array_equal(part.inputs[:, 2], 0.0)
    np.testing.assert_allclose(np.concatenate([part.inputs for part in got.train]).mean(axis=0), 0.0, atol=1e-5)


def test_a_feature_that_varies_in_test_rows_alone_is_zero(way):
    images = numbered(60, 50)
    tested = all_places(way(images, 5).test, 110)
    rows = np.zeros((110, 2))
    rows[tested, 0] = np.arange(1, len(tested) + 1)
    rows[:, 1] = np.arange(110)
    federation = way(Dataset(rows, images.labels, 2), 5)
    assert all((part.inputs[:, 0] == 0.0).all() for part in federation.train + federation.test)


def rounded(x):
    return math.floor(x + Fraction(1, 2))


@pytest.mark.parametrize("shares", [(0.7, 0.3), (0.5, 0.5), (0.2, 0.5, 0.9), (0.9, 0.9, 0.9), (1.0, 0.0), (1, 1)])
@pytest.mark.parametrize("sizes", [(80, 80), (500, 60), (45, 300), (13, 11)])
def test_agents_are_as_large_as_the_rows_allow(sizes, shares):
    federation = partition_label_shares(numbered(*sizes), shares, rng=0)
    total = sum(Fraction(str(share)) for share in shares)
    fits = [
        size
        for size in range(sum(sizes) + 1)
        if rounded(total * size) <= sizes[1] and len(shares) * size - rounded(total * size) <= sizes[0]
    ]
    whole = counts(federation.train, 2) + counts(federation.test, 2)
    assert whole.sum(axis=1).tolist() == [max(fits)] * len(shares)
    assert whole[:, 1].sum() == rounded(total * max(fits))
    assert np.abs(whole[:, 1] - np.array(shares) * max(fits)).max() <= 1.0


@pytest.mark.parametrize("test_fraction", [0.1, 0.3, 0.5])
def test_train_and_test_part_have_the_share_of_the_agent(test_fraction):
    shares = np.array([0.7, 0.3, 0.45, 1.0])
    federation = partition_label_shares(numbered(900, 700), shares, test_fraction=test_fraction, rng=2)
    train, test = counts(federation.train, 2), counts(federation.test, 2)
    sizes = train.sum(axis=1) + test.sum(axis=1)
    assert test.sum(axis=1).tolist() == [round(test_fraction * sizes[0])] * 4
    for part in (train, test):
        assert np.abs(part[:, 1] - shares * part.sum(axis=1)).max() <= 1.0


@pytest.mark.parametrize(("positives", "each"), [(400, 280), (395, 277)])  # 395 * 0.7 = 276.5
def test_seventy_and_thirty_use_every_row_of_the_rarer_label(positives, each):
    federation = partition_label_shares(numbered(5000, positives), rng=0)
    whole = counts(federation.train, 2) + counts(federation.test, 2)
    assert whole.tolist() == [[positives - each, each], [each, positives - each]]


@pytest.mark.parametrize("sizes", [(50, 60, 70, 80), (300, 5, 40), (30, 30)])
def test_skew_deals_every_row_once_and_tests_on_the_mixture_trained_on(sizes):
    for seed in range(20):
        data = numbered(*sizes)
        federation = partition_dirichlet(data, n_clients=5, concentration=0.4, rng=seed)
        dealt = all_places(federation.train + federation.test, len(data))
        assert sorted(dealt.tolist()) == list(range(len(data)))
        train, test = counts(federation.train, len(sizes)), counts(federation.test, len(sizes))
        total = train + test
        assert train.sum(axis=1).min() >= 1
        expected = np.clip([round(0.3 * each) for each in total.sum(axis=1)], 1, total.sum(axis=1) - 1)
        assert test.sum(axis=1).tolist() == expected.tolist()
        portion = expected / total.sum(axis=1)
        assert np.abs(test - portion[:, None] * total).max() <= 1.0


def test_skew_is_that_of_a_dirichlet_law():
    """The squared shares of a class sum to (alpha + 1) / (n alpha + 1) in the mean."""
    n, data = 5, numbered(500, 500, 500, 500)
    for alpha in (0.2, 1.0, 5.0):
        sums = []
        for seed in range(100):
            federation = partition_dirichlet(data, n_clients=n, concentration=alpha, rng=seed)
            shares = (counts(federation.train, 4) + counts(federation.test, 4)) / 500
            sums.extend((shares**2).sum(axis=0))
        error = np.std(sums) / np.sqrt(len(sums))
        assert abs(np.mean(sums) - (alpha + 1) / (n * alpha + 1)) < 4 * error


def test_no_skew_at_a_large_concentration():
    federation = partition_dirichlet(numbered(500, 300, 200), n_clients=5, concentration=1e6, rng=0)
    whole = counts(federation.train, 3) + counts(federation.test, 3)
    assert np.abs(whole - [100, 60, 40]).max() <= 1


def test_a_draw_that_leaves_a_client_without_rows_is_repeated():
    for seed in range(50):
        federation = partition_dirichlet(numbered(15, 15), n_clients=6, concentration=0.3, rng=seed)
        assert min(len(data) for data in federation.train + federation.test) >= 1


@pytest.mark.parametrize("test_fraction", [1e-9, 0.3, 0.99, 1 - 1e-9])
def test_everybody_trains_and_tests_at_any_test_fraction(test_fraction):
    """The smallest hand is a row to train and one to test on, and as few rows as that are dealt out."""
    settings = {"concentration": 1e6, "test_fraction": test_fraction}  # nearly equal shares: two rows each
    federation = partition_dirichlet(numbered(6), n_clients=3, rng=0, **settings)
    assert [len(part) for part in federation.train + federation.test] == [1] * 6
    for each in (
        partition_dirichlet(numbered(40, 40), n_clients=4, concentration=0.5, test_fraction=test_fraction, rng=1),
        partition_label_shares(numbered(40, 40), (0.7, 0.5, 0.3), test_fraction=test_fraction, rng=1),
    ):
        for train, test in zip(each.train, each.test, strict=True):
            size = len(train) + len(test)
            assert len(test) == min(max(round(test_fraction * size), 1), size - 1)


def test_a_hand_of_one_row_is_drawn_again():
    """Over many draws hands of two occur, the smallest allowed, and never one of one row."""
    smallest = []
    for seed in range(200):
        federation = partition_dirichlet(numbered(5, 5), n_clients=3, concentration=1.0, rng=seed)
        smallest.append(min(len(a) + len(b) for a, b in zip(federation.train, federation.test, strict=True)))
    assert set(smallest) == {2, 3}


def test_a_class_nobody_has_is_no_obstacle():
    data = Dataset(np.linspace(0, 1, 60)[:, None, None, None], np.arange(60) % 2, n_classes=4)
    federation = partition_dirichlet(data, n_clients=3, concentration=1.0, rng=0)
    assert sum(len(part) for part in federation.train + federation.test) == 60


@pytest.mark.parametrize(
    ("sizes", "arguments", "message"),
    [
        ((20, 20), {"shares": (0.7,)}, "shares must be a sequence of at least two numbers, one per agent"),
        ((20, 20), {"shares": 0.7}, "shares must be a sequence of at least two numbers"),
        ((20, 20), {"shares": (0.7, 1.3)}, "shares must be at most 1; got 1.3 at index 1"),
        ((20, 20), {"shares": (0.7, -0.3)}, "shares must be at least 0; got -0.3 at index 1"),
        ((20, 20), {"shares": (0.7, np.nan)}, "every entry of shares must be finite"),
        ((20, 20, 20), {}, "dataset must have two classes to be dealt out by label shares; got .* 3 classes"),
        ((20, 1), {}, "dataset must give every agent a row to train .* got 1 positives and 20 negatives"),
        ((20, 0), {}, "got 0 positives and 20 negatives for shares"),
        ((20, 20), {"shares": (0.5,) * 30}, "dataset must give every agent a row to train and one to test on"),
        ((20, 20), {"test_fraction": 0.0}, "test_fraction must lie in"),
        ((20, 20), {"test_fraction": 1.0}, "test_fraction must lie in [(]0, 1[)], or"),
        ((20, 20), {"rng": None}, "rng"),
    ],
)
def test_label_shares_refuse(sizes, arguments, message):
    with pytest.raises(ValueError, match=message):
        partition_label_shares(numbered(*sizes), **{"rng": 0, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_clients": 0}, "n_clients must be an integer of at least 1; got 0"),
        ({"n_clients": 2.5}, "n_clients must be an integer"),
        ({"n_clients": 31}, "n_clients must be at most half the 60 rows of the data set; got 31"),
        ({"n_clients": 30}, "n_clients=30 and concentration=0.5 left a client without .* raise concentration or lower"),
        ({"concentration": 1e-9}, "raise concentration or lower n_clients"),
        ({"concentration": 0.0}, "concentration must lie in"),
        ({"concentration": np.inf}, "concentration must lie in"),
        ({"concentration": "much"}, "concentration must be a number"),
        ({"test_fraction": 0.0}, "test_fraction must lie in"),
        ({"test_fraction": 1.0}, "test_fraction must lie in [(]0, 1[)], or"),
        ({"rng": -1}, "rng"),
    ],
)
def test_skew_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        partition_dirichlet(numbered(20, 20, 20), **{"n_clients": 4, "concentration": 0.5, "rng": 0, **arguments})
