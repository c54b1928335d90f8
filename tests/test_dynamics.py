"""Best-response dynamics step by step, and where they lead."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fedshap as fs
from games import THREE_AGENTS, each_of, every_mechanism

STEP = 1.5
BOX = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]), capacity=[1.2, 5.0, 2.0])


def multiplier(s: np.ndarray, slope: np.ndarray, step: float, upper: np.ndarray) -> np.ndarray:
    """``mu`` of Eq. (9), case by case; its s_i^* must read s_i^t for s^{t+1} to be feasible."""
    mu = np.zeros(len(s))
    for i in range(len(s)):
        if s[i] + step * slope[i] < 0:
            mu[i] = -slope[i] - s[i] / step
        elif s[i] + step * slope[i] > upper[i]:
            mu[i] = -slope[i] + (upper[i] - s[i]) / step
    return mu


def test_three_steps_without_payments_by_hand() -> None:
    # slopes 1 / (1 + S)^2 less 0.1, 0.25, 0.4: agent 0 is stopped at her capacity, agent 2 at zero
    path = fs.best_response_dynamics(BOX, fs.NoPayment(), step=STEP, steps=3, start=[1.0, 0.4, 0.1])
    s = [1.0, 0.4, 0.1]
    expected = [s]
    for _ in range(3):
        slope = 1 / (1 + sum(s)) ** 2
        s = [
            min(tau, max(0.0, x + STEP * (slope - gamma)))
            for x, gamma, tau in zip(s, (0.10, 0.25, 0.40), (1.2, 5.0, 2.0), strict=True)
        ]
        expected.append(s)
    assert_allclose(path.contributions, expected, rtol=1e-13)
    assert_allclose(path.contributions[1], [1.09, 0.265, 0.0], rtol=1e-13)
    assert path.contributions[2, 0] == 1.2
    assert (path.contributions[1:, 2] == 0.0).all()


@every_mechanism
@pytest.mark.parametrize("start", [[1.0, 0.4, 0.1], [1.2, 5.0, 2.0], [0.0, 0.0, 0.0]], ids=str)
def test_steps_and_residuals_are_equations_8_and_9(mechanism: fs.Mechanism, start: list[float]) -> None:
    path = fs.best_response_dynamics(BOX, mechanism, step=STEP, steps=3, start=start)
    s = np.array(start)
    clipped = False
    for t in range(4):
        assert_allclose(path.contributions[t], s, rtol=1e-13, atol=1e-15)
        slope = mechanism.marginal_utilities(BOX, path.contributions[t])
        mu = multiplier(s, slope, STEP, BOX.capacity)
        clipped = clipped or mu.any()
        g = slope + mu
        assert_allclose(path.residuals[t], np.sqrt((g**2).sum()), rtol=1e-12, atol=1e-15)
        s = s + STEP * g
    assert clipped or start == [1.2, 5.0, 2.0]  # from the capacities everyone moves inside


@pytest.mark.parametrize("sample_size", [1, 2])
def test_sampling_moves_the_drawn_agents_as_if_all_had_moved(sample_size: int) -> None:
    game = fs.Game(fs.PowerLaw(4), fs.LinearCost([0.1, 0.2, 0.3, 0.4]))
    path = fs.best_response_dynamics(
        game, fs.ShapleyPayment(), step=0.5, steps=200, sample_size=sample_size, rng=5, start=[1.0] * 4
    )
    moves = np.zeros(4)
    for before, after in zip(path.contributions[:40], path.contributions[1:41], strict=True):
        everyone = before + 0.5 * fs.ShapleyPayment().marginal_utilities(game, before)
        moved = after != before
        assert moved.sum() == sample_size
        assert_allclose(after[moved], everyone[moved], rtol=1e-13)
        moves += moved
    assert moves.min() >= 3  # everyone's turn comes: 10 or 20 are expected of 40 steps


def test_sampling_is_uniform() -> None:
    game = fs.Game(fs.PowerLaw(4), fs.LinearCost([0.1, 0.1, 0.1, 0.1]), capacity=1e6)
    path = fs.best_response_dynamics(game, fs.NoPayment(), step=1e-6, steps=4000, sample_size=1, rng=0)
    moves = (np.diff(path.contributions, axis=0) != 0).sum(axis=0)
    assert moves.sum() == 4000
    assert np.abs(moves - 1000).max() < 4.5 * np.sqrt(4000 * 0.25 * 0.75)  # standard deviations of a binomial


def test_residuals_under_sampling_are_those_of_all_agents() -> None:
    path = fs.best_response_dynamics(BOX, fs.ShapleyPayment(), step=STEP, steps=5, sample_size=1, rng=1)
    for s, residual in zip(path.contributions, path.residuals, strict=True):
        slope = fs.ShapleyPayment().marginal_utilities(BOX, s)
        g = slope + multiplier(s, slope, STEP, BOX.capacity)
        assert_allclose(residual, np.linalg.norm(g), rtol=1e-12, atol=1e-15)


def test_a_seed_settles_the_path() -> None:
    def draw(rng: int | np.random.Generator) -> np.ndarray:
        return fs.best_response_dynamics(
            THREE_AGENTS, fs.ShapleyPayment(), step=0.5, steps=30, sample_size=1, rng=rng
        ).contributions

    assert_array_equal(draw(3), draw(3))
    assert_array_equal(draw(3), draw(np.random.default_rng(3)))
    assert (draw(3) != draw(4)).any()


@each_of(fs.NoPayment, fs.CostSharing, fs.ShapleyPayment)
@pytest.mark.parametrize("game", [THREE_AGENTS, BOX], ids=["no capacity", "capacities"])
def test_dynamics_lead_to_the_equilibrium(mechanism: fs.Mechanism, game: fs.Game) -> None:
    path = fs.best_response_dynamics(game, mechanism, step=1.0, steps=1500)
    assert_allclose(path.final, fs.find_equilibrium(game, mechanism).contributions, rtol=0, atol=1e-8)
    assert path.residuals[-1] < 1e-8 < path.residuals[0]


def test_sampled_dynamics_lead_to_the_equilibrium() -> None:
    path = fs.best_response_dynamics(THREE_AGENTS, fs.ShapleyPayment(), step=1.0, steps=3000, sample_size=1, rng=2)
    assert_allclose(path.final, fs.find_equilibrium(THREE_AGENTS, fs.ShapleyPayment()).contributions, atol=1e-8)


def test_single_agent_steps_climb_the_potential() -> None:
    game = fs.Game(fs.PowerLaw(4, beta=0.5), fs.LinearCost([0.1, 0.2, 0.3, 0.4]))
    path = fs.best_response_dynamics(game, fs.ShapleyPayment(), step=0.5, steps=60, sample_size=1, rng=9)
    heights = [fs.ShapleyPayment().potential(game).value(s) for s in path.contributions]
    assert (np.diff(heights) >= -1e-15).all()
    assert heights[-1] > heights[0] + 0.1


def test_no_steps_leave_the_start() -> None:
    start = np.array([0.5, 0.25, 0.125])
    path = fs.best_response_dynamics(BOX, fs.NoPayment(), step=1.0, steps=0, start=start)
    assert_array_equal(path.contributions, [start])
    assert path.residuals.shape == (1,)
    assert_array_equal(path.final, start)


def test_the_default_start_lies_inside_the_box() -> None:
    path = fs.best_response_dynamics(BOX, fs.NoPayment(), step=1.0, steps=0)
    assert_array_equal(path.final, np.minimum(BOX.units / 3.0, BOX.capacity / 2.0))
    assert (path.final < BOX.capacity).all()


def test_the_path_cannot_be_written_to_and_the_start_is_left_alone() -> None:
    start = np.array([1.0, 0.4, 0.1])
    path = fs.best_response_dynamics(BOX, fs.NoPayment(), step=STEP, steps=3, sample_size=2, start=start)
    for array in (path.contributions, path.residuals, path.final):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0
    assert_array_equal(start, [1.0, 0.4, 0.1])
