"""Loading, rotating and dealing out images."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import rotate as torchvision_rotate

from fedshap.federated import Dataset, Federation, load_dataset, partition
from fedshap.federated.datasets import rotate

N_IMAGES = 120


@pytest.fixture
def traceable():
    """Images of one grey level each, so that an image keeps its identity however it is turned."""
    levels = np.arange(N_IMAGES) / N_IMAGES
    return Dataset(np.broadcast_to(levels[:, None, None, None], (N_IMAGES, 1, 8, 8)), np.arange(N_IMAGES) % 5, 5)


def identities(data):
    return np.rint(data.inputs[:, 0, 3, 3] * N_IMAGES).astype(int).tolist()


def test_digits_are_those_of_scikit_learn():
    digits, bunch = load_dataset("digits"), load_digits()
    np.testing.assert_array_equal(digits.inputs[:, 0] * 16, bunch["images"])
    np.testing.assert_array_equal(digits.labels, bunch["target"])
    assert digits.inputs.dtype == np.float32
    assert digits.labels.dtype == np.int64
    assert (digits.n_classes, digits.input_shape, len(digits)) == (10, (1, 8, 8), 1797)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"name must be one of 'digits'; got 'mnits'"):
        load_dataset("mnits")


def test_dataset_copies_and_freezes():
    images, labels = np.zeros((3, 1, 8, 8)), np.array([0, 1, 2])
    data = Dataset(images, labels, n_classes=3)
    images[0], labels[0] = 1.0, 2
    assert data.inputs[0].max() == 0.0
    assert data.labels[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        data.inputs[0] = 1.0


@pytest.mark.parametrize(
    ("images", "labels", "n_classes", "message"),
    [
        (np.zeros((2, 8, 8)), [0, 1], 2, r"inputs must have shape \(N, C, H, W\) or .*\(2, 8, 8\)"),
        (np.full((2, 1, 8, 8), 255.0), [0, 1], 2, "images must be at most 1; got 255"),
        (np.full((2, 1, 8, 8), -1.0), [0, 1], 2, "images must be at least 0; got -1"),
        (np.full((2, 1, 8, 8), np.nan), [0, 1], 2, "every entry of inputs must be finite"),
        (np.zeros((2, 1, 8, 8)), [0, 1, 1], 2, "labels must have one entry per input; got 3 for 2"),
        (np.zeros((2, 1, 8, 8)), [0, 2], 2, r"labels must be integers in 0\.\.1; got 2"),
        (np.zeros((2, 1, 8, 8)), [0, 0.5], 2, r"labels must be integers in 0\.\.1; got 0.5"),
        (np.zeros((2, 1, 8, 8)), [0, -1], 2, "labels must be at least 0; got -1"),
        (np.zeros((2, 1, 8, 8)), [0, 0], 1, "n_classes must be an integer of at least 2; got 1"),
    ],
)
def test_dataset_refuses(images, labels, n_classes, message):
    with pytest.raises(ValueError, match=message):
        Dataset(images, labels, n_classes)


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


def test_federation_refuses_what_does_not_fit_together(traceable):
    colour = Dataset(np.zeros((2, 3, 8, 8)), [0, 1], 5)
    with pytest.raises(ValueError, match="train and test must hold one data set per client; got 2 and 1"):
        Federation([traceable] * 2, [traceable], np.array([0, 1]))
    with pytest.raises(ValueError, match="train and test must agree in image shape and classes"):
        Federation([traceable, colour], [traceable, colour], np.array([0, 1]))
    with pytest.raises(ValueError, match="groups must give each of 2 clients a label"):
        Federation([traceable] * 2, [traceable] * 2, np.array([0, 2]))
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 1; got 0"):
        partition(traceable, rng=0).batches(0)
