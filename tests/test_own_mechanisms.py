"""Mechanisms of one's own: what follows from the payments alone, against the formulas of the shipped ones."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fedshap as fs
from games import THREE_AGENTS, brute_regret, each_of, every_mechanism, linear_cost, power_law, random_cases


class ByPayments(fs.Mechanism):
    """Another mechanism's payments, and nothing else of it."""

    def __init__(self, other: fs.Mechanism) -> None:
        self.other = other

    def payments(self, game, s):
        return self.other.payments(game, s)


class ByReceived(fs.Mechanism):
    """What another mechanism gives, and nothing else of it."""

    def __init__(self, other: fs.Mechanism) -> None:
        self.other = other

    def received(self, game, s):
        return self.other.received(game, s)


class EqualSplit(fs.Mechanism):
    """A prize that is shared evenly."""

    def payments(self, game, s):
        return np.full_like(game.profile(s), 1.0 / game.n_agents)


class Contest(fs.Mechanism):
    """A prize of 1 that is shared in proportion to what is given."""

    def payments(self, game, s):
        s = game.profile(s)
        total = s.sum(axis=-1, keepdims=True)
        return np.where(total > 0.0, s / np.where(total > 0.0, total, 1.0), 1.0 / game.n_agents)


class Bonus(fs.Mechanism):
    """0.15 for each data point up to two: a kink, where agents stop."""

    smooth = False

    def payments(self, game, s):
        return 0.15 * np.minimum(game.profile(s), 2.0)


def games(n: int = 3) -> dict[str, fs.Game]:
    """Every payoff with linear costs, and one with power costs; capacities of which some are reached."""
    rates = np.linspace(0.05, 0.4, n)
    made = {case.id: fs.Game(case.payoff, fs.LinearCost(rates, 0.1), 20.0) for case in random_cases(n, seed=8)}
    return made | {"power cost": fs.Game(random_cases(n, seed=8)[1].payoff, fs.PowerCost(rates, 2.0), 20.0)}


GAMES = games()
every_game = pytest.mark.parametrize("name", GAMES)


@every_game
@every_mechanism
def test_marginal_utilities_by_differences_are_the_formulas(name: str, mechanism: fs.Mechanism) -> None:
    game = GAMES[name]
    far = 19.0 if isinstance(mechanism, fs.AccuracyShaping) else 20.0  # its kink may lie on the capacity
    s = np.array([[1.0, 2.0, 0.5], [0.0, 4.0, 0.1], [far, 0.0, far]])
    expected = mechanism.marginal_utilities(game, s)
    for own in (ByPayments(mechanism), ByReceived(mechanism)):
        assert not own.has_marginals
        assert_allclose(own.marginal_utilities(game, s), expected, rtol=1e-7, atol=1e-9)
        assert_allclose(own.marginal_utility(game, s[1], 2), expected[1, 2], rtol=1e-7, atol=1e-9)


@every_game
@every_mechanism
def test_deviation_utilities_by_moved_profiles_are_the_formulas(name: str, mechanism: fs.Mechanism) -> None:
    game, s, who = GAMES[name], np.array([1.0, 2.0, 0.5]), np.array([2, 0])
    x = np.random.default_rng(0).uniform(0.0, 20.0, (2, 6))
    for own in (ByPayments(mechanism), ByReceived(mechanism)):
        found, expected = (each.deviation_utilities(game, s, x, who) for each in (own, mechanism))
        # a constant for each agent may be left out
        assert_allclose(found - found[:, :1], expected - expected[:, :1], rtol=1e-9, atol=1e-12)


