"""Every public object: pickles, deep-copies, prints short and says something, and cannot be changed."""

from __future__ import annotations

import copy
import inspect
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fedshap as fs
from fedshap._records import Record

N = 1000
RNG = np.random.default_rng(0)
RATES, SHARES = RNG.uniform(0.1, 1.0, N), np.full((N, 3), 0.2)


def own_curve(z):
    return np.log1p(z)


def own_slope(z):
    return 1.0 / (1.0 + z)


def own_cost(s):
    return 0.1 * s + s**2


LAW = fs.PowerLaw(weights=np.ones((2, 2)), groups=np.arange(N) % 2)
GAME = fs.Game(LAW, fs.LinearCost(RATES), RNG.uniform(1.0, 5.0, N))
SHORT = fs.SolverOptions(ascent_iterations=1)
SIZES = 2.0 ** np.arange(4, 12)
FOUND = fs.find_equilibrium(GAME, fs.NoPayment())
PRIVATE = fs.BayesianGame(fs.PowerLaw(2), [fs.LinearCost([0.1, 0.1]), fs.LinearCost([0.4, 0.4])], [0.5, 0.5])
OBJECTS: dict[str, Any] = {
    "AumannShapleyPayment": fs.AumannShapleyPayment(),
    "AccuracyShaping": fs.AccuracyShaping(0.1),
    "BayesianEquilibrium": PRIVATE.equilibrium(fs.ShapleyPayment()),
    "BayesianGame": PRIVATE,
    "CostSharing": fs.CostSharing(0.5),
    "CustomCost": fs.CustomCost(own_cost, N),
    "CustomPayoff": fs.CustomPayoff(np.sqrt, N),
    "DampedShapley": fs.DampedShapley(0.5),
    "Equilibrium": FOUND,
    "EquilibriumRange": fs.EquilibriumRange(FOUND.contributions, FOUND.contributions, True),
    "Estimate": fs.shapley_values(GAME, np.ones(N), method="permutation", rng=0, permutations=30),
    "FittedCurve": fs.fit_learning_curve(SIZES, 0.9 - 0.5 * (1.0 + 0.01 * SIZES) ** -0.7),
    "FittedPayoff": fs.fit_payoff(SIZES[:, None] * np.ones(3), 1.0 - 1.0 / (1.0 + 0.02 * SIZES[:, None]), [0, 0, 0]),
    "Game": GAME,
    "LearningCurve": fs.LearningCurve(own_curve, own_slope, N),
    "LinearCost": GAME.cost,
    "Names": fs.names(GAME, fs.NoPayment(), 0, 2, np.ones(N)),
    "Participation": fs.participation(fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1, 0.2, 0.3])), fs.NoPayment()),
    "WorstReciprocity": fs.worst_case_reciprocity(GAME, fs.NoPayment(), draws=2),
    "NoPayment": fs.NoPayment(),
    "PACBound": fs.PACBound(N, optimum=0.9, complexity=10.0),
    "ParticipantsShapley": fs.ParticipantsShapley(),
    "PowerCost": fs.PowerCost(RATES, 2.0),
    "PowerLaw": LAW,
    "RandomCoverage": fs.RandomCoverage(SHARES),
    "RandomDiscovery": fs.RandomDiscovery(SHARES),
    "ScaledCost": 2.0 * GAME.cost,
    "ShapleyPayment": fs.ShapleyPayment(),
    "SumCost": GAME.cost + fs.PowerCost(RATES, 2.0),
    "SolverOptions": SHORT,
    "WelfareOptimum": fs.welfare_optimum(GAME),
    "Trajectory": fs.best_response_dynamics(GAME, fs.NoPayment(), step=0.1, steps=2),
}
every_object = pytest.mark.parametrize("name", OBJECTS)


def federated_objects() -> dict[str, Any]:
    from fedshap import federated as ff

    data = tuple(ff.Dataset(np.full((8, 4), k / 3), [k] * 8, n_classes=3) for k in range(3))
    federation = ff.Federation(train=data, test=data, groups=[0, 0, 1])
    config = ff.TrainingConfig(rounds=1)
    training = ff.LocalTraining(model="mlp", batch_size=2)
    runs = ff.contribution_grid([0, 4, 16], [0, 0, 1])
    return {
        "AccuracyDrop": ff.AccuracyDrop(0, 1, 2, 3, 0.1),
        "Audit": ff.Audit(data[:1], [0, 0, 0], training),
        "Client": ff.Client(0, data[0], data[1], fs.LinearCost([0.1]), training),
        "FedBRShap": ff.FedBRShap(search=None),
        "FederationOptions": ff.FederationOptions(clients=3),
        "FederationRun": ff.FederationRun(*([np.zeros(3)] * 5), ({"round": 1},)),
        "LocalClients": ff.LocalClients(federation, fs.LinearCost([0.1, 0.2, 0.3]), training),
        "LocalFit": ff.LocalFit(2),
        "LocalTraining": training,
        "Search": ff.Search(),
        "Secant": ff.Secant(3.0),
        "TwoModels": ff.TwoModels(0.2),
        "Dataset": data[0],
        "Federation": federation,
        "TrainingConfig": config,
        "TrainingRuns": ff.TrainingRuns(runs.astype(float), np.zeros((9, 2)), np.zeros((9, 3)), config),
        "TrainingResult": ff.TrainingResult(
            np.ones(3), np.ones(2), np.ones(3), np.zeros((3, 3, 3), dtype=np.int64), np.zeros(0), config, None
        ),
    }


def everything() -> dict[str, Any]:
    pytest.importorskip("torch")
    return OBJECTS | federated_objects()


