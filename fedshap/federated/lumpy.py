"""The lumpy skin disease data (Afshari Safavi, 2021): a CSV file read cell by cell, and checked.

A cell that is no number, or none that its column can hold, is named by file, line and column.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from fedshap._types import Array
from fedshap.federated.datasets import Dataset

ADVICE = "It is downloaded from https://doi.org/10.17632/7pyhbzb2n9.1"
LEAKS = ("region", "country", "reportingDate")  # filled in for positive rows alone
LABEL = "lumpy"
N_ROWS, N_POSITIVES = 24_803, 3_039  # as published, repeated rows included
DECIMALS = 4
FEATURES = MappingProxyType(
    {
        "x": (-180.0, 180.0),  # degrees east
        "y": (-90.0, 90.0),  # degrees north
        "cld": (0.0, 100.0),  # cloud cover, %
        "dtr": (0.0, 60.0),  # daily range of temperature, degrees Celsius
        "frs": (0.0, 31.0),  # days of frost in the month
        "pet": (0.0, 30.0),  # potential evapotranspiration, mm a day
        "pre": (0.0, 10_000.0),  # precipitation, mm in the month
        "tmn": (-90.0, 60.0),  # temperature: daily minimum, mean, daily maximum, degrees Celsius
        "tmp": (-90.0, 60.0),
        "tmx": (-90.0, 60.0),
        "vap": (0.0, 100.0),  # vapour pressure, hPa
        "wet": (0.0, 31.0),  # wet days in the month
        "elevation": (-500.0, 9_000.0),  # m
        "dominant_land_cover": (0.0, 11.0),  # a code
        "X5_Ct_2010_Da": (0.0, 1e7),  # cattle
        "X5_Bf_2010_Da": (0.0, 1e7),  # buffaloes
    }
)
"""The columns used, in this order, and between what limits anything on earth lies."""


def load_lumpy(root: Path | None) -> Dataset:
    """The rows of the file at ``root`` or in the folder ``root``, each once."""
    path = _file(root)
    table = _table(path)
    # rounded, or rows that are one in float32 once features are standardised would pass for two here
    features, labels = table[:, :-1].round(DECIMALS).astype(np.float32), table[:, -1]
    if (len(labels), labels.sum()) != (N_ROWS, N_POSITIVES):
        raise ValueError(
            f"{path} must have {N_ROWS} rows, {N_POSITIVES} of them positive; got {len(labels)} and "
            f"{labels.sum():g}. {ADVICE}"
        )
    return Dataset(*_without_repeats(features, labels), n_classes=2, name="lumpy")


def _file(root: Path | None) -> Path:
    """The CSV file, given as such or by the folder that holds it."""
    if root is not None and root.is_dir():
        files = [file for file in sorted(root.glob("*.csv")) if "lumpy" in file.name.lower()]
    else:
        files = [root] if root is not None and root.is_file() else []
    if len(files) == 1:
        return files[0]
    raise FileNotFoundError(
        "root must be the CSV file of the lumpy skin disease data, or a folder with one '*lumpy*.csv'; "
        f"got {root}, where there are {len(files)} such files. {ADVICE}"
    )


def _table(path: Path) -> Array:
    """Features and, in the last column, labels, shape (N, 17)."""
    limits = {**FEATURES, LABEL: (0.0, 1.0)}
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.reader(file)
        try:
            header = next(reader, [])
            expected = (*FEATURES, *LEAKS, LABEL)
            if sorted(header) != sorted(expected):
                raise ValueError(f"must have the columns {', '.join(expected)}; got {', '.join(header)}")
            places = [header.index(column) for column in limits]
            rows = [(reader.line_num, _numbers(row, header, places)) for row in reader if row]
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{path}, line {max(reader.line_num, 1)}: {error}. {ADVICE}") from error
    table = np.array([row for _, row in rows]).reshape(-1, len(limits))
    low, high = np.array(list(limits.values())).T
    wrong = ~((low <= table) & (table <= high))  # so that NaN is wrong
    wrong[:, -1] |= table[:, -1] != np.rint(table[:, -1])
    for row, column in np.argwhere(wrong)[:1]:
        name, allowed = list(limits)[column], f"in [{low[column]:g}, {high[column]:g}]"
        raise ValueError(
            f"{path}, line {rows[row][0]}: column {name} must be {'0 or 1' if name == LABEL else allowed}; "
            f"got {table[row, column]:g}. {ADVICE}"
        )
    return table


def _numbers(row: Sequence[str], header: Sequence[str], places: Sequence[int]) -> list[float]:
    """The cells at ``places`` of one row."""
    if len(row) != len(header):
        raise ValueError(f"must have {len(header)} cells; got {len(row)}")
    try:
        return [float(row[place]) for place in places]
    except ValueError:
        place = next(place for place in places if not _is_number(row[place]))
        raise ValueError(f"column {header[place]} must be a number; got {row[place]!r}") from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _without_repeats(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every row of features once, in the order of the file, positive if any of its equals is."""
    _, first, place = np.unique(features, axis=0, return_index=True, return_inverse=True)
    highest = np.zeros(len(first))
    np.maximum.at(highest, place.ravel(), labels)
    order = np.argsort(first)
    return features[first[order]], highest[order]
