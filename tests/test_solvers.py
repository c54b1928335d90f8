"""The two solvers' inner problems, against general-purpose optimisers."""

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, milp, minimize

import fedshap as fs
from fedshap.equilibrium.ascent import _maximise_expansion
from fedshap.shapley.expansion import Expansion


@pytest.mark.parametrize("seed", range(12))
def test_a_step_maximises_the_expansion_over_the_box(seed):
    """First-order conditions of the box-constrained concave quadratic, and no better point by L-BFGS-B."""
    rng = np.random.default_rng(seed)
    n, rank = 40, int(rng.integers(1, 6))
    own = 10.0 ** rng.uniform(-8, 0, n)  # nearly singular: the common part dominates by far
    here = Expansion(0.0, rng.normal(size=n), own, rng.uniform(0, 2, (n, rank)))
    lower, upper = -rng.uniform(0, 2, n), rng.uniform(0, 2, n)
    d = _maximise_expansion(here, lower, upper)

    def value(step):
        return here.gradient @ step - 0.5 * own @ step**2 - 0.5 * ((here.shared.T @ step) ** 2).sum()

    slope = here.gradient - own * d - here.shared @ (here.shared.T @ d)
    assert (d >= lower).all()
    assert (d <= upper).all()
    # An agent of curvature 1e-8 turns a rounding of 1e-16 in the common price into a step of 1e-8.
    attainable = 1e-15 * n / own.min()
    assert slope[d <= lower].max(initial=-np.inf) <= attainable
    assert slope[d >= upper].min(initial=np.inf) >= -attainable
    assert abs(slope[(d > lower) & (d < upper)]).max(initial=0.0) <= attainable
    other = minimize(lambda x: -value(x), np.zeros(n), bounds=np.c_[lower, upper], method="L-BFGS-B")
    assert value(d) >= -other.fun - 1e-9


def test_linear_surplus_gives_all_or_nothing():
    """No curvature at all: each agent gives her capacity or nothing, as a linear programme says."""
    payoff = fs.RandomDiscovery(np.eye(4) * 0.5 + 0.1)
    worth = payoff.weights.sum(axis=0)
    game = fs.Game(payoff, fs.LinearCost(worth * [0.5, 2.0, 0.9, 1.1]), capacity=[1.0, 2.0, 3.0, 4.0])
    found = fs.find_equilibrium(game, fs.ShapleyPayment()).contributions
    programme = milp(-(worth - game.cost.rates), bounds=(0, game.capacity), constraints=LinearConstraint(np.eye(4)))
    np.testing.assert_allclose(found, programme.x, atol=1e-12)
    np.testing.assert_array_equal(found, [1.0, 0.0, 3.0, 0.0])


@pytest.mark.parametrize("difference", [1e-2, 1e-4, 1e-6, 1e-10])
def test_the_slightly_cheaper_agent_replaces_the_other_altogether(difference):
    """Best responses move a tiny amount per sweep here; with a common payoff the cheapest alone contributes."""
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1, 0.1 + difference, 0.4]))
    found = fs.find_equilibrium(game, fs.NoPayment())
    np.testing.assert_allclose(found.contributions, [np.sqrt(10) - 1, 0, 0], rtol=1e-9, atol=0)
