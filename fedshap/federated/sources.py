"""Data sets by name: those of Sec. 5.1, and two that come with scikit-learn and need no download.

========================  ======  ===================  =======  ==========================================
name                      rows    one input            classes  from
========================  ======  ===================  =======  ==========================================
``"digits"``              1,797   1 x 8 x 8            10       scikit-learn; Alpaydin & Kaynak (1998)
``"breast-cancer"``       569     30 features          2        scikit-learn; Street et al. (1993)
``"mnist"``               70,000  1 x 28 x 28          10       torchvision; LeCun et al. (1998)
``"fashion-mnist"``       70,000  1 x 28 x 28          10       torchvision; Xiao et al. (2017)
``"cifar10"``             60,000  3 x 32 x 32          10       torchvision; Krizhevsky (2009)
``"lumpy"``               23,699  16 features          2        a CSV file; Afshari Safavi (2021)
``"quadratic"``           10,000  10 features          2        drawn from a fixed seed
========================  ======  ===================  =======  ==========================================

Training and test parts as published are pooled, training part first; the partitions make their own. Where there are
two classes, label 1 is called positive.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from fedshap.federated.datasets import Dataset

DOWNLOADS = Path("~/.cache/fedshap")
"""Where data sets are downloaded to if no other folder is given."""

_LUMPY_ADVICE = "It is downloaded from https://doi.org/10.17632/7pyhbzb2n9.1"
LUMPY_LEAKS = ("region", "country", "reportingDate")  # filled in for positive rows alone
LUMPY_FEATURES = (
    *("x", "y", "cld", "dtr", "frs", "pet", "pre", "tmn", "tmp", "tmx", "vap", "wet"),
    *("elevation", "dominant_land_cover", "X5_Ct_2010_Da", "X5_Bf_2010_Da"),
)
LUMPY_LABEL = "lumpy"
LUMPY_ROWS, LUMPY_POSITIVES = 24_803, 3_039  # as published, repeated rows included
LUMPY_DECIMALS = 4

QUADRATIC_ROWS, QUADRATIC_INPUTS = 10_000, 10
QUADRATIC_NOISE = 0.2  # of the form's standard deviation: no classifier can be right on more than about 94 %
QUADRATIC_SEED = 2025  # fixed, so that the name means one data set: runs with different seeds share it


class ImageArchive(NamedTuple):
    """A data set that torchvision keeps."""

    torchvision_name: str
    folder: str  # below the root
    n_train: int
    n_test: int


IMAGE_ARCHIVES = {
    "mnist": ImageArchive("MNIST", "MNIST/raw", 60_000, 10_000),
    "fashion-mnist": ImageArchive("FashionMNIST", "FashionMNIST/raw", 60_000, 10_000),
    "cifar10": ImageArchive("CIFAR10", "cifar-10-batches-py", 50_000, 10_000),
}


def load_dataset(name: str = "digits", root: str | Path | None = None) -> Dataset:
    r"""Load a data set by name.

    Parameters
    ----------
    name : str
        A name in ``DATASETS``.
    root : path, optional
        For ``"mnist"``, ``"fashion-mnist"`` and ``"cifar10"`` the folder in which torchvision keeps them; they are
        downloaded to it if they are not there yet. By default ``~/.cache/fedshap``.
        For ``"lumpy"`` the CSV file, or the folder that holds it, downloaded from
        https://doi.org/10.17632/7pyhbzb2n9.1.
        Ignored by ``"digits"``, ``"breast-cancer"`` and ``"quadratic"``, which need no file.

    Returns
    -------
    Dataset
        Grey levels in [0, 1]; features in the units of the source, for the partitions to standardise.

    Raises
    ------
    ValueError
        If the name is not known, the message listing those that are; if a file holds something else than it should.
    OSError
        If files are missing or cut short and cannot be downloaded; the message says where they should be.
    ImportError
        If scikit-learn or torchvision, from which the data set comes, is not installed.

    Examples
    --------
    >>> for name in ("digits", "breast-cancer", "quadratic"):
    ...     load_dataset(name)
    Dataset('digits', 1797 images of 1 x 8 x 8, 10 classes)
    Dataset('breast-cancer', 569 rows of 30, 2 classes)
    Dataset('quadratic', 10000 rows of 10, 2 classes)

    Notes
    -----
    ``"breast-cancer"``: label 1 is a benign tumour, as scikit-learn has it.

    ``"lumpy"``: outbreaks of lumpy skin disease (label 1) and places where none was reported (label 0), with weather,
    land cover and cattle. ``region``, ``country`` and ``reportingDate`` are filled in for outbreaks alone and give the
    label away, so they are dropped. Without them, and with coordinates to four decimals (11 m), 1,104 of the 24,803
    rows repeat another one, all of them outbreaks reported more than once from one place. Each is kept once, so that
    no row is both trained on and tested on: 23,699 rows are left, 1,935 of them positive (8 %). Should equal rows
    differ in their label, which those of the published file never do, the one kept is positive: label 0 says
    only that no outbreak was reported.

    Two things about ``"lumpy"`` call for care. Rows of label 0 lie on a grid of half a degree and outbreaks beside
    it, so the digits of ``x`` and ``y`` give the label away to whoever looks at digits. And each outbreak has the
    weather, land cover and cattle of a point of that grid, less than a degree away: the 1,935 outbreaks have 456
    different surroundings, and rows that differ in ``x`` and ``y`` alone are in both train and test parts.

    ``"quadratic"``: :math:`x \sim N(0, I_{10})`, and the label says whether :math:`x^T A x + b^T x` plus noise is
    above its median, with :math:`A` and :math:`b` standard normal and noise of a fifth of the form's
    standard deviation. Sec. 5 of the paper gives no more than the number of inputs.

    References
    ----------
    - Afshari Safavi, E. (2021). Lumpy Skin Disease Dataset. Mendeley Data, version 1.
    - Alpaydin, E., Kaynak, C. (1998). Optical Recognition of Handwritten Digits. UCI Machine Learning Repository.
    - Krizhevsky, A. (2009). Learning Multiple Layers of Features from Tiny Images. University of Toronto.
    - LeCun, Y., Bottou, L., Bengio, Y., Haffner, P. (1998). Gradient-Based Learning Applied to Document Recognition.
      Proceedings of the IEEE 86(11), 2278-2324.
    - Street, W. N., Wolberg, W. H., Mangasarian, O. L. (1993). Nuclear Feature Extraction for Breast Tumor Diagnosis.
      Biomedical Image Processing and Biomedical Visualization, SPIE 1905, 861-870.
    - Xiao, H., Rasul, K., Vollgraf, R. (2017). Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
      Algorithms. arXiv:1708.07747.
    """
    if name not in DATASETS:
        raise ValueError(f"name must be one of {', '.join(map(repr, DATASETS))}; got {name!r}")
    try:
        return DATASETS[name](None if root is None else Path(root).expanduser())
    except ModuleNotFoundError as error:
        raise ImportError(f"{name} needs {error.name}, which is not installed: pip install fedshap[train]") from error


def _load_digits(root: Path | None) -> Dataset:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)  # (1797, 64) in 0..16
    images = np.asarray(pixels, dtype=np.float32).reshape(-1, 1, 8, 8) / np.float32(16.0)
    return Dataset(images, np.asarray(labels, dtype=np.int64), n_classes=10, name="digits")


def _load_breast_cancer(root: Path | None) -> Dataset:
    from sklearn.datasets import load_breast_cancer

    features, labels = load_breast_cancer(return_X_y=True)
    features, labels = np.asarray(features, dtype=np.float32), np.asarray(labels, dtype=np.int64)
    return Dataset(features, labels, n_classes=2, name="breast-cancer")


def _draw_quadratic(root: Path | None) -> Dataset:
    rng = np.random.default_rng(QUADRATIC_SEED)
    x = rng.normal(size=(QUADRATIC_ROWS, QUADRATIC_INPUTS))
    form, slope = rng.normal(size=(QUADRATIC_INPUTS, QUADRATIC_INPUTS)), rng.normal(size=QUADRATIC_INPUTS)
    score = np.einsum("ni,ij,nj->n", x, form, x) + x @ slope
    score += QUADRATIC_NOISE * score.std() * rng.normal(size=QUADRATIC_ROWS)
    labels = (score > np.median(score)).astype(np.int64)
    return Dataset(x.astype(np.float32), labels, n_classes=2, name="quadratic")


def _load_images(name: str, root: Path | None) -> Dataset:
    """Both parts of a data set of torchvision, which shows the progress of a download itself."""
    archive = IMAGE_ARCHIVES[name]
    root = DOWNLOADS.expanduser() if root is None else root
    try:
        parts = _torchvision_parts(archive, root)
    except (OSError, RuntimeError, ValueError, TypeError, AssertionError) as error:  # what torchvision's readers raise
        raise OSError(_advice(name, root / archive.folder, f"{type(error).__name__}: {error}")) from error
    found = [(len(pixels), len(labels)) for pixels, labels in parts]
    if found != [(archive.n_train,) * 2, (archive.n_test,) * 2]:
        counts = f"{archive.n_train} and {archive.n_test} images with as many labels expected, found {found}"
        raise ValueError(_advice(name, root / archive.folder, counts))
    inputs = np.empty((archive.n_train + archive.n_test, *parts[0][0].shape[1:]), dtype=np.float32)
    for chunk, (pixels, _) in zip(np.split(inputs, [archive.n_train]), parts, strict=True):
        np.divide(pixels, np.float32(255.0), out=chunk)
    inputs.setflags(write=False)  # so that it need not be copied
    return Dataset(inputs, np.concatenate([labels for _, labels in parts]), n_classes=10, name=name)


def _torchvision_parts(archive: ImageArchive, root: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Bytes (N, C, H, W) and labels (N,) of the training and of the test part."""
    from torchvision import datasets

    parts = []
    for is_train in (True, False):
        part = getattr(datasets, archive.torchvision_name)(root, train=is_train, download=True)
        pixels, labels = np.asarray(part.data), np.asarray(part.targets)
        parts.append((pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2), labels))
    return parts


