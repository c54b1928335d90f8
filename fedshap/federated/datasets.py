"""Labelled images and how they are spread over clients (Sec. 5.1, App. E).

Everything here is plain numpy: training moves the arrays to its device once. ``N`` images of one channel
layout (C, H, W); clients are indexed by ``i``, their groups by ``t`` in 0..T-1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fedshap._types import ArrayLike, RandomSource
from fedshap._validation import as_array, as_count, as_generator, as_interval

Inputs = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs with one class label each; arrays are copied and read-only.

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

    def __post_init__(self) -> None:
        inputs = as_array("inputs", self.inputs)
        if inputs.ndim not in (2, 4) or inputs.size == 0:
            raise ValueError(f"inputs must have shape (N, C, H, W) or (N, d) with N >= 1; got {inputs.shape}")
        if inputs.ndim == 4:
            as_array("images", inputs, minimum=0.0, maximum=1.0)
        n_classes = as_count("n_classes", self.n_classes, minimum=2)
        labels = as_labels("labels", self.labels, n_classes)
        if len(labels) != len(inputs):
            raise ValueError(f"labels must have one entry per input; got {len(labels)} for {len(inputs)} inputs")
        object.__setattr__(self, "inputs", _frozen(inputs.astype(np.float32)))
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


@dataclass(frozen=True, eq=False)
class Federation:
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
        train, test = tuple(self.train), tuple(self.test)
        if not train or len(train) != len(test):
            raise ValueError(f"train and test must hold one data set per client; got {len(train)} and {len(test)}")
        kinds = {(data.input_shape, data.n_classes) for data in train + test}
        if len(kinds) > 1:
            raise ValueError(f"train and test must agree in image shape and classes; got {sorted(kinds)}")
        groups = as_labels("groups", self.groups)
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


def load_dataset(name: str = "digits", root: str | Path | None = None) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    name : str
        ``"digits"``: the 1,797 handwritten digits of 8 x 8 pixels that scikit-learn ships (no download).
    root : path, optional
        Folder of the data sets that live on disk; those shipped with a package, like ``"digits"``, ignore it.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        If the name is not known; the message lists those that are.

    Examples
    --------
    >>> load_dataset("digits")
    Dataset('digits', 1797 images of 1 x 8 x 8, 10 classes)

    References
    ----------
    Alpaydin & Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository.
    """
    if name not in DATASETS:
        raise ValueError(f"name must be one of {', '.join(map(repr, DATASETS))}; got {name!r}")
    return DATASETS[name](None if root is None else Path(root))


def partition(
    dataset: Dataset,
    *,
    n_clients: int = 9,
    angles: Sequence[float] = (10.0, 90.0, 180.0),
    test_fraction: float = 0.3,
    rng: RandomSource,
) -> Federation:
    """Deal a data set out to clients in as many equal groups as there are angles, each group's images rotated.

    The images are shuffled and split once. The training part is dealt out without overlap. The test part is
    *the same for every group*, turned by the group's own angle, and is dealt out among the group's clients. So
    no image, at any angle, is both trained on and tested on, and each group's accuracy is measured on all
    test images rather than on a T-th of them.

    Parameters
    ----------
    dataset : Dataset
        What to divide.
    n_clients : int
        Number of clients ``n``, at least one per group; client ``i`` is in group ``i * T // n``.
    angles : sequence of float
        Rotation of each group, length T, degrees counter-clockwise.
    test_fraction : float
        Share of the images kept for testing, in (0, 1).
    rng : int or numpy.random.Generator
        Source of the shuffle.

    Returns
    -------
    Federation

    Raises
    ------
    ValueError
        If an argument is out of range, or there are too few images for every client to train and to test on.

    Examples
    --------
    >>> federation = partition(load_dataset("digits"), rng=0)
    >>> federation.groups, [len(data) for data in federation.train][:3], len(federation.test[0])
    (array([0, 0, 0, 1, 1, 1, 2, 2, 2]), [140, 140, 140], 180)

    Notes
    -----
    Sec. 5.1 has thirty clients in three groups turned by 10, 90 and 180 degrees. Turned by 180 degrees a 6 is a 9, so
    a model trained on groups 0 and 2 meets images whose two labels cannot both be right; that is the paper's task.
    """
    n_clients = as_count("n_clients", n_clients)
    turns = as_array("angles", angles)
    if turns.ndim != 1 or not 1 <= len(turns) <= n_clients:
        raise ValueError(f"angles must be a sequence of 1 to n_clients={n_clients} numbers; got {angles!r}")
    test_fraction = as_interval("test_fraction", test_fraction, 0.0, 1.0)
    order = as_generator(rng).permutation(len(dataset))
    n_test = round(test_fraction * len(dataset))
    groups = np.arange(n_clients) * len(turns) // n_clients
    sizes = np.bincount(groups)
    if len(dataset) - n_test < n_clients or n_test < sizes.max():
        raise ValueError(
            f"dataset must leave every client an image to train and to test on; got {len(dataset)} images, "
            f"{n_test} of them for testing, for n_clients={n_clients} in {len(turns)} groups"
        )
    test_parts = [part for size in sizes for part in np.array_split(order[:n_test], size)]
    train_parts = np.array_split(order[n_test:], n_clients)
    return Federation(
        train=tuple(_subset(dataset, part, turns[t]) for part, t in zip(train_parts, groups, strict=True)),
        test=tuple(_subset(dataset, part, turns[t]) for part, t in zip(test_parts, groups, strict=True)),
        groups=groups,
        name=dataset.name,
    )


def rotate(images: Inputs, angle: float) -> Inputs:
    """Turn images (N, C, H, W) counter-clockwise about their centre, bilinear, zeros coming in at the corners."""
    turned = ndimage.rotate(images, angle, axes=(2, 3), reshape=False, order=1, output=np.float64)
    if angle % 90.0:
        turned = turned.round(6)  # sines differ in the last bit between maths libraries; quarter turns use none
    return np.clip(turned, 0.0, 1.0).astype(np.float32)


def as_labels(name: str, value: ArrayLike, n_labels: int | None = None) -> Labels:
    """Check labels of shape (N,), integers in 0..n_labels-1 (no upper limit for None); return a copy."""
    array = as_array(name, value, minimum=0.0)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be a sequence of at least one label; got shape {array.shape}")
    bad = (array != np.rint(array)) | (n_labels is not None and array > n_labels - 1)
    if bad.any():
        allowed = "integers" if n_labels is None else f"integers in 0..{n_labels - 1}"
        raise ValueError(f"{name} must be {allowed}; got {array[bad][0]:g}")
    return array.astype(np.int64)


def _subset(dataset: Dataset, indices: NDArray[np.int64], angle: float) -> Dataset:
    images = rotate(dataset.inputs[indices], angle)
    return Dataset(images, dataset.labels[indices], dataset.n_classes, dataset.name)


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def _load_digits(root: Path | None) -> Dataset:
    del root  # shipped with scikit-learn
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ImportError("the digits come with scikit-learn: pip install fedshap[train]") from error
    pixels, labels = load_digits(return_X_y=True)  # (1797, 64) in 0..16
    images = np.asarray(pixels, dtype=np.float32).reshape(-1, 1, 8, 8) / np.float32(16.0)
    return Dataset(images, np.asarray(labels, dtype=np.int64), n_classes=10, name="digits")


#: Loaders by name. A loader takes the folder of data sets on disk (or None) and returns a :class:`Dataset`.
DATASETS: Mapping[str, Callable[[Path | None], Dataset]] = MappingProxyType({"digits": _load_digits})
