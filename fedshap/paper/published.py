r"""What the paper prints about its experiments: the fitted weights of App. E and the rows of Tables 1 to 4.

Copied as printed, inconsistencies included. Two are worth knowing. Two data gains and four accuracy gains of Table 1
are not the ratios of the printed shares and accuracies; the chapter "Table 1, three ways" shows that averaging ratios
does not explain those of Fashion-MNIST, and for the others no spread is printed. And for the lumpy-skin data Sec. 5.1
gives the equilibria as shares of each agent's data, which average to 24.3 % under ``M^0`` and to 46.8 % under
``M^Shap``; Table 1 prints 46.7 and 81.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from fedshap._types import Array
from fedshap._validation import read_only

MECHANISMS = ("M0", "MBG", "MShap")
"""No payment, cost sharing and Shapley payment, the order of every printed triple."""


def _weights(*rows: tuple[float, ...]) -> Array:
    return read_only(np.array(rows))


#: Fitted weights ``w[g, t]`` of App. E by data set, shape (T, T): what a batch of group t is worth to group g.
WEIGHTS: Mapping[str, Array] = MappingProxyType(
    {
        "mnist": _weights((3.1e-3, 4.7e-4, 4.4e-4), (6.7e-4, 1.9e-3, 6.5e-4), (9.3e-4, 8.3e-4, 2.1e-3)),
        "fashion-mnist": _weights((1.3e-3, 3.1e-4, 5.7e-4), (1.0e-4, 1.5e-3, 2.6e-4), (4.9e-4, 4.4e-4, 1.6e-3)),
        "cifar10": _weights((5.8e-3, 1.4e-3, 7.9e-4), (2.5e-3, 6.1e-3, 7.4e-4), (4.2e-3, 3.0e-3, 1.8e-3)),
        "lumpy": _weights((1.2e-2, 9.1e-3), (1.4e-2, 1.6e-2)),
    }
)


def _row(*triples: tuple[float, float, float]) -> Mapping[str, tuple[float, float, float]]:
    names = ("accuracy", "share", "data_gain", "accuracy_gain", "reciprocity")
    return MappingProxyType(dict(zip(names, triples, strict=True)))


#: Rows of Table 1 by data set. Each column holds ``M^0``, ``M^BG``, ``M^Shap``; accuracy and share are percentages.
TABLE_1: Mapping[str, Mapping[str, tuple[float, float, float]]] = MappingProxyType(
    {
        "mnist": _row((88.3, 87.6, 90.4), (5.8, 7.6, 54.9), (1.00, 1.32, 9.51), (1.00, 0.99, 1.02), (0.61, 0.70, 1.0)),
        "fashion-mnist": _row(
            (60.9, 61.5, 63.3), (4.1, 6.2, 54.8), (1.00, 1.51, 13.43), (1.00, 1.02, 1.05), (0.47, 0.75, 1.00)
        ),
        "cifar10": _row(
            (43.6, 44.7, 48.5), (25.6, 28.9, 99.6), (1.00, 1.13, 3.89), (1.00, 1.02, 1.11), (0.50, 0.57, 1.00)
        ),
        "lumpy": _row(
            (94.2, 94.0, 95.2), (46.7, 46.7, 81.3), (1.00, 1.00, 1.73), (1.00, 0.98, 1.01), (0.92, 0.02, 1.00)
        ),
        "quadratic": _row(
            (67.2, 65.8, 90.8), (3.3, 4.0, 99.6), (1.00, 1.25, 31.18), (1.00, 0.98, 1.36), (0.93, 0.95, 1.00)
        ),
    }
)


def _spread(*rows: tuple[tuple[float, float, float], ...]) -> Mapping[str, Mapping[str, tuple[float, float, float]]]:
    names = ("share", "accuracy", "reciprocity", "data_gain", "accuracy_gain")
    return MappingProxyType(
        {each: MappingProxyType(dict(zip(names, row, strict=True))) for each, row in zip(MECHANISMS, rows, strict=True)}
    )


_ONE = (1.000, 1.000, 0.000)
#: Tables 2, 3 and 4 by data set, mechanism and column: average, median and standard deviation over three
#: repetitions. Averages and medians of share and accuracy are percentages; their deviations are printed as fractions.
SPREAD: Mapping[str, Mapping[str, Mapping[str, tuple[float, float, float]]]] = MappingProxyType(
    {
        "mnist": _spread(
            ((5.8, 5.6, 0.002), (88.3, 88.5, 0.004), (0.609, 0.630, 0.041), _ONE, _ONE),
            (
                (7.6, 7.6, 0.002),
                (87.6, 87.6, 0.018),
                (0.702, 0.706, 0.012),
                (1.324, 1.349, 0.043),
                (0.992, 0.990, 0.024),
            ),
            ((54.9, 54.9, 0.000), (90.4, 90.5, 0.006), _ONE, (9.514, 9.719, 0.354), (1.024, 1.022, 0.004)),
        ),
        "fashion-mnist": _spread(
            ((4.1, 3.9, 0.003), (60.9, 61.3, 0.017), (0.466, 0.467, 0.030), _ONE, _ONE),
            (
                (6.2, 6.2, 0.001),
                (61.5, 61.1, 0.011),
                (0.752, 0.759, 0.020),
                (1.513, 1.558, 0.078),
                (1.023, 1.023, 0.012),
            ),
            ((54.8, 54.8, 0.000), (63.3, 63.4, 0.016), _ONE, (13.436, 13.895, 0.795), (1.054, 1.069, 0.055)),
        ),
        "cifar10": _spread(
            ((25.6, 25.7, 0.005), (43.6, 43.9, 0.009), (0.504, 0.505, 0.007), _ONE, _ONE),
            (
                (28.9, 28.9, 0.001),
                (44.7, 44.6, 0.003),
                (0.566, 0.569, 0.016),
                (1.131, 1.125, 0.018),
                (1.025, 1.023, 0.017),
            ),
            ((99.6, 99.6, 0.001), (48.5, 48.7, 0.011), _ONE, (3.894, 3.870, 0.078), (1.114, 1.112, 0.007)),
        ),
    }
)

#: The two agents' contributions in the equilibria of the lumpy-skin data as Sec. 5.1 gives them, % of each one's data.
LUMPY_SHARES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"M0": (30.5, 18.1), "MBG": (30.6, 18.1), "MShap": (38.1, 55.4)}
)
