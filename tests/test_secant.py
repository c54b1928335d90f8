"""The secant where a bound is nearer than half its span."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fedshap as fs
from fedshap.federated import FedBRShap, LocalClients, LocalTraining, Secant, load_dataset, partition
from fedshap.federated.exchange import Keep, TrainTask


@pytest.fixture(scope="module")
def clients() -> LocalClients:
    federation = partition(load_dataset("digits"), n_clients=3, rng=0)
    cost = fs.LinearCost([0.001, 0.002, 0.003])
    return LocalClients(federation, cost, LocalTraining(model="mlp"), capacity=[24.0, 20.0, 10.0])


@pytest.mark.parametrize("given", [[0.0, 1.5, 5.0], [24.0, 17.0, 9.5], [4.0, 16.0, 6.0], [3.9, 16.1, 6.1]])
def test_the_slope_of_a_line_is_found_everywhere(clients: LocalClients, given: list[float]):
    task = TrainTask(clients.weights, {i: Keep(s) for i, s in enumerate(given)}, ((1,),), Secant(8.0).offsets)
    amounts = np.array([clients.train(task)[i].amounts for i in range(3)])
    slopes = np.array([0.5, -0.2, 0.1])
    found, _ = Secant(8.0).marginals(amounts, (slopes[:, None] * amounts)[None], [], amounts[:, 0])
    assert_allclose(found, slopes, rtol=1e-12)


def test_the_slope_is_over_the_whole_span_where_there_is_room():
    amounts = np.array([[6.0, 2.0, 10.0], [1.0, 5.0, 5.0], [9.0, 5.0, 5.0]])
    shares = np.array([[0.3, 0.1, 0.9], [0.1, 0.3, 0.3], [0.1, 0.3, 0.3]])[None]
    found, error = Secant(8.0).marginals(amounts, shares, [], amounts[:, 0])
    assert_allclose(found, [0.1, 0.05, -0.05], rtol=1e-12)
    assert np.isnan(error).all()


def test_near_a_bound_no_client_is_told_that_her_share_is_flat(clients: LocalClients):
    rules = FedBRShap(search=None, estimator=Secant(8.0), start=1.0, stage=1)
    line = rules.run(clients, 1, progress=False).rounds[0]
    assert all(line["marginals"])
