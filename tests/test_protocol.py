"""FedBR-Shap: shares, payments and choices against other routes; who is left out; what a run does again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from formulas import Formula, brute_owed
from numpy.testing import assert_allclose, assert_array_equal

import fedshap as fs
from fedshap.federated import (
    FedBRShap,
    LocalClients,
    LocalFit,
    LocalTraining,
    QuorumError,
    Search,
    Secant,
    TwoModels,
    load_dataset,
    partition,
    train,
)
from fedshap.federated.estimators import Estimator
from fedshap.federated.exchange import Refusal
from fedshap.federated.ledger import NAME


class Stay(Estimator):
    """Nobody moves."""

    def marginals(self, amounts, shares, observations, present):
        unknown = np.full(len(present), np.nan)
        return unknown, unknown


def rules(**settings) -> FedBRShap:
    return FedBRShap(**{"estimator": Stay(), "search": None, "start": 4.0, "stage": 2} | settings)


# ---- shares and payments --------------------------------------------------------------------------


@pytest.mark.parametrize("average", ["participants", "everyone", "samples"])
@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_shares_are_those_of_all_orders_of_arrival(n, average) -> None:
    clients = Formula(n)
    amounts = np.random.default_rng(n).uniform(0.0, 9.0, n)
    amounts[1] = 0.0
    line, _ = next(_played(clients, amounts, average=average))
    owed = brute_owed(clients, amounts, average)
    assert_allclose(line["shares"], owed.sum(axis=1), rtol=0.0, atol=1e-12)
    assert_allclose(line["gains"], owed.sum(axis=0), rtol=0.0, atol=1e-12)
    assert_allclose(line["transfers"], (owed - owed.T).sum(axis=1), rtol=0.0, atol=1e-12)


def _played(clients, amounts, **settings):
    """A round in which the clients give ``amounts``, whatever the start."""

    class Given(Formula):
        def train_one(self, client, task):
            offer = replace(task.offers[client], amount=float(amounts[client]))
            return super().train_one(client, replace(task, offers={**task.offers, client: offer}))

    given = Given(len(amounts))
    given.worth = clients.worth
    return rules(**settings).steps(given, 1)


@pytest.mark.parametrize("average", ["participants", "samples"])
def test_one_who_gives_nothing_earns_exactly_nothing(average) -> None:
    amounts = np.array([3.0, 0.0, 5.0, 2.0])
    line, _ = next(_played(Formula(4), amounts, average=average))
    assert line["shares"][1] == 0.0
    assert line["transfers"][1] < 0.0  # she pays for what the others' models are worth to her


def test_with_the_mean_over_everybody_she_holds_the_model_back() -> None:
    amounts = np.array([3.0, 0.0, 5.0, 2.0])
    line, _ = next(_played(Formula(4), amounts, average="everyone"))
    assert line["shares"][1] < -0.01


@pytest.mark.parametrize("coalitions", [40, 60, 80, 1000])
def test_shares_from_some_coalitions_add_up_and_keep_to_their_errors(coalitions) -> None:
    n = 7
    clients, amounts = Formula(n), np.array([3.0, 0.0, 5.0, 2.0, 7.0, 1.0, 4.0])
    line, _ = next(_played(clients, amounts, coalitions=coalitions))
    owed = brute_owed(clients, amounts)
    assert_allclose(np.sum(line["shares"]), np.sum(line["gains"]), rtol=0.0, atol=1e-12)
    assert_allclose(line["gains"], owed.sum(axis=0), rtol=0.0, atol=1e-12)
    assert line["shares"][1] == 0.0
    errors = np.array(line["share errors"])
    off = np.abs(np.array(line["shares"]) - owed.sum(axis=1))
    assert (off <= 5.0 * errors + 1e-12).all()
    assert (errors.max() > 0.0) == (coalitions < 64)  # six of them gave: all coalitions are 64


def test_more_than_ten_clients() -> None:
    run = FedBRShap(estimator=Secant(2.0), step=50.0, stage=2, search=Search(shuffles=4, coalitions=8)).run(
        Formula(12, noise=0.2), rounds=2, progress=False
    )
    assert abs(run.payments.sum()) <= 1e-12
    assert len(run.stages[0]["certificate"]["gains"]) == 12


def test_one_client_alone_owes_nobody() -> None:
    run = FedBRShap(search=Search(shuffles=4), stage=1).run(Formula(1), rounds=2, progress=False)
    assert_array_equal(run.payments, [0.0])
    assert_allclose(run.shares, run.gains, rtol=1e-12)


@pytest.mark.parametrize("report", ["random", "ones", "zeros", "own coalitions"])
def test_payments_add_up_to_zero_whatever_is_reported(report) -> None:
    class Liar(Formula):
        def score_one(self, client, task):
            true = super().score_one(client, task)
            if client != 2:
                return true
            mine = task.mixing.reshape(len(task.mixing), len(self.costs), -1)[:, client].any(axis=1)
            return {
                "random": np.random.default_rng(len(true)).uniform(size=true.shape),
                "ones": np.ones_like(true),
                "zeros": np.zeros_like(true),
                "own coalitions": np.where(mine, 1.0, true),
            }[report]

    run = FedBRShap(estimator=Secant(2.0), search=Search(shuffles=4), stage=2).run(Liar(4), rounds=4, progress=False)
    for stage in run.stages:
        assert abs(sum(stage["payments"])) <= 1e-12
    # What she reports moves her own column alone: what the others owe each other is what it was.
    honest = FedBRShap(estimator=Secant(2.0), search=Search(shuffles=4), stage=2).run(Formula(4), 1, progress=False)
    first, true = run.rounds[0], honest.rounds[0]
    others = [0, 1, 3]
    assert_array_equal(np.array(first["gains"])[others], np.array(true["gains"])[others])


# ---- marginal shares and choices ------------------------------------------------------------------


@pytest.mark.parametrize("amount", [0.0, 4.0, 20.0])
@pytest.mark.parametrize(("estimator", "low", "high"), [(TwoModels(0.125), 0.0, 0.125), (Secant(3.0), -1.5, 1.5)])
def test_marginal_shares_are_slopes_of_the_share(estimator, low, high, amount) -> None:
    clients, n = Formula(4), 4
    line, _ = next(rules(estimator=estimator, start=amount).steps(clients, 1))
    low, high = np.clip([amount + low, amount + high], 0.0, 20.0)
    if low == high:
        low = amount - 0.125  # at the capacity the step of the two models goes back

    def share(player: int, own: float) -> float:
        amounts = np.full(n, amount)
        amounts[player] = own
        return brute_owed(clients, amounts)[player].sum()

    for player in range(n):
        expected = (share(player, high) - share(player, low)) / (high - low)
        assert_allclose(line["marginals"][player], expected, rtol=1e-9)


def test_errors_of_marginal_shares_shrink_with_the_shuffles() -> None:
    def errors(repeats: int) -> np.ndarray:
        line, _ = next(rules(estimator=Secant(3.0), repeats=repeats).steps(Formula(4, noise=0.3), 1))
        return np.array([np.nan if error is None else error for error in line["marginal errors"]])

    assert np.isnan(errors(1)).all()
    assert_allclose(errors(400) / errors(100), 0.5, atol=0.12)


def test_a_local_fit_finds_the_slope_of_payoffs_of_its_form() -> None:
    class Lawful(Formula):
        """Scores are those of a power law of what the members give: no average of models, for once."""

        def true_score(self, client, come):
            return float(1.0 - 0.8 / (1.0 + self.worth[client] @ come))

        def mean(self, members, amounts, average):
            return np.where(np.isin(np.arange(len(amounts)), members), amounts, 0.0)

        def score_one(self, client, task):
            found = []
            for models in task.models:
                for row in task.mixing:
                    come = (models - task.weights).sum(axis=0) * (row.reshape(len(self.costs), -1)[:, 0] > 0.0)
                    found.append(self.true_score(client, come))
            return np.array(found).reshape(len(task.models), len(task.mixing))

    clients = Lawful(4)
    steps = rules(estimator=LocalFit(2), start=3.0, step=1e-9).steps(clients, 3)
    lines = [line for line, _ in steps if "round" in line]
    payoff = fs.PowerLaw(alpha=np.full(4, 0.8), weights=clients.worth)
    expected = fs.shapley_gradient(fs.Game(payoff, fs.LinearCost(np.zeros(4))), np.full(4, 3.0))
    assert_allclose(lines[1]["marginals"], expected, rtol=1e-6)
    assert lines[0]["marginal errors"] == [None] * 4
    assert_allclose(lines[1]["marginal errors"], 0.0, atol=1e-9)


def test_the_way_ends_where_nobody_would_go_elsewhere() -> None:
    """Without noise the certificate is exact: no amount tried gains anybody anything at the end of the way."""
    clients = Formula(3, rates=[0.05, 0.06, 0.07])
    search = Search(levels=(0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0), shuffles=4)
    run = FedBRShap(estimator=Secant(0.01), step=20.0, stage=60, search=search).run(clients, rounds=120, progress=False)
    certificate = run.stages[-1]["certificate"]
    assert max(certificate["bounds"]) <= 1e-9
    assert (run.amounts > 0.1).any()
    amounts = np.array(run.rounds[-1]["amounts"])

    def utility(player: int, own: float) -> float:
        profile = amounts.copy()
        profile[player] = own
        return brute_owed(clients, profile)[player].sum() - clients.costs[player].values([own])[0]

    for player in range(3):  # and neither does any amount that was not tried
        best = max(utility(player, own) for own in np.linspace(0.0, 20.0, 101))
        assert best - utility(player, amounts[player]) <= 1e-6


# ---- who is left out ------------------------------------------------------------------------------

FAULTS = ["no answer", "refusal", "nan", "shape", "late score", "nan score", "score shape", "score range"]


class Faulty(Formula):
    """Client 1 fails in round 2, one way or another."""

    def __init__(self, n: int, fault: str) -> None:
        super().__init__(n)
        self.fault, self.now = fault, 0

    def train(self, task):
        self.now = task.streams[0][0] + 1 if task.streams else self.now
        answers = dict(super().train(task))
        if self.now == 2:
            good = answers[1]
            if self.fault == "no answer":
                del answers[1]
            elif self.fault == "refusal":
                answers[1] = Refusal("later than the deadline of 5 s")
            elif self.fault == "nan":
                answers[1] = replace(good, models=good.models * np.nan)
            elif self.fault == "shape":
                answers[1] = replace(good, models=good.models[..., :-1])
        return answers

    def score(self, task, who):
        answers = dict(super().score(task, who))
        if self.now == 2 and 1 in answers:
            good = answers[1]
            if self.fault == "late score":
                del answers[1]
            elif "score" in self.fault:
                answers[1] = {"nan score": good * np.nan, "score shape": good[:, 1:], "score range": good + 1.0}[
                    self.fault
                ]
        return answers


@pytest.mark.parametrize("fault", FAULTS)
def test_one_who_does_not_answer_is_a_null_player_of_that_round(fault) -> None:
    run = rules(estimator=Secant(1.0), stage=3).run(Faulty(4, fault), rounds=3, progress=False)
    second = run.rounds[1]
    assert list(second["refused"]) == ["1"]
    assert ("scoring" in second["refused"]["1"]) == ("score" in fault)
    assert second["amounts"][1] is None
    assert second["shares"][1] == second["gains"][1] == second["transfers"][1] == 0.0
    assert all(amount is not None for amount in run.rounds[2]["amounts"])
    assert abs(sum(run.stages[0]["payments"])) <= 1e-12
    # The others play the game without her.
    clients, others = Formula(4), [0, 2, 3]
    amounts = np.array([0.0 if amount is None else amount for amount in second["amounts"]])
    owed = brute_owed(clients, amounts)[np.ix_(others, others)]
    assert_allclose(np.array(second["shares"])[others], owed.sum(axis=1), rtol=0.0, atol=1e-12)


def test_with_sampled_coalitions_the_others_are_asked_again() -> None:
    run = rules(coalitions=60).run(Faulty(8, "late score"), rounds=3, progress=False)
    assert run.rounds[1]["transfers"][1] == 0.0
    assert abs(sum(run.rounds[1]["transfers"])) <= 1e-12
    assert_allclose(sum(run.rounds[1]["shares"]), sum(run.rounds[1]["gains"]), atol=1e-12)


def test_too_few_answers_stop_the_run_before_the_round_counts(tmp_path) -> None:
    with pytest.raises(QuorumError, match=r"3 of 4 clients .* quorum is 4 \(client 1: training: no answer\)"):
        rules(quorum=4).run(Faulty(4, "no answer"), rounds=3, out=tmp_path, progress=False)
    assert [json.loads(line).get("round") for line in (tmp_path / NAME).read_text().splitlines()] == [None, 1]
    again = rules(quorum=4).run(Formula(4), rounds=3, out=tmp_path, progress=False)
    assert len(again.rounds) == 3


# ---- real networks --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def federation():
    return partition(load_dataset("digits"), n_clients=3, rng=0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_rounds_at_fixed_amounts_are_those_of_training(federation, dtype) -> None:
    """Bit for bit: coalitions and payments change nothing in what is learned."""
    clients = LocalClients(federation, fs.LinearCost([0.001] * 3), LocalTraining(model="mlp", seed=3, dtype=dtype))
    run = rules(start=2.5, repeats=2).run(clients, rounds=3, progress=False)
    trained = train(federation, [2.5] * 3, rounds=3, model="mlp", seed=3, dtype=dtype)
    weights = np.concatenate([p.detach().numpy().ravel() for p in trained.model.parameters()])
    assert_array_equal(run.weights, weights)


def test_further_amounts_are_those_of_training_alone(federation) -> None:
    """A local model at s + eps goes on from the one at s, and is the one that training s + eps gives."""
    training = LocalTraining(model="mlp")
    client = LocalClients(federation, fs.LinearCost([0.001] * 3), training).members[1]
    from fedshap.federated.exchange import Keep, TrainTask

    amounts = (0.0, 0.4, 2.0, 2.3, 7.9, 8.0)
    task = TrainTask(client.weights, {1: Keep(2.3)}, ((5,),), levels=amounts)
    together = client.train(task)
    for place, amount in enumerate(amounts, start=1):
        alone = client.train(TrainTask(client.weights, {1: Keep(amount)}, ((5,),)))
        assert_array_equal(together.models[0, place], alone.models[0, 0])
    assert_array_equal(together.models[0, 1], client.weights)


@pytest.mark.parametrize("score", ["accuracy", "probability"])
def test_the_surplus_is_what_the_model_gained(federation, score) -> None:
    training = LocalTraining(model="mlp", score=score)
    clients = LocalClients(federation, fs.LinearCost([0.001] * 3), training)
    run = rules(start=8.0, stage=2).run(clients, rounds=2, progress=False)
    assert_allclose(run.shares.sum(), run.gains.sum(), atol=1e-12)
    assert run.gains.sum() > 0.1


def test_a_client_is_known_by_her_data_and_her_settings_not_by_her_cost(federation) -> None:
    def known(rate: float = 0.001, **settings) -> list[str]:
        clients = LocalClients(federation, fs.LinearCost([rate] * 3), LocalTraining(**{"model": "mlp"} | settings))
        return [each.digest for each in clients.descriptions]

    assert known() == known(rate=0.5)
    assert len(set(known())) == 3
    for change in ({"seed": 1}, {"batch_size": 9}, {"learning_rate": 0.11}, {"score": "probability"}):
        assert not set(known()) & set(known(**change))


# ---- books ----------------------------------------------------------------------------------------


def test_the_same_call_goes_on_to_the_same_bits(tmp_path) -> None:
    settings = {"estimator": LocalFit(2), "stage": 2, "search": Search(shuffles=4), "repeats": 2, "step": 30.0}
    clients = Formula(3, noise=0.2)
    whole = FedBRShap(**settings).run(clients, rounds=4, out=tmp_path / "whole", progress=False)
    expected = (tmp_path / "whole" / NAME).read_bytes()
    for lines in range(len(whole.lines)):
        folder = tmp_path / f"cut-{lines}"
        for count, _ in enumerate(FedBRShap(**settings).steps(clients, 4, out=folder), start=1):
            if count == lines:
                break
        again = FedBRShap(**settings).run(clients, rounds=4, out=folder, progress=False)
        assert (folder / NAME).read_bytes() == expected
        assert_array_equal(again.weights, whole.weights)
        assert len(list(folder.glob("state-*"))) == 1


def test_callbacks_are_told_of_new_lines_alone(tmp_path) -> None:
    told: list[int | None] = []
    for rounds in (2, 4):
        rules().run(
            Formula(3), rounds, out=tmp_path, progress=False, callbacks=[lambda line: told.append(line.get("round"))]
        )
    assert told == [1, 2, None, 3, 4, None]


def test_a_kill_between_any_two_writes_loses_nothing(tmp_path, monkeypatch) -> None:
    """The state is written before its line: whichever comes last, the line is done again or gone on from."""
    from fedshap.federated import ledger

    clients, settings = Formula(3, noise=0.2), {"stage": 2, "search": Search(shuffles=4)}
    FedBRShap(**settings).run(clients, rounds=4, out=tmp_path / "whole", progress=False)
    expected = (tmp_path / "whole" / NAME).read_bytes()
    for kill_at in range(1, 18):
        folder, writes = tmp_path / f"kill-{kill_at}", iter(range(1, 1000))
        with monkeypatch.context() as patch:
            for kind, name in [(ledger.Ledger, "append"), (ledger.Snapshots, "save"), (ledger.Snapshots, "forget")]:
                patch.setattr(kind, name, _killed(getattr(kind, name), writes, kill_at))
            with pytest.raises(Killed):
                FedBRShap(**settings).run(clients, rounds=4, out=folder, progress=False)
        FedBRShap(**settings).run(clients, rounds=4, out=folder, progress=False)
        assert (folder / NAME).read_bytes() == expected, kill_at


class Killed(BaseException):
    pass


def _killed(method, writes, kill_at):
    def perhaps(*args):
        if next(writes) == kill_at:
            raise Killed
        return method(*args)

    return perhaps


def test_a_torn_last_line_is_dropped_wherever_it_was_torn(tmp_path, capsys) -> None:
    clients = Formula(3)
    rules().run(clients, rounds=2, out=tmp_path / "whole", progress=False)
    content = (tmp_path / "whole" / NAME).read_bytes()
    second = content.rindex(b"\n", 0, -1) + 1
    for torn in [second + 1, (second + len(content)) // 2, len(content) - 1]:
        folder = tmp_path / str(torn)
        list(zip(range(2), rules().steps(clients, 2, out=folder)))  # noqa: B905 (two lines of three)
        (folder / NAME).write_bytes(content[:torn])
        rules().run(clients, rounds=2, out=folder, progress=False)
        assert (folder / NAME).read_bytes() == content
        assert "was torn" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stage": 3}, "settings .*'stage': 3"),
        ({"start": 4.0 + 1e-12}, "settings .*4.000000000001"),
        ({"average": "samples"}, "settings .*samples"),
    ],
)
def test_books_of_another_federation_are_refused(tmp_path, change, message) -> None:
    rules().run(Formula(3), rounds=1, out=tmp_path, progress=False)
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(ValueError, match=f"ledger of another federation, which differs in {message}"):
        rules(**change).run(Formula(3), rounds=2, out=tmp_path, progress=False)
    with pytest.raises(ValueError, match="another federation, which differs in clients"):
        rules().run(Formula(3, capacity=19.0), rounds=2, out=tmp_path, progress=False)
    assert (tmp_path / NAME).read_bytes() == before


@pytest.mark.parametrize("content", ["hello\n", '{"format": "x"}\n', '{"format":"fedshap ledger"}\n', "[]\n", "\xff\n"])
def test_a_file_that_is_no_ledger_is_left_alone(tmp_path: Path, content) -> None:
    path = tmp_path / NAME
    path.write_text(content, encoding="latin1")
    with pytest.raises(ValueError, match="is no ledger .*; choose another folder"):
        rules().run(Formula(3), rounds=1, out=tmp_path, progress=False)
    assert path.read_text(encoding="latin1") == content


def test_more_rounds_go_on_where_fewer_ended(tmp_path) -> None:
    rules().run(Formula(3), rounds=2, out=tmp_path, progress=False)
    assert len(rules().run(Formula(3), rounds=6, out=tmp_path, progress=False).rounds) == 6
    fewer = rules().run(Formula(3), rounds=4, out=tmp_path, progress=False)  # nothing to do
    assert len(fewer.rounds) == 6


# ---- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"estimator": "secant"}, "estimator"),
        ({"step": 0.0}, "step must lie in"),
        ({"stage": 0}, "stage"),
        ({"start": -1.0}, "start"),
        ({"average": "mean"}, "average must be"),
        ({"coalitions": 1}, "coalitions"),
        ({"quorum": 0}, "quorum"),
        ({"search": 3}, "search"),
        ({"audit": 3}, "audit"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        FedBRShap(**settings)


@pytest.mark.parametrize("levels", [[], [1.0, 2.0], [0.0, 2.0, 1.0], [0.0, 0.0], [[0.0, 1.0]], [0.0]])
def test_levels_must_increase_from_zero(levels) -> None:
    with pytest.raises(ValueError, match="levels must"):
        Search(levels=levels)


def test_clients_that_do_not_fit_are_refused_before_anything_is_trained() -> None:
    class Odd(Formula):
        def __init__(self, **changed) -> None:
            super().__init__(3)
            self.changed = changed

        @property
        def descriptions(self):
            first, *rest = super().descriptions
            return [self.changed.get("refusal") or replace(first, **self.changed), *rest]

        def train(self, task):
            raise AssertionError("trained")

    with pytest.raises(ValueError, match="same network; weights: client 0 7"):
        rules().run(Odd(n_weights=7), rounds=1, progress=False)
    with pytest.raises(ValueError, match="2 of 3 are; client 0: no hello"):
        rules().run(Odd(refusal=Refusal("no hello")), rounds=1, progress=False)
    with pytest.raises(ValueError, match="4 at least; 3 of 3 are"):
        rules(quorum=4).run(Formula(3), rounds=1, progress=False)