def test_no_public_class_is_forgotten() -> None:
    classes = {name for name in fs.__all__ if inspect.isclass(getattr(fs, name))}
    rest = {"ConvergenceError", "Cost", "Mechanism", "Payoff"}
    assert classes - set(OBJECTS) == rest  # an error, and abstract ones


def test_no_public_class_of_the_torch_half_is_forgotten() -> None:
    made = everything()
    from torch import nn

    from fedshap import federated as ff

    classes = {name: each for name in ff.__all__ if inspect.isclass(each := getattr(ff, name))}
    rest = {"Estimator", "Members", "QuorumError"}  # abstract; a handful of clients; an error
    assert {name for name, each in classes.items() if not issubclass(each, nn.Module)} - set(made) == rest


def arrays(thing: Any) -> dict[str, np.ndarray]:
    return {name: each for name, each in vars(thing).items() if isinstance(each, np.ndarray)}


def check_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    assert repr(one) == repr(other)
    if isinstance(one, tuple):
        for left, right in zip(one, other, strict=True):
            assert_array_equal(left, right)
        return
    for name, each in arrays(one).items():
        assert_array_equal(each, getattr(other, name), err_msg=name)


def check_fixed(thing: Any) -> None:
    if isinstance(thing, tuple):  # named tuples are Python's own
        return
    for name in [*vars(thing), "something_new"]:
        with pytest.raises(AttributeError):
            setattr(thing, name, 3.0)
        with pytest.raises(AttributeError):
            delattr(thing, name)
    for name, each in arrays(thing).items():
        assert not each.flags.writeable, name


def test_pickles_and_copies_are_the_same_and_as_fixed() -> None:
    for thing in everything().values():
        for again in (pickle.loads(pickle.dumps(thing)), copy.deepcopy(thing), copy.copy(thing)):
            check_same(thing, again)
            check_fixed(again)
        check_fixed(thing)


def test_reprs_are_short_and_name_the_class() -> None:
    for name, thing in everything().items():
        assert len(repr(thing)) < 200, name
        assert "object at 0x" not in repr(thing)
        assert name in repr(thing) or name in ("SumCost", "ScaledCost"), name


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        (FOUND, r"Equilibrium\(n_agents=1000, total=[\d.]+, regret=[\de.-]+, method='market clearing'\)"),
        (OBJECTS["Trajectory"], r"Trajectory\(steps=2, n_agents=1000, residual=[\d.]+\)"),
        (OBJECTS["EquilibriumRange"], r"EquilibriumRange\(totals [\d.]+ to [\d.]+, guaranteed=True\)"),
        (OBJECTS["Estimate"], r"Estimate\(values=<array 1000>, standard_errors=<array 1000>\)"),
    ],
    ids=["Equilibrium", "Trajectory", "EquilibriumRange", "Estimate"],
)
def test_reprs_say_what_matters(thing: Any, text: str) -> None:
    assert __import__("re").fullmatch(text, repr(thing))


@every_object
def test_objects_work_after_pickling(name: str) -> None:
    again = pickle.loads(pickle.dumps(OBJECTS[name]))
    if isinstance(again, fs.Game):
        assert fs.find_equilibrium(again, fs.NoPayment()).total == FOUND.total
    elif isinstance(again, (fs.Payoff, fs.Cost)):
        assert_array_equal(again.values(np.ones(N)), OBJECTS[name].values(np.ones(N)))
    elif isinstance(again, fs.Mechanism):
        game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1, 0.25, 0.4]))
        assert_array_equal(again.payments(game, [1.0, 2.0, 0.5]), OBJECTS[name].payments(game, [1.0, 2.0, 0.5]))


def test_arrays_given_to_an_object_remain_the_callers() -> None:
    class Weighted(fs.Mechanism):
        def __init__(self, shares):
            self.shares = shares

        def payments(self, game, s):
            return self.shares * game.profile(s)

    mine = np.ones(3)
    kept = Weighted(mine)
    mine[:] = 5.0
    assert_array_equal(kept.shares, np.ones(3))
    with pytest.raises(ValueError, match="read-only"):
        kept.shares[0] = 2.0


def test_signatures_are_those_of_the_constructors() -> None:
    assert list(inspect.signature(fs.PowerLaw).parameters) == ["n_agents", "alpha", "beta", "weights", "groups"]
    assert list(inspect.signature(fs.Trajectory).parameters) == ["contributions", "residuals"]
    assert not inspect.signature(fs.NoPayment).parameters
    for name in fs.__all__:
        if inspect.isclass(each := getattr(fs, name)):
            assert "args" not in inspect.signature(each).parameters, name


def test_public_classes_are_records() -> None:
    for name, thing in everything().items():
        assert isinstance(thing, (Record, tuple)) or name == "AccuracyDrop", name


# ---- errors ------------------------------------------------------------------------------------------------------


def fail(tol: float) -> fs.Equilibrium:
    return fs.find_equilibrium(GAME, fs.ShapleyPayment(), tol=tol, options=SHORT)


def failed() -> fs.ConvergenceError:
    with pytest.raises(fs.ConvergenceError) as caught:
        fail(1e-9)
    return caught.value


def test_errors_pickle_and_copy_with_what_they_carry() -> None:
    error = failed()
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(again) is fs.ConvergenceError
        assert str(again) == str(error)
        assert again.tol == error.tol == 1e-9
        assert_array_equal(again.best.contributions, error.best.contributions)
    assert "tol=1e-09" in str(error)
    assert len(repr(error)) < 200


@pytest.mark.slow
def test_errors_come_back_from_another_process() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with pytest.raises(fs.ConvergenceError, match="no equilibrium to within tol=1e-09"):
            pool.submit(fail, 1e-9).result(timeout=120)
        assert pool.submit(fail, 10.0).result(timeout=120).n_agents == GAME.n_agents  # the pool is still alive
