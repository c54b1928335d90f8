"""The object decides, not its class: subclasses of everything shipped that change one method each, by brute force.

A subclass that changes what a payoff is (values, curve, arguments) changes every answer; one that changes what follows
from it (a total, a slope, a mixture) contradicts itself, and gets an error, never the parent's answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fedshap as fs
from fedshap.payoffs.base import GroupCurves
from fedshap.payoffs.mixtures import Mixture
from games import (
    MECHANISMS,
    Plain,
    brute_potential,
    brute_regret,
    brute_shapley,
    each_of,
    every_mechanism,
    utility_of,
)

S3 = np.array([3.0, 1.0, 0.5])
RATES = [0.10, 0.25, 0.40]
_rng = np.random.default_rng(0)
_W, _Q = _rng.uniform(0.1, 1.0, (3, 3)), _rng.dirichlet(np.ones(4), 3) * 0.95


def roots(s: np.ndarray) -> np.ndarray:
    return np.sqrt(1.0 + s.sum(axis=-1, keepdims=True)) * np.ones(3) - 1.0


SHIPPED: dict[str, tuple[type[fs.Payoff], dict[str, Any]]] = {
    "common": (fs.PowerLaw, {"n_agents": 3}),
    "weights": (fs.PowerLaw, {"weights": _W, "beta": 0.5}),
    "groups": (fs.PowerLaw, {"weights": [[0.9, 0.3], [0.2, 0.8]], "groups": [0, 0, 1]}),
    "each her own": (fs.PowerLaw, {"alpha": [1.0, 0.5, 0.8], "beta": [0.5, 1.0, 0.7]}),
    "learning curve": (fs.LearningCurve, {"function": np.log1p, "slope": lambda z: 1 / (1 + z), "n_agents": 3}),
    "discovery": (fs.RandomDiscovery, {"probabilities": _Q}),
    "coverage": (fs.RandomCoverage, {"probabilities": _Q}),
    "bound": (fs.PACBound, {"n_agents": 3, "optimum": 0.9, "complexity": 0.001}),
    "custom": (fs.CustomPayoff, {"function": roots, "n_agents": 3}),
}
CURVES = [name for name, (kind, _) in SHIPPED.items() if issubclass(kind, fs.LearningCurve) and name != "bound"]

every_payoff = pytest.mark.parametrize("name", SHIPPED)


def saturating(z: np.ndarray) -> np.ndarray:
    return -np.expm1(-z)


def plain_of(payoff: fs.Payoff) -> Plain:
    """The payoff's values alone."""
    return lambda s: payoff.values([float(x) for x in s]).tolist()


def doubled(base: type, method: str) -> type:
    """A subclass with twice what one method of the parent returns."""

    def twice(self: Any, *args: Any, **settings: Any) -> Any:
        return 2.0 * np.asarray(getattr(base, method)(self, *args, **settings))

    return type("Twice", (base,), {method: twice})


def assert_right(payoff: fs.Payoff, s: np.ndarray = S3) -> None:
    """Values, potential and gradient are those of the payoff's values."""
    game, plain = fs.Game(payoff, fs.LinearCost(RATES)), plain_of(payoff)

    def share(x: np.ndarray, i: int) -> float:
        return brute_shapley(plain, x.tolist(), i)

    step = 1e-4 * s
    slopes = [(share(s + h, i) - share(s - h, i)) / (2 * h[i]) for i, h in enumerate(np.diag(step))]
    assert_allclose(fs.shapley_values(game, s), [share(s, i) for i in range(3)], rtol=1e-9)
    assert_allclose(fs.shapley_potential(game, s), brute_potential(plain, s.tolist()), rtol=1e-9)
    assert_allclose(fs.shapley_gradient(game, s), slopes, rtol=1e-5)


