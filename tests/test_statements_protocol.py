"""Sec. 5.2, App. F and Algorithm 1 of the paper, and what chapters 15 and 16 add."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations, product

import numpy as np
import pytest
from formulas import Formula, brute_shapley
from numpy.testing import assert_allclose, assert_array_equal

import fedshap as fs
from fedshap.federated import (
    FedBRShap,
    LocalClients,
    LocalTraining,
    Search,
    Secant,
    TwoModels,
    load_dataset,
    partition,
)
from fedshap.federated.choices import choose, further_amounts
from fedshap.federated.coalition_models import CoalitionGame
from fedshap.federated.exchange import Description, Keep, Refusal, ScoreTask, Slope, Trained, TrainTask, mixtures
from fedshap.federated.rounds import transfers


def harmonic(n: int) -> Fraction:
    return sum((Fraction(1, k) for k in range(1, n + 1)), Fraction(0))


def one_round(x: list[Fraction]) -> list[Fraction]:
    """The closed form of the theorem."""
    n, H = len(x), harmonic(len(x))
    return [(H * y - (H - 1) * (sum(x) - y) / (n - 1)) / n for y in x]


def by_orders(x: list[Fraction]) -> list[Fraction]:
    """Shapley values of the mean of those who came."""
    value, orders = [Fraction(0)] * len(x), list(permutations(range(len(x))))
    for order in orders:
        for k, i in enumerate(order):
            before, after = ([x[j] for j in order[:m]] for m in (k, k + 1))
            mean = sum(before, Fraction(0)) / max(len(before), 1)
            value[i] += sum(after, Fraction(0)) / len(after) - mean
    return [each / len(orders) for each in value]


def digits(n: int = 3, **settings) -> LocalClients:
    federation = partition(load_dataset("digits"), n_clients=n, angles=(10.0, 90.0, 180.0), rng=0)
    costs = fs.LinearCost(np.full(n, 0.001))
    return LocalClients(federation, costs, LocalTraining(model="mlp", **settings), capacity=16)


def models_of(clients: LocalClients, task: TrainTask, client: int) -> np.ndarray:
    """Her local models on each shuffle."""
    answer = clients.train(task)[client]
    assert isinstance(answer, Trained)
    return answer.models


# ---- the game of one round ------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_thm_one_round_by_all_orders(n) -> None:
    rng = np.random.default_rng(n)
    for _ in range(5):
        x = [Fraction(int(v), 7) for v in rng.integers(-20, 21, n)]
        assert one_round(x) == by_orders(x)
        assert sum(one_round(x)) == sum(x) / n


@pytest.mark.parametrize("n", range(2, 9))
def test_thm_one_round_of_the_package(n) -> None:
    """Linear scores; one who gives nothing is left out, and the others play the smaller game."""
    rng = np.random.default_rng(n)
    s, b = rng.uniform(0.1, 16.0, n + 1), rng.normal(size=n + 1)
    s[1] = 0.0
    game = CoalitionGame(s[:, None], "participants")
    scores = game.mixing @ (s * b) / np.maximum(game.mixing.sum(axis=1), 1.0)
    found = game.shares(scores)[0]
    assert found[1] == 0.0
    expected = one_round([Fraction(v) for v in np.delete(s * b, 1)])
    assert_allclose(np.delete(found, 1), np.array(expected, dtype=float), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("n", [2, 3, 4, 10])
def test_thm_one_round_the_threshold_is_sharp(n) -> None:
    """At 1 - 1/H of the others' mean she earns nothing; at 0.95 of it less: 0.9 of the limit would be wrong."""
    others = [Fraction(k) for k in range(1, n)]
    limit = (1 - 1 / harmonic(n)) * sum(others) / (n - 1)
    signs = [one_round([factor * limit, *others])[0] for factor in (Fraction(999, 1000), 1, Fraction(1001, 1000))]
    assert signs[0] < 0 == signs[1] < signs[2]
    assert one_round([Fraction(95, 100) * limit, *others])[0] < 0


class Linear(Formula):
    """Client i's local model is ``theta + s_i e_i``; everybody scores 0.5 + 0.01 times the sum of what has come."""

    def __init__(self, capacities: list[float]) -> None:
        super().__init__(len(capacities), rates=[0.0001] * len(capacities))
        self.capacities = capacities

    @property
    def descriptions(self) -> list[Description | Refusal]:
        return [Description(cap, 100, len(self.weights), f"client {i}") for i, cap in enumerate(self.capacities)]

    def train_one(self, client, task):
        decision, amount = choose(task.offers[client], self.costs[client], self.capacities[client])
        amounts = np.array([amount, *further_amounts(amount, task, self.capacities[client])])
        models = np.tile(task.weights, (len(task.streams), len(amounts), 1))
        models[..., client] += amounts
        return Trained(amounts, models, decision)

    def score(self, task, who):
        come = [0.5 + 0.01 * (model - task.weights).sum() for model in mixtures(task)]
        return {client: np.reshape(come, (len(task.models), len(task.mixing))) for client in who}


