"""Equilibria as files and tables: exact, whole, and refused by name where they are neither."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fedshap as fs
from fedshap._storage import from_json, to_json
from games import THREE_AGENTS

FOUND = replace(
    fs.find_equilibrium(THREE_AGENTS, fs.ShapleyPayment()),
    contributions=np.array([1 / 3, 5e-324, 1.7976931348623157e308]),
    payments=np.array([-0.1, np.inf, -np.inf]),
    regret=np.inf,
    concave=None,
)


def same(left: fs.Equilibrium, right: fs.Equilibrium) -> None:
    for field in dataclasses.fields(left):
        one, other = getattr(left, field.name), getattr(right, field.name)
        assert type(one) is type(other), field.name
        assert_array_equal(one, other, err_msg=field.name)


@pytest.mark.parametrize("mechanism", [fs.NoPayment(), fs.ShapleyPayment(), fs.CostSharing(0.5)])
def test_what_is_written_is_read_to_the_last_bit(tmp_path: Path, mechanism: fs.Mechanism) -> None:
    found = fs.find_equilibrium(THREE_AGENTS, mechanism)
    text = found.to_json(tmp_path / "found.json")
    assert (tmp_path / "found.json").read_text() == text
    for source in (text, tmp_path / "found.json", str(tmp_path / "found.json")):
        same(fs.Equilibrium.from_json(source), found)
    assert os.listdir(tmp_path) == ["found.json"]


def test_infinite_tiny_and_huge_numbers_survive() -> None:
    text = FOUND.to_json()
    same(fs.Equilibrium.from_json(text), FOUND)
    strict = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert strict["payments"] == [-0.1, "Infinity", "-Infinity"]
    assert strict["regret"] == "Infinity"
    assert not fs.Equilibrium.from_json(text).payments.flags.writeable


def test_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^utilities must not be NaN"):
        replace(FOUND, utilities=np.array([0.0, np.nan, 0.0])).to_json(tmp_path / "nan.json")
    assert os.listdir(tmp_path) == []


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "found.json"
    path.write_text("what was there")

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        FOUND.to_json(path)
    assert path.read_text() == "what was there"
    assert os.listdir(tmp_path) == ["found.json"]


def changed(**fields: object) -> str:
    content = json.loads(FOUND.to_json()) | fields
    return json.dumps({name: value for name, value in content.items() if value != "left out"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FOUND.to_json()[:200], r"is no complete JSON: .* at line \d+ of \d+; was it cut off\?"),
        ("{", "is no complete JSON"),
        ("[1.0, 2.0]", r'must have the format "fedshap Equilibrium"; got \'list\''),
        ('{"a": 1}', r'must have the format "fedshap Equilibrium"; got None'),
        (changed(format="fedshap Trajectory"), r"format .* got 'fedshap Trajectory'"),
        (changed(version=2), "must have version 1 of the format; got 2"),
        (changed(version="left out"), "must have version 1 of the format; got None"),
        (changed(payments="left out"), "lacks the field 'payments'"),
        (changed(mood="good"), "has a field 'mood' that this version"),
        (changed(payments=[0.1, "much", 0.2]), r"payments in .* list of numbers; got 'much'"),
        (changed(payments=[0.1, None, 0.2]), r"payments in .* list of numbers; got None"),
        (changed(payments=[0.1, True, 0.2]), r"payments in .* list of numbers; got True"),
        (changed(payments=0.5), r"payments in .* must be a list of numbers; got 0.5"),
        (changed(payments=[[0.1], [0.2, 0.3]]), r"payments in .* rows of equal length"),
        (changed(payments=[0.1, 0.2]), r"must have one shape"),
        (changed(regret="small"), r"regret in .* must be float; got 'small'"),
        (changed(regret=True), r"regret in .* must be float; got True"),
        (changed(audited=2.5), r"audited in .* must be int; got 2.5"),
        (changed(concave="yes"), r"concave in .* must be bool or NoneType; got 'yes'"),
        (changed(method=3), r"method in .* must be str; got 3"),
    ],
    ids=range(20),
)
def test_other_files_are_refused_by_name(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as refused:
        fs.Equilibrium.from_json(path)
    assert "found.json" in str(refused.value) or "shape" in message
    assert refused.value.__cause__ is None


def test_what_is_neither_path_nor_text_is_refused(tmp_path: Path) -> None:
    for wrong in ("", 3, None):
        with pytest.raises(ValueError, match="^path_or_text must be a path"):
            fs.Equilibrium.from_json(wrong)  # type: ignore[arg-type]
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is no text"):
        fs.Equilibrium.from_json(tmp_path / "binary")
    with pytest.raises(FileNotFoundError):
        fs.Equilibrium.from_json(tmp_path / "nowhere.json")


def test_new_optional_fields_are_read_from_old_files_too() -> None:
    @dataclass(frozen=True, eq=False)
    class Later(fs.Equilibrium):
        weight: float = 1.0
        minimum: np.ndarray | None = None

    later = from_json(Later, changed(format="fedshap Later"))
    assert later.weight == 1.0
    assert later.minimum is None
    written = to_json(Later(**vars_of(FOUND), weight=np.inf))
    assert from_json(Later, written).weight == np.inf


def vars_of(found: fs.Equilibrium) -> dict[str, object]:
    return {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}


# ---- tables ------------------------------------------------------------------------------------------------------


def test_a_table_has_one_row_for_each_agent() -> None:
    pytest.importorskip("pandas")
    found = fs.find_equilibrium(THREE_AGENTS, fs.ShapleyPayment())
    frame = found.to_frame()
    assert list(frame.columns) == ["contributions", "payments", "utilities"]
    assert frame.index.tolist() == [0, 1, 2]
    assert frame.index.name == "agent"
    for name in frame:
        assert_array_equal(frame[name], getattr(found, name))


def test_a_table_without_pandas_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="to_frame needs pandas.*pip install"):
        FOUND.to_frame()
