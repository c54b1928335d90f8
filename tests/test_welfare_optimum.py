"""The welfare optimum: by brute force, in closed form, in any unit, with a gap that bounds what is missed."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize

import fedshap as fs
from fedshap.equilibrium.optimum import _below_plane, _tangent_gap
from fedshap.mechanisms.welfare import Welfare
from games import TWO_AGENTS, appendix_e, custom_case, ids, properties, random_cases, surplus

CASES = [case for n in (2, 3, 4) for case in [*random_cases(n, seed=5), custom_case(n, seed=5)]]


def plain_welfare(case, rates, exponent, s):
    return float(surplus(case.plain, list(s))) - sum(r * x**exponent for r, x in zip(rates, s, strict=True))


# ---- against independent routes --------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [1.0, 1.5])
@pytest.mark.parametrize("case", CASES, ids=[f"{case.id}-{case.payoff.n_agents}" for case in CASES])
def test_no_point_of_a_grid_is_better_and_a_plain_search_ends_there(case, exponent) -> None:
    n = case.payoff.n_agents
    rates = np.random.default_rng(n).uniform(0.05, 0.6, n)
    best = fs.welfare_optimum(fs.Game(case.payoff, fs.PowerCost(rates, exponent), capacity=6.0))
    assert_allclose(best.welfare, plain_welfare(case, rates, exponent, best.contributions), rtol=1e-12, atol=1e-12)
    points = np.linspace(0.0, 6.0, 13 if n < 4 else 7)
    highest = max(plain_welfare(case, rates, exponent, s) for s in itertools.product(points, repeat=n))
    assert highest <= best.welfare + best.gap + 1e-12
    found = max(
        -minimize(
            lambda s: -plain_welfare(case, rates, exponent, np.clip(s, 0.0, 6.0)),
            np.full(n, start),
            bounds=[(0.0, 6.0)] * n,
            options={"ftol": 1e-14, "gtol": 1e-10},
        ).fun
        for start in (0.5, 3.0)
    )
    assert best.concave
    assert best.relative_gap <= 1e-9
    assert found - 1e-11 <= best.welfare
    assert abs(best.welfare - found) <= 1e-6


def common_optimum(n, alpha, beta, rates):
    """``A'(S) = n alpha beta / (1 + S)^(beta + 1)`` is the cheapest rate."""
    return max((n * alpha * beta / min(rates)) ** (1.0 / (beta + 1.0)) - 1.0, 0.0)


@pytest.mark.parametrize("beta", [0.3, 1.0])
@pytest.mark.parametrize("rates", [[0.1, 0.25, 0.4], [0.2, 0.2, 0.2], [0.5, 0.2, 0.2, 0.3], [9.0, 8.0, 7.0]], ids=str)
def test_a_common_payoff_in_closed_form(rates, beta) -> None:
    n, cost = len(rates), fs.LinearCost(rates)
    best = fs.welfare_optimum(fs.Game(fs.PowerLaw(n, alpha=0.9, beta=beta), cost))
    total = common_optimum(n, 0.9, beta, rates)
    assert_allclose(best.total, total, rtol=1e-9)
    assert_allclose(best.contributions[np.array(rates) > min(rates)], 0.0, atol=1e-9 * (1.0 + total))
    assert best.relative_gap <= 1e-9


def test_capacities_are_filled_from_the_cheapest_on() -> None:
    game = fs.Game(fs.PowerLaw(4), fs.LinearCost([0.3, 0.1, 0.2, 0.9]), capacity=[5.0, 1.0, 1.0, 5.0])
    best = fs.welfare_optimum(game)
    assert_allclose(best.contributions, [(4.0 / 0.3) ** 0.5 - 3.0, 1.0, 1.0, 0.0], atol=1e-9)


def test_minima_bind_and_count_towards_the_total() -> None:
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]), minimum=[0.0, 0.5, 1.0])
    best = fs.welfare_optimum(game)
    assert_allclose(best.contributions, [30.0**0.5 - 2.5, 0.5, 1.0], atol=1e-9)
    assert best.relative_gap <= 1e-9


@pytest.mark.parametrize("n", [2, 3, 5])
def test_sharing_of_costs_reaches_it_for_a_common_payoff(n) -> None:
    """Murhekar et al. (2023): with ``beta = 1 - 1/n`` everybody weighs her costs as society does."""
    game = fs.Game(fs.PowerLaw(n, beta=0.5), fs.PowerCost(np.linspace(0.1, 0.4, n), 1.5))
    shared = fs.find_equilibrium(game, fs.CostSharing(1.0 - 1.0 / n))
    best = fs.welfare_optimum(game)
    assert_allclose(shared.contributions, best.contributions, rtol=1e-6)
    assert_allclose(game.welfare(shared.contributions), best.welfare, rtol=1e-12)