def test_thm_one_round_no_derivative_sees_the_jump() -> None:
    """(10, 10, 3): all slopes are positive, so Eq. (11) ends at the capacities; the third gains 17/18 by leaving."""
    search = Search((0.0, 1.0, 2.0), shuffles=4)
    rules = FedBRShap(estimator=TwoModels(), step=200.0, start=1.0, stage=8, search=search)
    run = rules.run(Linear([10.0, 10.0, 3.0]), rounds=8, progress=False)
    assert_array_equal(run.amounts, [10.0, 10.0, 3.0])
    assert min(run.rounds[-1]["marginals"]) > 0.01
    unit, cost = 3 * 0.01, 3 * 0.0001
    found = run.stages[0]["certificate"]
    assert_allclose(found["gains"][2], Fraction(17, 18) * unit + cost, rtol=1e-9)
    assert run.stages[0]["next amounts"][2] == 0.0
    assert one_round([Fraction(10), Fraction(10), Fraction(3)])[2] == Fraction(-17, 18)


# ---- the paper's claims ---------------------------------------------------------------------------


@pytest.mark.slow
def test_sec_5_2_the_amounts_of_a_stage_are_no_equilibrium() -> None:
    """Five steps from one batch each, no noise, concave shares: somebody still gains by another amount."""
    search = Search((0.0, 4.0, 8.0, 12.0, 16.0, 20.0), shuffles=4)
    printed = {"estimator": TwoModels(0.125), "average": "everyone", "start": 1.0, "step": 20.0, "search": search}
    clients = Formula(4, rates=[0.001, 0.002, 0.003, 0.004])
    after = {stage: FedBRShap(stage=stage, **printed).run(clients, stage, progress=False) for stage in (5, 400)}
    gains = {stage: max(run.stages[0]["certificate"]["gains"]) for stage, run in after.items()}
    assert gains[5] > 0.005
    assert gains[400] < gains[5] / 5  # it would have got there, in this game without noise or jump


def test_assumption_f_1_a_small_rate_changes_no_accuracy() -> None:
    """An accuracy is a step function: with a rate of 1e-9 nothing at all is gained, by anybody or any coalition."""
    run = FedBRShap(search=None, stage=1).run(digits(learning_rate=1e-9), rounds=1, progress=False)
    assert_array_equal(run.rounds[0]["gains"], np.zeros(3))
    assert_array_equal(run.rounds[0]["shares"], np.zeros(3))
    likely = digits(learning_rate=1e-9, score="probability")
    assert np.abs(FedBRShap(search=None, stage=1).run(likely, rounds=1, progress=False).shares).min() > 0.0


def test_assumption_f_1_the_same_amounts_gain_less_and_less() -> None:
    still = FedBRShap(estimator=Secant(), step=1e-12, stage=9, search=None)
    gains = [sum(line["gains"]) for line in still.run(digits(), rounds=9, progress=False).rounds]
    assert sum(gains[:3]) > 2.0 * sum(gains[6:])


@pytest.mark.parametrize("amount", [0.0, 3.0, 4.5])
def test_app_f_2_the_second_model_goes_on_from_the_first(amount) -> None:
    clients = digits()
    for i in range(3):
        both = models_of(clients, TrainTask(clients.weights, {i: Keep(amount)}, ((0,),), offsets=(0.125,)), i)
        alone = models_of(clients, TrainTask(clients.weights, {i: Keep(amount + 0.125)}, ((0,),)), i)
        assert_array_equal(both[0, 1], alone[0, 0])


def test_app_f_2_the_quotient_of_an_accuracy_is_zero_or_noise() -> None:
    """For a tiny step nobody's accuracy moves; for an eighth of a batch the spread is larger than the slope."""

    def marginals(estimator):
        rules = FedBRShap(estimator=estimator, repeats=16, stage=1, search=None)
        line = rules.run(digits(), rounds=1, progress=False).rounds[0]
        return np.array(line["marginals"]), 4.0 * np.array(line["marginal errors"])

    assert_array_equal(marginals(TwoModels(1e-9))[0], np.zeros(3))
    slope, spread = marginals(TwoModels(0.125))
    assert (np.abs(slope) < spread).all()
    wide, narrow = marginals(Secant(4.0))
    assert (narrow < spread / 5.0).all()
    assert (np.abs(wide) > narrow / 4.0).all()


