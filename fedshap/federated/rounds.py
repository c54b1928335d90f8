"""One round of FedBR-Shap, and the settlement of a stage.

Algorithm 1 of the paper cannot be run as printed. What was mended stands beside the line that it mends, with its
number in the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fedshap._types import Array, PerAgent
from fedshap.federated.coalition_models import CoalitionGame
from fedshap.federated.deviations import Search, certificate
from fedshap.federated.estimators import Observation
from fedshap.federated.exchange import (
    Clients,
    Description,
    Keep,
    Offer,
    ScoreTask,
    Slope,
    Trained,
    TrainTask,
    accepted,
    mixture,
    wrong_decision,
    wrong_scores,
    wrong_training,
)
from fedshap.federated.ledger import Line, digest
from fedshap.federated.rules import Rules
from fedshap.federated.states import State

Drawn = Callable[[int], dict[str, int | None]]
"""How many coalitions of so many players are scored."""

_ADDS_UP = 1e-12  # of the scores: what a client owes must be what she gained


@dataclass(frozen=True, eq=False)
class Played:
    """The coalition game of one training, among those who answered both requests."""

    players: list[int]  # numbers of the clients, increasing
    trained: dict[int, Trained]
    game: CoalitionGame
    task: ScoreTask  # their models alone
    scores: Array  # (players, K, m)
    refused: dict[str, str]


def play_round(rules: Rules, clients: Clients, state: State) -> tuple[Line, State]:
    """Lines 8-22. Line 8 lets t run to W H in every stage and h never advances; here a stage is W rounds."""
    number, n = state.rounds + 1, len(state.amounts)
    # The shuffles of `train`, which counts rounds from 0, and further ones.
    streams = ((state.rounds,), *((state.rounds, shuffle) for shuffle in range(1, rules.repeats)))
    # Lines 13-20, the step of Eq. (11), are the client's: only she knows her cost.
    offers = {client: _offer(rules, state, client) for client in range(n)}
    # Line 9. The second model goes on from the first: it costs eps further batches, not s_i + eps.
    task = TrainTask(state.weights, offers, streams, rules.estimator.offsets)
    played = play(rules, clients, task)
    # Line 12. Shapley's weights; App. F.2 prints 1 / 2^(n-1), Banzhaf's, which balance no budget from n = 3 on.
    owed = _owed(played, n)
    # Line 10. The mean of those who trained. Over all n, one who gives nothing holds the model back.
    weights = mixture(played.task.models[0], played.game.everybody, state.weights)
    seen = _window(rules, state, played)
    total = played.scores.sum(axis=0)  # (K, m)
    own = played.game.own_shares(total) if played.game.n_versions > 1 else None
    present = played.game.amounts[:, 0]
    marginals, errors = rules.estimator.marginals(played.game.amounts, own, _among(seen, played.players), present)
    line = {
        "round": number,
        "stage": state.stages + 1,
        "amounts": _listed(played.players, present, n),
        "refused": played.refused,
        "shares": owed.sum(axis=1).tolist(),
        "share errors": _listed(played.players, played.game.shares(total[0])[1], n),
        "gains": owed.sum(axis=0).tolist(),
        "transfers": transfers(owed).tolist(),
        "marginals": _listed(played.players, marginals, n),
        "marginal errors": _listed(played.players, errors, n),
        "evaluations": len(played.task.mixing) * len(streams),
        "scores": digest(played.scores),
        "weights": digest(weights),
    }
    after = replace(
        state,
        weights=weights,
        amounts=_replaced(state.amounts, played.players, present),
        marginals=_replaced(np.full(n, np.nan), played.players, marginals),
        owed=state.owed + owed,
        public=_public(rules, played, state),
        observations=seen,
        rounds=number,
    )
    return line, after


def settle(rules: Rules, clients: Clients, state: State, described: Sequence[Description]) -> tuple[Line, State]:
    """Lines 24-26, and what Algorithm 1 has not: the audit, and the search for something better to give.

    Line 26 pays the last round's share for the whole stage; here shares and gains are those of all its rounds, and
    each client pays each of the others for what those added to her own score.
    """
    owed, line = state.owed, {"stage": state.stages + 1, "rounds": [state.settled + 1, state.rounds]}
    if rules.audit is not None:
        tests = np.array([float(each.n_tests) for each in described])
        verdict = rules.audit.verdict(owed, state.public, tests)
        if rules.audit.enforce:
            owed = owed.copy()
            owed[:, verdict.alarms] = verdict.audited[:, verdict.alarms]
        line["audit"] = {"z": _finite(verdict.z), "limit": verdict.limit.tolist(), "alarms": verdict.alarms}
    paid = transfers(owed)
    line |= {
        "payments": paid.tolist(),
        "sum": float(paid.sum()),
        "shares": owed.sum(axis=1).tolist(),
        "gains": owed.sum(axis=0).tolist(),
    }
    amounts, marginals = state.amounts, state.marginals
    if rules.search is not None:
        line["certificate"], amounts = _search(rules, rules.search, clients, state)
        marginals = np.full_like(marginals, np.nan)  # they were measured where nobody may be any more
    line["next amounts"] = amounts.tolist()
    after = replace(
        state,
        amounts=amounts,
        marginals=marginals,
        owed=np.zeros_like(owed),
        public=tuple(np.zeros_like(each) for each in state.public),
        settled=state.rounds,
        stages=state.stages + 1,
    )
    return line, after


def play(rules: Rules, clients: Clients, task: TrainTask, drawn: Drawn | None = None) -> Played:
    """Have clients train, and score what their coalitions make; one who fails at either is left out of the game.

    ``drawn`` says how many coalitions are scored, by default as in a round. What the others scored is used again where
    the smaller game's mixtures are among the larger one's, as they are if all coalitions are scored. Else they are
    asked once more.
    """
    trained, silent = accepted(clients.train(task), list(task.offers), lambda answer: wrong_training(answer, task))
    refused = {str(client): f"training: {why}" for client, why in silent.items()}
    players = sorted(trained)
    rules.require_quorum(players, len(task.offers), refused)
    game, scored = _game(rules, drawn or rules.drawn, task, trained, players)
    scores, silent = _scored(clients, scored, players)
    while silent:
        refused |= {str(client): f"scoring: {why}" for client, why in silent.items()}
        kept = [player for player in players if player in scores]
        rules.require_quorum(kept, len(task.offers), refused)
        smaller, fewer = _game(rules, drawn or rules.drawn, task, trained, kept)
        places = game.places([players.index(player) for player in kept], smaller)
        game, scored, players = smaller, fewer, kept
        if places is None:
            scores, silent = _scored(clients, scored, players)
        else:
            scores, silent = {player: scores[player][:, places] for player in kept}, {}
    return Played(
        players, {i: trained[i] for i in players}, game, scored, np.array([scores[i] for i in players]), refused
    )


def transfers(owed: Array) -> PerAgent:
    r"""What each client receives: :math:`\sum_j (\Phi_{ij} - \Phi_{ji})`. Every term has its negative in the sum."""
    return (owed - owed.T).sum(axis=1)


def _search(rules: Rules, search: Search, clients: Clients, state: State) -> tuple[dict[str, Any], PerAgent]:
    """What anybody would gain by another amount, and the amounts that clients give next."""
    task = search.task(state.weights, state.amounts, state.rounds)
    played = play(rules, clients, task, lambda players: rules.drawn_for_search(search, players))
    shares = played.game.own_shares(played.scores.sum(axis=0))
    question = search.question(task, played.trained, shares)
    answers, silent = accepted(clients.train(question), played.players, lambda answer: wrong_decision(answer, question))
    decisions = {client: answer.decision for client, answer in answers.items()}
    found: dict[str, Any] = certificate(played.trained, shares, decisions, len(state.amounts))
    found["refused"] = played.refused | {str(client): f"deciding: {why}" for client, why in silent.items()}
    amounts = state.amounts.copy()
    for client, answer in answers.items():
        amounts[client] = answer.amounts[0]
    return found, amounts


def _offer(rules: Rules, state: State, client: int) -> Offer:
    amount, marginal = float(state.amounts[client]), float(state.marginals[client])
    return Keep(amount) if np.isnan(marginal) else Slope(amount, marginal, rules.step)


def _game(
    rules: Rules, drawn: Drawn, task: TrainTask, trained: Mapping[int, Trained], players: Sequence[int]
) -> tuple[CoalitionGame, ScoreTask]:
    """The coalitions of some who trained, and their models."""
    amounts = np.array([trained[player].amounts for player in players])
    game = CoalitionGame(amounts, rules.average, **drawn(len(players)), seed=task.streams[0])
    models = np.concatenate([trained[player].models for player in players], axis=1)  # (K, players * k, P)
    return game, ScoreTask(task.weights, models, game.mixing)


def _scored(clients: Clients, task: ScoreTask, players: Sequence[int]) -> tuple[dict[int, Array], dict[int, str]]:
    return accepted(clients.score(task, players), players, lambda answer: wrong_scores(answer, task))


def _owed(played: Played, n: int) -> Array:
    """``Phi``, shape (n, n), zero in the rows and columns of those who are out."""
    scores = played.scores[:, 0]
    shares = played.game.shares(scores)[0]  # (scorers, players)
    off = np.abs(shares.sum(axis=1) - played.game.surplus(scores))
    if not (off <= _ADDS_UP).all():
        raise ArithmeticError(f"shares miss the gains that they divide by {off.max():.2g}")
    owed = np.zeros((n, n))
    owed[np.ix_(played.players, played.players)] = shares.T
    return owed


def _public(rules: Rules, played: Played, state: State) -> tuple[Array, ...]:
    """The stage's shares on each public input, with those of this round."""
    if rules.audit is None:
        return state.public
    sums = []
    for before, outcomes in zip(state.public, rules.audit.outcomes(played.task), strict=True):
        after = before.copy()
        after[:, played.players] += played.game.shares(outcomes)[0]
        sums.append(after)
    return tuple(sums)