@pytest.mark.slow
@properties
@given(seed=st.integers(0, 10**6))
def test_no_equilibrium_is_better(seed) -> None:
    rng = np.random.default_rng(seed)
    cost = fs.PowerCost(rng.uniform(0.02, 0.6, 3), rng.choice([1.0, 1.5]))
    for case in random_cases(3, seed):
        game = fs.Game(case.payoff, cost, capacity=rng.uniform(1.0, 9.0))
        best = fs.welfare_optimum(game)
        for mechanism in (fs.NoPayment(), fs.ShapleyPayment(), fs.CostSharing(0.6)):
            reached = float(game.welfare(fs.find_equilibrium(game, mechanism).contributions))
            assert reached <= best.welfare + best.gap + 1e-12 * best.scale
        # Theorem 4.8: more than under M^Shap, all give, is no better for anybody together.
        fair = fs.find_equilibrium(game, fs.ShapleyPayment()).contributions
        assert not (best.contributions >= fair - 1e-9).all() or best.welfare <= float(game.welfare(fair)) + 1e-8


# ---- the bound ---------------------------------------------------------------------------------------------


@properties
@given(seed=st.integers(0, 10**6), far=st.sampled_from([1e-6, 1e-2, 1.0]))
def test_the_gap_bounds_what_any_point_misses(seed, far) -> None:
    rng = np.random.default_rng(seed)
    case = random_cases(3, seed)[int(rng.integers(5))]
    exponent, capacity = rng.choice([1.0, 2.0]), rng.choice([4.0, 1e6, np.inf])
    if case.id == "discovery" and capacity == np.inf:
        exponent = 2.0
    game = fs.Game(case.payoff, fs.PowerCost(rng.uniform(0.05, 0.6, 3), exponent), capacity)
    best = fs.welfare_optimum(game)
    s = np.clip(best.contributions + far * rng.uniform(-1.0, 1.0, 3), 0.0, capacity)
    missed = best.welfare - float(game.welfare(s))
    assert missed - 1e-12 * best.scale <= _tangent_gap(Welfare(game), s)


def test_the_plane_at_a_point_is_worked_out_by_hand() -> None:
    game = fs.Game(fs.PowerLaw(3), fs.PowerCost([0.5, 0.5, 0.5], 2.0), capacity=[10.0, 10.0, 0.5])
    # Slopes (1, 0.5, 3) meet marginal costs y at 1, 0.5 and the capacity; from s = (0, 1, 0).
    by_hand = (1.0 - 0.5) + (0.5 * -0.5 - 0.5 * (0.25 - 1.0)) + (1.5 - 0.125)
    assert_allclose(_below_plane(game, np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.5, 3.0])), by_hand, rtol=1e-15)


def test_a_slope_just_above_a_linear_cost_costs_the_bound_little() -> None:
    """One plane alone says nothing there: without a capacity it rises for ever."""
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1, 0.25, 0.4]))
    s = fs.welfare_optimum(game).contributions * np.array([1.0 - 1e-7, 1.0, 1.0])
    welfare = Welfare(game)
    assert _below_plane(game, s, welfare.slopes(s)) == np.inf
    missed = fs.welfare_optimum(game).welfare - float(game.welfare(s))
    assert missed <= _tangent_gap(welfare, s) <= 1e-5


# ---- derivatives of welfare -----------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES[6:12], ids=ids(CASES[6:12]))
def test_slopes_and_curvature_are_those_of_welfare(case) -> None:
    cost = fs.PowerCost([0.1, 0.2, 0.3], 2.0)
    welfare, s = Welfare(fs.Game(case.payoff, cost, 9.0)), np.array([0.7, 1.9, 0.2])

    def differences(function):
        steps = 1e-5 * np.eye(3)
        return np.array([(function(s + h) - function(s - h)) / 2e-5 for h in steps])

    level = welfare.expansion(s)
    assert_allclose(level.value, welfare.game.welfare(s), rtol=1e-12)
    assert_allclose(level.gradient, differences(welfare.value), rtol=1e-6, atol=1e-9)
    assert_allclose(welfare.gradient(s), level.gradient, rtol=1e-9, atol=1e-12)
    assert_allclose(-level.matrix(), differences(welfare.gradient), rtol=1e-4, atol=1e-6)


# ---- not concave ---------------------------------------------------------------------------------------------


def two_peaks(s):
    """A threshold: nearly nothing below a total of 3, nearly all above 4."""
    total = s.sum(axis=-1, keepdims=True)
    return np.tile(0.1 * (1.0 - np.exp(-3.0 * total)) + 1.0 / (1.0 + np.exp(-8.0 * (total - 3.5))), (1,) * s.ndim)[
        ..., :1
    ] * np.ones(3)