def test_app_f_2_the_quotient_is_the_slope_where_shares_are_smooth() -> None:
    clients = Formula(4)
    fine, coarse = (
        np.array(FedBRShap(estimator=TwoModels(e), search=None).run(clients, 1, progress=False).rounds[0]["marginals"])
        for e in (1e-5, 0.125)
    )
    middle = FedBRShap(estimator=Secant(0.01), search=None).run(clients, 1, progress=False).rounds[0]["marginals"]
    assert_allclose(fine, middle, rtol=1e-4)
    assert_allclose(coarse, middle, rtol=0.1)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_algorithm_1_a_zero_model_moves_in_its_output_bias_only(model) -> None:
    federation = partition(load_dataset("digits"), n_clients=3, rng=0)
    clients = LocalClients(federation, fs.LinearCost([0.001] * 3), LocalTraining(model=model))
    zero = np.zeros_like(clients.weights)
    for stream in range(3):
        tasks = [TrainTask(zero, {i: Keep(8.0)}, ((stream,),)) for i in range(3)]
        zero = np.mean([models_of(clients, task, i)[0, 0] for i, task in enumerate(tasks)], axis=0)
    assert_array_equal(np.flatnonzero(zero), np.arange(len(zero) - 10, len(zero)))


def test_sec_5_2_two_models_one_scan_apart_give_the_scan_away() -> None:
    """With a step of an eighth of a batch of eight; the cost of a whole batch apart is that eight are mixed."""
    clients = digits()
    for i in range(3):
        own = clients.members[i].train_data.inputs.reshape(-1, 64)
        task = TrainTask(clients.weights, {i: Keep(4.0)}, ((0,),), offsets=(0.125, 1.0))
        sent = models_of(clients, task, i)[0]
        off = []
        for later in (1, 2):
            step = sent[later] - sent[0]
            rows, biases = step[: 32 * 64].reshape(32, 64), step[32 * 64 : 32 * 65]
            unit = np.abs(biases).argmax()
            off.append(np.sort(np.abs(own - (rows[unit] / biases[unit] + 1.0) / 2.0).max(axis=1)))
        assert off[0][0] < 1e-10
        assert off[0][1] > 0.1
        assert off[1][0] > 0.1


# ---- who can cheat --------------------------------------------------------------------------------


def powerset(n: int) -> list[frozenset[int]]:
    return [frozenset(i for i in range(n) if mask >> i & 1) for mask in range(1 << n)]


def owed_by(report: dict[frozenset[int], Fraction], n: int) -> list[Fraction]:
    """What a client with this report owes to each: Shapley values, from all orders."""
    value, orders = [Fraction(0)] * n, list(permutations(range(n)))
    for order in orders:
        for k, i in enumerate(order):
            value[i] += report[frozenset(order[: k + 1])] - report[frozenset(order[:k])]
    return [each / len(orders) for each in value]


def drawn(rng, n: int) -> dict[frozenset[int], Fraction]:
    return {X: Fraction(int(rng.integers(0, 101)), 100) for X in powerset(n)}


@pytest.mark.parametrize("n", [3, 4])
def test_prop_pair_by_pair_any_reports(n) -> None:
    """Zero in sum, and a share less a reported gain, round by round, in fractions."""
    rng, full = np.random.default_rng(n), frozenset(range(n))
    for _ in range(10):
        reports = [drawn(rng, n) for _ in range(n)]
        owed = [owed_by(each, n) for each in reports]  # by column
        paid = [sum(owed[j][i] - owed[i][j] for j in range(n)) for i in range(n)]
        shares = [sum(owed[j][i] for j in range(n)) for i in range(n)]
        assert sum(paid) == 0
        assert_allclose(transfers(np.array(owed, dtype=float).T), np.array(paid, dtype=float), atol=1e-12)
        assert paid == [shares[i] - (reports[i][full] - reports[i][frozenset()]) for i in range(n)]


