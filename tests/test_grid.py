"""Grids of contributions and the runs over them."""

import itertools

import numpy as np
import pytest

from fedshap.federated import contribution_grid, load_dataset, partition, train, train_grid

GROUPS = [0, 0, 0, 1, 1, 2]


@pytest.fixture(scope="module")
def federation():
    return partition(load_dataset(), n_clients=3, rng=0)


def test_grid_is_the_product_of_levels():
    expected = [[a, a, a, b, b, c] for a, b, c in itertools.product([0, 3, 12], repeat=3)]
    grid = contribution_grid([0, 3, 12], GROUPS)
    assert grid.tolist() == expected
    assert grid.dtype == np.int64


@pytest.mark.parametrize("levels", [[], [0, -1], [0, 0.5], [0, 4, 4], [[0, 4]], [0, np.nan]])
def test_grid_refuses(levels):
    with pytest.raises(ValueError, match="levels"):
        contribution_grid(levels, GROUPS)


def test_grid_of_runs_is_training_run_by_run(federation):
    profiles = [[2, 0, 0], [0, 1, 2.5], [0, 0, 0]]
    settings = {"rounds": 2, "seed": 4, "learning_rate": 0.2}
    runs = train_grid(federation, profiles, **settings)
    for r, profile in enumerate(profiles):
        result = train(federation, profile, **settings)
        assert runs.group_accuracies[r].tolist() == result.group_accuracies.tolist()
        assert runs.client_accuracies[r].tolist() == result.client_accuracies.tolist()
    assert runs.contributions.tolist() == profiles
    assert runs.config == result.config


def test_grid_of_runs_refuses_before_it_trains(federation):
    with pytest.raises(ValueError, match="client 1 has 52 of 8 inputs, got 99"):
        train_grid(federation, [[1, 1, 1], [0, 99, 0]], rounds=10**9)
    with pytest.raises(ValueError, match=r"contributions must have shape \(R, 3\), R >= 1; got \(3,\)"):
        train_grid(federation, [1, 1, 1], rounds=10**9)
    with pytest.raises(ValueError, match=r"contributions must have shape \(R, 3\), R >= 1; got \(0, 3\)"):
        train_grid(federation, np.zeros((0, 3)), rounds=1)
    with pytest.raises(ValueError, match="federation must be a Federation, which partition deals out; got 'digits'"):
        train_grid("digits", [[1, 1, 1]], rounds=1)
    with pytest.raises(TypeError, match="momentum"):
        train_grid(federation, [[1, 1, 1]], momentum=0.9)


def test_grid_of_runs_shows_one_bar(federation, capsys):
    train_grid(federation, [[1, 0, 0], [1, 1, 0]], rounds=2, progress=True)
    assert "6/6" in capsys.readouterr().err