def test_a_search_finds_the_higher_of_two_peaks_and_says_that_it_is_a_search() -> None:
    game = fs.Game(fs.CustomPayoff(two_peaks, 3), fs.LinearCost([0.2, 0.25, 0.4]))
    best = fs.welfare_optimum(game)
    grid = max(float(game.welfare([x, 0.0, 0.0])) for x in np.linspace(0.0, 8.0, 4001))
    assert not best.concave
    assert best.method == "ascent from several starts"
    assert grid <= best.welfare + 1e-12
    assert best.contributions[0] > 3.5
    assert best.relative_gap <= 1e-9


@pytest.mark.slow
def test_a_kink_is_not_certified_unless_it_is_found() -> None:
    payoff = fs.CustomPayoff(lambda s: np.minimum(s.sum(axis=-1, keepdims=True), 1.0) * np.ones(3), 3)
    best = fs.welfare_optimum(fs.Game(payoff, fs.LinearCost([0.5, 0.7, 0.9])))
    assert_allclose(best.contributions, [1.0, 0.0, 0.0], atol=1e-8)


# ---- units ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concave", [True, None])
@pytest.mark.parametrize("data", [1e-15, 1e-6, 1.0, 1e6, 1e15])
@pytest.mark.parametrize("money", [1e-15, 1e-6, 1.0, 1e6, 1e15])
def test_units_do_not_matter(money, data, concave) -> None:
    use = np.array([1.0, 0.5, 0.2])

    def function(s):
        return money * (1.0 - 1.0 / (1.0 + s / data @ use))[..., None] * np.array([1.0, 2.0, 3.0])

    payoff = fs.CustomPayoff(function, 3, concave=concave)
    cost = money / data * fs.LinearCost([0.1, 0.25, 0.4])
    best = fs.welfare_optimum(fs.Game(payoff, cost, 2.0 * data))
    # 6 use_0 / (1 + 2)^2 exceeds 0.1; of the next agent, 3 / (3 + x / 2)^2 = 0.25.
    assert_allclose(best.contributions / data, [2.0, 2.0 * (12.0**0.5 - 3.0), 0.0], atol=1e-7)
    assert best.relative_gap <= 1e-9


@pytest.mark.parametrize("data", [1e-15, 1e15])
def test_units_do_not_matter_to_mixtures(data) -> None:
    payoff = fs.PowerLaw(weights=np.ones((3, 3)) / data)
    best = fs.welfare_optimum(fs.Game(payoff, 1.0 / data * fs.LinearCost([0.1, 0.25, 0.4])))
    assert_allclose(best.contributions / data, [30.0**0.5 - 1.0, 0.0, 0.0], atol=1e-9)
    assert best.relative_gap <= 1e-9


# ---- corners and doors -------------------------------------------------------------------------------------


def test_welfare_without_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="without bound: give the game a finite capacity"):
        fs.welfare_optimum(fs.Game(fs.RandomDiscovery([[0.5], [0.25], [0.25]]), fs.LinearCost([0.1, 0.2, 2.0])))
    with pytest.raises(ValueError, match="agent 1 gains from contributing without bound"):
        fs.welfare_optimum(fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1, 0.0, 0.4])))


def test_free_data_are_given_up_to_the_capacity() -> None:
    best = fs.welfare_optimum(fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1, 0.0, 0.4]), capacity=1e12))
    assert_array_equal(best.contributions, [0.0, 1e12, 0.0])


def test_where_data_are_worth_what_they_cost_nothing_is_missed() -> None:
    payoff = fs.RandomDiscovery([[0.5], [0.25], [0.25]])
    slopes = payoff.total_gradient(np.zeros(3))
    best = fs.welfare_optimum(fs.Game(payoff, fs.LinearCost(slopes * np.array([1.0, 1.0 + 1e-15, 2.0]))))
    assert best.relative_gap <= 1e-9
    assert best.welfare == pytest.approx(0.0, abs=1e-12)


def test_nobody_gives_where_data_cost_too_much() -> None:
    best = fs.welfare_optimum(fs.Game(fs.PowerLaw(3), fs.LinearCost([4.0, 5.0, 6.0])))
    assert_array_equal(best.contributions, 0.0)
    assert (best.gap, best.relative_gap, best.total) == (0.0, 0.0, 0.0)


def test_one_agent_alone() -> None:
    best = fs.welfare_optimum(fs.Game(fs.PowerLaw(1), fs.LinearCost([0.25])))
    assert_allclose(best.contributions, [1.0], rtol=1e-9)


