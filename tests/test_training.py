"""Federated averaging, against softmax regression trained by hand in numpy."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from fedshap import federated
from fedshap.federated import Dataset, Federation, TrainingConfig, load_dataset, partition, train
from fedshap.federated.config import as_contributions
from fedshap.federated.training import progress_bar

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
    """``batches`` steps of softmax regression in numpy; returns the weights and the losses.

    Of an incomplete last batch, as of every other, a quarter of the sum over its inputs counts, the last in part.
    """
    order = np.random.default_rng((SETTINGS["seed"], client, round_)).permutation(len(data))
    losses, left = [], 4 * batches  # inputs to train on
    while left > 1e-9:
        chosen, order = order[:4], order[4:]
        counts = np.array([max(min(left - k, 1.0), 0.0) for k in range(4)])
        x = np.column_stack([data.inputs[chosen].reshape(4, -1).astype(float), np.ones(4)])
        scores = x @ theta.T
        p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        losses.append(-(counts * np.log(p[np.arange(4), data.labels[chosen]])).sum() / 4)
        theta = theta - SETTINGS["learning_rate"] * (counts[:, None] * (p - np.eye(3)[data.labels[chosen]])).T @ x / 4
        left -= 4
    return theta, losses


def averaging_by_hand(federation, contributions, average="participants"):
    theta, curve = start(federation), []
    weights = {
        "participants": [s > 0 for s in contributions],
        "everyone": [1] * len(contributions),
        "samples": contributions,
    }[average]
    for round_ in range(SETTINGS["rounds"]):
        runs = [sgd_by_hand(theta, federation.train[i], i, round_, s) for i, s in enumerate(contributions)]
        theta = np.average([theta for theta, _ in runs], axis=0, weights=weights)
        curve.append(sum(loss for _, losses in runs for loss in losses) / sum(contributions))
    return theta, curve


@pytest.mark.parametrize("backend", ["sequential", "batched"])
@pytest.mark.parametrize("average", ["participants", "everyone", "samples"])
@pytest.mark.parametrize(
    "contributions",
    [
        [3, 0, 0, 0],  # one client: plain SGD
        [2, 3, 0, 0],
        [4, 1, 3, 2],
        [2.5, 1.0, 0.25, 2.9],  # 10, 4, 1 and 11.6 inputs
        [0.05, 0.0, 3.3, 1.75],
    ],
)
def test_training_agrees_with_averaging_by_hand(federation, contributions, average, backend):
    settings = SETTINGS | {"average": average, "backend": backend, "model": softmax_regression}
    result = train(federation, contributions, **settings)
    theta, losses = averaging_by_hand(federation, contributions, average)
    np.testing.assert_allclose(parameters(result), theta, atol=1e-12)
    np.testing.assert_allclose(result.losses, losses, atol=1e-12)
    assert np.abs(theta - start(federation)).max() > 0.01


@pytest.mark.parametrize("s", [0.25, 1.0, 1.6, 2.0, 2.75])
def test_training_is_continuous_in_what_a_client_gives(federation, s):
    """Just below and above a whole batch, and where one more input begins to count."""
    runs = [
        parameters(train(federation, [1, s + shift, 1, 1], model=softmax_regression, **SETTINGS))
        for shift in (-1e-7, 0.0, 1e-7)
    ]
    for moved in (runs[0], runs[2]):
        assert 1e-12 < np.abs(moved - runs[1]).max() < 1e-6


def test_weighed_by_samples_a_client_who_gives_next_to_nothing_changes_nothing(federation):
    def change(average):
        settings = SETTINGS | {"average": average, "model": softmax_regression}
        without, almost = (parameters(train(federation, [2, s, 1, 1], **settings)) for s in (0.0, 1e-9))
        return np.abs(almost - without).max()

    assert change("samples") < 1e-7
    assert change("everyone") < 1e-7
    assert change("participants") > 0.02  # she is averaged in, next to where she started


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
    for data, confusion in zip(federation.test, result.confusion, strict=True):
        scores = data.inputs.reshape(len(data), -1).astype(float) @ theta[:, :-1].T + theta[:, -1]
        counts = np.zeros((3, 3), dtype=int)
        for label, row in zip(data.labels, scores, strict=True):
            counts[label, row.argmax()] += 1
        assert confusion.tolist() == counts.tolist()
    assert result.confusion.dtype == np.int64
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
    assert result.contributions.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        result.contributions[0] = 2


def test_float32_is_float64_up_to_rounding(federation):
    single = train(federation, [4, 1, 2.6, 2], model=softmax_regression, dtype="float32", **SETTINGS)
    assert next(single.model.parameters()).dtype == torch.float32
    theta, _ = averaging_by_hand(federation, [4, 1, 2.6, 2])
    np.testing.assert_allclose(parameters(single), theta, atol=1e-5)


@pytest.mark.slow
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
        ([1, np.nan, 0, 0], {}, "every entry of contributions must be finite"),
        ([1, 4, 0, 0], {}, "contributions must not exceed .* client 1 has 3 of 4 inputs, got 4"),
        ([1, 3.1, 0, 0], {}, "contributions must not exceed .* client 1 has 3 of 4 inputs, got 3.1"),
        ([1, 0, 0, 0], {"rounds": 0}, "rounds must be an integer of at least 1; got 0"),
        ([1, 0, 0, 0], {"batch_size": 2.5}, "batch_size must be an integer of at least 1; got 2.5"),
        ([1, 0, 0, 0], {"learning_rate": 0.0}, "learning_rate must lie in .* got 0"),
        ([1, 0, 0, 0], {"learning_rate": np.nan}, "learning_rate must lie in .* got nan"),
        ([1, 0, 0, 0], {"seed": -1}, "seed must be an integer of at least 0; got -1"),
        (
            [1, 0, 0, 0],
            {"average": "median"},
            r"average must be one of \('participants', 'everyone', 'samples'\)",
        ),
        ([1, 0, 0, 0], {"dtype": "float16"}, r"dtype must be one of \('float64', 'float32'\); got 'float16'"),
        ([1, 0, 0, 0], {"backend": "jax"}, r"backend must be one of \('auto', 'sequential', 'batched'\); got 'jax'"),
        ([1, 0, 0, 0], {"mixed_precision": True}, "mixed_precision needs dtype='float32'; got dtype='float64'"),
        ([1, 0, 0, 0], {"mixed_precision": 1}, "mixed_precision must be True or False; got 1"),
        ([1, 0, 0, 0], {"checkpoint_every": 0}, "checkpoint_every must be an integer of at least 1; got 0"),
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


@pytest.mark.parametrize("backend", ["sequential", "batched"])
def test_divergence_is_an_error_that_says_where(federation, backend):
    settings = SETTINGS | {"learning_rate": 1e308, "backend": backend, "model": softmax_regression}
    with pytest.raises(FloatingPointError, match="loss of client 2 in round [01] is (nan|inf); lower learning_rate"):
        train(federation, [0, 0, 4, 0], **settings)


def test_contributions_of_many_runs_are_checked_at_once(federation):
    assert as_contributions("s", [[1, 2, 3, 0], [0, 0, 0, 0]], federation, 4).shape == (2, 4)
    with pytest.raises(ValueError, match="client 3 has 3 of 4 inputs, got 5"):
        as_contributions("s", [[1, 2, 3, 0], [0, 0, 0, 5]], federation, 4)


def test_progress_bar_shows_only_where_asked(federation, capsys):
    contributions = [1, 1.5, 0, 1]  # four steps a round, one of them short
    train(federation, contributions, model=softmax_regression, progress=True, **SETTINGS)
    assert "8/8" in capsys.readouterr().err
    for silent in (None, False):  # stderr is not a terminal here
        train(federation, contributions, model=softmax_regression, progress=silent, **SETTINGS)
        assert capsys.readouterr().err == ""
    assert progress_bar(3, False).disable


def test_configuration_is_recorded(federation):
    result = train(federation, [1, 0, 0, 0], model=softmax_regression, **SETTINGS)
    assert result.config == TrainingConfig(model=softmax_regression, **SETTINGS)


def test_the_names_that_others_import():
    """A name leaves this list only with a deprecation."""
    names = [
        "DATASETS",
        "MODELS",
        "AccuracyDrop",
        "ConvNet",
        "Dataset",
        "Federation",
        "FittedPayoff",
        "Quadratic",
        "ResMLP",
        "TrainingConfig",
        "TrainingResult",
        "TrainingRuns",
        "accuracy_drops",
        "build_model",
        "contribution_grid",
        "fit_payoff",
        "lenet",
        "load_dataset",
        "partition",
        "partition_dirichlet",
        "partition_label_shares",
        "resnet18",
        "train",
        "train_grid",
    ]
    assert set(names) <= set(federated.__all__)
    assert all(hasattr(federated, name) for name in names)


def test_without_a_stderr_there_is_no_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    for progress in (None, True, False):
        with progress_bar(3, progress) as bar:
            bar.update(3)


@pytest.mark.parametrize(("missing", "present"), [("torch", "tqdm"), ("tqdm", "torch"), ("safetensors", "torch")])
def test_without_the_extra_the_import_says_what_to_install(missing, present):
    stubs = f"sys.modules[{present!r}] = types.ModuleType({present!r}); sys.modules[{missing!r}] = None"
    code = f"import sys, types; {stubs}; import fedshap.federated; fedshap.federated.train"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert (
        f"ImportError: fedshap.federated needs {missing}, which is not installed: pip install fedshap[train]"
        in run.stderr
    )