def _advice(name: str, folder: Path, what: str) -> str:
    return (
        f"{name} is neither whole in {folder} nor could it be downloaded to there ({' '.join(what.split())}). Remove "
        "that folder if it exists and load again with a network connection, or copy it from a machine that has it"
    )


def _load_lumpy(root: Path | None) -> Dataset:
    path = _lumpy_file(root)
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        header = next(csv.reader(file), [])
        if set(header) != {*LUMPY_FEATURES, *LUMPY_LEAKS, LUMPY_LABEL}:
            raise ValueError(
                f"{path} must have the columns {', '.join((*LUMPY_FEATURES, *LUMPY_LEAKS, LUMPY_LABEL))}; "
                f"got {', '.join(header)}. {_LUMPY_ADVICE}"
            )
        columns = [header.index(column) for column in (*LUMPY_FEATURES, LUMPY_LABEL)]
        try:
            table = np.loadtxt(file, delimiter=",", usecols=columns, quotechar='"', ndmin=2)
        except ValueError as error:
            raise ValueError(f"{path} does not hold the numbers it should: {error}. {_LUMPY_ADVICE}") from error
    # rounded, or rows that are one in float32 once features are standardised would pass for two here
    features, labels = table[:, :-1].round(LUMPY_DECIMALS).astype(np.float32), table[:, -1]
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"column {LUMPY_LABEL} of {path} must be 0 or 1; got {labels[~np.isin(labels, (0, 1))][0]:g}")
    if (len(labels), labels.sum()) != (LUMPY_ROWS, LUMPY_POSITIVES):
        raise ValueError(
            f"{path} must have {LUMPY_ROWS} rows, {LUMPY_POSITIVES} of them positive; got {len(labels)} and "
            f"{labels.sum():g}. {_LUMPY_ADVICE}"
        )
    return Dataset(*_without_repeats(features, labels), n_classes=2, name="lumpy")


