"""The local fit where its data do not tell everything: somebody gave nothing, or no errors are left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fedshap as fs
from fedshap._coalitions import all_members
from fedshap.federated import FedBRShap, LocalClients, LocalFit, LocalTraining, load_dataset, partition
from fedshap.federated.estimators import Observation
from games import brute_shapley, power_law

WEIGHTS = np.array([[0.1, 0.02, 0.05], [0.01, 0.2, 0.0], [0.04, 0.03, 0.1]])
START = np.array([0.3, 0.5, 0.6])


def observed(*profiles: list[float]) -> list[Observation]:
    """Rounds of a power law, from ``START`` each."""
    law = fs.PowerLaw(alpha=1.0 - START, weights=WEIGHTS)
    found = []
    for amounts in profiles:
        given = all_members(0, 8, 3) * np.array(amounts)
        found.append(Observation(given, law.values(given)))
    return found


def marginals(present: list[float], observations: list[Observation]) -> tuple[np.ndarray, np.ndarray]:
    nothing = np.zeros((1, 3, 1))
    return LocalFit(5).marginals(np.array([present]).T, nothing, observations, np.array(present))


def plain(s: Sequence[float]) -> list[float]:
    """The payoffs behind `observed`, up to constants."""
    return [(1.0 - start) * value for start, value in zip(START, power_law(WEIGHTS)(s), strict=True)]


def brute_marginal(amounts: list[float], agent: int) -> float:
    step = 1e-4
    up, down = ([x + sign * step * (i == agent) for i, x in enumerate(amounts)] for sign in (1, -1))
    return (brute_shapley(plain, up, agent) - brute_shapley(plain, down, agent)) / (2.0 * step)


def test_what_is_fitted_is_the_power_law_itself():
    present = [2.0, 5.0, 3.0]
    found, error = marginals(present, observed([4.0, 1.0, 6.0], present))
    assert_allclose(found, [brute_marginal(present, i) for i in range(3)], rtol=1e-5)
    assert_allclose(error, 0.0, atol=1e-6)


@pytest.mark.parametrize("idle", [0, 1, 2])
def test_of_one_who_gave_nothing_no_marginal_share_is_known(idle: int):
    first, present = ([0.0 if i == idle else value for i, value in enumerate(s)] for s in ([4.0, 1, 6], [2.0, 5, 3]))
    found, _ = marginals(present, observed(first, present))
    assert np.isnan(found[idle])
    others = [i for i in range(3) if i != idle]
    assert_allclose(found[others], [brute_marginal(present, i) for i in others], rtol=1e-5)


def test_who_gave_in_one_round_has_no_error():
    found, error = marginals([2.0, 5.0, 3.0], observed([4.0, 0.0, 6.0], [2.0, 5.0, 3.0]))
    assert np.isfinite(found).all()
    assert_array_equal(np.isnan(error), [False, True, False])


def test_nobody_gave_anything():
    found, _ = marginals([0.0, 0.0, 0.0], observed([0.0, 0.0, 0.0]))
    assert np.isnan(found).all()
    assert not LocalFit(1).payoff(observed([0.0, 0.0, 0.0])).weights.any()


def test_where_no_errors_are_left_nothing_more_is_earned():
    seen = observed([2.0, 5.0, 3.0])[0]
    perfect = Observation(seen.profiles, np.where([True, False, False], 1.0, seen.scores))
    found, _ = marginals([2.0, 5.0, 3.0], [perfect])
    law = LocalFit(1).payoff([perfect])
    assert np.isfinite(found).all()
    assert_allclose(law.values([2.0, 5.0, 3.0])[0], 1.0)
    assert_allclose(law.values([2.0, 5.0, 3.0])[1:], seen.scores[-1, 1:], rtol=1e-6)


def test_a_federation_goes_on_where_a_client_stops_giving():
    clients = LocalClients(
        partition(load_dataset("digits"), n_clients=3, rng=0),
        fs.LinearCost([0.5, 0.002, 0.002]),
        LocalTraining(model="mlp"),
    )
    run = FedBRShap(search=None, estimator=LocalFit(2), stage=5).run(clients, rounds=5, progress=False)
    assert run.amounts[0] == 0.0
    assert [line["marginals"][0] is None for line in run.rounds] == [False, False, True, True, True]
    assert (run.amounts[1:] > 4.0).all()