def test_prop_pair_by_pair_is_the_papers_if_a_model_has_one_score() -> None:
    """Three rounds, three clients. A boaster scores theta^t twice, as all's and as nobody's, and gains by it."""
    n, rng, full, none = 3, np.random.default_rng(0), frozenset(range(3)), frozenset()
    rounds = [[drawn(rng, n) for _ in range(n)] for _ in range(3)]
    for before, after in zip(rounds, rounds[1:], strict=False):
        for i in range(n):
            after[i][none] = before[i][full]

    def both(stage):
        pairs, papers = [Fraction(0)] * n, [Fraction(0)] * n
        for reports in stage:
            owed = [owed_by(each, n) for each in reports]
            for i in range(n):
                pairs[i] += sum(owed[j][i] - owed[i][j] for j in range(n))
                papers[i] += sum(owed[j][i] for j in range(n))
        return pairs, [papers[i] - (stage[-1][i][full] - stage[0][i][none]) for i in range(n)]

    pairs, papers = both(rounds)
    assert pairs == papers
    boast = [[*r[:2], {X: Fraction(1) if 2 in X else v for X, v in r[2].items()}] for r in rounds]
    pairs, papers = both(boast)
    contradiction = sum(boast[t][2][full] - boast[t + 1][2][none] for t in range(2))
    assert papers[2] - pairs[2] == contradiction > 0
    assert sum(pairs) == 0 < sum(papers)


def best_lie(n: int, j: int) -> dict[frozenset[int], Fraction]:
    lie = {X: Fraction(int(j in X)) for X in powerset(n)}
    return lie | {frozenset(): Fraction(1), frozenset(range(n)): Fraction(0)}


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_thm_best_lie_is_attained(n) -> None:
    owed = owed_by(best_lie(n, n - 1), n)
    assert -sum(owed[:-1]) == 2 * (1 - Fraction(1, n))


@pytest.mark.parametrize("n", [2, 3, 4])
def test_thm_best_lie_no_other_corner_does_as_well(n) -> None:
    """Debts are linear in reports, so corners are enough; nine tenths of the bound are exceeded."""
    game = CoalitionGame(np.ones((n, 1)), "participants")
    debts = game.shares(np.eye(1 << n))[0][:, :-1].sum(axis=1)
    corners = np.array(list(product((0.0, 1.0), repeat=1 << n)))
    gains, bound = -corners @ debts, 2.0 * (1.0 - 1.0 / n)
    assert_allclose([gains.max(), gains.min()], [bound, -bound], atol=1e-12)
    assert (gains > bound - 1e-9).sum() == 1
    assert (gains > 0.9 * bound).any()
    assert np.sort(gains)[-2] < bound - 0.01
    best, report = corners[gains.argmax()], best_lie(n, n - 1)
    assert best.tolist() == [float(report[frozenset(np.flatnonzero(row).tolist())]) for row in game.mixing]


def test_thm_best_lie_by_another_route() -> None:
    n, report = 4, best_lie(4, 3)
    game = CoalitionGame(np.ones((n, 1)), "participants")
    told = np.array([float(report[frozenset(np.flatnonzero(row).tolist())]) for row in game.mixing])
    brute = brute_shapley(lambda X: float(report[X]), n)
    assert_allclose(game.shares(told)[0], brute, atol=1e-12)
    assert_allclose(-brute[:3].sum(), 1.5, atol=1e-12)


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_thm_best_lie_one_score_a_model_halves_it(rounds) -> None:
    """(1 - 1/n)(W + 1) in W rounds if all's model and nobody's in the next round share a report."""
    n, rng, full, none = 3, np.random.default_rng(1), frozenset(range(3)), frozenset()
    lies = [best_lie(n, 2) for _ in range(rounds)]
    for before, after in zip(lies, lies[1:], strict=False):
        before[full] = after[none] = Fraction(int(rng.integers(0, 101)), 100)
    moved = -sum(sum(owed_by(lie, n)[:2]) for lie in lies)
    assert moved == (1 - Fraction(1, n)) * (rounds + 1)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_prop_marginal_reveals_the_local_model(k) -> None:
    rng = np.random.default_rng(k)
    models, start = rng.normal(size=(1, k + 1, 40)), np.zeros(40)
    mixing = np.array([[1.0] * k + [0.0], [1.0] * (k + 1)])
    without, joined = mixtures(ScoreTask(start, models, mixing))
    assert_allclose((k + 1) * joined - k * without, models[0, k], rtol=0.0, atol=1e-12)


def test_eq_11_is_the_clients_own_step() -> None:
    """Lines 13 to 20: projected to [0, capacity], with a cost that the server never sees."""
    cost = fs.LinearCost([0.02])
    moves = [choose(Slope(4.0, marginal, 100.0), cost, 6.0)[1] for marginal in (0.03, 0.05, -0.05)]
    assert_allclose(moves, [5.0, 6.0, 0.0], rtol=1e-12)
