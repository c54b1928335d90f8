"""Training that is killed and resumed, against training that is not."""

import errno
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors import safe_open

from fedshap.federated import Dataset, Federation, train, train_grid, training
from fedshap.federated import checkpoints as module
from fedshap.federated.checkpoints import Checkpoint, fingerprint
from fedshap.federated.training import TrainingClients

SETTINGS = {"rounds": 5, "batch_size": 4, "learning_rate": 0.3, "seed": 3}
CONTRIBUTIONS = [2.0, 0.0, 1.4, 3.0]
CHILD = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from test_checkpoints import CONTRIBUTIONS, SETTINGS, noise
from fedshap.federated import train
{before}
train(noise(), CONTRIBUTIONS, checkpoint=sys.argv[1], **(SETTINGS | {settings!r}))
"""


def noise(seed=0, labels=3):
    """Four clients in three groups, random 8 x 8 images of three classes."""
    rng = np.random.default_rng(seed)
    make = lambda size: Dataset(rng.uniform(size=(size, 1, 8, 8)), rng.integers(labels, size=size), n_classes=3)  # noqa: E731
    return Federation([make(n) for n in (19, 12, 17, 13)], [make(n) for n in (8, 5, 9, 7)], np.array([0, 0, 1, 2]))


@pytest.fixture(scope="module")
def whole():
    return train(noise(), CONTRIBUTIONS, **SETTINGS)


def same(a, b):
    pairs = zip(a.model.parameters(), b.model.parameters(), strict=True)
    return (
        all(torch.equal(p, q) for p, q in pairs)
        and a.losses.tolist() == b.losses.tolist()
        and a.confusion.tolist() == b.confusion.tolist()
        and a.group_accuracies.tolist() == b.group_accuracies.tolist()
    )


def rounds_in(path):
    with safe_open(path, framework="np") as file:
        return len(file.get_tensor("losses"))


def start_child(path, before="", **settings):
    code = CHILD.format(tests=os.path.dirname(__file__), before=before, settings=settings)
    return subprocess.Popen([sys.executable, "-c", code, str(path)])


@pytest.mark.slow
def test_killed_from_outside_and_resumed(tmp_path):
    path, rounds = tmp_path / "run.safetensors", 20_000
    child = start_child(path, rounds=rounds)
    try:
        deadline = time.monotonic() + 60
        while not (path.exists() and rounds_in(path) >= 3):
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.002)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    done = rounds_in(path)
    assert 3 <= done < rounds
    # what is left of 20,000 rounds takes too long: the file must be that of a run stopped after as many rounds
    settings = SETTINGS | {"rounds": done}
    uninterrupted = train(noise(), CONTRIBUTIONS, **settings)
    with safe_open(path, framework="pt") as file:
        weights, losses = file.get_tensor("weights"), file.get_tensor("losses")
    assert torch.equal(weights, torch.cat([p.detach().reshape(-1) for p in uninterrupted.model.parameters()]))
    assert losses.tolist() == uninterrupted.losses.tolist()


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "calls"), [("os.fsync", 5), ("os.replace", 3)])
def test_killed_while_it_saves_and_resumed(tmp_path, whole, moment, calls):
    """The third save gets as far as a file of another name, the second one's is what the run resumes from.

    A save syncs the file and, once that has its name, the folder.
    """
    before = f"""