@every_mechanism
def test_payments_and_what_is_received_belong_together(mechanism: fs.Mechanism) -> None:
    game = GAMES["weights"]
    s = np.array([[1.0, 2.0, 0.5], [0.0, 4.0, 0.1]])
    for name in ("payments", "received", "utilities"):
        expected = getattr(mechanism, name)(game, s)
        for own in (ByPayments(mechanism), ByReceived(mechanism)):
            assert_allclose(getattr(own, name)(game, s), expected, rtol=1e-13, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("n", [3, 10])
@pytest.mark.parametrize("mechanism", [EqualSplit(), Contest(), Bonus()], ids=lambda m: type(m).__name__)
def test_mechanisms_of_one_method_are_solved_and_certified(mechanism: fs.Mechanism, n: int) -> None:
    rates = np.linspace(0.1, 0.4, n)
    game = fs.Game(fs.PowerLaw(n), fs.LinearCost(rates))
    found = fs.find_equilibrium(game, mechanism)
    assert found.regret < 1e-9
    assert found.method == "best responses"
    plain, cost = power_law(np.ones((n, n))), linear_cost(rates.tolist())[1]

    def utility(s, i: int) -> float:  # written out, none of the package's
        total = sum(s)
        share = {"EqualSplit": 1 / n, "Contest": s[i] / total if total else 1 / n, "Bonus": 0.15 * min(s[i], 2.0)}
        return plain(s)[i] + share[type(mechanism).__name__] - cost(s[i], i)

    assert brute_regret(utility, found.contributions.tolist(), [np.inf] * n) < 1e-8


def test_an_even_prize_changes_nothing() -> None:
    expected = fs.find_equilibrium(THREE_AGENTS, fs.NoPayment()).contributions
    assert_allclose(fs.find_equilibrium(THREE_AGENTS, EqualSplit()).contributions, expected, rtol=1e-8)


def test_the_contest_by_hand() -> None:
    # a = 1 - 1/(1+S) is worth 1/(1+S)^2 to each, the prize (S - s_i) / S^2: four equal agents balance both against 1/4
    game = fs.Game(fs.PowerLaw(4), fs.LinearCost([0.25] * 4))
    total = fs.find_equilibrium(game, Contest()).total
    assert_allclose(1.0 / (1.0 + total) ** 2 + 0.75 / total, 0.25, rtol=1e-7)


@pytest.mark.parametrize("exponent", [-15, -6, 6, 15])
def test_answers_do_not_depend_on_the_unit_of_data(exponent: int) -> None:
    class Shares(Contest):
        pass

    unit = 10.0**exponent
    rates = np.array([0.10, 0.25, 0.40])
    game = fs.Game(fs.PowerLaw(weights=[[1.0 / unit]], groups=[0, 0, 0]), fs.LinearCost(rates / unit))
    s = np.array([2.0, 0.7, 0.1])
    expected = Shares().marginal_utilities(fs.Game(fs.PowerLaw(3), fs.LinearCost(rates)), s)
    assert_allclose(Shares().marginal_utilities(game, s * unit) * unit, expected, rtol=1e-7)


# ---- the object decides ------------------------------------------------------------------------------------------


@each_of(fs.Mechanism, slow=(fs.ShapleyPayment,))
@pytest.mark.parametrize("method", ["payments", "received"])
def test_a_subclass_that_changes_the_payments_changes_the_game(mechanism: fs.Mechanism, method: str) -> None:
    kind = type(mechanism)

    def changed(self, game, s):  # 0.1 for each data point on top
        return getattr(kind, method)(self, game, s) + 0.1 * game.profile(s)

    sub = type("Sub", (kind,), {method: changed})
    own = sub(*[getattr(mechanism, name) for name in mechanism._parameters()])
    game, s = fs.Game(fs.PowerLaw(3, beta=0.7), fs.LinearCost([0.2, 0.25, 0.4])), np.array([1.0, 2.0, 0.5])
    assert_allclose(own.marginal_utilities(game, s), mechanism.marginal_utilities(game, s) + 0.1, rtol=1e-7, atol=1e-9)
    assert_allclose(own.utilities(game, s), mechanism.utilities(game, s) + 0.1 * s, rtol=1e-12)
    assert_allclose(own.received(game, s) - game.payoff.values(s), own.payments(game, s), rtol=1e-12, atol=1e-15)
    assert own.potential(game) is None
    assert own.markets(game) is None
    subsidised = fs.Game(game.payoff, fs.LinearCost([0.1, 0.15, 0.3]))
    if kind is not fs.AccuracyShaping and kind is not fs.CostSharing:  # whose payments depend on the costs
        expected = fs.find_equilibrium(subsidised, mechanism).contributions
        assert_allclose(fs.find_equilibrium(game, own).contributions, expected, rtol=1e-6, atol=1e-9)


def test_a_subclass_that_changes_nothing_keeps_the_formulas() -> None:
    class Named(fs.ShapleyPayment):
        """A name of its own."""

    assert Named().potential(THREE_AGENTS) is not None
    assert Named().has_marginals
    assert fs.find_equilibrium(THREE_AGENTS, Named()).method == "potential"


def test_later_methods_win_over_earlier_ones() -> None:
    class Given(fs.NoPayment):
        def received(self, game, s):
            return 2.0 * game.payoff.values(s)

    class Paid(Given):
        def payments(self, game, s):
            return 0.0 * game.profile(s)

    class More(Given):
        def payments(self, game, s):
            return super().payments(game, s) + 0.1

    s = [1.0, 1.0, 1.0]
    assert_allclose(More().received(THREE_AGENTS, s), 2.0 * THREE_AGENTS.payoff.values(s) + 0.1, rtol=1e-14)
    assert_allclose(Given().payments(THREE_AGENTS, s), THREE_AGENTS.payoff.values(s), rtol=1e-15)
    assert_array_equal(Paid().received(THREE_AGENTS, s), THREE_AGENTS.payoff.values(s))


def test_a_mechanism_needs_payments() -> None:
    class Nothing(fs.Mechanism):
        pass

    with pytest.raises(TypeError, match="payments"):
        Nothing()  # type: ignore[abstract]


# ---- a user's function is put to the test ------------------------------------------------------------------------


def mechanism_of(function) -> fs.Mechanism:
    return type("Mine", (fs.Mechanism,), {"payments": lambda self, game, s: function(np.asarray(s, dtype=float))})()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda s: s / (1.0 + s.sum()), r"payments of Mine must be vectorised .*axis=-1"),
        (lambda s: np.zeros(s.shape[:-1]), r"payments of Mine must have the shape of s"),
        (lambda s: np.where(s > 1e3, np.nan, s), r"payments of Mine must be numbers; some are NaN at s="),
    ],
    ids=["forgotten axis", "shape", "nan"],
)
def test_wrong_payments_are_refused_by_name(function, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fs.find_equilibrium(THREE_AGENTS, mechanism_of(function))


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Watched(fs.Mechanism):
        def payments(self, game, s):
            seen.append(np.asarray(s).size)
            return 0.1 * game.profile(s)

    monkeypatch.setattr("fedshap.mechanisms.base._AT_A_TIME", 30)
    x = np.random.default_rng(0).uniform(0.0, 5.0, (3, 41))
    found = Watched().deviation_utilities(THREE_AGENTS, [1.0, 2.0, 0.5], x)
    assert max(seen) == 30
    expected = fs.NoPayment().deviation_utilities(THREE_AGENTS, [1.0, 2.0, 0.5], x) + 0.1 * x
    assert_allclose(found - found[:, :1], expected - expected[:, :1], rtol=1e-12, atol=1e-14)
