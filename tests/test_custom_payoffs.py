"""A user's function put to the test, its scale, and its derivatives by differences in any unit."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fedshap as fs
from games import derivative

UNITS = [1e-15, 1e-6, 1.0, 1e6, 1e15]
MIXED = np.array([[1.0, 0.3, 0.2], [0.1, 0.8, 0.5], [0.4, 0.2, 0.6]])


def noisy(s: np.ndarray, rng: np.random.Generator = np.random.default_rng(0)) -> np.ndarray:  # noqa: B008
    return s + 0.01 * rng.standard_normal(s.shape)


def single(s: np.ndarray) -> np.ndarray:
    return np.sqrt(np.array([s[0] + s[1] + s[2]] * 3))


class WithGradient:
    """What a torch tensor with gradients does when NumPy asks for it."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad")


AXIS = r"(?s)function must treat each row .* in a batch and .* alone.*axis=-1"
ONE_PROFILE = r"(?s)^function .*one profile at a time.*vectorised=False"
REFUSED: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
    "forgotten axis": (lambda s: np.tanh(s / s.sum().clip(1.0)), AXIS),
    "forgotten axis, 1e15 data": (lambda s: np.tanh(s / s.sum().clip(1e15)), AXIS),
    "forgotten axis, 1e-15 data": (lambda s: np.tanh(s / s.sum().clip(1e-15)), AXIS),
    "draws for the batch": (lambda s: s + np.random.default_rng(0).standard_normal(s.shape), r"\(n,\), not s.shape"),
    "one profile": (single, ONE_PROFILE),
    "branches": (lambda s: s if s[0] > 0.5 else 2.0 * s, ONE_PROFILE),
    "index": (lambda s: s[:, [9, 9, 9]], r"^function failed on an input of shape \(4, 3\).*IndexError"),
    "noise": (noisy, r"^function must return the same values each time; at \[.*Average"),
    "half precision": (lambda s: s.astype(np.float16), r"^function is too rough .* 0.001"),
    "rough": (lambda s: s * (1.0 + 1e-3 * np.modf(1e8 * np.frexp(s)[0])[0]), r"^function is too rough"),
    "strings of numbers": (lambda s: s.astype(str), r"^function must return an array of numbers"),
    "complex": (lambda s: np.sqrt(s + 0j), r"^function must return an array of numbers.*complex"),
    "masked": (lambda s: np.ma.masked_less(s, 0.3), r"^function must return plain arrays"),
    "tensor with gradient": (lambda s: WithGradient(), r"^function must return NumPy arrays.*detach"),
}