def assert_settled(game: fs.Game, mechanism: fs.Mechanism, found: fs.Equilibrium) -> None:
    """By brute force nobody gains; the brute force sees nothing but the payoff's values and the cost's."""

    def own(x: float, i: int) -> float:
        return float(game.cost.values(np.where(np.arange(game.n_agents) == i, x, 0.0))[i])

    upper = np.minimum(game.capacity, 1e3).tolist()
    utility = utility_of(mechanism, plain_of(game.payoff), own, upper)
    assert brute_regret(utility, found.contributions.tolist(), upper) <= 1e-8 * found.scale


# ---- payoffs that are changed at the root: everything follows ----------------------------------------------


@every_payoff
def test_twice_the_values(name: str) -> None:
    kind, settings = SHIPPED[name]
    payoff = doubled(kind, "values")(**settings)
    assert_right(payoff)
    assert payoff.concave is None
    assert_allclose(payoff.total(S3), 2.0 * kind(**settings).total(S3))
    assert_allclose(payoff.own_gains(S3, S3[:, None])[:, 0], 2.0 * kind(**settings).gains(S3))


@pytest.mark.parametrize("mechanism", MECHANISMS[:3], ids=lambda mechanism: type(mechanism).__name__)
@pytest.mark.parametrize("name", ["common", "groups", "coverage", "custom"])
def test_equilibria_of_twice_the_values(name: str, mechanism: fs.Mechanism) -> None:
    kind, settings = SHIPPED[name]
    game = fs.Game(doubled(kind, "values")(**settings), fs.LinearCost(RATES), capacity=50.0)
    assert_settled(game, mechanism, fs.find_equilibrium(game, mechanism))


@pytest.mark.parametrize("name", CURVES)
def test_another_curve_with_its_slope(name: str) -> None:
    """A1: the mixture belonged to the parent's curve, and its equilibrium was certified."""
    kind, settings = SHIPPED[name]
    methods = {"curve": lambda self, z: saturating(z), "slope": lambda self, z: np.exp(-z)}
    assert_right(type("Saturating", (kind,), methods)(**settings))


@pytest.mark.parametrize("name", CURVES)
def test_another_curve_alone(name: str) -> None:
    kind, settings = SHIPPED[name]
    if name == "learning curve":  # which is tried on construction, slope and all
        settings = settings | {"slope": lambda z: np.exp(-z)}
    assert_right(type("Saturating", (kind,), {"curve": lambda self, z: saturating(z)})(**settings))


@pytest.mark.parametrize("name", [*CURVES, "bound"])
def test_other_arguments(name: str) -> None:
    kind, settings = SHIPPED[name]
    assert_right(doubled(kind, "arguments")(**settings))


def test_the_equilibrium_of_another_curve() -> None:
    """A1: 3.59, 1.45, 0.79 belonged to the parent; by brute force it left a regret of 0.031."""

    class Saturating(fs.PowerLaw):
        def curve(self, z: np.ndarray) -> np.ndarray:
            return saturating(z)

        def slope(self, z: np.ndarray) -> np.ndarray:
            return np.exp(-z)

    class Renamed(Saturating):  # two levels down
        pass

    for kind in (Saturating, Renamed):
        game = fs.Game(kind(3), fs.LinearCost(RATES))
        found = fs.find_equilibrium(game, fs.ShapleyPayment())
        assert_allclose(found.contributions, [2.598712, 1.598490, 1.058938], rtol=1e-6)
        assert_allclose(found.payments.sum(), 0.0, atol=1e-12)
        assert_settled(game, fs.ShapleyPayment(), found)


def test_a_mixin_and_a_grandchild_decide_too() -> None:
    class Squared:
        """Payoffs as squares: a mixin knows nothing of curves."""

        def values(self, s: Any) -> np.ndarray:
            return super().values(s) ** 2  # type: ignore[misc]

    class SquaredLaw(Squared, fs.PowerLaw):
        pass

    class Grandchild(SquaredLaw):
        def values(self, s: Any) -> np.ndarray:
            return 3.0 * super().values(s)

    assert_right(SquaredLaw(3))
    assert_right(Grandchild(3))
    assert_allclose(Grandchild(3).total_gain(S3), 3.0 * SquaredLaw(3).total_gain(S3))


