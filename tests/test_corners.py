"""Equilibria at the corners of what the solvers take: bounds, curvature, games without bound, starts."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import brentq

import fedshap as fs
from games import DOMINANT, MECHANISMS, THREE_AGENTS, brute_regret, each_of, every_mechanism

TOL = 1e-9  # find_equilibrium's own default


def test_identical_agents_have_a_continuum_of_equilibria_without_payments() -> None:
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.04, 0.04, 0.04]))
    for start in ([0.0, 0.0, 0.0], [3.0, 1.0, 0.0], [0.0, 0.0, 9.0]):
        found = fs.find_equilibrium(game, fs.NoPayment(), start=start)
        assert_allclose(found.total, 4.0, rtol=1e-9)
        assert found.regret <= TOL
    assert fs.regret(game, fs.NoPayment(), [1.5, 0.5, 2.0]) < 1e-15


@each_of(fs.Mechanism, slow=(fs.AccuracyShaping,))
def test_hopeless_costs_mean_no_contribution(mechanism: fs.Mechanism) -> None:
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([5.0, 6.0, 20.0]))
    assert_array_equal(fs.find_equilibrium(game, mechanism).contributions, np.zeros(3))


def test_a_dominant_agent_gives_nearly_everything() -> None:
    free, fair = (fs.find_equilibrium(DOMINANT, mechanism) for mechanism in (fs.NoPayment(), fs.ShapleyPayment()))
    assert_allclose(free.contributions, [(0.3 / 0.002) ** (1 / 1.3) - 1, 0.0, 0.0, 0.0], rtol=1e-9)

    def slope(x: float) -> float:  # the others' data hardly matter to her: she stops where A'(x) = 4 a'(x) = 0.002
        return 4 * 0.3 / (1 + x) ** 1.3 - 0.002

    assert_allclose(fair.contributions[0], brentq(slope, 1.0, 1e4), rtol=0.02)
    assert fair.contributions[0] > 100 * fair.contributions[1:].max()
    assert fair.regret <= TOL


@every_mechanism
def test_fixed_costs_move_utilities_and_nothing_else(mechanism: fs.Mechanism) -> None:
    rates = [0.10, 0.25, 0.40]
    without = fs.find_equilibrium(fs.Game(fs.PowerLaw(3), fs.LinearCost(rates)), mechanism)
    fixed = fs.find_equilibrium(fs.Game(fs.PowerLaw(3), fs.LinearCost(rates, fixed=0.7)), mechanism)
    assert_allclose(fixed.contributions, without.contributions, rtol=1e-9)
    assert_allclose(fixed.utilities, without.utilities - 0.7, rtol=1e-9)


@every_mechanism
@pytest.mark.parametrize("capacity", [1e3, 1e9, 1e12])
def test_a_capacity_out_of_reach_changes_nothing(mechanism: fs.Mechanism, capacity: float) -> None:
    within = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]), capacity)
    expected = fs.find_equilibrium(THREE_AGENTS, mechanism)
    found = fs.find_equilibrium(within, mechanism)
    assert_allclose(found.contributions, expected.contributions, rtol=1e-6, atol=1e-6)
    assert brute_regret(lambda s, i: float(mechanism.utilities(within, s)[i]), found.contributions, [1e3] * 3) <= TOL


@each_of(fs.NoPayment, fs.CostSharing)
@pytest.mark.parametrize("rates", [[1e-4, 2e-4, 1.0], [1e-5, 1e-5, 1.0]], ids=str)
def test_convex_costs_leave_tiny_contributions(mechanism: fs.Mechanism, rates: list[float]) -> None:
    share = 1.0 - mechanism.beta if isinstance(mechanism, fs.CostSharing) else 1.0
    found = fs.find_equilibrium(fs.Game(fs.PowerLaw(3), fs.PowerCost(rates, 1.5)), mechanism)

    def total(slope: float) -> float:  # everyone's 1.5 gamma sqrt(s) equals the common slope 1 / (1 + S)^2
        return sum((slope / (share * 1.5 * rate)) ** 2 for rate in rates)

    slope = brentq(lambda y: y * (1 + total(y)) ** 2 - 1, 0.0, 1.0, xtol=1e-16)
    assert_allclose(found.contributions, [(slope / (share * 1.5 * rate)) ** 2 for rate in rates], rtol=1e-6)


@each_of(fs.NoPayment, fs.ShapleyPayment, fs.AccuracyShaping)
@pytest.mark.parametrize("exponent", [1.0, 1.5, 2.0])
def test_one_agent_alone_faces_a_problem_in_one_unknown(mechanism: fs.Mechanism, exponent: float) -> None:
    game = fs.Game(fs.PowerLaw(1, alpha=0.3, beta=0.3), fs.PowerCost([0.04], exponent), capacity=400.0)

    def marginal(x: float) -> float:
        return 0.09 / (1 + x) ** 1.3 - 0.04 * exponent * x ** (exponent - 1)

    expected = brentq(marginal, 0.0, 400.0, xtol=1e-14)
    for start in (None, [0.0], [400.0]):
        assert_allclose(fs.find_equilibrium(game, mechanism, start=start).contributions, [expected], rtol=1e-6)


def test_curvature_without_bound_at_zero_does_not_hold_the_solver_there() -> None:
    game = fs.Game(fs.PowerLaw(1, alpha=0.315, beta=0.3), fs.PowerCost([0.405], 1.5), capacity=367.0)
    expected = brentq(lambda x: 0.315 * 0.3 / (1 + x) ** 1.3 - 0.6075 * x**0.5, 0.0, 1.0, xtol=1e-15)
    for start in (None, [0.0], [300.0]):
        assert_allclose(fs.find_equilibrium(game, fs.ShapleyPayment(), start=start).contributions, expected, rtol=1e-6)


@pytest.mark.parametrize("rate", [0.02, 0.2])
def test_an_optimum_far_below_the_start_is_reached_from_a_cost_that_is_flat_at_zero(rate: float) -> None:
    game = fs.Game(fs.PowerLaw(weights=np.full((3, 3), 0.01), beta=0.18), fs.PowerCost([rate] * 3, 1.5))

    def slope(x: float) -> float:  # coalitions of one, two and three equal agents are equally likely
        return sum(0.18 * 0.01 / (1 + 0.01 * k * x) ** 1.18 for k in (1, 2, 3)) - 1.5 * rate * x**0.5

    expected = brentq(slope, 0.0, 10.0, xtol=1e-15)
    assert_allclose(fs.find_equilibrium(game, fs.ShapleyPayment()).contributions, [expected] * 3, rtol=1e-6)


def test_shaping_settles_where_agents_are_worth_very_different_amounts() -> None:
    weights = [[0.02, 0.64, 0.01, 0.001], [0.0014, 0.2, 0.006, 2e-4], [0.028, 0.019, 0.0028, 2.7e-4]]
    payoff = fs.PowerLaw(weights=[*weights, [0.0086, 0.74, 0.012, 8.5e-4]], beta=0.33)
    game, mechanism = fs.Game(payoff, fs.PowerCost([0.47, 0.11, 0.175, 0.0116], 2.0)), fs.AccuracyShaping(0.01)
    found = fs.find_equilibrium(game, mechanism)
    assert brute_regret(lambda s, i: float(mechanism.utilities(game, s)[i]), found.contributions, [1e3] * 4) <= TOL


@pytest.mark.parametrize(
    ("rates", "epsilon"),
    [([0.35485503, 0.41234051, 0.49109588], 0.5), ([0.0054, 0.0046, 0.02], 0.1), ([0.1, 0.25, 0.4], 1e-9)],
    ids=["near", "far", "paper"],
)
def test_shaping_ends_where_each_curve_meets_the_full_payoff(rates: list[float], epsilon: float) -> None:
    found = fs.find_equilibrium(fs.Game(fs.PowerLaw(3), fs.LinearCost(rates)), fs.AccuracyShaping(epsilon))

    def own(level: float, rate: float) -> float:  # where an agent's curve reaches this level
        x0 = rate**-0.5 - 1
        return x0 + (level - (1 - 1 / (1 + x0))) / (rate + epsilon)

    level = brentq(lambda y: 1 - 1 / (1 + sum(own(y, rate) for rate in rates)) - y, 1 - min(rates) ** 0.5, 1 - 1e-12)
    assert_allclose(found.contributions, [own(level, rate) for rate in rates], rtol=1e-6)


# ---- linear payoffs, games without bound --------------------------------------------------------------------


@every_mechanism
def test_linear_payoffs_fill_the_capacities_of_those_who_gain(mechanism: fs.Mechanism) -> None:
    q = np.array([[0.7, 0.1, 0.1], [0.1, 0.6, 0.2], [0.2, 0.1, 0.5]])
    worth = {
        fs.NoPayment: np.diag(q @ q.T),
        fs.CostSharing: np.diag(q @ q.T) / 0.4,  # she bears 1 - 0.6 of her costs
        fs.ShapleyPayment: (q @ q.T).sum(axis=0),
        fs.AccuracyShaping: np.diag(q @ q.T),
        fs.ParticipantsShapley: ((q @ q.T).sum(axis=0) + np.diag(q @ q.T)) / 2.0,
        fs.AumannShapleyPayment: (q @ q.T).sum(axis=0),
        fs.DampedShapley: 0.4 * (q @ q.T).sum(axis=0) + 0.6 * np.diag(q @ q.T),
    }[type(mechanism)]
    rates = worth * [0.5, 0.9, 1.5]
    found = fs.find_equilibrium(fs.Game(fs.RandomDiscovery(q), fs.LinearCost(rates), [1.0, 2.0, 3.0]), mechanism)
    assert_allclose(found.contributions[:2], [1.0, 2.0])
    if not isinstance(mechanism, fs.AccuracyShaping):  # which makes her pay her way to the payoff of others' data
        assert found.contributions[2] == 0.0


UNBOUNDED: dict[str, tuple[fs.Game, fs.Mechanism]] = {
    **{
        f"linear payoff, {type(mechanism).__name__}": (
            fs.Game(fs.RandomDiscovery([[0.7, 0.1], [0.1, 0.6], [0.2, 0.1]]), fs.LinearCost([0.1, 0.2, 0.02])),
            mechanism,
        )
        for mechanism in MECHANISMS
    },
    **{
        f"free data at beta {beta}, {type(mechanism).__name__}": (
            fs.Game(fs.PowerLaw(3, beta=beta), fs.LinearCost([0.0, 0.25, 0.4])),
            mechanism,
        )
        for mechanism in MECHANISMS
        for beta in (0.05, 0.3, 1.0)
    },
    "all costs shared": (THREE_AGENTS, fs.CostSharing(1.0)),
}


@pytest.mark.parametrize(("game", "mechanism"), UNBOUNDED.values(), ids=UNBOUNDED)
def test_contributing_without_bound_is_refused(game: fs.Game, mechanism: fs.Mechanism) -> None:
    with pytest.raises(ValueError, match="without bound"):
        fs.find_equilibrium(game, mechanism)


@pytest.mark.parametrize("beta", [0.05, 1.0])
def test_all_costs_shared_fill_the_capacities(beta: float) -> None:
    game = fs.Game(fs.PowerLaw(3, beta=beta), fs.LinearCost([0.1, 0.2, 0.3]), [5.0, 6.0, 7.0])
    assert_array_equal(fs.find_equilibrium(game, fs.CostSharing(1.0)).contributions, [5.0, 6.0, 7.0])


# ---- arguments ----------------------------------------------------------------------------------------------


@every_mechanism
def test_the_start_does_not_matter_where_the_equilibrium_is_unique(mechanism: fs.Mechanism) -> None:
    expected = fs.find_equilibrium(THREE_AGENTS, mechanism).contributions
    for start in ([0.0, 0.0, 0.0], [1e3, 0.0, 1.0], [1e-9, 1e-9, 1e5]):
        given = np.array(start)
        found = fs.find_equilibrium(THREE_AGENTS, mechanism, start=given)
        assert_allclose(found.contributions, expected, rtol=1e-6, atol=1e-9)
        assert_array_equal(given, start)


@every_mechanism
def test_the_record_cannot_be_written_to(mechanism: fs.Mechanism) -> None:
    found = fs.find_equilibrium(THREE_AGENTS, mechanism)
    for array in (found.contributions, found.payments, found.utilities):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0
    assert found.total == found.contributions.sum()
    methods = dict.fromkeys((fs.NoPayment, fs.CostSharing), "market clearing")
    methods |= dict.fromkeys((fs.AccuracyShaping, fs.AumannShapleyPayment), "best responses")
    assert found.method == methods.get(type(mechanism), "potential")
    assert found.concave is True
    assert found.iterations >= 1
