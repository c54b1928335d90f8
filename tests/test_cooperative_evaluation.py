"""Functions of coalitions: each asked once, in parallel, watched, interrupted and resumed; noise; other files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fedshap import cooperative
from fedshap._files import claimed

ROOT = Path(__file__).resolve().parent.parent
DATA = np.random.default_rng(3).exponential(1.0, 25)
METHODS = ["regression", "stratified", "permutation"]


def accuracy(members: tuple[int, ...]) -> float:
    """What a model trained on the members' data might reach; picklable."""
    return 1.0 - 1.0 / (1.0 + float(DATA[list(members)].sum())) ** 0.7


class Counting:
    """The same, remembering what it was asked; from a given call on it breaks."""

    def __init__(self, breaks_at: float = np.inf, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.asked: list[tuple[int, ...]] = []
        self.breaks_at, self.error = breaks_at, error

    def __call__(self, members: tuple[int, ...]) -> float:
        if len(self.asked) >= self.breaks_at:
            raise self.error
        self.asked.append(members)
        return accuracy(members)


# ---- asked once, whoever does the work --------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_each_coalition_is_asked_once(method: str) -> None:
    worth = Counting()
    found = cooperative.shapley(worth, 7, method=method, budget=122, rng=0)  # type: ignore[arg-type]
    assert all(isinstance(i, int) and list(m) == sorted(m) for m in worth.asked for i in m)
    assert len(worth.asked) == len(set(worth.asked)) + 1  # one is asked again, to see whether the game is noisy
    assert found.evaluations == len(set(worth.asked)) <= 122


@pytest.mark.parametrize("method", METHODS)
def test_the_number_of_workers_changes_no_digit(method: str) -> None:
    alone = cooperative.shapley(accuracy, 25, method=method, budget=600, rng=4)  # type: ignore[arg-type]
    for workers in (1, 4):
        with ThreadPoolExecutor(workers) as executor:
            shared = cooperative.shapley(
                accuracy,
                25,
                method=method,
                budget=600,
                rng=4,
                executor=executor,  # type: ignore[arg-type]
            )
        assert_array_equal(shared.values, alone.values)
        assert_array_equal(shared.standard_errors, alone.standard_errors)
        assert shared.evaluations == alone.evaluations


def test_processes_and_threads() -> None:
    with ProcessPoolExecutor(2) as executor:
        shared = cooperative.shapley(accuracy, 5, executor=executor)
    assert_array_equal(shared.values, cooperative.shapley(accuracy, 5).values)
    names = set()
    barrier = threading.Barrier(2, timeout=20)

    def meeting(members: tuple[int, ...]) -> float:
        names.add(threading.get_ident())
        if len(members) in (0, 3):
            barrier.wait()  # the first two coalitions: passes only if they are asked at a time
        return float(len(members))

    with ThreadPoolExecutor(2) as executor:
        cooperative.shapley(meeting, 3, executor=executor)
    assert len(names - {threading.get_ident()}) == 2  # we ask one again ourselves


def test_a_vectorised_function_gets_booleans_it_may_write_to() -> None:
    shapes = []

    def worth(members: np.ndarray) -> np.ndarray:
        shapes.append(members.shape)
        assert members.dtype == bool
        values = members @ DATA[:6]
        members[:] = False
        return values

    found = cooperative.shapley(worth, 6, vectorised=True)
    np.testing.assert_allclose(found.values, DATA[:6], rtol=1e-12)
    assert shapes == [(2, 6), (62, 6), (1, 6)]


def test_progress() -> None:
    seen: list[tuple[int, float]] = []
    found = cooperative.shapley(accuracy, 25, budget=400, rng=0, progress=lambda k, error: seen.append((k, error)))
    assert [k for k, _ in seen] == list(range(1, found.evaluations + 1))
    assert seen[0][1] == np.inf
    assert 0.0 < seen[-1][1] < 1.0


# ---- noise ------------------------------------------------------------------------------------------


def test_noise_is_said() -> None:
    rng = np.random.default_rng(0)
    with pytest.warns(UserWarning, match=r"noisy.*the coalition \(1, 2\) was worth .* and, asked again alone, "):
        cooperative.shapley(lambda m: len(m) + 1e-3 * rng.normal(), 3)


def test_a_forgotten_axis_is_said() -> None:
    with pytest.warns(UserWarning, match="depend on the batch"):
        cooperative.shapley(lambda m: m @ DATA[:3] / m.sum(), 3, vectorised=True)


def test_rounding_is_not_noise() -> None:
    calls: list[int] = []

    def worth(members: tuple[int, ...]) -> float:
        calls.append(1)
        return len(members) * (1.0 + 1e-13 * len(calls))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cooperative.shapley(worth, 4)


# ---- files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [*METHODS, "exact"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_call_goes_on_where_it_stopped(tmp_path: Path, method: str, error: type) -> None:
    n, limits = (6, {}) if method == "exact" else (25, {"budget": 600, "rng": 4})
    whole = cooperative.shapley(accuracy, n, method=method, **limits)  # type: ignore[arg-type]
    path = tmp_path / "values.jsonl"
    first, second = Counting(41, error), Counting()
    with pytest.raises(error):
        cooperative.shapley(first, n, method=method, cache=path, **limits)  # type: ignore[arg-type]
    found = cooperative.shapley(second, n, method=method, cache=path, **limits)  # type: ignore[arg-type]
    assert_array_equal(found.values, whole.values)
    assert_array_equal(found.standard_errors, whole.standard_errors)
    assert found.evaluations == whole.evaluations
    again = set(first.asked) & set(second.asked)
    assert len(again) == 1  # asked again on purpose: is this still the same game?
    assert len(set(first.asked) | set(second.asked)) == whole.evaluations
    third = Counting()
    cooperative.shapley(third, n, method=method, cache=path, **limits)  # type: ignore[arg-type]
    assert len(third.asked) == 1


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_killed_process_leaves_what_it_knew(tmp_path: Path) -> None:
    path = tmp_path / "values.jsonl"
    script = tmp_path / "slow.py"
    script.write_text(
        "import sys, time\n"
        "from fedshap import cooperative\n"
        "def worth(members):\n"
        "    time.sleep(float(sys.argv[1]))\n"
        "    return float(len(members)) ** 0.5\n"
        f"print(cooperative.shapley(worth, 30, budget=300, rng=1, cache={str(path)!r}).values.tolist())\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    slow = subprocess.Popen([sys.executable, str(script), "0.02"], env=environment)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not path.exists() or len(path.read_bytes().splitlines()) < 20):
        time.sleep(0.02)
    slow.send_signal(signal.SIGKILL)
    slow.wait()
    known = len(path.read_bytes().splitlines())
    assert 20 <= known < 300
    with path.open("ab") as file:
        file.write(b'{"members": [1, 2], "val')  # as if it had died while writing
    run = subprocess.run(
        [sys.executable, str(script), "0"], env=environment, capture_output=True, text=True, check=True
    )
    assert "torn off" in run.stderr
    whole = cooperative.shapley(lambda m: float(len(m)) ** 0.5, 30, budget=300, rng=1)
    assert json.loads(run.stdout) == whole.values.tolist()
    assert all(json.loads(line) for line in path.read_text().splitlines())


def filled(path: Path) -> list[str]:
    cooperative.shapley(accuracy, 4, cache=path)
    return path.read_text().splitlines()


def test_a_torn_line_is_dropped_and_said(tmp_path: Path) -> None:
    path = tmp_path / "values.jsonl"
    lines = filled(path)
    path.write_text("\n".join(lines)[:-5])
    with pytest.warns(UserWarning, match="torn off"):
        found = cooperative.shapley(accuracy, 4, cache=path)
    assert_array_equal(found.values, cooperative.shapley(accuracy, 4).values)
    assert sorted(path.read_text().splitlines()) == sorted(lines)


def test_a_torn_head_is_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "values.jsonl"
    lines = filled(path)
    path.write_text(lines[0][:10])
    with pytest.warns(UserWarning, match="torn off"):
        cooperative.shapley(accuracy, 4, cache=path)
    assert path.read_text().splitlines() == lines


def other_game(members: tuple[int, ...]) -> float:
    return float(len(members))


class Scaled:
    """Games of one name."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, members: tuple[int, ...]) -> float:
        return self.factor * accuracy(members)


def test_a_file_of_another_game_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "values.jsonl"
    filled(path)
    with pytest.raises(ValueError, match="another game: its players is 4, here it is 5"):
        cooperative.shapley(accuracy, 5, cache=path)
    with pytest.raises(ValueError, match="another game: its game is 'accuracy', here it is 'other_game'"):
        cooperative.shapley(other_game, 4, cache=path)
    same_name = tmp_path / "scaled.jsonl"
    cooperative.shapley(Scaled(1.0), 4, cache=same_name)
    with pytest.raises(ValueError, match="another game, or of a noisy one"):
        cooperative.shapley(Scaled(1.01), 4, cache=same_name)


def test_a_noisy_game_resumes(tmp_path: Path) -> None:
    path = tmp_path / "values.jsonl"
    rng = np.random.default_rng(0)

    def noisy(members: tuple[int, ...]) -> float:
        return len(members) + 1e-3 * rng.normal()

    with pytest.warns(UserWarning, match="noisy"):
        first = cooperative.shapley(noisy, 3, cache=path)
    with pytest.warns(UserWarning, match="noisy"):
        again = cooperative.shapley(noisy, 3, cache=path)
    assert_array_equal(again.values, first.values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello\n", "not a file of coalition values"),
        (b"\xff\xfe\n", "not a file of coalition values"),
        (b'{"format": "another"}\n', "not a file of coalition values"),
        (b"[1]\n", "not a file of coalition values"),
    ],
)
def test_another_file_is_refused_and_left_alone(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "values.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        cooperative.shapley(accuracy, 4, cache=path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "5",
        "{",
        '{"members": [4], "value": 1.0}',
        '{"members": [1, 0], "value": 1.0}',
        '{"members": [0, 0], "value": 1.0}',
        '{"members": 0, "value": 1.0}',
        '{"members": [0], "value": "x"}',
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "values.jsonl"
    filled(path)
    lines = path.read_text().splitlines()
    lines[3] = line
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match="line 4 of cache="):
        cooperative.shapley(accuracy, 4, cache=path)
    lines[3] = '{"members": [0], "value": NaN}'
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=r"the coalition \(0,\) has the value nan"):
        cooperative.shapley(accuracy, 4, cache=path)


def test_what_has_not_begun_when_one_fails_is_called_off() -> None:
    asked: list[tuple[int, ...]] = []

    def breaking(members: tuple[int, ...]) -> float:
        asked.append(members)
        time.sleep(0.002)
        if len(asked) == 5:
            raise RuntimeError("out of memory")
        return float(len(members))

    with ThreadPoolExecutor(1) as executor, pytest.raises(RuntimeError, match="out of memory"):
        cooperative.shapley(breaking, 8, executor=executor)
    assert len(asked) < 250


def test_one_at_a_time_works_with_a_cache(tmp_path: Path) -> None:
    path = tmp_path / "values.jsonl"
    lock = tmp_path / ".values.jsonl.lock"
    with (
        claimed(lock, "the same"),
        pytest.raises(BlockingIOError, match=rf"process {os.getpid()} .* at work on {path}"),
    ):
        cooperative.shapley(accuracy, 4, cache=path)
    assert not path.exists()
    cooperative.shapley(accuracy, 4, cache=path)
    lock.write_text("process 1 on earth")  # left behind by one that was killed: no claim
    cooperative.shapley(accuracy, 4, cache=path)
    assert [each.name for each in tmp_path.iterdir()] == ["values.jsonl"]
    with pytest.raises(ValueError, match="cache applies to a function"):
        cooperative.shapley([0.0, 1.0], cache=tmp_path / "new" / "values.jsonl")  # type: ignore[call-arg]
    assert not (tmp_path / "new").exists()
