"""How a data set is dealt out to clients: rotated groups, label shares, Dirichlet label skew (Sec. 5.1).

No row is dealt out twice, at whatever angle, and none is both trained on and tested on. Rows of features are
standardised by the mean and the standard deviation of all training rows, which clients can agree on by sending two
sums per feature; the test rows have no part in them. Grey levels already share the scale [0, 1] and are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fedshap._types import RandomSource
from fedshap._validation import as_array, as_count, as_generator, as_interval
from fedshap.federated.datasets import Dataset, Federation, Inputs, as_dataset

Rows = NDArray[np.int64]
"""Places of rows in a data set, shape (k,)."""

_MAX_DRAWS = 1000  # of Dirichlet shares, until every client has a row to train and one to test on


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
        Images to divide.
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
        If the data set has no images, an argument is out of range, or there are too few images for every client to
        train and to test on.

    Examples
    --------
    >>> from fedshap.federated import load_dataset
    >>> federation = partition(load_dataset("digits"), rng=0)
    >>> federation.groups, [len(data) for data in federation.train][:3], len(federation.test[0])
    (array([0, 0, 0, 1, 1, 1, 2, 2, 2]), [140, 140, 140], 180)

    Notes
    -----
    Sec. 5.1 has thirty clients in three groups turned by 10, 90 and 180 degrees. Turned by 180 degrees a 6 is a 9, so
    a model trained on groups 0 and 2 meets images whose two labels cannot both be right; that is the paper's task.
    """
    if len(as_dataset(dataset).input_shape) != 3:
        raise ValueError(
            f"dataset must hold images to be rotated; got {dataset!r}, which partition_label_shares or "
            "partition_dirichlet can divide"
        )
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


def partition_label_shares(
    dataset: Dataset,
    shares: Sequence[float] = (0.7, 0.3),
    *,
    test_fraction: float = 0.3,
    rng: RandomSource,
) -> Federation:
    r"""Deal a binary data set out so that a share ``shares[k]`` of agent ``k``'s rows is positive.

    All agents get the same number of rows ``m``, the most that the data set can give without overlap:

    .. math:: m = \max \Big\{ m : [m P] \le N_1, \; n m - [m P] \le N_0 \Big\}, \qquad P = p_1 + \dots + p_n

    with :math:`p_k` the shares, :math:`N_1` and :math:`N_0` the positives and negatives there are and [ ] rounding to
    the nearest integer. With shares 0.7 and 0.3 that is as many rows per agent as the rarer label has in all. An
    agent's number of positives is :math:`p_k m` to within one row.

    Parameters
    ----------
    dataset : Dataset
        Of two classes; label 1 is the positive one.
    shares : sequence of float
        Share of positives of each agent, length n of at least 2, each in [0, 1].
    test_fraction : float
        Share of each agent's rows kept for testing, in (0, 1). Train and test part have the agent's share of
        positives, to within one row.
    rng : int or numpy.random.Generator
        Decides which rows an agent gets and their order.

    Returns
    -------
    Federation
        Every agent is a group of her own.

    Raises
    ------
    ValueError
        If the data set is not binary, an argument is out of range, or there are too few rows of a label for every
        agent to have one to train and one to test on.

    Examples
    --------
    >>> from fedshap.federated import load_dataset
    >>> federation = partition_label_shares(load_dataset("quadratic"), (0.7, 0.5, 0.3), rng=0)
    >>> [len(data) for data in federation.train], [len(data) for data in federation.test]
    ([2333, 2333, 2333], [1000, 1000, 1000])
    >>> np.round([data.labels.mean() for data in federation.test], 2).tolist()
    [0.7, 0.5, 0.3]

    Notes
    -----
    Sec. 5.1 has two agents, one with 70 % positives and the other vice versa.
    """
    portions = as_array("shares", shares, minimum=0.0, maximum=1.0)
    if portions.ndim != 1 or len(portions) < 2:
        raise ValueError(f"shares must be a sequence of at least two numbers, one per agent; got {shares!r}")
    if as_dataset(dataset).n_classes != 2:
        raise ValueError(f"dataset must have two classes to be dealt out by label shares; got {dataset!r}")
    test_fraction = _as_test_fraction(test_fraction)
    rng = as_generator(rng)
    positives, negatives = (rng.permutation(np.flatnonzero(dataset.labels == label)) for label in (1, 0))
    size, counts = _largest_equal_size(portions, len(positives), len(negatives))
    if size < 2:
        raise ValueError(
            f"dataset must give every agent a row to train and one to test on; got {len(positives)} positives and "
            f"{len(negatives)} negatives for shares {portions.tolist()}"
        )
    return _federation(dataset, [_deal(positives, counts), _deal(negatives, size - counts)], test_fraction, rng)


