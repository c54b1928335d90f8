"""The study of what FedBR-Shap earns: its clients, samplers, lies and books, against independent routes."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, replace
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from tqdm import tqdm

import fedshap as fs
from fedshap.federated import (
    Audit,
    Client,
    FedBRShap,
    LocalClients,
    Search,
    load_dataset,
    set_aside,
)
from fedshap.federated.choices import decide
from fedshap.federated.exchange import Curve, Keep, ScoreTask, TrainTask
from fedshap.federated.rounds import play, transfers
from fedshap.federated.study import cheating, command, contributions, noise, peers, settling, study
from fedshap.federated.study.lies import LIES, Liar, best, coefficients, owed_by
from fedshap.federated.study.parties import (
    Amplifier,
    FreeRider,
    Party,
    Standing,
    costs,
    deal,
    flipped,
    party,
    played_rounds,
    retrained,
    training,
    warm,
)
from fedshap.federated.study.samplers import gtg, gtg_round, permutations
from fedshap.federated.study.settings import SETTINGS, TUNING
from fedshap.federated.study.summaries import paired, rank_correlation, ranks, spread
from fedshap.federated.study.units import Units

DIGITS = load_dataset("digits")
QUICK = SETTINGS["digits"].quick()


def some(n: int = 3, seed: int = 1, kind: str = "linear") -> Party:
    return party(QUICK, deal(QUICK, DIGITS, seed, n), costs(QUICK, kind, seed, n), seed)


def brute_shapley(table: np.ndarray) -> np.ndarray:
    """The mean marginal gain over all orders."""
    n = len(table).bit_length() - 1
    total = np.zeros(n)
    for order in itertools.permutations(range(n)):
        mask = 0
        for player in order:
            total[player] += table[mask | 1 << player] - table[mask]
            mask |= 1 << player
    return total / factorial(n)


def random_table(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=1 << n)


# ---- clients ----------------------------------------------------------------------------------------


def test_scored_in_one_pass_or_each_on_her_own_is_the_same():
    federation = deal(QUICK, DIGITS, 1, 4)
    cost = costs(QUICK, "linear", 1, 4)
    own = LocalClients(federation, cost, training(QUICK, 1), capacity=[m.capacity for m in some(4).members])
    task = TrainTask(own.weights, {i: Keep(3.0 + i) for i in range(4)}, ((1,), (1, 1)), offsets=(2.0,))
    first, second = (play(FedBRShap(search=None), clients, task) for clients in (own, some(4)))
    assert_array_equal(first.task.models, second.task.models)
    assert_array_equal(first.scores, second.scores)


def test_a_standing_game_is_played_from_the_same_model_on_other_shuffles():
    clients = some()
    at = warm(QUICK, clients)
    asked: list[np.ndarray] = []

    class Watched(Party):
        def train(self, task: TrainTask) -> Any:
            asked.append(task.weights)
            return super().train(task)

    run = FedBRShap(search=None).run(Standing(Watched(clients.members), at), 2, progress=False)
    assert_array_equal(asked, [at, at])
    assert run.rounds[0]["weights"] != run.rounds[1]["weights"]


def test_a_client_has_a_short_repr():
    (first, *_) = some().members
    assert repr(first).startswith("Client(number=0, cost=LinearCost(rates=[")
    assert repr(Liar(first, LIES["boast"], 3)).startswith("Liar(number=0, cost=")


def test_attackers_do_as_they_are_named():
    federation = deal(QUICK, DIGITS, 1, 3)
    make = [
        kind(0, federation.train[0], federation.test[0], fs.LinearCost([0.0]), training(QUICK, 1))
        for kind in (Client, FreeRider, Amplifier)
    ]
    task = TrainTask(make[0].weights, {0: Keep(4.0)}, ((1,),))
    honest, rider, amplifier = (client.train(task) for client in make)
    assert rider.amounts.tolist() == [0.0]
    assert_array_equal(rider.models[0, 0], task.weights)
    assert_allclose(amplifier.models - task.weights, 4.0 * (honest.models - task.weights), rtol=1e-12)
    assert not (flipped(federation.train[0]).labels == federation.train[0].labels).any()


def test_everybody_retrained_is_plain_averaging_and_nobody_is_the_start():
    clients = some()
    amounts = np.array([2.0, 0.0, 3.0])
    weights = clients.weights
    for number in (1, 2):
        sent = clients.train(TrainTask(weights, {i: Keep(amounts[i]) for i in (0, 2)}, ((number, 5, 2),)))
        weights = (sent[0].models[0, 0] + sent[2].models[0, 0]) / 2.0
    assert_allclose(retrained(clients, amounts, 2, range(3), 5), weights, rtol=1e-12)
    assert_array_equal(retrained(clients, amounts, 2, [1], 5), clients.weights)


def test_costs_of_both_kinds_have_one_marginal_at_half_the_capacity():
    half = np.full(4, QUICK.capacity / 2.0)
    linear, convex = (costs(QUICK, kind, 3, 4) for kind in ("linear", "convex"))
    assert_allclose(linear.derivatives(half), convex.derivatives(half), rtol=1e-12)
    assert convex.derivatives(0.5 * half)[0] < linear.derivatives(half)[0] < convex.derivatives(1.5 * half)[0]


# ---- settling ---------------------------------------------------------------------------------------


def test_gains_are_those_of_retraining_one_client_at_a_time():
    """At n=3: all of a deviator's coalitions retrained by hand, shares by all orders, halves by hand."""
    table = settling.Table.of(QUICK, DIGITS, "convex", 4)
    amounts = np.array([4.0, 2.0, 6.0])
    judged = settling.judge(table, FedBRShap(search=None), table.standing, amounts)
    search, at, who = Search(QUICK.levels, QUICK.shuffles), table.standing.weights, 1
    levels = [amounts[who], *(min(x, table.clients.members[who].capacity) for x in QUICK.levels)]
    shares = np.empty((QUICK.shuffles, len(levels)))
    for shuffle in range(QUICK.shuffles):
        for k, level in enumerate(levels):
            profile = np.where(np.arange(3) == who, level, amounts)
            stream = ((settling._FRESH_ROUND, shuffle + 1, 1),)
            sent = table.clients.train(TrainTask(at, {i: Keep(profile[i]) for i in range(3)}, stream))
            values = np.empty(8)
            for mask in range(8):
                members = [i for i in range(3) if mask >> i & 1 and profile[i] > 0.0]
                model = np.mean([sent[i].models[0, 0] for i in members], axis=0) if members else at
                scores = table.clients.score(ScoreTask(at, model[None, None], np.ones((1, 1))), range(3))
                values[mask] = sum(float(each[0, 0]) for each in scores.values())
            shares[shuffle, k] = brute_shapley(values)[who]
    own = table.cost.of(np.array([who]))
    expected = decide(Curve(np.array(levels), shares, search.level), own)
    assert_allclose(judged["shares at levels"][who], shares.mean(axis=0)[1:], atol=1e-12)
    assert_allclose(judged["gains"][who], expected.gain, atol=1e-12)
    assert_allclose(judged["bounds"][who], expected.bound, atol=1e-12)