# ---- payoffs that contradict themselves: an error ----------------------------------------------------------


def outcome(act: Callable[[], Any]) -> Any:
    """What comes of it: an answer, or an error that a caller is meant to see."""
    try:
        return act()
    except (ValueError, fs.ConvergenceError) as error:
        return error


@every_payoff
@pytest.mark.parametrize(
    "method",
    ["total", "total_gain", "gains", "own_gains", "jacobian", "total_gradient", "own_gradient", "slope", "curve_gain"],
)
def test_what_contradicts_the_values_is_no_answer(name: str, method: str) -> None:
    kind, settings = SHIPPED[name]
    if not hasattr(kind, method):
        pytest.skip("no such method")
    made = outcome(lambda: doubled(kind, method)(**settings))
    if isinstance(made, Exception):
        return  # refused on construction
    game, plain = fs.Game(made, fs.LinearCost(RATES), capacity=50.0), plain_of(made)
    step = np.diag(1e-4 * S3)
    right = {
        fs.shapley_values: [brute_shapley(plain, S3.tolist(), i) for i in range(3)],
        fs.shapley_potential: brute_potential(plain, S3.tolist()),
        fs.shapley_gradient: [
            (brute_shapley(plain, (S3 + h).tolist(), i) - brute_shapley(plain, (S3 - h).tolist(), i)) / (2 * h[i])
            for i, h in enumerate(step)
        ],
    }
    for quantity, expected in right.items():
        found = outcome(lambda quantity=quantity: quantity(game, S3))
        if not isinstance(found, Exception):
            assert_allclose(found, expected, rtol=1e-5)
    for mechanism in (fs.NoPayment(), fs.ShapleyPayment()):
        found = outcome(lambda mechanism=mechanism: fs.find_equilibrium(game, mechanism))
        if isinstance(found, fs.Equilibrium):
            assert_settled(game, mechanism, found)


def test_the_error_says_what_disagrees() -> None:
    game = fs.Game(doubled(fs.PowerLaw, "total")(3), fs.LinearCost(RATES))
    with pytest.raises(ValueError, match=r"total of this Twice must agree.* it says 4.9\d+ where values"):
        fs.shapley_values(game, S3)
    game = fs.Game(doubled(fs.CustomPayoff, "jacobian")(roots, 3), fs.LinearCost(RATES))
    with pytest.raises(ValueError, match="total_gradient, along s, of this Twice must agree"):
        fs.shapley_gradient(game, S3)
    for method in ("gains", "own_gains"):
        game = fs.Game(doubled(fs.PowerLaw, method)(3), fs.LinearCost(RATES))
        with pytest.raises(ValueError, match=f"^{method} of this Twice must agree"):
            fs.regret(game, fs.NoPayment(), S3)


@every_payoff
def test_a_wrong_mixture_is_refused(name: str) -> None:
    kind, settings = SHIPPED[name]
    wrong = Mixture(0.0, np.ones(3), np.zeros(0), np.zeros((0, 3)), np.arange(3))
    payoff = type("Wrong", (kind,), {"mixture": lambda self, s, tolerance=1e-14: wrong, "fitted_mixture": False})
    game = fs.Game(payoff(**settings), fs.LinearCost(RATES))
    for quantity in (fs.shapley_values, fs.shapley_gradient, fs.shapley_potential):
        with pytest.raises(ValueError, match="mixture of this Wrong is not its surplus"):
            quantity(game, S3)