def partition_dirichlet(
    dataset: Dataset,
    *,
    n_clients: int,
    concentration: float,
    test_fraction: float = 0.3,
    rng: RandomSource,
) -> Federation:
    r"""Deal a data set out with label skew: each class goes to the clients in shares drawn from a Dirichlet law.

    .. math:: (q_{c1}, \dots, q_{cn}) \sim \mathrm{Dirichlet}(\alpha, \dots, \alpha)
              \quad\text{for each class } c, \text{ independently}

    and client ``i`` gets the share :math:`q_{ci}` of the rows of class ``c``. With a large concentration
    :math:`\alpha` every client has the same mixture of classes and as many rows; at 0.1 most of a class is with one or
    two clients, and clients differ much in size.

    Parameters
    ----------
    dataset : Dataset
        What to divide; every row is dealt out.
    n_clients : int
        Number of clients ``n``, at most half the number of rows.
    concentration : float
        :math:`\alpha > 0`.
    test_fraction : float
        Share of each client's rows kept for testing, in (0, 1), but at least one row and not all of them. Each
        class has its share of the test part, to within one row.
    rng : int or numpy.random.Generator
        Decides the shares, which rows a client gets and their order.

    Returns
    -------
    Federation
        Every client is a group of her own.

    Raises
    ------
    ValueError
        If an argument is out of range, or a thousand draws left some client without two rows each time.

    Examples
    --------
    >>> from fedshap.federated import load_dataset
    >>> federation = partition_dirichlet(load_dataset("digits"), n_clients=5, concentration=0.3, rng=0)
    >>> sum(len(data) for data in federation.train + federation.test)
    1797
    >>> np.bincount(federation.train[0].labels, minlength=10), np.bincount(federation.test[0].labels, minlength=10)
    (array([...]), array([...]))

    Notes
    -----
    A draw that leaves a client fewer than two rows is repeated, so the shares are Dirichlet given that everybody can
    train and test. Hsu et al. (2019), *Measuring the Effects of Non-Identical Data Distribution for Federated Visual
    Classification*, arXiv:1909.06335, draw each client's mixture of classes instead and give all the same number of
    rows; dealing out class by class, which uses every row, is due to Yurochkin et al. (2019), *Bayesian Nonparametric
    Federated Learning of Neural Networks*, ICML.
    """
    n_clients = as_count("n_clients", n_clients)
    concentration = as_interval("concentration", concentration, 0.0, np.inf)
    test_fraction = _as_test_fraction(test_fraction)
    if 2 * n_clients > len(as_dataset(dataset)):
        raise ValueError(f"n_clients must be at most half the {len(dataset)} rows of the data set; got {n_clients}")
    rng = as_generator(rng)
    sizes = np.bincount(dataset.labels, minlength=dataset.n_classes)
    counts = _dirichlet_counts(sizes, n_clients, concentration, rng)  # (classes, n)
    hands = [_deal(rng.permutation(np.flatnonzero(dataset.labels == c)), counts[c]) for c in range(len(sizes))]
    return _federation(dataset, hands, test_fraction, rng)


def rotate(images: Inputs, angle: float) -> Inputs:
    """Turn images (N, C, H, W) counter-clockwise about their centre, bilinear, zeros coming in at the corners."""
    turned = ndimage.rotate(images, angle, axes=(2, 3), reshape=False, order=1, output=np.float64)
    if angle % 90.0:
        turned = turned.round(6)  # sines differ in the last bit between maths libraries; quarter turns use none
    return np.clip(turned, 0.0, 1.0).astype(np.float32)


