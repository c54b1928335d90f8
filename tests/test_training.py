"""Federated averaging, against softmax regression trained by hand in numpy."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from fedshap.federated import Dataset, Federation, TrainingConfig, load_dataset, partition, train
from fedshap.federated.training import as_batches, progress_bar

SETTINGS = {"rounds": 2, "batch_size": 4, "learning_rate": 0.5, "seed": 3}


def softmax_regression(shape, n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), n_classes))


@pytest.fixture(scope="module")
def federation():
    """Four clients in three groups, random 4 x 4 images of three classes."""
    rng = np.random.default_rng(0)
    sizes = [(19, 11), (12, 5), (17, 9), (13, 7)]
    make = lambda size: Dataset(rng.uniform(size=(size, 1, 4, 4)), rng.integers(3, size=size), n_classes=3)  # noqa: E731
    data = [(make(n), make(m)) for n, m in sizes]
    return Federation([a for a, _ in data], [b for _, b in data], np.array([0, 0, 1, 2]), name="noise")


def start(federation):
    """Weights and biases before training: what a run without contributions returns."""
    result = train(federation, np.zeros(4), model=softmax_regression, **SETTINGS)
    return parameters(result)


def parameters(result):
    weight, bias = (p.detach().numpy().copy() for p in result.model.parameters())
    return np.column_stack([weight, bias])  # (classes, pixels + 1)


def sgd_by_hand(theta, data, client, round_, batches):
    """``batches`` steps of softmax regression in numpy; returns the weights and the losses."""
    order = np.random.default_rng((SETTINGS["seed"], client, round_)).permutation(len(data))
    losses = []
    for k in range(batches):
        chosen = order[4 * k : 4 * k + 4]
        x = np.column_stack([data.inputs[chosen].reshape(4, -1).astype(float), np.ones(4)])
        scores = x @ theta.T
        p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        losses.append(-np.log(p[np.arange(4), data.labels[chosen]]).mean())
        theta = theta - SETTINGS["learning_rate"] * (p - np.eye(3)[data.labels[chosen]]).T @ x / 4
    return theta, losses


def averaging_by_hand(federation, contributions, everyone=False):
    theta, curve = start(federation), []
    for round_ in range(SETTINGS["rounds"]):
        runs = [
            sgd_by_hand(theta, federation.train[i], i, round_, s)
            for i, s in enumerate(contributions)
            if s > 0 or everyone
        ]
        theta = np.mean([weights for weights, _ in runs], axis=0)
        curve.append(np.mean([loss for _, losses in runs for loss in losses]))
    return theta, curve


@pytest.mark.parametrize(
    ("contributions", "average"),
    [
        ([3, 0, 0, 0], "participants"),  # one client: plain SGD
        ([2, 3, 0, 0], "participants"),
        ([4, 1, 3, 2], "participants"),
        ([2, 3, 0, 0], "everyone"),
        ([4, 1, 3, 2], "everyone"),
    ],
)
def test_training_agrees_with_averaging_by_hand(federation, contributions, average):
    result = train(federation, contributions, model=softmax_regression, average=average, **SETTINGS)
    theta, losses = averaging_by_hand(federation, contributions, average == "everyone")
    np.testing.assert_allclose(parameters(result), theta, atol=1e-12)
    np.testing.assert_allclose(result.losses, losses, atol=1e-12)
    assert np.abs(theta - start(federation)).max() > 0.01


def test_a_client_that_gives_nothing_is_a_null_player_among_participants_only(federation):
    """Algorithm 1 averages over everyone, and then the number of idle clients changes the model."""
    crowd = Federation(federation.train[:2], federation.test[:2], np.array([0, 1]))
    runs = {
        average: [
            parameters(train(clients, s, model=softmax_regression, average=average, **SETTINGS))
            for clients, s in [(crowd, [2, 3]), (federation, [2, 3, 0, 0])]
        ]
        for average in ("participants", "everyone")
    }
    np.testing.assert_array_equal(*runs["participants"])
    assert np.abs(runs["everyone"][0] - runs["everyone"][1]).max() > 0.05


def test_accuracies_are_hand_counts(federation):
    result = train(federation, [4, 1, 3, 2], model=softmax_regression, **SETTINGS)
    theta = parameters(result)
    hits, sizes = [], []
    for data in federation.test:
        scores = data.inputs.reshape(len(data), -1).astype(float) @ theta[:, :-1].T + theta[:, -1]
        hits.append(sum(int(row.argmax()) == label for row, label in zip(scores, data.labels, strict=True)))
        sizes.append(len(data))
    np.testing.assert_allclose(result.client_accuracies, np.array(hits) / sizes, rtol=1e-15)
    by_group = [(hits[0] + hits[1]) / (11 + 5), hits[2] / 9, hits[3] / 7]
    np.testing.assert_allclose(result.group_accuracies, by_group, rtol=1e-15)
    assert 0 < sum(hits) < sum(sizes)


def test_nobody_trains(federation):
    result = train(federation, np.zeros(4), model=softmax_regression, **SETTINGS)
    assert result.losses.shape == (0,)
    assert result.group_accuracies.shape == (3,)


def same(a, b):
    pairs = zip(a.model.parameters(), b.model.parameters(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs) and a.losses.tolist() == b.losses.tolist()


def test_one_seed_one_result_bit_for_bit():
    digits = partition(load_dataset(), n_clients=3, rng=0)
    threads = torch.get_num_threads()
    try:
        results = []
        for n_threads, global_seed in [(1, 0), (2, 99)]:
            torch.set_num_threads(n_threads)
            torch.manual_seed(global_seed)
            results.append(train(digits, [2, 3, 1], rounds=2, seed=11))
            assert torch.get_num_threads() == n_threads
            following = torch.rand(2)
            torch.manual_seed(global_seed)
            assert torch.equal(following, torch.rand(2))
    finally:
        torch.set_num_threads(threads)
    assert same(*results)
    assert not same(results[0], train(digits, [2, 3, 1], rounds=2, seed=12))


def test_seed_decides_the_shuffles_too(federation):
    """Initial weights fixed at zero, so that only the order of the images is left to the seed."""

    def zeros(shape, n_classes):
        network = softmax_regression(shape, n_classes)
        for parameter in network.parameters():
            nn.init.zeros_(parameter)
        return network

    settings = SETTINGS | {"model": zeros}
    one, again, other = (train(federation, [2, 1, 1, 1], **(settings | {"seed": seed})) for seed in (1, 1, 2))
    assert same(one, again)
    assert not same(one, other)


def test_inputs_are_left_as_they_were(federation):
    contributions = np.array([1.0, 0.0, 2.0, 1.0])
    result = train(federation, contributions, model=softmax_regression, **SETTINGS)
    contributions[0] = 3.0
    assert result.contributions.tolist() == [1, 0, 2, 1]
    assert result.contributions.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        result.contributions[0] = 2


def test_float32_is_float64_up_to_rounding(federation):
    single = train(federation, [4, 1, 3, 2], model=softmax_regression, dtype="float32", **SETTINGS)
    assert next(single.model.parameters()).dtype == torch.float32
    theta, _ = averaging_by_hand(federation, [4, 1, 3, 2])
    np.testing.assert_allclose(parameters(single), theta, atol=1e-5)


def test_trained_on_everything_every_group_reaches_85_percent():
    digits = partition(load_dataset(), rng=0)
    result = train(digits, digits.batches(8))
    assert result.group_accuracies.min() >= 0.85
    assert result.losses[-1] < 0.5 * result.losses[0]


@pytest.mark.parametrize(
    ("contributions", "settings", "message"),
    [
        ([1, 0, 0], {}, r"contributions must have shape \(\.\.\., 4\), one entry per client; got \(3,\)"),
        ([[1, 0, 0, 0]], {}, r"contributions must have shape \(4,\); got \(1, 4\)"),
        ([1, -1, 0, 0], {}, "contributions must be at least 0; got -1 at index 1"),
        ([1, 0.5, 0, 0], {}, "contributions must be whole batches; got 0.5"),
        ([1, np.nan, 0, 0], {}, "every entry of contributions must be finite"),
        ([1, 4, 0, 0], {}, "contributions must not exceed .* client 1 has 3 of 4 images, got 4"),
        ([1, 0, 0, 0], {"rounds": 0}, "rounds must be an integer of at least 1; got 0"),
        ([1, 0, 0, 0], {"batch_size": 2.5}, "batch_size must be an integer of at least 1; got 2.5"),
        ([1, 0, 0, 0], {"learning_rate": 0.0}, "learning_rate must lie in .* got 0"),
        ([1, 0, 0, 0], {"learning_rate": np.nan}, "learning_rate must lie in .* got nan"),
        ([1, 0, 0, 0], {"seed": -1}, "seed must be an integer of at least 0; got -1"),
        ([1, 0, 0, 0], {"average": "median"}, r"average must be one of \('participants', 'everyone'\); got 'median'"),
        ([1, 0, 0, 0], {"dtype": "float16"}, r"dtype must be one of \('float64', 'float32'\); got 'float16'"),
        ([1, 0, 0, 0], {"model": "resnet"}, "model must be one of 'cnn'"),
        ([1, 0, 0, 0], {"device": "gpu"}, "device must be 'cpu', 'cuda' or 'cuda:k'; got 'gpu'"),
        ([1, 0, 0, 0], {"device": "meta"}, "device must be 'cpu', 'cuda' or 'cuda:k'; got 'meta'"),
        ([1, 0, 0, 0], {"device": "cuda:99"}, "device 'cuda:99' is not there"),
    ],
)
def test_refuses(federation, contributions, settings, message):
    with pytest.raises(ValueError, match=message):
        train(federation, contributions, **{**SETTINGS, "model": softmax_regression, **settings})


def test_cuda_asked_for_and_absent(federation, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device 'cuda' is not there: torch sees 0 CUDA devices; use device='cpu'"):
        train(federation, [1, 0, 0, 0], device="cuda")


def test_divergence_is_an_error_that_says_where(federation):
    with pytest.raises(FloatingPointError, match="loss of client 2 in round [01] is (nan|inf); lower learning_rate"):
        train(federation, [0, 0, 4, 0], model=softmax_regression, **(SETTINGS | {"learning_rate": 1e308}))


def test_contributions_of_many_runs_are_checked_at_once(federation):
    assert as_batches("s", [[1, 2, 3, 0], [0, 0, 0, 0]], federation, 4).shape == (2, 4)
    with pytest.raises(ValueError, match="client 3 has 3 of 4 images, got 5"):
        as_batches("s", [[1, 2, 3, 0], [0, 0, 0, 5]], federation, 4)


def test_progress_bar_shows_only_where_asked(federation, capsys):
    contributions = [1, 2, 0, 1]
    train(federation, contributions, model=softmax_regression, progress=True, **SETTINGS)
    assert "8/8" in capsys.readouterr().err
    for silent in (None, False):  # stderr is not a terminal here
        train(federation, contributions, model=softmax_regression, progress=silent, **SETTINGS)
        assert capsys.readouterr().err == ""
    assert progress_bar(3, False).disable


def test_configuration_is_recorded(federation):
    result = train(federation, [1, 0, 0, 0], model=softmax_regression, **SETTINGS)
    assert result.config == TrainingConfig(model=softmax_regression, **SETTINGS)


@pytest.mark.parametrize(("missing", "present"), [("torch", "tqdm"), ("tqdm", "torch")])
def test_without_the_extra_the_import_says_what_to_install(missing, present):
    stubs = f"sys.modules[{present!r}] = types.ModuleType({present!r}); sys.modules[{missing!r}] = None"
    code = f"import sys, types; {stubs}; import fedshap.federated"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert (
        f"ImportError: fedshap.federated needs {missing}, which is not installed: pip install fedshap[train]"
        in run.stderr
    )
