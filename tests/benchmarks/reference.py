"""Shapley values and own-gradients of group power laws with beta = 1 to 50 digits, by another route than the package's.

By ``1/(1+z) = int_0^inf e^{-t(1+z)} dt``, a coalition X enters group g's integrand through ``prod_{j in X} x_j`` with
``x_j = exp(-t w_gj s_j)``. The coefficients ``e_k`` of ``prod_{j != i} (1 + x_j z)`` add these up over all coalitions
of k others, so that Eq. (3) is ``sum_k e_k k! (n-1-k)!/n!``: the sum over coalitions itself, with no integral over q.
The integral over t is a double-exponential sum in ``t = exp(u - e^{-u})``.
"""

from __future__ import annotations

from collections.abc import Iterator

import mpmath as mp
import numpy as np

import fedshap as fs

DIGITS = 50
_STEP = 40  # nodes of the sum to a unit of u: 60 digits for what is asked here
Numbers = list[mp.mpf]


class Reference:
    """Exact values and gradients of one profile.

    Parameters
    ----------
    payoff : PowerLaw
        With groups, alpha = 1 and beta = 1.
    s : Array
        Contributions, shape (n,).
    """

    def __init__(self, payoff: fs.PowerLaw, s: np.ndarray) -> None:
        with mp.workdps(DIGITS + 30):
            self.sizes = [int(size) for size in payoff.group_sizes]
            self.contributions = [mp.mpf(float(c)) for c in s]
            self.weights = [[mp.mpf(float(w)) for w in row[payoff.groups]] for row in payoff.weights]
            self.values, self.gradients = self._integrate()

    def _integrate(self) -> tuple[Numbers, Numbers]:
        n = len(self.contributions)
        values, gradients = [mp.mpf(0)] * n, [mp.mpf(0)] * n
        share = [_share(k, n) for k in range(n)]
        for size, weights in zip(self.sizes, self.weights, strict=True):
            for t, measure in _rule():
                x = [mp.exp(-t * w * c) for w, c in zip(weights, self.contributions, strict=True)]
                for i, others in enumerate(_sums_over_others(x, share)):
                    values[i] += size * measure * (1 - x[i]) * others
                    gradients[i] += size * measure * t * weights[i] * x[i] * others
        return values, gradients

    def surplus(self, members: int) -> mp.mpf:
        """``A(s[X])``, where agent i is in X if bit i of ``members`` is set."""
        return mp.fsum(size * (1 - 1 / (1 + z)) for size, z in zip(self.sizes, self._sums(members), strict=True))

    def slope(self, members: int, i: int) -> mp.mpf:
        """``dA/ds_i`` at ``s[X]``."""
        groups = zip(self.sizes, self.weights, self._sums(members), strict=True)
        return mp.fsum(size * row[i] / (1 + z) ** 2 for size, row, z in groups)

    def _sums(self, members: int) -> Numbers:
        """``sum_{j in X} w_gj s_j`` of each group g."""
        inside = [j for j in range(len(self.contributions)) if members >> j & 1]
        return [mp.fsum(row[j] * self.contributions[j] for j in inside) for row in self.weights]

    def by_enumeration(self) -> tuple[Numbers, Numbers]:
        """The same from the surplus and the slopes of every coalition, for few agents."""
        n = len(self.contributions)
        with mp.workdps(DIGITS + 30):
            surplus = [self.surplus(members) for members in range(1 << n)]
            values, gradients = [mp.mpf(0)] * n, [mp.mpf(0)] * n
            for members in range((1 << n) - 1):  # those that somebody can join
                share = _share(members.bit_count(), n)
                for i in (i for i in range(n) if not members >> i & 1):
                    values[i] += share * (surplus[members | 1 << i] - surplus[members])
                    gradients[i] += share * self.slope(members | 1 << i, i)
        return values, gradients

    def budget_gap(self) -> mp.mpf:
        """``|sum_i phi_i / A(s) - 1|``."""
        with mp.workdps(DIGITS + 30):
            return abs(mp.fsum(self.values) / self.surplus((1 << len(self.values)) - 1) - 1)


def largest_error(estimate: np.ndarray | Numbers, exact: Numbers) -> mp.mpf:
    """Largest relative error of any agent."""
    with mp.workdps(DIGITS + 10):
        return max(abs(mp.mpf(a) / b - 1) for a, b in zip(list(estimate), exact, strict=True))


def _share(size: int, n: int) -> mp.mpf:
    """Weight in Eq. (3) of a coalition of this size that an agent joins."""
    return mp.factorial(size) * mp.factorial(n - 1 - size) / mp.factorial(n)


def _rule() -> Iterator[tuple[mp.mpf, mp.mpf]]:
    """Nodes and weights for ``int_0^inf e^{-t} f(t) dt``."""
    for k in range(-6 * _STEP, 6 * _STEP + 1):
        u = mp.mpf(k) / _STEP
        t = mp.exp(u - mp.exp(-u))
        weight = t * (1 + mp.exp(-u)) * mp.exp(-t) / _STEP
        if weight > mp.mpf(10) ** -(DIGITS + 15):
            yield t, weight


def _sums_over_others(x: Numbers, share: Numbers) -> Iterator[mp.mpf]:
    """For each i, ``sum_k share[k] e_k``, with ``e_k`` the elementary symmetric polynomials of everybody else's x."""
    everyone = [mp.mpf(1)]
    for factor in x:
        everyone = [a + factor * b for a, b in zip([*everyone, 0], [0, *everyone], strict=True)]
    for factor in x:
        others, total = mp.mpf(0), mp.mpf(0)
        for weight, coefficient in zip(share, everyone, strict=False):
            others = coefficient - factor * others  # division by 1 + factor z
            total += weight * others
        yield total