def _subset(dataset: Dataset, rows: Rows, angle: float = 0.0) -> Dataset:
    inputs = rotate(dataset.inputs[rows], angle) if angle else dataset.inputs[rows]
    return Dataset(inputs, dataset.labels[rows], dataset.n_classes, dataset.name)


def _as_test_fraction(value: float) -> float:
    fraction = as_interval("test_fraction", value, 0.0, 1.0)
    if fraction == 1.0:
        raise ValueError("test_fraction must lie in (0, 1), or there is nothing to train on; got 1")
    return fraction


def _largest_equal_size(shares: NDArray[np.float64], n_positives: int, n_negatives: int) -> tuple[int, Rows]:
    """Rows per agent and how many of each agent's are positive, shape (n,): see :func:`partition_label_shares`."""
    sizes = np.arange((n_positives + n_negatives) // len(shares) + 1)  # (M,), from none to all rows dealt out
    dealt = np.floor(shares.sum() * sizes + 0.5)
    size = sizes[(dealt <= n_positives) & (len(shares) * sizes - dealt <= n_negatives)][-1]
    # rounding running totals makes the numbers add up to what was dealt
    counts = np.diff(np.floor(shares.cumsum() * size + 0.5), prepend=0.0)
    return int(size), np.minimum(counts, size).astype(np.int64)


def _dirichlet_counts(sizes: Rows, n_clients: int, concentration: float, rng: np.random.Generator) -> Rows:
    """Rows of each class for each client, shape (classes, n), where the classes have ``sizes`` rows in all."""
    for _ in range(_MAX_DRAWS):
        shares = rng.dirichlet(np.full(n_clients, concentration), size=len(sizes))
        ends = np.rint(shares.cumsum(axis=1) * sizes[:, None])
        counts = np.diff(ends, axis=1, prepend=0.0)
        if counts.sum(axis=0).min() >= 2:
            return counts.astype(np.int64)
    raise ValueError(
        f"n_clients={n_clients} and concentration={concentration:g} left a client without a row to train and one to "
        f"test on in each of {_MAX_DRAWS} draws; raise concentration or lower n_clients"
    )


def _deal(rows: Rows, counts: Rows) -> list[Rows]:
    """The first ``counts[0]`` rows, the next ``counts[1]`` and so on."""
    ends = np.cumsum(counts)
    return np.split(rows[: ends[-1]], ends[:-1])


def _federation(
    dataset: Dataset, hands: Sequence[Sequence[Rows]], test_fraction: float, rng: np.random.Generator
) -> Federation:
    """Clients in groups of their own; ``hands[c][i]`` are the rows of class ``c`` that client ``i`` gets."""
    parts = [_hold_out(np.concatenate(hand), test_fraction) for hand in zip(*hands, strict=True)]
    shuffled = [(rng.permutation(train), rng.permutation(test)) for train, test in parts]
    dataset = _standardised(dataset, np.concatenate([train for train, _ in parts]))
    return Federation(
        train=tuple(_subset(dataset, train) for train, _ in shuffled),
        test=tuple(_subset(dataset, test) for _, test in shuffled),
        groups=np.arange(len(parts)),
        name=dataset.name,
    )


def _hold_out(rows: Rows, test_fraction: float) -> tuple[Rows, Rows]:
    """Train and test part of rows that are sorted by class: evenly spaced ones, so a class has its share of both."""
    n_test = min(max(round(test_fraction * len(rows)), 1), len(rows) - 1)
    held = np.zeros(len(rows), dtype=bool)
    held[(2 * np.arange(n_test) + 1) * len(rows) // (2 * n_test)] = True
    return rows[~held], rows[held]


def _standardised(dataset: Dataset, train: Rows) -> Dataset:
    """Features by mean and standard deviation of the rows ``train``, zero where those are all equal; images as is."""
    if len(dataset.input_shape) == 3:
        return dataset
    seen = dataset.inputs[train].astype(np.float64)
    constant = seen.min(axis=0) == seen.max(axis=0)  # exact, where a standard deviation may be 1e-17
    scaled = (dataset.inputs - seen.mean(axis=0)) / np.where(constant, 1.0, seen.std(axis=0))
    return Dataset(np.where(constant, 0.0, scaled), dataset.labels, dataset.n_classes, dataset.name)