def test_tuning_sees_no_seed_of_the_results(tmp_path: Path):
    settings = replace(QUICK, tuning_seeds=2)
    names = []

    class Named(Units):
        def unit(self, name: str, compute: Any) -> dict[str, Any]:
            names.append(name)
            return dict.fromkeys(settling.RULES, dict.fromkeys(map(str, QUICK.steps), 0.0))

    with tqdm(disable=True) as bar:
        settling._tuned(settings, DIGITS, "linear", Named(tmp_path, asdict(settings), bar))
    assert names == [f"tuning-linear-{TUNING}", f"tuning-linear-{TUNING + 1}"]
    assert TUNING > 100


def test_the_step_that_leaves_least_is_chosen(tmp_path: Path):
    gains = {"10.0": 0.3, "30.0": -0.1, "100.0": 0.2}
    settings = replace(QUICK, steps=(10.0, 30.0, 100.0))
    with tqdm(disable=True) as bar:
        units = Units(tmp_path, asdict(settings), bar)
        units.unit(f"tuning-linear-{TUNING}", lambda: dict.fromkeys(settling.RULES, gains))
        found = settling._tuned(settings, DIGITS, "linear", units)
    assert set(found["steps"].values()) == {30.0}


# ---- samplers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 5])
def test_whole_permutations_balance_and_are_right_on_average(n: int):
    table, rng = random_table(n, 2), np.random.default_rng(0)
    drawn = [permutations(table, 2 * n, rng) for _ in range(1500)]
    shares = np.array([each.shares for each in drawn])
    assert_allclose(shares.sum(axis=1), table[-1] - table[0], atol=1e-12)
    assert max(each.evaluations for each in drawn) <= 2 * n
    error = np.abs(shares.mean(axis=0) - brute_shapley(table)) / (shares.std(axis=0) / np.sqrt(len(shares)))
    assert error.max() < 4.0