def test_stopped_short_it_raises_with_the_best_point() -> None:
    rough = fs.SolverOptions(ascent_iterations=1)
    game = appendix_e("mnist", seed=0)
    with pytest.raises(fs.ConvergenceError, match="no welfare optimum to within tol=1e-09") as caught:
        fs.welfare_optimum(game, options=rough)
    best = caught.value.best
    assert isinstance(best, fs.WelfareOptimum)
    assert best.relative_gap > 1e-9
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    returned = fs.welfare_optimum(game, options=rough, on_failure="return")
    assert returned.gap == best.gap
    exact = fs.welfare_optimum(game)
    assert best.welfare < exact.welfare <= best.welfare + best.gap


def test_progress_is_told() -> None:
    calls = []
    fs.welfare_optimum(TWO_AGENTS, progress=lambda *each: calls.append(each))
    assert [number for number, _ in calls][:2] == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tol": 0.0}, "tol must lie in"),
        ({"on_failure": "ignore"}, "on_failure must be"),
        ({"options": 3}, "options must be"),
        ({"progress": 3}, "progress must be callable"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_bad_arguments(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        fs.welfare_optimum(TWO_AGENTS, **arguments)


def test_the_record_survives(tmp_path) -> None:
    best = fs.welfare_optimum(TWO_AGENTS)
    path = tmp_path / "best.json"
    best.to_json(path)
    again = fs.WelfareOptimum.from_json(path)
    assert_array_equal(again.contributions, best.contributions)
    assert (again.welfare, again.gap, again.scale, again.method) == (best.welfare, best.gap, best.scale, best.method)
    assert repr(pickle.loads(pickle.dumps(best))) == repr(best)
    with pytest.raises(AttributeError):
        best.gap = 0.0
    with pytest.raises(ValueError, match="read-only"):
        best.contributions[0] = 1.0


def test_a_thousand_agents() -> None:
    rng = np.random.default_rng(0)
    weights = np.array([[3.1, 0.47, 0.44], [0.67, 1.9, 0.65], [0.93, 0.83, 2.1]]) * 3e-5
    payoff = fs.PowerLaw(weights=weights, groups=rng.integers(0, 3, 1000))
    game = fs.Game(payoff, fs.LinearCost(rng.uniform(0.008, 0.04, 1000)), 100.0)
    best = fs.welfare_optimum(game)
    slope = Welfare(game).gradient(best.contributions)
    inside = (best.contributions > 0.0) & (best.contributions < 100.0)
    assert np.abs(slope[inside]).max(initial=0.0) <= 1e-9 * 0.04
    assert (slope[best.contributions == 0.0] <= 0.0).all()
    assert (slope[best.contributions == 100.0] >= 0.0).all()


def test_the_mixture_of_two_planes_is_worked_out_by_hand() -> None:
    """A common payoff ``3 S / (1 + S)``: with linear costs and no capacity, a plane bounds where it is not steep."""
    rates, total = np.array([0.1, 0.25, 0.4]), 30.0**0.5 - 1.0 - 1e-4
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost(rates))
    far = 2.0 * total + game.units.sum()
    near_slope, far_slope = 3.0 / (1.0 + total) ** 2, 3.0 / (1.0 + far) ** 2
    above = 3.0 * far / (1.0 + far) - 3.0 * total / (1.0 + total) - far_slope * (far - total)
    bounds = [np.inf]
    for w in 10.0 ** np.arange(-16.0, 1.0):
        slope = (1.0 - w) * near_slope + w * far_slope
        if slope < 0.1:  # the first agent would then rather give nothing
            bounds.append(w * above + (0.1 - slope) * total)
    assert_allclose(_tangent_gap(Welfare(game), np.array([total, 0.0, 0.0])), min(bounds), rtol=1e-6)


def test_a_slope_that_exceeds_the_cost_by_rounding_is_a_tie() -> None:
    rates = np.array([0.1, 0.25, 0.4])
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost(rates))
    assert _below_plane(game, np.zeros(3), rates * (1.0 + 4e-16)) == 0.0
    assert _below_plane(game, np.zeros(3), rates * (1.0 + 1e-12)) == np.inf


def test_of_places_that_nobody_alone_would_leave_the_best_is_taken() -> None:
    """Data that are worth something only together: from nothing, no single agent can help."""

    def together(s):
        return (1.0 - np.exp(-((s[..., :1] * s[..., 1:2]) ** 2))) * np.ones(3)

    game = fs.Game(fs.CustomPayoff(together, 3), fs.LinearCost([0.2, 0.3, 0.4]))
    best = fs.welfare_optimum(game)
    grid = max(float(game.welfare([x, y, 0.0])) for x in np.linspace(0, 3, 61) for y in np.linspace(0, 3, 61))
    assert best.welfare >= grid > 1.0 > float(game.welfare(np.zeros(3)))
