"""Numerical derivatives against exact ones, in units from 1e-15 to 1e15."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from fedshap._differences import difference
from games import properties

Function = Callable[[np.ndarray], np.ndarray]
ENDLESS = np.full(4, np.inf)
AT = np.array([0.0, 1e-3, 1.0, 20.0])

# function, first derivative, second derivative; each of unit size around 1
SMOOTH: dict[str, tuple[Function, Function, Function]] = {
    "saturating": (lambda x: 1 - 1 / (1 + x), lambda x: (1 + x) ** -2.0, lambda x: -2 * (1 + x) ** -3.0),
    "saturating from a level": (lambda x: 3 - 1 / (1 + x), lambda x: (1 + x) ** -2.0, lambda x: -2 * (1 + x) ** -3.0),
    "logarithm": (np.log1p, lambda x: 1 / (1 + x), lambda x: -1 / (1 + x) ** 2),
    "square": (lambda x: (x + 1) ** 2, lambda x: 2 * (x + 1), lambda x: 2 + 0 * x),
    "line": (lambda x: 5 + 0.3 * x, lambda x: 0.3 + 0 * x, lambda x: 0 * x),
}
every_function = pytest.mark.parametrize("name", SMOOTH)
units = st.floats(-15.0, 15.0).map(lambda exponent: 10.0**exponent)


@every_function
@properties
@given(unit=units, money=units)
def test_first_derivatives_are_right_to_eight_digits_in_every_unit(name: str, unit: float, money: float) -> None:
    function, slope, _ = SMOOTH[name]
    found = difference(lambda x: money * function(x / unit), AT * unit, ENDLESS)
    assert_allclose(found * unit / money, slope(AT), rtol=3e-8)


@every_function
@properties
@given(unit=units, money=units)
def test_second_derivatives_are_right_to_four_digits_in_every_unit(name: str, unit: float, money: float) -> None:
    function, _, bend = SMOOTH[name]
    found = difference(lambda x: money * function(x / unit), AT * unit, ENDLESS, order=2)
    assert_allclose(found * unit**2 / money, bend(AT), rtol=2e-4, atol=1e-7)


@every_function
def test_at_a_bound_they_are_one_sided(name: str) -> None:
    function, slope, bend = SMOOTH[name]
    for asked in (AT[1:], AT[1:] * (1 - 1e-9)):
        calls: list[float] = []

        def within(x: np.ndarray, calls: list[float] = calls) -> np.ndarray:
            calls.append(float((x - AT[1:, None]).max()))
            return function(x)

        assert_allclose(difference(within, asked, AT[1:]), slope(asked), rtol=3e-8)
        assert_allclose(difference(within, asked, AT[1:], order=2), bend(asked), rtol=1e-2, atol=1e-4)
        assert max(calls) <= 0.0


@pytest.mark.parametrize("exponent", [0.3, 0.5, 0.99])
def test_roots_are_infinitely_steep_at_zero(exponent: float) -> None:
    for level in (0.0, 1.0):
        found = difference(lambda x, level=level: level * x - 7.0 * x**exponent, np.zeros(1), np.full(1, np.inf))
        assert_array_equal(found, [-np.inf])
    assert_allclose(difference(lambda x: x**exponent, np.ones(1), np.full(1, np.inf)), exponent, rtol=1e-8)


def test_powers_between_one_and_two_are_flat_and_infinitely_bent_at_zero() -> None:
    def power(x: np.ndarray) -> np.ndarray:
        return 0.2 * x + x**1.5

    assert_allclose(difference(power, np.zeros(1), np.full(1, np.inf)), 0.2, rtol=1e-8)
    assert_array_equal(difference(power, np.zeros(1), np.full(1, np.inf), order=2), [np.inf])
    assert_array_equal(difference(lambda x: x**1.5, np.zeros(1), np.full(1, np.inf)), [0.0])


def test_jumps_at_zero_count_as_infinitely_steep() -> None:
    assert_array_equal(difference(lambda x: np.where(x > 0.0, 1.0, 0.0), np.zeros(1), np.full(1, np.inf)), [np.inf])


def test_beside_a_kink_the_slope_is_that_of_the_side() -> None:
    for gap in (1e-3, 1e-6, 1e-9):
        x = np.array([1.0 - gap, 1.0 + gap])
        found = difference(lambda x: np.minimum(2.0 * x, 1.0 + x), x, np.full(2, np.inf))
        assert_allclose(found, [2.0, 1.0], rtol=1e-5)


def test_flat_stretches_are_flat_and_noise_is_no_slope() -> None:
    assert_array_equal(difference(lambda x: np.maximum(x - 1.0, 0.0), np.array([0.3]), np.full(1, np.inf)), [0.0])
    assert_array_equal(difference(lambda x: 1.7 + 0.0 * x, np.array([0.0, 0.3]), np.full(2, np.inf)), [0.0, 0.0])
    rng = np.random.default_rng(0)
    noise = difference(lambda x: 1.0 + 1e-16 * rng.standard_normal(x.shape), np.array([0.5]), np.full(1, np.inf))
    assert abs(noise[0]) < 1e-10


def test_each_row_is_a_function_of_its_own() -> None:
    powers = np.array([[1.0], [2.0], [3.0]])
    found = difference(lambda x: x**powers, np.full(3, 2.0), np.full(3, np.inf))
    assert_allclose(found, [1.0, 4.0, 12.0], rtol=1e-8)