def test_truncated_permutations_are_exact_where_order_does_not_matter():
    worth = np.array([0.3, 0.1, 0.2, 0.05])
    table = np.array([worth[[i for i in range(4) if mask >> i & 1]].sum() for mask in range(16)])
    found = gtg_round(table, np.random.default_rng(1))
    assert_allclose(found.shares, worth, rtol=1e-12)


def test_truncation_stops_where_the_rest_changes_little():
    """Whoever comes first brings all: the others are never evaluated, and each has a quarter."""
    table = np.append(0.0, np.full(15, 0.8))
    found = gtg_round(table, np.random.default_rng(1))
    assert_allclose(found.shares, 0.2, rtol=1e-12)
    assert found.evaluations == 6  # nobody, everybody, and four alone
    table[[3, 5, 6, 9, 10, 12, 7, 11, 13, 14]] += 0.0005  # less than the threshold away: not looked at
    assert_allclose(gtg_round(table, np.random.default_rng(1)).shares, 0.2, rtol=1e-12)
    table[-1] += 0.002  # more than the threshold away: all are looked at
    assert gtg_round(table, np.random.default_rng(1)).evaluations == 16


def test_rounds_that_change_little_count_for_nothing():
    still, moving = random_table(3, 5), random_table(3, 6)
    still[-1] = still[0] + 0.0099
    assert not gtg([still], np.random.default_rng(0)).shares.any()
    assert_array_equal(
        gtg([still, moving], np.random.default_rng(0)).shares, gtg([moving], np.random.default_rng(0)).shares
    )
    still[-1] = still[0] + 0.0101
    assert gtg([still], np.random.default_rng(0)).shares.any()


@pytest.mark.skipif(peers.version() is None, reason="FedML is not installed: pip install --no-deps fedml")
def test_the_peer_divides_an_additive_game_as_it_should():
    worth = np.array([0.3, 0.1, 0.2])
    table = np.array([worth[[i for i in range(3) if mask >> i & 1]].sum() for mask in range(8)])
    before = np.random.get_state()[1]  # noqa: NPY002
    found = peers.fedml_gtg([table, table], seed=0)
    assert found is not None
    assert_allclose(found[0], worth / worth.sum(), rtol=1e-12)
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert peers.fedml_gtg([np.full(8, 0.5)], seed=0) is None


def test_paired_regression_of_all_coalitions_is_exact():
    table = random_table(5, 3)
    shares, errors, evaluations = noise._regression(table, 32, np.random.default_rng(0))
    assert_allclose(shares, brute_shapley(table), atol=1e-12)
    assert not np.any(errors)
    assert evaluations == 32


# ---- who contributes --------------------------------------------------------------------------------


def test_the_truth_divides_what_all_gain_together_and_gives_a_free_rider_nothing():
    clients = contributions.cast(QUICK, deal(QUICK, DIGITS, 1, 3), "free rider", 1)
    amounts = np.array([8.0, 4.0, 2.0])
    truth = contributions._truth(QUICK, clients, amounts, 1)
    model = retrained(clients, amounts, QUICK.contribution_rounds, range(3), 1)
    task = ScoreTask(clients.weights, np.array([[clients.weights, model]]), np.eye(2))
    gained = sum(float(each[0, 1] - each[0, 0]) for each in clients.score(task, range(3)).values())
    assert truth[0] == 0.0
    assert_allclose(truth.sum(), gained, atol=1e-12)


def test_measures_by_hand():
    clients = some()
    played = list(played_rounds(clients, np.array([3.0, 0.0, 5.0]), 2, clients.weights))
    found, evaluations = contributions._measures(played, 0)
    ours, leave_one_out = np.zeros(3), np.zeros(3)
    for each in played:
        table = each.game.coalition_scores(each.scores)[:, 0].sum(axis=0)
        ours += brute_shapley(table)
        leave_one_out += [table[7] - table[7 ^ 1 << i] for i in range(3)]
    assert_allclose(found["ours"], ours, atol=1e-12)
    assert_allclose(found["leave-one-out"], leave_one_out, atol=1e-12)
    assert_array_equal(found["batches"], [6.0, 0.0, 10.0])
    updates = played[0].task.models[0][[0, 2]] - played[0].task.weights
    mean = updates.mean(axis=0)
    expected = [u @ mean / np.sqrt(u @ u) / np.sqrt(mean @ mean) for u in updates]
    assert_allclose(contributions._cosines(played[0])[[0, 2]], expected, rtol=1e-12)
    assert contributions._cosines(played[0])[1] == 0.0
    assert evaluations["ours"] == 16