@every_payoff
@pytest.mark.parametrize("mechanism", [fs.NoPayment(), fs.CostSharing(0.5)], ids=["NoPayment", "CostSharing"])
def test_wrong_markets_never_certify(name: str, mechanism: fs.Mechanism) -> None:
    kind, settings = SHIPPED[name]
    wrong = GroupCurves(lambda z: 7.0 * np.exp(-z), np.ones((1, 1)), np.zeros(3, dtype=np.intp))
    game = fs.Game(type("Wrong", (kind,), {"markets": lambda self: wrong})(**settings), fs.LinearCost(RATES), 50.0)
    found = outcome(lambda: fs.find_equilibrium(game, mechanism))
    if isinstance(found, fs.Equilibrium):
        assert_settled(game, mechanism, found)


@pytest.mark.parametrize("name", ["common", "groups", "coverage", "learning curve"])
@every_mechanism
def test_other_units_change_where_a_search_starts_and_not_where_it_ends(name: str, mechanism: fs.Mechanism) -> None:
    kind, settings = SHIPPED[name]
    settings = settings | ({"concave": True} if name == "learning curve" else {})
    cost = fs.LinearCost([0.1, 0.2, 0.3])
    expected = fs.find_equilibrium(fs.Game(kind(**settings), cost, 50.0), mechanism).contributions
    other = type("Other", (kind,), {"units": property(lambda self: np.array([0.05, 3.0, 20.0]))})
    found = fs.find_equilibrium(fs.Game(other(**settings), cost, 50.0), mechanism).contributions
    assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


# ---- an own payoff with an own mixture ----------------------------------------------------------------------


class Ponds(fs.Payoff):
    """Everybody gets ``1 - exp(-sum_j k_j s_j)``, from values and mixture alone."""

    def __init__(self, yields: np.ndarray, factor: float = 1.0) -> None:
        self.yields, self.factor, self.n_agents = yields, factor, len(yields)
        self.concave = True

    def values(self, s: Any) -> np.ndarray:
        caught = -np.expm1(-(self._profile(s) @ self.yields))
        return np.repeat(caught[..., None], self.n_agents, axis=-1)

    def mixture(self, s: Any, tolerance: float = 1e-14) -> Mixture:
        n = float(self.n_agents)
        coefficients = np.array([self.factor * n])
        return Mixture(n, np.zeros(n_classes := 2), coefficients, np.array([[1.0, 2.0]])[:, :n_classes], self.classes)

    @property
    def classes(self) -> np.ndarray:
        return (self.yields == 2.0).astype(np.intp)


def test_an_own_payoff_with_its_own_mixture_is_solved_for_ten_thousand_agents() -> None:
    n = 10_000
    yields = np.resize([1.0, 2.0], n)
    rates = np.where(yields == 2.0, 0.8, 0.5)
    game = fs.Game(Ponds(yields), fs.PowerCost(rates, 2.0))
    found = fs.find_equilibrium(game, fs.ShapleyPayment())
    assert found.relative_regret <= 1e-9
    # Agents of a kind give alike, x and y. For the coalition R_q all others catch nothing with probability
    # exp(-(5000 (1 - e^-x) + 5000 (1 - e^-2y)) q) but for 1/n: the gradient of each is k e^-ks / sum of these.
    x, y = found.contributions[:2]
    assert_allclose(found.contributions, np.resize([x, y], n), rtol=1e-6)
    taken = 5000 * (1 - np.exp(-x)) + 5000 * (1 - np.exp(-2 * y))
    assert_allclose(n * 1.0 * np.exp(-x) / taken, 2 * 0.5 * x, rtol=1e-3)
    assert_allclose(n * 2.0 * np.exp(-2 * y) / taken, 2 * 0.8 * y, rtol=1e-3)


def test_an_own_payoff_with_the_mixture_of_another_is_refused() -> None:
    game = fs.Game(Ponds(np.resize([1.0, 2.0], 30), factor=1.001), fs.PowerCost(np.full(30, 0.5), 2.0))
    with pytest.raises(ValueError, match="mixture of this Ponds is not its surplus"):
        fs.find_equilibrium(game, fs.ShapleyPayment())


