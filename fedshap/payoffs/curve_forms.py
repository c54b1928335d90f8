r"""Parametric learning curves: accuracy as a function of one amount of data ``z``.

.. math:: a(z) = a_0 + (a_\infty - a_0)\, u(w z), \qquad u(0) = 0

============== ================================ =============================== ======================================
form           :math:`u(x)`                     parameters                      in the literature
============== ================================ =============================== ======================================
constant       0                                ``start``                       last observation carried forward
hyperbolic     :math:`x / (1 + x)`              ``weight``; 0 and 1 as ends     Sec. 5.1 of the paper, one group
power          :math:`1 - (1 + x)^{-\beta}`     ``start, weight, exponent``     Eq. (12) of the paper; POW2, shifted
power_offset   :math:`1 - (1 + x)^{-\beta}`     ``start, limit, weight,         POW4; POW3 where ``w`` is large
                                                exponent``
exponential    :math:`1 - e^{-x}`               ``start, limit, weight``        EXP3
logarithmic    :math:`\log(1 + x)`              ``start, gain, weight``         LOG2, shifted; no limit
============== ================================ =============================== ======================================

with :math:`a_0` = ``start``, :math:`a_\infty` = ``limit`` (1 in "power"; ``start + gain`` stands for it in
"logarithmic"), :math:`w` = ``weight`` and :math:`\beta` = ``exponent``. The shift in :math:`1 + x` makes each form
finite at ``z = 0``, which a payoff has to be. All are non-decreasing and concave, with a completely monotone slope.
Curves that fall, peak, or rise late are not among them: what the best of them leaves is in the residuals.

T. Viering and M. Loog, "The shape of learning curves: a review", IEEE TPAMI 45(6), 2023, name the forms and who used
them; F. Mohr, T. Viering, M. Loog and J. van Rijn, "LCDB 1.0: an extensive learning curves database for
classification tasks", ECML PKDD 2022, compare them on measured curves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedshap._types import Array

_EXPONENTS = (0.01, 10.0)  # beyond them a power law is as good as a logarithm or an exponential


@dataclass(frozen=True)
class CurveForm:
    """One row of the table above: how accuracy rises, and which of its parameters are free."""

    name: str
    parameters: tuple[str, ...]
    exponents: tuple[float, float] = (1.0, 1.0)

    @property
    def bounded(self) -> bool:
        """Whether the curve has a limit, which is then at most 1."""
        return self.name != "logarithmic"

    def rise(self, x: Array, exponent: Array | float = 1.0) -> Array:
        """``u(x)``."""
        match self.name:
            case "constant":
                return np.zeros_like(x)
            case "exponential":
                return -np.expm1(-x)
            case "logarithmic":
                return np.log1p(x)
        return -np.expm1(-exponent * np.log1p(x))

    def rise_slope(self, x: Array, exponent: Array | float = 1.0) -> Array:
        """``u'(x)``."""
        match self.name:
            case "constant":
                return np.zeros_like(x)
            case "exponential":
                return np.exp(-x)
            case "logarithmic":
                return 1.0 / (1.0 + x)
        return exponent * np.exp(-(exponent + 1.0) * np.log1p(x))

    def rise_by_exponent(self, x: Array, exponent: Array | float) -> Array:
        """The derivative of ``u(x)`` in the exponent, of the power laws."""
        return np.log1p(x) * np.exp(-exponent * np.log1p(x))


FORMS = {
    form.name: form
    for form in (
        CurveForm("constant", ("start",)),
        CurveForm("hyperbolic", ("weight",)),
        CurveForm("power", ("start", "weight", "exponent"), (_EXPONENTS[0], 1.0)),
        CurveForm("power_offset", ("start", "limit", "weight", "exponent"), _EXPONENTS),
        CurveForm("exponential", ("start", "limit", "weight")),
        CurveForm("logarithmic", ("start", "gain", "weight")),
    )
}


@dataclass(frozen=True)
class Curve:
    """A form with numbers: ``a(z) = start + gain u(weight z)``, of plain functions that pickle."""

    form: CurveForm
    start: float
    gain: float
    weight: float
    exponent: float = 1.0

    def values(self, z: Array) -> Array:
        """``a(z)``, of the shape of ``z``."""
        return self.start + self.gain * self.form.rise(self.weight * z, self.exponent)

    def slope(self, z: Array) -> Array:
        """``a'(z)``, of the shape of ``z``."""
        return self.gain * self.weight * self.form.rise_slope(self.weight * z, self.exponent)

    def jacobian(self, z: Array) -> Array:
        """Derivatives in the form's parameters, shape (..., P)."""
        x = self.weight * z
        risen = self.form.rise(x, self.exponent)
        columns = {
            "start": 1.0 - risen if self.form.bounded else np.ones_like(z),
            "limit": risen,
            "gain": risen,
            "weight": self.gain * z * self.form.rise_slope(x, self.exponent),
            "exponent": self.gain * self.form.rise_by_exponent(x, self.exponent),
        }
        return np.stack([columns[name] for name in self.form.parameters], axis=-1)

    def parameters(self) -> Array:
        """The form's parameters in its order, shape (P,)."""
        numbers = {
            "start": self.start,
            "limit": self.start + self.gain,
            "gain": self.gain,
            "weight": self.weight,
            "exponent": self.exponent,
        }
        return np.array([numbers[name] for name in self.form.parameters])
