"""Labelled inputs and who holds them: the records that training works on.

Plain numpy; training moves the arrays to its device once. ``N`` images of one channel layout (C, H, W) or ``N`` rows
of ``d`` features; clients are indexed by ``i``, their groups by ``t`` in 0..T-1. Records are read by
:mod:`fedshap.federated.sources` and dealt out by :mod:`fedshap.federated.partitions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedshap._records import Record
from fedshap._types import ArrayLike
from fedshap._validation import as_array, as_count, as_integer_labels

Inputs = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(Record):
    """Inputs with one class label each; arrays are copied, unless they can no longer be written to, and read-only.

    Parameters
    ----------
    inputs : array_like
        Images of shape (N, C, H, W) with grey levels in [0, 1], or rows of d finite features, shape (N, d); kept as
        float32.
    labels : array_like of int
        Shape (N,), each in 0..n_classes-1; kept as int64.
    n_classes : int
        Number of classes, at least 2.
    name : str
        What the data set is called in results.
    verified : bool
        Whether checksums say that the content is what is published under that name, as :func:`load_dataset` finds out.

    Raises
    ------
    ValueError
        If shapes do not fit together, an input is not finite, a grey level is outside [0, 1] or a label out of range.

    Examples
    --------
    >>> Dataset(np.zeros((4, 1, 8, 8)), [0, 1, 2, 1], n_classes=3, name="blank")
    Dataset('blank', 4 images of 1 x 8 x 8, 3 classes)
    """

    inputs: Inputs
    labels: Labels
    n_classes: int
    name: str = "custom"
    verified: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        inputs = _as_inputs(self.inputs)
        n_classes = as_count("n_classes", self.n_classes, minimum=2)
        labels = as_integer_labels("labels", self.labels, n_classes)
        if not isinstance(self.name, str) or not isinstance(self.verified, bool):
            raise ValueError(f"name must be a string and verified True or False; got {self.name!r}, {self.verified!r}")
        if len(labels) != len(inputs):
            raise ValueError(f"labels must have one entry per input; got {len(labels)} for {len(inputs)} inputs")
        object.__setattr__(self, "inputs", _frozen(inputs))
        object.__setattr__(self, "labels", _frozen(labels))

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.input_shape))
        kind = "images" if len(self.input_shape) == 3 else "rows"
        return f"Dataset({self.name!r}, {len(self)} {kind} of {size}, {self.n_classes} classes)"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: (C, H, W) of an image, (d,) of a row of features."""
        return self.inputs.shape[1:]


@dataclass(frozen=True, eq=False, repr=False)
class Federation(Record):
    """The private data of ``n`` clients in ``T`` groups, as :func:`partition` deals them out.

    Attributes
    ----------
    train, test : tuple of Dataset
        One data set per client, length n. No image of any client's ``test`` is in any client's ``train``.
    groups : ndarray of int
        Group label of each client, shape (n,), each in 0..T-1, every label used.
    name : str
        Name of the data set that was divided.

    Raises
    ------
    ValueError
        If the lengths differ, a group label is out of range or unused, or image shapes and classes differ.

    Examples
    --------
    >>> tiny = [Dataset(np.full((8, 1, 8, 8), k / 3), [k] * 8, n_classes=3) for k in range(3)]
    >>> federation = Federation(train=tiny, test=tiny, groups=[0, 0, 1], name="tiny")
    >>> federation.n_clients, federation.n_groups, federation.batches(batch_size=4)
    (3, 2, array([2, 2, 2]))
    """

    train: Sequence[Dataset]
    test: Sequence[Dataset]
    groups: NDArray[np.int64]
    name: str = "custom"

    def __post_init__(self) -> None:
        train, test = (_as_datasets(name, getattr(self, name)) for name in ("train", "test"))
        if not train or len(train) != len(test):
            raise ValueError(f"train and test must hold one data set per client; got {len(train)} and {len(test)}")
        kinds = {(data.input_shape, data.n_classes) for data in train + test}
        if len(kinds) > 1:
            raise ValueError(f"train and test must agree in image shape and classes; got {sorted(kinds)}")
        groups = as_integer_labels("groups", self.groups)
        used = sorted(set(groups.tolist()))
        if len(groups) != len(train) or used != list(range(len(used))):
            raise ValueError(f"groups must give each of {len(train)} clients a label, all of 0..T-1 used; got {groups}")
        object.__setattr__(self, "train", train)
        object.__setattr__(self, "test", test)
        object.__setattr__(self, "groups", _frozen(groups))

    @property
    def n_clients(self) -> int:
        """Number of clients ``n``."""
        return len(self.train)

    @property
    def n_groups(self) -> int:
        """Number of groups ``T``."""
        return int(self.groups.max()) + 1

    def batches(self, batch_size: int) -> NDArray[np.int64]:
        """Full batches each client owns, shape (n,): the capacities ``tau`` of the data-sharing game."""
        batch_size = as_count("batch_size", batch_size)
        return np.array([len(data) // batch_size for data in self.train], dtype=np.int64)

    def __repr__(self) -> str:
        return f"Federation({self.name!r}, {self.n_clients} clients in {self.n_groups} groups)"


def as_dataset(value: object) -> Dataset:
    """Check that ``dataset`` is one."""
    if not isinstance(value, Dataset):
        raise ValueError(f"dataset must be a Dataset, which load_dataset reads; got {value!r}")
    return value


def as_federation(value: object) -> Federation:
    """Check that ``federation`` is one."""
    if not isinstance(value, Federation):
        raise ValueError(f"federation must be a Federation, which partition deals out; got {value!r}")
    return value


def _as_datasets(name: str, value: Sequence[Dataset]) -> tuple[Dataset, ...]:
    if not isinstance(value, Sequence) or not all(isinstance(each, Dataset) for each in value):
        raise ValueError(f"{name} must be a sequence of Datasets, one per client; got {value!r}")
    return tuple(value)


def _as_inputs(value: ArrayLike) -> Inputs:
    """Check images or rows; arrays of float32, which may be large, are neither widened nor, if read-only, copied."""
    if type(value) is not np.ndarray or value.dtype != np.float32:  # subclasses too, such as masked arrays
        with np.errstate(over="ignore"):  # 1e300 becomes infinite, which is refused below
            inputs = as_array("inputs", value).astype(np.float32)
    else:
        inputs = np.array(value) if value.flags.writeable or value.base is not None else value
    if inputs.ndim not in (2, 4) or inputs.size == 0:
        raise ValueError(f"inputs must have shape (N, C, H, W) or (N, d) with N >= 1; got {inputs.shape}")
    low, high = inputs.min(), inputs.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        as_array("inputs", inputs)  # says which entry is not finite
    if inputs.ndim == 4 and (low < 0.0 or high > 1.0):
        as_array("images", inputs, minimum=0.0, maximum=1.0)  # says which entry is outside
    return inputs


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