# ---- who can cheat ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 4, 5])
def test_what_a_report_brings_is_linear_in_it(n: int):
    """Against shares by all orders and the payment rule itself."""
    for liar in range(n):
        report = random_table(n, liar)
        owed = np.zeros((n, n))
        owed[:, liar] = brute_shapley(report)
        assert_allclose(owed_by(report[None]), owed[:, liar], atol=1e-12)
        assert_allclose(report @ coefficients(n, liar, "bilateral"), transfers(owed)[liar], atol=1e-12)
        assert_allclose(report @ coefficients(n, liar, "paper"), owed[liar, liar], atol=1e-12)


@pytest.mark.parametrize("n", [3, 4, 6])
def test_the_best_lie_takes_what_the_limit_allows_and_no_report_more(n: int):
    rng, limit = np.random.default_rng(n), 2.0 * (1.0 - 1.0 / n)
    linear = coefficients(n, 1, "bilateral")
    told = best(rng.uniform(size=(1, 1 << n)), 1)[0]
    assert_allclose(told @ linear, limit, rtol=1e-12)
    assert (rng.integers(0, 2, size=(3000, 1 << n)) @ linear).max() <= limit + 1e-12
    assert told @ linear > 0.99 * limit
    true = rng.uniform(0.3, 0.6, size=(1, 1 << n))
    near = best(true, 1, width=0.05)
    assert np.abs(near - true).max() <= 0.05 + 1e-12
    others = true + rng.choice([-0.05, 0.05], size=(3000, 1 << n))
    assert (others @ linear).max() <= (near @ linear).max() + 1e-12


@pytest.mark.parametrize("name", LIES)
@pytest.mark.parametrize("enforce", [False, True])
def test_a_liar_in_the_protocol_is_paid_as_the_study_says(name: str, enforce: bool):
    """One round, one stage: the liar herself against the lie told of the honest round's scores."""
    federation, public = set_aside(deal(QUICK, DIGITS, 2, 3, 0.4), 60, 0)
    clients = party(QUICK, federation, costs(QUICK, "linear", 2, 3), 2)
    audit = Audit(public, federation.groups, training(QUICK, 2), enforce=enforce)
    rules = FedBRShap(search=None, audit=audit, stage=1)
    members = LocalClients(federation, costs(QUICK, "linear", 2, 3), training(QUICK, 2)).members
    cast = [Liar(member, LIES[name], 3) if i == 1 else member for i, member in enumerate(members)]

    class Own(Party):
        def score(self, task: ScoreTask, who: Any) -> Any:
            return {number: self.members[number].score(task) for number in who}

    stage = rules.run(Own(cast), 1, progress=False).stages[0]
    offers = {i: Keep(4.0) for i in range(3)}
    played = play(rules, clients, TrainTask(clients.weights, offers, ((0,),)))
    scores = played.game.coalition_scores(played.scores)[:, 0]
    owed = np.array([brute_shapley(each) for each in scores]).T
    owed[:, 1] = brute_shapley(np.asarray(LIES[name](scores[1][None], 1))[0])
    if enforce:
        alarms = stage["audit"]["alarms"]
        inputs = [played.game.shares(each)[0] for each in audit.outcomes(played.task)]
        owed[:, alarms] = np.array([inputs[federation.groups[i]].mean(axis=0) for i in alarms]).reshape(-1, 3).T
        assert 1 in alarms or name not in ("boast", "best lie, paper", "best lie, bilateral")
        assert not alarms or name != "honest"
    assert_allclose(stage["payments"], transfers(owed), atol=1e-12)
    assert abs(stage["sum"]) < 1e-12


def test_pools_divided_among_all_give_the_scores_of_the_clients():
    """With no public inputs and the clients' own division, scores are those that they report."""
    federation = deal(QUICK, DIGITS, 2, 3, 0.4)
    stages = cheating._outcomes(QUICK, federation, 2)
    clients = party(QUICK, federation, costs(QUICK, "linear", 2, 3), 2)
    amounts = np.full(3, QUICK.cheating_amount)
    rounds = list(played_rounds(clients, amounts, QUICK.cheating_rounds, clients.weights))
    split = cheating._split(stages, federation, 0, np.random.default_rng(0))
    for number, played in enumerate(rounds):
        stage, place = divmod(number, QUICK.stage)
        expected = played.game.coalition_scores(played.scores)[:, 0]
        assert_allclose(split.scores[stage, place], expected, atol=1e-12)  # one client a group: any order will do
    assert split.tests.tolist() == [len(test) for test in federation.test]


