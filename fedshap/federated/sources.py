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

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np

from fedshap._files import as_path
from fedshap.federated.archives import IMAGE_ARCHIVES, load_images
from fedshap.federated.datasets import Dataset
from fedshap.federated.lumpy import load_lumpy

QUADRATIC_ROWS, QUADRATIC_INPUTS = 10_000, 10
QUADRATIC_NOISE = 0.2  # of the form's standard deviation: no classifier can be right on more than about 94 %
QUADRATIC_SEED = 2025  # fixed, so that the name means one data set: runs with different seeds share it

#: SHA-256 of the content, see :func:`digest`, of the data sets that are not compared file by file.
CONTENT: Mapping[str, str] = MappingProxyType(
    {
        "digits": "8b3b6ae90863430bdef06a3f7d1ec2f6a905a53d3375655b18cf63780ad98772",
        "breast-cancer": "f86286b06e0eb4fbbb699d6ba5df7f1432e65642369ae111d0e47b47d02338bc",
        "lumpy": "5dbdaaea64aaa0b5bee6aa36666d31b674d4dd0478d33e05e1c100c83a2031d9",
        "quadratic": "70ee329f7842385565ba103dde3d347baaa99a5ad0cdf5f8e75737cf0adfea15",
    }
)


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
        Grey levels in [0, 1]; features in the units of the source, for the partitions to standardise. It is
        ``verified`` if checksums say that the content is that published; content they do not know is loaded too.

    Raises
    ------
    ValueError
        If the name is not known, the message listing those that are. If a file is that of another data set, or a cell
        of a table no number or one that its column cannot hold; the message names the file, and the line and column.
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
    if not isinstance(name, str) or name not in DATASETS:
        raise ValueError(f"name must be one of {', '.join(map(repr, DATASETS))}; got {name!r}")
    try:
        dataset = DATASETS[name](None if root is None else as_path("root", root))
    except ModuleNotFoundError as error:
        raise ImportError(f"{name} needs {error.name}, which is not installed: pip install fedshap[train]") from error
    return replace(dataset, verified=digest(dataset) == CONTENT[name]) if name in CONTENT else dataset


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


def digest(dataset: Dataset) -> str:
    """SHA-256 of all inputs and labels, whatever file they come from and however it is laid out."""
    sha = hashlib.sha256(np.ascontiguousarray(dataset.inputs, dtype="<f4").data)
    sha.update(np.ascontiguousarray(dataset.labels, dtype="<i8").data)
    return sha.hexdigest()


#: Loaders by name. A loader takes the root that :func:`fedshap.federated.load_dataset` was given, or None.
DATASETS: Mapping[str, Callable[[Path | None], Dataset]] = MappingProxyType(
    {
        "digits": _load_digits,
        "breast-cancer": _load_breast_cancer,
        **{name: partial(load_images, name) for name in IMAGE_ARCHIVES},
        "lumpy": load_lumpy,
        "quadratic": _draw_quadratic,
    }
)