def test_an_own_payoff_of_five_agents_is_the_same_with_and_without_its_mixture() -> None:
    class Bare(Ponds):
        def mixture(self, s: Any, tolerance: float = 1e-14) -> None:  # type: ignore[override]
            return None

    yields, s = np.array([1.0, 2.0, 1.0, 2.0, 1.0]), np.array([0.3, 0.1, 0.0, 0.5, 0.2])
    ours, bare = (fs.Game(kind(yields), fs.PowerCost(np.full(5, 0.5), 2.0)) for kind in (Ponds, Bare))
    assert_allclose(fs.shapley_values(ours, s), fs.shapley_values(bare, s), rtol=1e-12)
    found = [fs.find_equilibrium(game, fs.ShapleyPayment()).contributions for game in (ours, bare)]
    assert_allclose(found[0], found[1], rtol=1e-6)


# ---- costs ----------------------------------------------------------------------------------------------------

COSTS: dict[str, tuple[type[fs.Cost], tuple[Any, ...]]] = {
    "linear": (fs.LinearCost, (RATES,)),
    "power": (fs.PowerCost, (RATES, 1.5)),
    "custom": (fs.CustomCost, (lambda s: 0.1 * s + 0.05 * s**2, 3)),
    "custom with derivative": (fs.CustomCost, (lambda s: 0.1 * s + 0.05 * s**2, 3, lambda s: 0.1 + 0.1 * s)),
}


@each_of(fs.Mechanism, slow=(fs.NoPayment, fs.CostSharing, fs.AccuracyShaping))
@pytest.mark.parametrize("name", COSTS)
def test_twice_the_costs(name: str, mechanism: fs.Mechanism) -> None:
    kind, arguments = COSTS[name]
    if name == "custom" and not isinstance(mechanism, fs.ShapleyPayment):
        pytest.skip("by differences of differences: slow, and nothing new")
    if name == "custom with derivative":  # the function is tried against it on construction
        with pytest.raises(ValueError, match="derivative must be the derivative of function"):
            doubled(kind, "values")(*arguments)
        return
    cost = doubled(kind, "values")(*arguments)
    assert_allclose(cost.derivatives(S3), 2.0 * kind(*arguments).derivatives(S3), rtol=1e-8)
    assert_allclose(cost.of(np.array([2, 0])).values([1.0, 2.0]), cost.values([2.0, 0.0, 1.0])[[2, 0]])
    game = fs.Game(fs.PowerLaw(3), cost, capacity=50.0)
    found = fs.find_equilibrium(game, mechanism)
    expected = fs.find_equilibrium(fs.Game(fs.PowerLaw(3), 2.0 * kind(*arguments), 50.0), mechanism)
    assert_allclose(found.contributions, expected.contributions, rtol=1e-6, atol=1e-8)
    if not isinstance(mechanism, fs.AccuracyShaping):
        assert_settled(game, mechanism, found)


@pytest.mark.parametrize("mechanism", MECHANISMS[:3], ids=lambda mechanism: type(mechanism).__name__)
@pytest.mark.parametrize("method", ["derivatives", "second_derivatives", "constant_rates"])
@pytest.mark.parametrize("name", ["linear", "power"])
def test_what_contradicts_the_costs_never_certifies(name: str, method: str, mechanism: fs.Mechanism) -> None:
    kind, arguments = COSTS[name]
    if kind(*arguments).constant_rates() is None and method == "constant_rates":
        pytest.skip("none to double")
    game = fs.Game(fs.PowerLaw(3), doubled(kind, method)(*arguments), capacity=50.0)
    found = outcome(lambda: fs.find_equilibrium(game, mechanism))
    if isinstance(found, fs.Equilibrium):
        assert_settled(game, mechanism, found)