def test_shares_on_public_inputs_are_those_of_the_audit():
    federation = deal(QUICK, DIGITS, 2, 3, 0.4)
    stages = cheating._outcomes(QUICK, federation, 2)
    size = stages[0][0].shape[1]
    split = cheating._split(stages, federation, size - 5, np.random.default_rng(0))
    order = np.random.default_rng(0).permutation(size)[: size - 5]
    expected = [brute_shapley(stages[0][0][:, row].sum(axis=0)) for row in order[:20]]
    assert_allclose(split.public[0][0][:20], expected, atol=1e-12)


def test_what_liars_receive_by_each_rule():
    """Shares by all orders, and the audit's word put in place of hers by hand."""
    federation = deal(QUICK, DIGITS, 2, 3, 0.4)
    split = cheating._split(cheating._outcomes(QUICK, federation, 2), federation, 30, np.random.default_rng(0))
    audit = Audit(federation.test, federation.groups, training(QUICK, 2))
    rows = cheating._told(QUICK, audit, split, LIES["boast"])
    assert [(row["stage"], row["liar"]) for row in rows] == [(0, 0), (0, 1), (0, 2)]
    true = np.array([brute_shapley(split.scores[0, :, client].sum(axis=0)) for client in range(3)]).T
    for liar, row in enumerate(rows):
        told = split.scores[0, :, liar].copy()
        told[:, [mask for mask in range(8) if mask >> liar & 1]] = 1.0
        owed = true.copy()
        owed[:, liar] = brute_shapley(told.sum(axis=0))
        assert_allclose(row["received"]["paper"], owed[liar].sum() - true[:, liar].sum(), atol=1e-12)
        assert_allclose(row["received"]["bilateral"], owed[liar].sum() - owed[:, liar].sum(), atol=1e-12)
        assert_allclose(row["sum of the paper's payments"], owed.sum() - true.sum(), atol=1e-12)
        assert row["alarm"] == {"10": True, "30": True}
        owed[:, liar] = split.public[0][liar][:30].mean(axis=0)
        assert_allclose(row["received"]["audit, 30"], owed[liar].sum() - owed[:, liar].sum(), atol=1e-12)


def test_no_input_is_both_public_and_a_clients_own():
    """Pools of which only the public inputs are hits: the clients' scores see none of them."""
    federation = deal(QUICK, DIGITS, 2, 4, 0.4)
    sizes = [sum(len(federation.test[i]) for i in np.flatnonzero(federation.groups == g)) for g in range(3)]
    order = np.random.default_rng(7)
    pools = []
    for size in sizes:
        hits = np.zeros((1, size, 16))
        hits[:, order.permutation(size)[:40]] = 1.0
        pools.append(hits)
    split = cheating._split([pools], federation, 40, np.random.default_rng(7))
    assert not split.scores.any()
    assert split.tests.sum() == sum(sizes) - 3 * 40
    assert [len(each) for each in split.public[0]] == [40, 40, 40]


def test_a_gain_is_over_the_truth_on_the_same_stage_and_for_one_round():
    def row(received: float) -> dict[str, Any]:
        return {"received": {"bilateral": received}}

    case = {"lies": {"boast": [row(3.0), row(5.0)], "honest": [row(1.0), row(1.0)]}}
    assert cheating._gain(replace(QUICK, stage=2), case, "boast", "bilateral") == 1.5


def test_errors_of_draws_are_relative_root_mean_squares():
    exact, drawn = np.array([3.0, 4.0]), iter([[3.0, 5.0], [3.0, 3.0]] * 2)

    def sampler(table: Any, budget: int, rng: Any) -> tuple[Any, Any, int]:
        return np.array(next(drawn)), np.array([1.0, 1.0]), budget

    found = noise._drawn(QUICK, exact, exact, sampler, 7, np.random.default_rng(0))
    assert found is not None
    assert_allclose(
        [found["error"], found["bias"], found["error it says"]], [0.2, 0.0, 1.0 / np.sqrt(12.5)], rtol=1e-12
    )
    assert found["rank correlation"] == 0.5 * 1.0 + 0.5 * 0.0


