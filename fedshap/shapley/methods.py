"""Which method computes what Shapley values ask for, and which arguments mean something to it."""

from __future__ import annotations

import numpy as np

from fedshap._coalitions import MAX_EXACT
from fedshap._validation import as_choice, as_instance, as_interval, short
from fedshap.game import Game


def choose_method(game: Game, method: str, tol: float | None = None) -> str:
    """Resolve ``"auto"`` and refuse a method that does not fit the game."""
    small, payoff = game.n_agents <= MAX_EXACT, game.payoff
    mixed = False
    if method == "quadrature" or (method == "auto" and not (small and payoff.fitted_mixture)):
        mixed = payoff.mixture(np.zeros(game.n_agents)) is not None
    chosen = ("quadrature" if mixed or not small else "exact") if method == "auto" else method
    if tol is not None:
        as_interval("tol", tol, 0.0, 1.0)
        if chosen == "exact":
            raise ValueError("tol is for quadrature: this game's coalitions are enumerated, exact but for rounding")
    reason = None
    if chosen == "quadrature" and not mixed:
        reason = f"no exponential mixture is known for {type(payoff).__name__}"
        if method == "auto":
            reason += f", and enumeration takes at most {MAX_EXACT} agents: it has {game.n_agents}"
    elif chosen == "exact" and not small:
        reason = f"exact enumeration takes at most {MAX_EXACT} agents, and this game has {game.n_agents}"
    if reason:
        raise ValueError(
            f'method="{method}" does not fit this game: {reason}. '
            'Use method="permutation" with an rng for an estimate with standard errors; an equilibrium takes rng=, too'
        )
    return chosen


def refuse_unused(game: Game, method: str, **given: object) -> None:
    """Refuse a game that is none, a method that is not known, and arguments that the method has no use for."""
    as_instance("game", game, Game)
    sampling = as_choice("method", method, ("auto", "exact", "quadrature", "permutation")) == "permutation"
    for name, value in given.items():
        if value is not None and sampling == (name == "tol"):
            raise ValueError(f'{name} does not apply to method="{method}"; got {short(value)}: leave it out')
