r"""The experiment behind the paper's Table 1, step by step: deal out, fit, play, judge (Sec. 5.1 and App. E).

A federation trains a few times at set contributions; the closed form is fitted to its accuracies and becomes a game
with random costs; the game is played under ``M^0``, ``M^BG`` and ``M^Shap``. Each game has three answers:

- ``"protocol"``: where the paper's dynamics stand after 1000 iterations, a third of the agents moving in each;
- ``"all move"``: the same with every agent moving in every iteration;
- ``"equilibrium"``: the certified Nash equilibrium.

All here is cheap. The settings are in `fedshap.paper.settings`; the command that trains, keeps and writes is in
`fedshap.paper.command`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedshap._types import ArrayLike, PerAgent
from fedshap._validation import as_array
from fedshap.costs import LinearCost
from fedshap.equilibrium import find_equilibrium, regret
from fedshap.equilibrium.dynamics import best_response_dynamics
from fedshap.federated import Dataset, Federation, fit_payoff, partition, partition_label_shares
from fedshap.game import Game
from fedshap.mechanisms import CostSharing, Mechanism, NoPayment, ShapleyPayment
from fedshap.metrics import reciprocity
from fedshap.paper.published import MECHANISMS
from fedshap.paper.settings import BETA, COST_TO_WORTH, EXPERIMENTS, STEP, Experiment
from fedshap.payoffs import PowerLaw


def deal_out(experiment: Experiment, dataset: Dataset, seed: int) -> Federation:
    """The federation of one repetition."""
    if experiment.rotated:
        return partition(dataset, n_clients=experiment.n_clients, test_fraction=experiment.test_fraction, rng=seed)
    return partition_label_shares(dataset, (0.7, 0.3), test_fraction=experiment.test_fraction, rng=seed)


class Clients(NamedTuple):
    """What a game must know of a federation: group of each client and full batches she owns, both of shape (n,)."""

    groups: NDArray[np.int64]
    owned: NDArray[np.int64]

    @classmethod
    def of(cls, experiment: Experiment, federation: Federation) -> Clients:
        """The clients of a federation."""
        return cls(federation.groups, federation.batches(experiment.batch_size))


def expected_clients(experiment: Experiment) -> Clients:
    """The clients that `deal_out` would give, without the data.

    Raises
    ------
    ValueError
        If the size of the data set is not known beforehand.
    """
    n, total = experiment.n_clients, experiment.n_inputs
    if total is None:
        known = [name for name, each in EXPERIMENTS.items() if each.n_inputs]
        raise ValueError(f"without data and training dataset must be one of {known}; got {experiment.dataset!r}")
    rows = np.arange(total - round(experiment.test_fraction * total))
    owned = [len(part) // experiment.batch_size for part in np.array_split(rows, n)]
    return Clients(np.arange(n) * 3 // n, np.array(owned))


def game_of(experiment: Experiment, weights: ArrayLike, clients: Clients, seed: int) -> Game:
    """The game of Sec. 5.1 with payoff weights (T, T); a seed decides who is dear, whatever the weights."""
    weights = np.asarray(weights, dtype=float)
    limit = experiment.rate_limit
    if limit is None:
        limit = COST_TO_WORTH * float(np.diagonal(weights).mean())
    rates = np.random.default_rng((seed, 0)).uniform(0.0, limit, size=len(clients.owned))
    capacity = clients.owned if experiment.cap is None else np.minimum(clients.owned, experiment.cap)
    return Game(PowerLaw(weights=weights, groups=clients.groups), LinearCost(rates), capacity=capacity)


def mechanisms() -> dict[str, Mechanism]:
    """The three mechanisms of Table 1, in its order."""
    return dict(zip(MECHANISMS, (NoPayment(), CostSharing(BETA), ShapleyPayment()), strict=True))


def answers(experiment: Experiment, game: Game, seed: int) -> dict[str, dict[str, PerAgent]]:
    """Contributions by answer and mechanism, each of shape (n,)."""
    start = np.minimum(1.0, game.capacity)

    def walk(mechanism: Mechanism, movers: int) -> PerAgent:
        return best_response_dynamics(
            game,
            mechanism,
            step=STEP,
            steps=experiment.iterations,
            sample_size=movers,
            rng=np.random.default_rng((seed, 1)),
            start=start,
        ).final

    rules = mechanisms()
    found = {"protocol": {name: walk(each, experiment.movers) for name, each in rules.items()}}
    if experiment.movers < game.n_agents:
        found["all move"] = {name: walk(each, game.n_agents) for name, each in rules.items()}
    solved = {name: find_equilibrium(game, each, on_failure="return") for name, each in rules.items()}
    return found | {"equilibrium": {name: each.contributions for name, each in solved.items()}}


def judge(game: Game, name: str, profiles: Mapping[str, PerAgent], clients: Clients) -> dict[str, Any]:
    """What one mechanism's contributions amount to in the game; gains are relative to ``profiles["M0"]``.

    Shares are of all batches owned and of the capacities, in [0, 1]. ``regret`` certifies the profile: the most that
    any client gains by deviating. A gain over nothing and an infinite reciprocity are None.
    """
    mechanism, s, base = mechanisms()[name], profiles[name], profiles["M0"]
    payoffs = game.payoff.values(s)
    reciprocal = reciprocity(game, mechanism, s)
    return {
        "contributions": s.tolist(),
        "share": float(s.sum() / clients.owned.sum()),
        "share_of_cap": float(s.sum() / game.capacity.sum()),
        "data_gain": ratio(s.sum(), base.sum()),
        "fitted_accuracies": payoffs[np.unique(clients.groups, return_index=True)[1]].tolist(),
        "fitted_accuracy": float(payoffs.mean()),
        "fitted_accuracy_gain": ratio(game.surplus(s), game.surplus(base)),
        "reciprocity": reciprocal if np.isfinite(reciprocal) else None,
        "welfare": float(game.welfare(s)),
        "regret": float(regret(game, mechanism, s)),
    }


def play(experiment: Experiment, weights: ArrayLike, clients: Clients, seed: int) -> dict[str, Any]:
    """One game with all its answers judged, as plain numbers and lists."""
    game = game_of(experiment, weights, clients, seed)
    found = answers(experiment, game, seed)
    return {
        "weights": np.asarray(weights).tolist(),
        "rates": game.cost.derivatives(np.zeros(game.n_agents)).tolist(),
        "answers": {
            answer: {name: judge(game, name, profiles, clients) for name in profiles}
            for answer, profiles in found.items()
        },
    }


def fits(contributions: ArrayLike, accuracies: ArrayLike, groups: ArrayLike, n_classes: int) -> dict[str, Any]:
    """The paper's fit and, for comparison, one that knows of blind guessing; with the runs behind them.

    ``by_chance`` holds a fit for ``a(0) = 0`` and one for ``a(0) = 1 / n_classes``; games use the first.
    """
    arrays = ("weights", "standard_errors", "at_bound", "residuals", "r_squared")
    by_chance = []
    for chance in (0.0, 1.0 / n_classes):
        fitted = fit_payoff(contributions, accuracies, groups, chance=chance)
        by_chance.append({"chance": chance} | {name: finite_or_none(getattr(fitted, name)) for name in arrays})
    runs = {"contributions": np.asarray(contributions).tolist(), "group_accuracies": np.asarray(accuracies).tolist()}
    return runs | {"by_chance": by_chance}


def finite_or_none(array: ArrayLike) -> list[Any]:
    """Nested lists for a JSON file, which knows no infinity (of ``r_squared``, where accuracies are all alike).

    Examples
    --------
    >>> finite_or_none(np.array([0.5, -np.inf]))
    [0.5, None]
    """
    return np.where(np.isfinite(array), array, None).tolist()  # type: ignore[call-overload]


def f1_score(confusion: ArrayLike) -> float | None:
    """F1 of label 1 from counts (2, 2) of true labels by predicted ones; None if label 1 never occurs.

    Examples
    --------
    >>> f1_score(np.array([[50, 10], [5, 35]]))  # precision 35/45, recall 35/40
    0.8235...
    """
    counts = as_array("confusion", confusion, minimum=0.0)
    if counts.shape != (2, 2):
        raise ValueError(f"confusion must have shape (2, 2), true labels by predicted ones; got {counts.shape}")
    (_, false), (missed, true) = counts.tolist()
    return ratio(2 * true, 2 * true + false + missed)


def ratio(above: Any, below: Any) -> float | None:
    """Quotient of two non-negative numbers, None if the lower one is zero."""
    return float(above / below) if below else None