def test_measures_without_a_scale_get_the_truths():
    truth = np.array([0.1, 0.3, 0.6])
    found = contributions._judged("batches", np.array([2.0, 3.0, 5.0]), truth)
    assert_allclose(found["error"], np.linalg.norm([0.1, 0.0, -0.1]) / np.linalg.norm(truth), rtol=1e-12)
    assert_allclose(found["client 0"], 0.2, rtol=1e-12)
    assert (found["rank of client 0"], found["rank correlation"]) == (1.0, 1.0)
    assert_allclose(contributions._judged("ours", 2.0 * truth, truth)["error"], 1.0, rtol=1e-12)


# ---- summaries, pieces, the door --------------------------------------------------------------------


def test_ranks_and_correlations_are_scipys():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 4, size=(2, 6))
        assert_array_equal(ranks(a), stats.rankdata(a))
        if np.ptp(a) and np.ptp(b):
            assert_allclose(rank_correlation(a, b), stats.spearmanr(a, b).statistic, atol=1e-12)


def test_spreads_are_scipys():
    values, others = [0.3, 0.1, 0.7, 0.2], [0.1, 0.1, 0.2, 0.4]
    found = spread(values)
    interval = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert_allclose([found["mean"] - found["half-width"], found["mean"] + found["half-width"]], interval, rtol=1e-12)
    assert_allclose(found["standard error"], stats.sem(values), rtol=1e-12)
    assert_allclose(paired(values, others)["standard error"], stats.sem(np.subtract(values, others)), rtol=1e-12)


def test_pieces_are_made_once_and_those_of_other_settings_are_not_taken(tmp_path: Path):
    made = []

    def compute() -> dict[str, Any]:
        made.append(1)
        return {"number": 0.1 + 0.2}

    with tqdm(disable=True) as bar:
        units = Units(tmp_path, {"rounds": 2}, bar)
        assert units.unit("a", compute) == units.unit("a", compute) == {"number": 0.1 + 0.2}
        assert len(made) == 1
        Units(tmp_path, {"rounds": 3}, bar).unit("a", compute)
        assert len(made) == 2
        (piece,) = (path for path in tmp_path.iterdir() if units._digest in path.name)
        piece.write_text("{")
        with pytest.raises(ValueError, match=rf"{piece.name} .*delete it"):
            units.unit("a", compute)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"dataset": "cifar10"}, "dataset"), ({"question": "why"}, "question"), ({"seeds": 0}, "seeds")],
)
def test_bad_options_are_named(tmp_path: Path, options: dict[str, Any], named: str):
    with pytest.raises(ValueError, match=f"^{named} must be"):
        study(out=tmp_path, **options)
    assert not list(tmp_path.iterdir())


def contents(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf8"))


def test_a_study_that_was_stopped_goes_on_to_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    study(out=tmp_path / "whole", question="noise", seeds=3, quick=True)
    inner, calls = noise._case, []

    def stopping(*arguments: Any) -> dict[str, Any]:
        calls.append(arguments[-1])
        if calls == [0, 1]:
            raise KeyboardInterrupt
        return inner(*arguments)

    monkeypatch.setattr(noise, "_case", stopping)
    with pytest.raises(KeyboardInterrupt):
        study(out=tmp_path / "stopped", question="noise", seeds=3, quick=True)
    study(out=tmp_path / "stopped", question="noise", seeds=3, quick=True)
    assert calls == [0, 1, 1, 2]
    name = "federation_noise_digits_quick.json"
    whole, stopped = (contents(tmp_path / folder / name) for folder in ("whole", "stopped"))
    assert whole["summary"] == stopped["summary"]
    assert whole["cases"] == stopped["cases"]
    assert [path.name for path in (tmp_path / "stopped").iterdir()] == [name]


@pytest.mark.slow
def test_all_questions_are_answered_in_a_small_run(tmp_path: Path):
    assert study(out=tmp_path, seeds=2, quick=True) == tmp_path
    found = {name: contents(tmp_path / f"federation_{name}_digits_quick.json") for name in command.QUESTIONS}
    assert all(each["quick"] and each["seeds"] == 2 for each in found.values())
    for case in found["settling"]["cases"]:
        for ending in case["endings"].values():
            assert len(ending["gains"]) == len(ending["standard errors"]) == len(ending["bounds"]) == 3
    honest = found["cheating"]["lies"][0]
    assert honest["lie"] == "honest"
    assert honest["gain a round, bilateral"]["most"] == 0.0
    assert found["expense"]["summary"][-1]["seconds"] is None