def _window(rules: Rules, state: State, played: Played) -> tuple[Observation, ...]:
    """The last rounds' coalitions, this one's included, as far as the estimator wants them."""
    if not rules.estimator.window:
        return ()
    n, coalitions = len(state.amounts), played.game.coalition_scores(played.scores.transpose(1, 0, 2))
    new = []
    for values in coalitions:  # (players, coalitions), one for each shuffle
        profiles, scores = np.zeros((values.shape[1], n)), np.full((values.shape[1], n), np.nan)
        profiles[:, played.players] = played.game.profiles
        scores[:, played.players] = values.T
        new.append(Observation(profiles, scores))
    return (*state.observations, *new)[-rules.estimator.window * rules.repeats :]


def _among(observations: Sequence[Observation], players: Sequence[int]) -> list[Observation]:
    """Those that the same clients took part in, and of these alone."""
    same = [each for each in observations if np.flatnonzero(~np.isnan(each.scores[0])).tolist() == list(players)]
    return [Observation(each.profiles[:, players], each.scores[:, players]) for each in same]


def _listed(players: Sequence[int], values: PerAgent, n: int) -> list[float | None]:
    """One entry for each client: None for those who are out, or where a value is not known."""
    found: list[float | None] = [None] * n
    for player, value in zip(players, values.tolist(), strict=True):
        found[player] = value if np.isfinite(value) else None
    return found


def _replaced(values: PerAgent, players: Sequence[int], new: PerAgent) -> PerAgent:
    found = values.copy()
    found[list(players)] = new
    return found


def _finite(values: PerAgent) -> list[float | str]:
    return [value if np.isfinite(value) else "infinite" for value in values.tolist()]