left, then = [{calls}], {moment}
def last(*arguments):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return then(*arguments)
{moment} = last
"""
    path = tmp_path / "new" / "run.safetensors"
    assert start_child(path, before).wait() == -signal.SIGKILL
    assert rounds_in(path) == 2
    (left,) = [each.name for each in path.parent.iterdir() if each != path]
    assert re.fullmatch(r"\.run\.safetensors\.[0-9a-f]{16}\.tmp", left)
    assert same(train(noise(), CONTRIBUTIONS, checkpoint=path, **SETTINGS), whole)
    assert sorted(each.name for each in path.parent.iterdir()) == sorted([left, "run.safetensors"])


@pytest.mark.slow
def test_two_processes_with_one_checkpoint_do_not_meet(tmp_path, whole):
    path = tmp_path / "run.safetensors"
    children = [start_child(path) for _ in range(2)]
    assert [child.wait() for child in children] == [0, 0]
    assert os.listdir(tmp_path) == ["run.safetensors"]
    assert same(train(noise(), CONTRIBUTIONS, checkpoint=path, **SETTINGS), whole)


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    train(noise(), CONTRIBUTIONS, checkpoint="~/one", **SETTINGS)
    train_grid(noise(), [CONTRIBUTIONS], checkpoint="~/many", **SETTINGS)
    assert sorted(os.listdir(tmp_path)) == ["many", "one"]
    assert len(os.listdir(tmp_path / "many")) == 1


def test_what_is_no_path_is_refused():
    for call, contributions in ((train, CONTRIBUTIONS), (train_grid, [CONTRIBUTIONS])):
        with pytest.raises(ValueError, match="checkpoint must be a path; got 3"):
            call(noise(), contributions, checkpoint=3, **SETTINGS)


def test_a_full_disk_is_told_with_the_name_and_the_last_save_kept(tmp_path, monkeypatch, whole):
    path, fsync, calls = tmp_path / "run.safetensors", os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=rf"{path} cannot be written \(No space left on device\); make room"):
            train(noise(), CONTRIBUTIONS, checkpoint=path, **SETTINGS)
    assert rounds_in(path) == 2
    assert same(train(noise(), CONTRIBUTIONS, checkpoint=path, **SETTINGS), whole)


def interrupt(monkeypatch, rounds):
    """Let training stop once it has begun ``rounds`` + 1 rounds."""
    begun, chosen = set(), TrainingClients.chosen

    def stopping(self, k, round_, config):
        begun.add(round_)
        if len(begun) > rounds:
            raise KeyboardInterrupt
        return chosen(self, k, round_, config)

    monkeypatch.setattr(TrainingClients, "chosen", stopping)


@pytest.mark.parametrize("backend", ["sequential", "batched"])
@pytest.mark.parametrize("average", ["participants", "everyone", "samples"])
def test_interrupted_and_resumed(tmp_path, monkeypatch, backend, average):
    settings = SETTINGS | {"backend": backend, "average": average, "dtype": "float32"}
    with monkeypatch.context() as patch:
        interrupt(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            train(noise(), CONTRIBUTIONS, checkpoint=tmp_path / "run", checkpoint_every=2, **settings)
    assert rounds_in(tmp_path / "run") == 2
    resumed = train(noise(), CONTRIBUTIONS, checkpoint=tmp_path / "run", checkpoint_every=2, **settings)
    assert same(resumed, train(noise(), CONTRIBUTIONS, **settings))


def test_saved_after_every_k_rounds_and_at_the_end(tmp_path, monkeypatch, whole):
    saved, save = [], Checkpoint.save

    def noting(self, state):
        save(self, state)
        saved.append((len(state.losses), state.confusion is not None))

    monkeypatch.setattr(Checkpoint, "save", noting)
    result = train(noise(), CONTRIBUTIONS, checkpoint=str(tmp_path / "run"), checkpoint_every=2, **SETTINGS)
    assert saved == [(2, False), (4, False), (5, True)]
    assert same(result, whole)


def test_a_finished_run_is_not_trained_again(tmp_path, monkeypatch, whole, capsys):
    train(noise(), CONTRIBUTIONS, checkpoint=tmp_path / "run", **SETTINGS)
    interrupt(monkeypatch, 0)
    monkeypatch.setattr(Checkpoint, "save", None)
    monkeypatch.setattr(training, "_confusion", None)
    again = train(noise(), CONTRIBUTIONS, checkpoint=tmp_path / "run", progress=True, **SETTINGS)
    assert same(again, whole)
    assert "35/35" in capsys.readouterr().err  # 2 + 2 + 3 steps in each of five rounds


def test_nobody_trains_and_is_resumed(tmp_path):
    runs = [train(noise(), np.zeros(4), checkpoint=tmp_path / "run", **SETTINGS) for _ in range(2)]
    assert same(*runs)
    assert runs[1].losses.shape == (0,)


def test_settings_may_be_numpy_numbers(tmp_path):
    settings = SETTINGS | {"rounds": np.int64(1), "seed": np.int32(2), "learning_rate": np.float32(0.5)}
    for _ in range(2):
        train(noise(), CONTRIBUTIONS, checkpoint=tmp_path / "run", **settings)


def another_network(shape, n_classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, n_classes))


@pytest.mark.parametrize(
    ("federation", "contributions", "settings", "difference"),
    [
        (noise(), CONTRIBUTIONS, {"learning_rate": 0.2}, r"learning_rate \(0.3 there, 0.2 here\)"),
        (noise(), CONTRIBUTIONS, {"rounds": 6}, r"rounds \(5 there, 6 here\)"),
        (noise(), CONTRIBUTIONS, {"seed": 4}, r"seed \(3 there, 4 here\), initial weights"),
        (noise(), CONTRIBUTIONS, {"average": "samples"}, r"average \('participants' there, 'samples' here\)"),
        (noise(), CONTRIBUTIONS, {"backend": "batched"}, r"backend \('auto' there, 'batched' here\)"),
        (noise(), CONTRIBUTIONS, {"dtype": "float32"}, r"dtype \('float64' there, 'float32' here\)"),
        (noise(), CONTRIBUTIONS, {"model": another_network}, r"model \('cnn' there, 'another_network' here\)"),
        (noise(), [2.0, 0.0, 1.5, 3.0], {}, r"contributions \(.* 1.4, 3.0\] there, .* 1.5, 3.0\] here\)"),
        (noise(seed=1), CONTRIBUTIONS, {}, r"data \("),
        (noise(labels=2), CONTRIBUTIONS, {}, r"data \("),
    ],
)
def test_another_runs_checkpoint_is_refused_and_kept(tmp_path, federation, contributions, settings, difference):
    path = tmp_path / "run"
    train(noise(), CONTRIBUTIONS, checkpoint=path, **SETTINGS)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=rf"is of another run, which differs in {difference}.*resume with"):
        train(federation, contributions, checkpoint=path, **(SETTINGS | settings))
    assert path.read_bytes() == before


def with_metadata(metadata):
    return module.safetensors.torch.save({"weights": torch.zeros(3)}, metadata=metadata)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "header"),
        (b"not a checkpoint", "header"),
        (module.safetensors.torch.save({"weights": torch.zeros(3)}), "does not say of which run"),
        (
            module.safetensors.torch.save({"weights": torch.zeros(3)}, metadata={"run": "[]"}),
            "does not say of which run",
        ),
        (module.safetensors.torch.save({"weights": torch.zeros(3)}, metadata={"run": "{"}), "Expecting"),
    ],
    ids=["empty", "text", "no run", "a list", "half a run"],
)
def test_what_is_no_checkpoint_is_refused(tmp_path, content, why):
    path = tmp_path / "run"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"'{path}' cannot be read as one \(.*{why}.*; give another path or"):
        train(noise(), CONTRIBUTIONS, checkpoint=path, **SETTINGS)
    assert path.read_bytes() == content


def test_a_folder_and_a_truncated_file_are_refused(tmp_path):
    path = tmp_path / "run"
    train(noise(), CONTRIBUTIONS, checkpoint=path, **SETTINGS)
    path.write_bytes(path.read_bytes()[:-100])
    for each in (path, tmp_path):
        with pytest.raises(ValueError, match="cannot be read as one .* give another path or delete it"):
            train(noise(), CONTRIBUTIONS, checkpoint=each, **SETTINGS)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"weights": lambda w: w[:-1]}, r"weights must be torch.float64 of shape \((\d+),\); got .* of shape"),
        ({"weights": lambda w: w.float()}, r"weights must be torch.float64 .* got torch.float32"),
        ({"weights": None}, "it has no weights"),
        ({"losses": lambda v: torch.cat([v, v])}, r"losses must be torch.float64 of shape \(5,\); got .* \(10,\)"),
        ({"losses": lambda v: v.reshape(1, 5)}, r"losses must .* got torch.float64 of shape \(1, 5\)"),
        ({"losses": None}, "it has no losses"),
        ({"confusion": lambda c: c[:3]}, r"confusion must be torch.int64 of shape \(4, 3, 3\); got .* \(3, 3, 3\)"),
        ({"confusion": lambda c: c.double()}, r"confusion must be torch.int64 .* got torch.float64"),
    ],
    ids=["short", "float32", "no weights", "long", "two axes", "no losses", "fewer clients", "no counts"],
)
def test_a_checkpoint_of_the_right_run_and_the_wrong_content_is_refused(tmp_path, changes, why):
    path = tmp_path / "run"
    train(noise(), CONTRIBUTIONS, checkpoint=path, **SETTINGS)
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name, change in changes.items():
        tensor = tensors.pop(name)
        if change is not None:
            tensors[name] = change(tensor).contiguous()
    path.write_bytes(module.safetensors.torch.save(tensors, metadata=metadata))
    with pytest.raises(ValueError, match=rf"'{path}' cannot be read as one \({why}.*; give another path or delete it"):
        train(noise(), CONTRIBUTIONS, checkpoint=path, **SETTINGS)


def test_fingerprint_sees_inputs_labels_and_groups():
    federation = noise()
    assert fingerprint(federation) == fingerprint(noise())
    first = federation.train[0]
    brighter, relabelled = np.minimum(first.inputs + 0.01, 1.0), (first.labels + 1) % 3
    others = [
        Federation([Dataset(brighter, first.labels, 3), *federation.train[1:]], federation.test, federation.groups),
        Federation([Dataset(first.inputs, relabelled, 3), *federation.train[1:]], federation.test, federation.groups),
        Federation(federation.train, federation.test, np.array([0, 1, 1, 2])),
        Federation(federation.test, federation.train, federation.groups),
    ]
    assert len({fingerprint(each) for each in [federation, *others]}) == 5


def test_grid_keeps_finished_runs_and_resumes_the_one_under_way(tmp_path, monkeypatch):
    profiles = [[1, 0, 1, 0], [2, 1, 0.5, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    begun, stop_at, chosen = [], [5], TrainingClients.chosen

    def noting(self, k, round_, config):
        if k == 0:
            begun.append((tuple(self.numbers.tolist()), round_))
            if len(begun) == stop_at[0]:
                raise KeyboardInterrupt
        return chosen(self, k, round_, config)

    monkeypatch.setattr(TrainingClients, "chosen", noting)
    settings = SETTINGS | {"rounds": 3}
    with pytest.raises(KeyboardInterrupt):  # in round 1 of the second run
        train_grid(noise(), profiles[:2], checkpoint=tmp_path, **settings)
    assert sorted(rounds_in(path) for path in tmp_path.iterdir()) == [1, 3]
    begun.clear()
    stop_at[0] = 0
    resumed = train_grid(noise(), profiles, checkpoint=tmp_path, **settings)
    assert begun == [((0, 1, 2), 1), ((0, 1, 2), 2), ((3,), 0), ((3,), 1), ((3,), 2)]
    fresh = train_grid(noise(), profiles, **settings)
    assert resumed.client_accuracies.tolist() == fresh.client_accuracies.tolist()
    assert resumed.contributions.tolist() == profiles