def _lumpy_file(root: Path | None) -> Path:
    """The CSV file, given as such or by the folder that holds it."""
    if root is not None and root.is_dir():
        files = [file for file in sorted(root.glob("*.csv")) if "lumpy" in file.name.lower()]
    else:
        files = [root] if root is not None and root.is_file() else []
    if len(files) == 1:
        return files[0]
    raise FileNotFoundError(
        "root must be the CSV file of the lumpy skin disease data, or a folder with one '*lumpy*.csv'; "
        f"got {root}, where there are {len(files)} such files. {_LUMPY_ADVICE}"
    )


def _without_repeats(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every row of features once, in the order of the file, positive if any of its equals is."""
    _, first, place = np.unique(features, axis=0, return_index=True, return_inverse=True)
    highest = np.zeros(len(first))
    np.maximum.at(highest, place.ravel(), labels)
    order = np.argsort(first)
    return features[first[order]], highest[order]


#: Loaders by name. A loader takes the root that :func:`fedshap.federated.load_dataset` was given, or None.
DATASETS: Mapping[str, Callable[[Path | None], Dataset]] = MappingProxyType(
    {
        "digits": _load_digits,
        "breast-cancer": _load_breast_cancer,
        **{name: partial(_load_images, name) for name in IMAGE_ARCHIVES},
        "lumpy": _load_lumpy,
        "quadratic": _draw_quadratic,
    }
)