@pytest.mark.parametrize("mechanism", MECHANISMS[:3], ids=lambda mechanism: type(mechanism).__name__)
@pytest.mark.parametrize("name", ["linear", "power"])
def test_a_wrong_supply_never_certifies(name: str, mechanism: fs.Mechanism) -> None:
    kind, arguments = COSTS[name]
    wrong = type("Wrong", (kind,), {"supply": lambda self, price: kind.supply(self, 2.0 * price)})
    game = fs.Game(fs.PowerLaw(3), wrong(*arguments), capacity=50.0)
    found = outcome(lambda: fs.find_equilibrium(game, mechanism))
    if isinstance(found, fs.Equilibrium):
        assert_settled(game, mechanism, found)


# ---- mechanisms -------------------------------------------------------------------------------------------------


def received_of(game: fs.Game, mechanism: fs.Mechanism) -> Callable[[Any, int], float]:
    """Utilities from what the mechanism pays and costs, and from nothing else of it."""
    return lambda s, i: float((game.payoff.values(s) + mechanism.payments(game, s) - game.cost.values(s))[i])


@pytest.mark.parametrize("method", ["payments", "received"])
@each_of(fs.Mechanism, slow=(fs.ShapleyPayment, fs.AccuracyShaping))
def test_a_mechanism_that_pays_otherwise(mechanism: fs.Mechanism, method: str) -> None:
    """A tenth of what she gives, as a prize, on top of the parent's rule."""
    kind = type(mechanism)

    def prized(self: Any, game: fs.Game, s: Any) -> np.ndarray:
        return getattr(kind, method)(self, game, s) + 0.05 * np.sqrt(np.asarray(s))

    settings = {name: getattr(mechanism, name) for name in ("beta", "epsilon", "r") if hasattr(mechanism, name)}
    changed = type("Prized", (kind,), {method: prized})(**settings)
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost(RATES), capacity=50.0)
    assert changed.potential(game) is None
    assert changed.markets(game) is None
    assert_allclose(changed.received(game, S3) - game.payoff.values(S3), changed.payments(game, S3), atol=1e-12)
    found = outcome(lambda: fs.find_equilibrium(game, changed))
    if isinstance(found, fs.Equilibrium):
        regret = brute_regret(received_of(game, changed), found.contributions.tolist(), [50.0] * 3)
        assert regret <= 1e-7 * found.scale
    else:
        assert isinstance(mechanism, fs.AccuracyShaping)  # a kink and a root: no pure equilibrium is promised


@pytest.mark.parametrize("method", ["marginal_utilities", "potential", "markets"])
@every_mechanism
def test_what_contradicts_the_payments_never_certifies(mechanism: fs.Mechanism, method: str) -> None:
    kind = type(mechanism)
    if kind is fs.AumannShapleyPayment and method == "marginal_utilities":
        pytest.skip("by differences of averages of differences: slow, and nothing new")

    def wrong(self: Any, game: fs.Game, *args: Any) -> Any:
        other = fs.Game(doubled(fs.PowerLaw, "values")(3), game.cost, game.capacity)
        if method == "markets":
            return fs.NoPayment().markets(fs.Game(fs.PowerLaw(3, alpha=2.0), game.cost, game.capacity))
        if method == "potential":
            return fs.ShapleyPayment().potential(other)
        return kind.marginal_utilities(self, other, *args)

    settings = {name: getattr(mechanism, name) for name in ("beta", "epsilon", "r") if hasattr(mechanism, name)}
    changed = type("Wrong", (kind,), {method: wrong})(**settings)
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost(RATES), capacity=50.0)
    found = outcome(lambda: fs.find_equilibrium(game, changed))
    if isinstance(found, fs.Equilibrium):
        assert brute_regret(received_of(game, changed), found.contributions.tolist(), [50.0] * 3) <= 1e-7 * found.scale


def test_a_mixture_that_only_grew_by_a_constant_is_the_same() -> None:
    """What data are worth does not change with what there is without them."""

    class Lifted(fs.PowerLaw):
        def mixture(self, s: Any, tolerance: float = 1e-14) -> Mixture:
            form = super().mixture(s, tolerance)
            return dataclasses.replace(form, constant=form.constant + 1.0)  # type: ignore[arg-type]

    assert_right(Lifted(3))
