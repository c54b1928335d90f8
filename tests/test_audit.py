"""The audit of reports: honest clients pass, liars do not, and the rate of false alarms is the one asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fedshap as fs
from fedshap.federated import (
    Audit,
    FedBRShap,
    LocalClients,
    LocalTraining,
    load_dataset,
    partition,
    set_aside,
)
from fedshap.federated.exchange import ScoreTask

TRAINING = LocalTraining(model="mlp")


@pytest.fixture(scope="module")
def setting():
    """Three clients with images alike: they help one another, which rotated ones at first do not."""
    return set_aside(partition(load_dataset("digits"), n_clients=3, angles=[10.0], rng=0), 100, rng=1)


class Boaster(LocalClients):
    """Client 1 reports a perfect score for every coalition that she is in."""

    def score(self, task: ScoreTask, who):
        answers = dict(super().score(task, who))
        mine = task.mixing.reshape(len(task.mixing), 3, -1)[:, 1].any(axis=1)
        answers[1] = np.where(mine, 1.0, answers[1])
        return answers


def federation(kind, setting, **audit):
    clients, public = setting
    rules = FedBRShap(
        search=None, stage=4, start=6.0, step=1e-9, audit=Audit(public, clients.groups, TRAINING, **audit)
    )
    return rules.run(kind(clients, fs.LinearCost([0.001] * 3), TRAINING), rounds=4, progress=False)


def test_a_liar_is_found_and_the_honest_are_not(setting) -> None:
    stage = federation(Boaster, setting).stages[0]["audit"]
    assert stage["alarms"] == [1]
    assert stage["z"][1] > 8.0
    assert max(stage["z"][0], stage["z"][2]) < 4.0
    honest = federation(LocalClients, setting).stages[0]["audit"]
    assert honest["alarms"] == []


class Miser(LocalClients):
    """Client 1 reports that no coalition helps her."""

    def score(self, task: ScoreTask, who):
        answers = dict(super().score(task, who))
        nobody = int(np.flatnonzero(~task.mixing.any(axis=1))[0])
        answers[1] = np.broadcast_to(answers[1][:, nobody : nobody + 1], answers[1].shape).copy()
        return answers


def test_where_it_is_enforced_she_owes_what_the_audit_says(setting) -> None:
    said, enforced = (federation(Miser, setting, enforce=each) for each in (False, True))
    honest = federation(LocalClients, setting)
    assert said.stages[0]["audit"]["alarms"] == enforced.stages[0]["audit"]["alarms"] == [1]
    saved = said.payments[1] - honest.payments[1]  # all that she owed
    assert saved > 0.1
    assert enforced.payments[1] < said.payments[1] - 0.1  # up to the errors of a hundred inputs
    assert abs(enforced.payments.sum()) <= 1e-12


def test_shares_on_public_inputs_are_those_of_a_client_who_holds_them(setting) -> None:
    """The audit's mean over inputs is the share that a client with these test inputs would report."""
    clients, public = setting
    as_clients = replace(clients, test=public * 3)
    rules = FedBRShap(search=None, stage=2, audit=Audit(public, clients.groups, TRAINING))
    steps = list(rules.steps(LocalClients(as_clients, fs.LinearCost([0.001] * 3), TRAINING), 2))
    state = steps[1][1]  # after the second round, before the stage is settled
    for client in range(3):
        assert_allclose(state.public[0].mean(axis=0), state.owed[:, client], atol=1e-12)
    assert_allclose(steps[2][0]["audit"]["z"], 0.0, atol=1e-9)


def test_the_rate_of_false_alarms() -> None:
    """Honest reports and public inputs from one distribution: hits of three models, 4000 stages."""
    rng, n, m, tests = np.random.default_rng(0), 3, 40, 60
    public = [fs.federated.Dataset(np.zeros((m, 1, 8, 8)), np.zeros(m, dtype=int), 10)]
    audit = Audit(public, [0] * n, TRAINING, false_alarm=0.1)
    alarms = 0
    for _ in range(4000):
        shares = rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.5, 0.4], size=(m, n))
        reported = rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.5, 0.4], size=(tests, n, n)).mean(axis=0)
        alarms += bool(audit.verdict(reported, [shares], np.full(n, float(tests))).alarms)
    assert 0.02 < alarms / 4000 < 0.1 + 0.015  # the split over pairs is a little careful


def test_inputs_set_aside_are_nobodys_test_inputs_any_more() -> None:
    whole = partition(load_dataset("digits"), n_clients=6, rng=0)
    rest, public = set_aside(whole, 50, rng=3)
    assert [len(each) for each in public] == [50, 50, 50]
    for group in range(3):
        members = np.flatnonzero(whole.groups == group)
        before = np.concatenate([whole.test[i].inputs for i in members])
        after = np.concatenate([*(rest.test[i].inputs for i in members), public[group].inputs])
        assert_array_equal(
            np.sort(before.reshape(len(before), -1), axis=0), np.sort(after.reshape(len(after), -1), axis=0)
        )
    again = set_aside(whole, 50, rng=3)[1]
    assert_array_equal(again[0].inputs, public[0].inputs)


@pytest.mark.parametrize("inputs", [0, 1, 540, 10_000])
def test_too_few_or_too_many_are_refused(inputs) -> None:
    with pytest.raises(ValueError, match="inputs must be at least 2"):
        set_aside(partition(load_dataset("digits"), n_clients=3, rng=0), inputs)