@pytest.mark.parametrize(("function", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.filterwarnings("error")
def test_a_function_is_put_to_the_test_once(function: Callable[[np.ndarray], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fs.CustomPayoff(function, 3)


def test_draws_that_are_the_same_for_every_profile_are_no_noise() -> None:
    payoff = fs.CustomPayoff(lambda s: s + np.random.default_rng(0).standard_normal(3), 3)
    assert_allclose(payoff.jacobian([1.0, 2.0, 3.0]), np.eye(3), atol=1e-9)


def test_a_function_of_one_profile_is_called_row_by_row() -> None:
    payoff = fs.CustomPayoff(single, 3, vectorised=False)
    s = np.array([[1.0, 2.0, 6.0], [0.0, 4.0, 0.0]])
    assert_allclose(payoff.values(s), [[3.0] * 3, [2.0] * 3])
    assert_allclose(payoff.total_gradient(s), [[0.5] * 3, [0.75] * 3], rtol=1e-8)
    assert payoff.values(np.zeros((0, 3))).shape == (0, 3)
    game = fs.Game(payoff, fs.LinearCost([0.1, 0.2, 0.3]), 9.0)
    batch = fs.Game(fs.CustomPayoff(lambda s: np.sqrt(s @ np.ones((3, 3))), 3), game.cost, 9.0)
    found, expected = (fs.find_equilibrium(g, fs.ShapleyPayment()).contributions for g in (game, batch))
    assert_allclose(found, expected, rtol=1e-6)


def test_rows_are_what_the_function_is_given() -> None:
    shapes = set()

    def root(s: np.ndarray) -> np.ndarray:
        shapes.add(s.shape[1:])
        assert s.ndim == 2
        return np.sqrt(s)

    payoff = fs.CustomPayoff(root, 3)
    assert payoff.values(np.ones((2, 5, 3))).shape == (2, 5, 3)
    assert payoff.values(np.ones(3)).shape == (3,)
    assert shapes == {(3,)}


@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_a_gradient_is_compared_with_differences(unit: float) -> None:
    def values(s: np.ndarray) -> np.ndarray:
        return np.log1p(s / unit @ MIXED.T)

    def slopes(s: np.ndarray) -> np.ndarray:
        return (MIXED / (1.0 + s / unit @ MIXED.T)[..., None]) / unit

    right = fs.CustomPayoff(values, 3, slopes)
    assert_allclose(right.jacobian(unit * np.ones(3)), slopes(unit * np.ones((1, 3)))[0], rtol=1e-15)
    with pytest.raises(ValueError, match=r"^gradient must be that of function; at \[.*entry \[\d, \d\]"):
        fs.CustomPayoff(values, 3, lambda s: np.swapaxes(slopes(s), -1, -2))
    with pytest.raises(ValueError, match="^gradient must be that of function"):
        fs.CustomPayoff(values, 3, lambda s: 1.01 * slopes(s))


# ---- scale, units and precision --------------------------------------------------------------------

CURVES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float | None]] = {
    "saturating": (lambda z: 1.0 - 1.0 / (1.0 + z), 1.0),
    "slow": (lambda z: 1.0 - (1.0 + z) ** -0.1, 1.0),
    "logarithm": (np.log1p, 1.0),
    "with a linear part": (lambda z: 1.0 - 1.0 / (1.0 + z) + 1e-6 * z, 1.0),
    "on top of five": (lambda z: 5.0 + np.tanh(z), 1.0),
    "kinked": (lambda z: np.minimum(z, 4.0), 4.0),
    "jump": (lambda z: 10.0 * (z >= 2.0), 2.0),
    "late": (lambda z: 1.0 / (1.0 + np.exp(30.0 - z)), 30.0),
    "root": (np.sqrt, None),
    "linear": (lambda z: z, None),
    "square": (lambda z: z**2, None),
    "flat": (lambda z: 0.0 * z + 3.0, None),
}


@pytest.mark.parametrize("money", [1e-15, 1.0, 1e15], ids=str)
@pytest.mark.parametrize("unit", UNITS, ids=str)
@pytest.mark.parametrize("name", CURVES)
@pytest.mark.filterwarnings("ignore:overflow")
def test_the_scale_is_where_the_surplus_bends(name: str, unit: float, money: float) -> None:
    curve, scale = CURVES[name]
    payoff = fs.CustomPayoff(lambda s: money * curve(s @ np.ones((3, 3)) / 3.0 / unit), 3)
    if scale is None:
        assert payoff.scale == 1.0
    else:
        assert unit * scale / 30.0 <= payoff.scale <= unit * scale * 10.0
    assert payoff.precision < 1e-12


def test_cancelling_digits_are_no_bend() -> None:
    inside = (np.arange(8)[:, None] >> np.arange(3) & 1) == 1
    table = np.array([0.0, 0.0, -13 / 4, 0.0, -5 / 4, 0.0, 15 / 4, 0.0])

    def multilinear(s: np.ndarray) -> np.ndarray:
        return (np.where(inside, s[..., None, :], 1.0 - s[..., None, :]).prod(axis=-1) @ table)[..., None] * np.ones(3)

    assert 1e-3 <= fs.CustomPayoff(multilinear, 3).scale <= 1e3


@pytest.mark.parametrize("money", [1e-15, 1.0, 1e15], ids=str)
@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_differences_know_no_unit(unit: float, money: float) -> None:
    def values(s: Any) -> Any:
        return [money * (1 - 1 / (1 + sum(w * x / unit for w, x in zip(row, s, strict=True)))) for row in MIXED]

    payoff = fs.CustomPayoff(lambda s: money * (1.0 - 1.0 / (1.0 + s / unit @ MIXED.T)), 3)
    for s in ([1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [0.0, 1e-7, 50.0], [1e3, 1.0, 0.0]):
        profile = unit * np.array(s)
        exact = np.stack([derivative(values, profile.tolist(), j) for j in range(3)], axis=-1) if unit > 1e-9 else None
        if exact is None:  # the derivative's own step of 1e-16 is too wide there
            exact = money / unit * MIXED / (1.0 + MIXED @ s)[:, None] ** 2
        tolerance = 1e-10 * money / unit  # as before: at a total of 1e3, derivatives are 1e-6
        assert_allclose(payoff.jacobian(profile), exact, rtol=1e-6, atol=tolerance)
        assert_allclose(payoff.total_gradient(profile), exact.sum(axis=0), rtol=1e-6, atol=3 * tolerance)


@pytest.mark.parametrize("x", [1e-9, 1e-6, 1e-3, 1.0, 1e3], ids=str)
def test_slopes_that_are_infinite_at_zero(x: float) -> None:
    payoff = fs.CustomPayoff(lambda s: np.sqrt(s) + np.log1p(s.sum(axis=-1, keepdims=True)), 3)
    expected = 0.5 / np.sqrt(x) + 1.0 / (1.0 + x + 3.0)
    assert payoff.jacobian([x, 1.0, 2.0])[0, 0] == pytest.approx(expected, rel=1e-4)


def test_single_precision_has_derivatives_to_four_digits() -> None:
    def single(s: np.ndarray) -> np.ndarray:
        s = s.astype(np.float32)
        return s / (np.float32(1.0) + s.sum(axis=-1, keepdims=True))

    def double(s: np.ndarray) -> np.ndarray:
        return s / (1.0 + s.sum(axis=-1, keepdims=True))

    def hidden(s: np.ndarray) -> np.ndarray:  # turned back to double precision, with the digits of single
        return single(s).astype(float) * np.pi / np.pi

    exact = fs.CustomPayoff(double, 3)
    assert exact.precision < 1e-15
    for function in (single, hidden):
        payoff = fs.CustomPayoff(function, 3)
        assert 1e-8 < payoff.precision < 1e-6
        for s in ([1.0, 2.0, 3.0], [0.0, 0.5, 0.0], [0.1, 0.2, 30.0]):
            assert_allclose(payoff.jacobian(s), exact.jacobian(s), atol=1e-4)


@pytest.mark.slow
def test_single_precision_is_enough_for_an_equilibrium_of_its_precision() -> None:
    rates = [0.10, 0.25, 0.40]
    payoff = fs.CustomPayoff(lambda s: (1 - 1 / (1 + s @ np.ones((3, 3)))).astype(np.float32), 3)
    found = fs.find_equilibrium(fs.Game(payoff, fs.LinearCost(rates)), fs.ShapleyPayment(), tol=1e-5)
    exact = fs.find_equilibrium(fs.Game(fs.PowerLaw(3), fs.LinearCost(rates)), fs.ShapleyPayment())
    assert_allclose(found.contributions, exact.contributions, rtol=1e-2)


def cube_root(s: np.ndarray) -> np.ndarray:
    return np.cbrt(s)


def test_scale_and_precision_travel() -> None:
    payoff = pickle.loads(pickle.dumps(fs.CustomPayoff(cube_root, 3)))
    assert (payoff.scale, payoff.precision) == (1.0, np.finfo(float).eps)


def test_subclasses_are_asked_themselves() -> None:
    class Doubled(fs.CustomPayoff):
        def values(self, s: Any) -> Any:
            return 2.0 * super().values(s)

    payoff = Doubled(np.sqrt, 3)
    assert_allclose(payoff.total([1.0, 4.0, 9.0]), 12.0)
    assert_allclose(payoff.total_gradient([1.0, 4.0, 9.0]), [1.0, 0.5, 1 / 3], rtol=1e-8)


@pytest.mark.parametrize(
    ("function", "slope", "message"),
    [
        (lambda z: np.tanh(z) * (1 + 0 * z) + z.min() + z.max(), lambda z: z, "^function must treat each row"),
        (lambda z: z if z < 1 else 1.0, lambda z: z, "^function failed on an input of shape .*weighted sums"),
        (np.log1p, lambda z: 1 / (1 + z) + 0j, "^slope must return an array of numbers.*complex"),
    ],
)
def test_curves_are_put_to_the_test_too(function: Any, slope: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"(?s){message}"):
        fs.LearningCurve(function, slope, 3)
