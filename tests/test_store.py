"""Training runs kept on disk: each done once, and a damaged one said to be so."""

from __future__ import annotations

import json

import numpy as np
import pytest

import fedshap

pytest.importorskip("torch")

from fedshap.federated import Dataset, Federation, TrainingConfig, store, train  # noqa: E402
from fedshap.federated.store import RunStore, versions  # noqa: E402
from fedshap.federated.training import progress_bar  # noqa: E402

CONFIG = TrainingConfig(rounds=2, batch_size=4, model="quadratic", seed=1)
S = [2.0, 0.5, 1.0]


def rows(n_classes: int) -> Federation:
    rng = np.random.default_rng(0)
    make = lambda size: Dataset(rng.normal(size=(size, 3)), np.arange(size) % n_classes, n_classes)  # noqa: E731
    return Federation([make(9), make(8), make(10)], [make(6), make(6), make(7)], np.array([0, 0, 1]))


def runs(folder, n_classes: int = 2, config: TrainingConfig = CONFIG) -> RunStore:
    return RunStore(rows(n_classes), config, folder, progress_bar(0, False))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_kept_run_is_the_one_trained(tmp_path, monkeypatch, n_classes):
    first = runs(tmp_path, n_classes).train(S)
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]
    monkeypatch.setattr(store, "federated_averaging", None)
    assert runs(tmp_path, n_classes).train(S) == first
    settings = {"rounds": 2, "batch_size": 4, "model": "quadratic", "seed": 1}
    result = train(rows(n_classes), S, **settings)
    assert first["client_accuracies"] == result.client_accuracies.tolist()
    assert first["group_accuracies"] == result.group_accuracies.tolist()
    assert first["losses"] == result.losses.tolist()
    assert first["confusion"] == (result.confusion.tolist() if n_classes == 2 else None)


def test_nobody_trains_and_is_kept(tmp_path, monkeypatch):
    first = runs(tmp_path).train([0.0, 0.0, 0.0])
    assert first["losses"] == []
    monkeypatch.setattr(store, "federated_averaging", None)
    assert runs(tmp_path).train([0.0, 0.0, 0.0]) == first


def without(name):
    return lambda record: {key: value for key, value in record.items() if key != name}


def with_(**changes):
    return lambda record: {**record, **changes}


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda record: None, "a JSON object expected, got null"),
        (lambda record: [], r"a JSON object expected, got \[\]"),
        (lambda record: {}, "seconds must be an array of numbers; got 'nothing'"),
        (without("losses"), "losses must be an array of numbers; got 'nothing'"),
        (without("confusion"), "confusion"),
        (with_(seconds="long"), "seconds must be an array of numbers; got 'long'"),
        (with_(seconds=[1.0]), r"seconds must have shape \(\); got \(1,\)"),
        (with_(client_accuracies=[0.5, 0.5]), r"client_accuracies must have shape \(3,\); got \(2,\)"),
        (with_(client_accuracies=[0.5, -9999, 0.5]), "client_accuracies must be at least 0; got -9999 at index 1"),
        (with_(client_accuracies=[0.5, 99, 0.5]), "client_accuracies must be at most 1; got 99 at index 1"),
        (with_(group_accuracies=[[0.5], [0.5]]), r"group_accuracies must have shape \(2,\); got \(2, 1\)"),
        (with_(losses=[1.0]), r"losses must have shape \(2,\); got \(1,\)"),
        (with_(confusion=None), "confusion"),
        (with_(confusion=[[[1, 2], [3, 4]]]), r"confusion must have shape \(3, 2, 2\); got \(1, 2, 2\)"),
        (with_(settings=None), "it has other settings than its name says"),
        (with_(settings={"seed": 2}), "it has other settings than its name says"),
    ],
    ids=[
        *("null", "list", "nothing", "no losses", "no confusion", "words", "a list of seconds", "fewer clients"),
        *(
            "negative",
            "above 1",
            "two axes",
            "fewer rounds",
            "null confusion",
            "fewer matrices",
            "no settings",
            "others",
        ),
    ],
)
def test_a_damaged_run_is_refused_with_name_and_fix(tmp_path, damage, why):
    runs(tmp_path).train(S)
    (path,) = tmp_path.iterdir()
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match=rf"^{path} is not a kept training run \(.*{why}.*; delete it, and the run is"):
        runs(tmp_path).train(S)


@pytest.mark.parametrize("length", [0, 1, 200])
def test_a_truncated_run_is_refused_and_done_again_once_deleted(tmp_path, length):
    first = runs(tmp_path).train(S)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=rf"^{path} is not a kept training run \(.*; delete it, and the run is done"):
        runs(tmp_path).train(S)
    path.unlink()
    again = runs(tmp_path).train(S)
    assert again | {"seconds": 0} == first | {"seconds": 0}


def test_another_process_may_have_removed_the_rounds(tmp_path, monkeypatch):
    """Two processes that train the same run: the first one through tidies up."""
    averaging = store.federated_averaging

    def beaten(*arguments, path, **more):
        result = averaging(*arguments, path=path, **more)
        path.unlink()
        return result

    monkeypatch.setattr(store, "federated_averaging", beaten)
    assert runs(tmp_path).train(S)["losses"]


def test_the_version_of_the_package_is_that_of_the_code_that_runs():
    got = versions()
    assert set(got) == {"python", "fedshap", "numpy", "scipy", "torch"}
    assert got["fedshap"] == fedshap.__version__
    assert got["numpy"] == np.__version__
