"""What is refused: a ValueError that names the argument, what it got and what it may be."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import fedshap as fs
from games import THREE_AGENTS, TWO_AGENTS, properties

NAN, INF = float("nan"), float("inf")
EYE = np.eye(2)
LAW, COST = fs.PowerLaw(3), fs.LinearCost([0.1, 0.2, 0.3])
BOX = fs.Game(LAW, COST, capacity=5.0)
MANY = fs.Game(fs.PowerLaw(21), fs.LinearCost(np.ones(21)))
CUSTOM = fs.Game(fs.CustomPayoff(np.sqrt, 3), COST)
CUSTOM_MANY = fs.Game(fs.CustomPayoff(np.sqrt, 21), fs.LinearCost(np.ones(21)))
ALONE = fs.Game(fs.PowerLaw(1), fs.LinearCost([0.1]))
SAMPLE = partial(fs.shapley_values, THREE_AGENTS, [1.0, 1.0, 1.0], method="permutation")
SOLVE = partial(fs.find_equilibrium, BOX, fs.NoPayment())
WALK = partial(fs.best_response_dynamics, BOX, fs.NoPayment())


def falls_silent(s: np.ndarray) -> np.ndarray:
    return np.where(s > 5.0, np.nan, s)


# A call, and what its message must say: the argument first, then what it got and what it may be.
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    # payoffs
    "alpha zero": (lambda: fs.PowerLaw(3, alpha=0.0), r"alpha .*\(0, inf\).* got 0"),
    "alpha infinite": (lambda: fs.PowerLaw(3, alpha=INF), r"alpha .* got inf"),
    "alpha a word": (lambda: fs.PowerLaw(3, alpha="much"), r"alpha .*number.* got 'much'"),  # type: ignore[arg-type]
    "beta zero": (lambda: fs.PowerLaw(3, beta=0.0), r"beta .*\(0, 1\].* got 0"),
    "beta above one": (lambda: fs.PowerLaw(3, beta=1.01), r"beta .*\(0, 1\].* got 1.01"),
    "beta negative": (lambda: fs.PowerLaw(3, beta=-0.5), r"beta .* got -0.5"),
    "beta nan": (lambda: fs.PowerLaw(3, beta=NAN), r"beta .* got nan"),
    "no agents": (lambda: fs.PowerLaw(0), r"n_agents .*at least 1.* got 0"),
    "half an agent": (lambda: fs.PowerLaw(2.5), r"n_agents .*integer.* got 2.5"),  # type: ignore[arg-type]
    "nobody counted": (lambda: fs.PowerLaw(), r"n_agents is needed"),
    "counts disagree": (lambda: fs.PowerLaw(4, weights=EYE), r"n_agents=4 contradicts .* 2 agents"),
    "weights not square": (lambda: fs.PowerLaw(weights=np.ones((2, 3))), r"weights .*square.* got shape \(2, 3\)"),
    "weights flat": (lambda: fs.PowerLaw(weights=[1.0, 2.0]), r"weights .*square.* got shape \(2,\)"),
    "weights ragged": (lambda: fs.PowerLaw(weights=[[1.0, 2.0], [1.0]]), r"weights .* got \[\[1.0, 2.0\], \[1.0\]\]"),
    "weights negative": (
        lambda: fs.PowerLaw(weights=[[1, 0], [-2, 1]]),
        r"weights .*at least 0.* got -2 at .*\(1, 0\)",
    ),
    "weights nan": (lambda: fs.PowerLaw(weights=[[1, NAN], [0, 1]]), r"weights .*finite.* got nan at index \(0, 1\)"),
    "weights infinite": (lambda: fs.PowerLaw(weights=[[INF, 0], [0, 1]]), r"weights .*finite.* got inf"),
    "groups without weights": (lambda: fs.PowerLaw(3, groups=[0, 0, 0]), r"groups needs weights"),
    "groups out of range": (lambda: fs.PowerLaw(weights=EYE, groups=[0, 1, 2]), r"groups .*0\.\.1.* got 2"),
    "groups negative": (lambda: fs.PowerLaw(weights=EYE, groups=[0, -1, 1]), r"groups .*0\.\.1.* got -1"),
    "groups not whole": (lambda: fs.PowerLaw(weights=EYE, groups=[0.0, 1.0]), r"groups .*integers.* got .*float"),
    "groups of another shape": (lambda: fs.PowerLaw(weights=EYE, groups=[[0, 1]]), r"groups .* got shape \(1, 2\)"),
    "groups ragged": (lambda: fs.PowerLaw(weights=EYE, groups=[[0, 1], [0]]), r"groups .* got \[\[0, 1\], \[0\]\]"),
    "optimum above one": (lambda: fs.PACBound(3, optimum=1.5, complexity=1.0), r"optimum .*\(0, 1\].* got 1.5"),
    "complexity zero": (lambda: fs.PACBound(3, optimum=0.9, complexity=0.0), r"complexity .* got 0"),
    "probability above one": (lambda: fs.RandomDiscovery([[1.5]]), r"probabilities .*at most 1.* got 1.5"),
    "probability negative": (lambda: fs.RandomDiscovery([[0.5, -0.1]]), r"probabilities .*at least 0.* got -0.1"),
    "probability one": (lambda: fs.RandomCoverage([[1.0]]), r"probabilities .*below 1.* got 1"),
    "probabilities flat": (lambda: fs.RandomCoverage([0.5, 0.5]), r"probabilities .*\(n, m\).* got shape \(2,\)"),
    "probabilities sum": (lambda: fs.RandomCoverage([[0.6, 0.7]]), r"probabilities .*1; row 0 .*1.3"),
    "function of wrong shape": (
        lambda: fs.CustomPayoff(lambda s: s.sum(axis=-1), 3),
        r"function .*shape \(4, 3\).* shape \(4,\)",
    ),
    "function without answer": (lambda: fs.CustomPayoff(lambda s: None, 3), r"function .*shape"),  # type: ignore
    "function of words": (lambda: fs.CustomPayoff(lambda s: "much", 3), r"function .*much"),  # type: ignore
    "function nan": (lambda: fs.CustomPayoff(lambda s: s * NAN, 3), r"function .*finite.* nan"),
    "function infinite": (lambda: fs.CustomPayoff(lambda s: s * INF, 3), r"function .*finite.* inf"),
    "function nan later": (lambda: fs.CustomPayoff(falls_silent, 3).values([1.0, 6.0, 1.0]), r"function .* nan"),
    "function not callable": (lambda: fs.CustomPayoff(3.0, 3), r"function .*callable.* 3.0"),  # type: ignore[arg-type]
    "gradient of wrong shape": (
        lambda: fs.CustomPayoff(np.sqrt, 3, gradient=np.sqrt).jacobian([1.0, 1.0, 1.0]),
        r"gradient .*shape \(4, 3, 3\).* shape \(4, 3\)",
    ),
    # costs
    "rate negative": (lambda: fs.LinearCost([0.1, -0.2, 0.3]), r"rates .*at least 0.* got -0.2 at index 1"),
    "rate nan": (lambda: fs.PowerCost([0.1, NAN], 2.0), r"rates .*finite.* got nan at index 1"),
    "rate infinite": (lambda: fs.LinearCost([INF]), r"rates .*finite.* got inf"),
    "rate complex": (lambda: fs.LinearCost(np.array([1.0 + 2.0j])), r"rates .*numbers"),
    "rates a matrix": (lambda: fs.LinearCost([[0.1, 0.2]]), r"rates .*\(n,\).* got shape \(1, 2\)"),
    "rates empty": (lambda: fs.LinearCost([]), r"rates .* got shape \(0,\)"),
    "fixed negative": (lambda: fs.LinearCost([0.1, 0.2], fixed=[0.0, -1.0]), r"fixed .*at least 0.* got -1"),
    "fixed of another shape": (
        lambda: fs.LinearCost([0.1, 0.2], fixed=[1.0] * 3),
        r"fixed .*\(2,\).* got shape \(3,\)",
    ),
    "exponent below one": (lambda: fs.PowerCost([0.1, 0.2], 0.5), r"exponent .*at least 1.* got 0.5"),
    "exponent nan": (lambda: fs.PowerCost([0.1, 0.2], NAN), r"exponent .* got nan"),
    # games and profiles
    "payoff a function": (lambda: fs.Game(np.sqrt, COST), r"payoff .*CustomPayoff.* got"),  # type: ignore[arg-type]
    "cost a list": (lambda: fs.Game(LAW, [0.1] * 3), r"cost .*LinearCost.* got"),  # type: ignore[arg-type]
    "agents disagree": (lambda: fs.Game(LAW, fs.LinearCost([0.1])), r"payoff and cost .* 3.* 1"),
    "capacity zero": (lambda: fs.Game(LAW, COST, [1.0, 0.0, 1.0]), r"capacity .*positive.* 0 .*agent 1"),
    "capacity negative": (lambda: fs.Game(LAW, COST, -1.0), r"capacity .* got -1"),
    "capacity nan": (lambda: fs.Game(LAW, COST, NAN), r"capacity .* got nan"),
    "capacity of another shape": (lambda: fs.Game(LAW, COST, [1.0, 2.0]), r"capacity .*\(3,\).* got shape \(2,\)"),
    "s negative": (lambda: BOX.surplus([1.0, -0.5, 0.0]), r"s .*at least 0.* got -0.5 at index 1"),
    "s nan": (lambda: BOX.welfare([1.0, NAN, 0.0]), r"s .*finite.* got nan"),
    "s of another shape": (lambda: LAW.values([1.0, 2.0]), r"s .*\(\.\.\., 3\).* got \(2,\)"),
    "s a number": (lambda: LAW.values(1.0), r"s .*\(\.\.\., 3\).* got \(\)"),
    "s above capacity": (lambda: BOX.surplus([1.0, 2.0, 5.5]), r"s .*agent 2 .*5.5 of at most 5"),
    "s a word": (lambda: LAW.values("all"), r"s .*numbers.* got 'all'"),  # type: ignore[arg-type]
    # Shapley values
    "enumeration of too many": (
        lambda: fs.shapley_values(MANY, np.ones(21), method="exact"),
        r'method="exact" .*at most 20 agents.* has 21',
    ),
    "nothing fits": (lambda: fs.shapley_values(CUSTOM_MANY, np.ones(21)), r'method="auto" .*at most 20 .* has 21'),
    "quadrature of anything": (
        lambda: fs.shapley_gradient(CUSTOM, np.ones(3), method="quadrature"),
        r'method="quadrature" .*CustomPayoff',
    ),
    "method unknown": (
        lambda: fs.shapley_potential(BOX, np.ones(3), method="guess"),  # type: ignore[call-overload]
        r"method .*\"auto\".* got 'guess'",
    ),
    "sampling without seed": (lambda: SAMPLE(), r"method=\"permutation\" needs rng"),
    "sampling too little": (lambda: SAMPLE(permutations=29, rng=0), r"permutations .*at least 30.* got 29"),
    "half a pair": (lambda: SAMPLE(permutations=31, antithetic=True, rng=0), r"permutations must be even .*got 31"),
    "antithetic how": (lambda: SAMPLE(antithetic="yes", rng=0), r"antithetic .*True or False.* got 'yes'"),
    "tolerance of a sample": (lambda: SAMPLE(tol=1e-3, rng=0), r"tol does not apply to method=\"permutation\""),
    "seed without sampling": (
        lambda: fs.shapley_values(BOX, np.ones(3), rng=0),
        r"rng does not apply to method=\"auto\"",
    ),
    "orders without sampling": (
        lambda: fs.shapley_gradient(BOX, np.ones(3), method="exact", permutations=50),  # type: ignore[call-overload]
        r"permutations does not apply to method=\"exact\"; got 50",
    ),
    "pairs without sampling": (
        lambda: fs.shapley_potential(BOX, np.ones(3), antithetic=False),  # type: ignore[call-overload]
        r"antithetic does not apply to method",
    ),
    "seed not whole": (lambda: SAMPLE(rng=0.5), r"rng .* got 0.5"),
    "seed negative": (lambda: SAMPLE(rng=-1), r"rng .* got -1"),
    "sampling of many profiles": (
        lambda: fs.shapley_values(BOX, np.ones((2, 3)), method="permutation", rng=0),
        r"s .*\(3,\).* got shape \(2, 3\)",
    ),
    "Hessian of many profiles": (lambda: fs.shapley_hessian(BOX, np.ones((2, 3))), r"s .*\(3,\).* got shape \(2, 3\)"),
    # mechanisms
    "cost share zero": (lambda: fs.CostSharing(0.0), r"beta .*\(0, 1\].* got 0"),
    "cost share above one": (lambda: fs.CostSharing(1.1), r"beta .*\(0, 1\].* got 1.1"),
    "nobody to share with": (lambda: fs.CostSharing(0.5).payments(ALONE, [1.0]), r"CostSharing .*two agents"),
    "epsilon zero": (lambda: fs.AccuracyShaping(0.0), r"epsilon .* got 0"),
    "shaping of anything": (lambda: fs.AccuracyShaping().payments(CUSTOM, np.ones(3)), r"AccuracyShaping .*concave"),
    # solvers
    "tol zero": (lambda: SOLVE(tol=0.0), r"tol .* got 0"),
    "tol nan": (lambda: SOLVE(tol=NAN), r"tol .* got nan"),
    "on_failure unknown": (lambda: SOLVE(on_failure="ignore"), r"on_failure .*\"raise\".* got 'ignore'"),
    "start of another shape": (lambda: SOLVE(start=[1.0, 1.0]), r"start .*\(3,\).* got .*\(2,\)"),
    "start of many": (lambda: SOLVE(start=np.ones((2, 3))), r"start .*\(3,\).* got .*\(2, 3\)"),
    "start negative": (lambda: SOLVE(start=[1.0, -1.0, 1.0]), r"start .*at least 0.* got -1"),
    "start above capacity": (lambda: SOLVE(start=[1.0, 9.0, 1.0]), r"start .*agent 1 .*9 of at most 5"),
    "regret of many profiles": (
        lambda: fs.regret(BOX, fs.NoPayment(), np.ones((2, 3))),
        r"s .*\(3,\).* got .*\(2, 3\)",
    ),
    "regret of as many profiles": (
        lambda: fs.regret(BOX, fs.NoPayment(), np.ones((3, 3))),
        r"s .*\(3,\).* got .*\(3, 3\)",
    ),
    "step zero": (lambda: WALK(step=0.0, steps=1), r"step .* got 0"),
    "steps negative": (lambda: WALK(step=1.0, steps=-1), r"steps .*at least 0.* got -1"),
    "steps not whole": (lambda: WALK(step=1.0, steps=1.5), r"steps .*integer.* got 1.5"),  # type: ignore[arg-type]
    "sample of nobody": (lambda: WALK(step=1.0, steps=1, sample_size=0), r"sample_size .*at least 1.* got 0"),
    "sample of too many": (lambda: WALK(step=1.0, steps=1, sample_size=4), r"sample_size .*at most .*3.* got 4"),
    "walk from above": (lambda: WALK(step=1.0, steps=1, start=[9.0, 1.0, 1.0]), r"start .*agent 0 .*9 of at most 5"),
    "walk without seed": (lambda: WALK(step=1.0, steps=1, rng=None), r"rng .* got None"),  # type: ignore[arg-type]
    # metrics
    "reciprocity of many": (
        lambda: fs.reciprocity(BOX, fs.NoPayment(), np.ones((2, 3))),
        r"s .*\(3,\).* got shape \(2, 3\)",
    ),
    "identical to nobody": (
        lambda: fs.unequal_treatment(BOX, fs.NoPayment(), np.ones(3), [1]),
        r"identical .*two agents.* got \[1\]",
    ),
    "identical to oneself": (
        lambda: fs.unequal_treatment(BOX, fs.NoPayment(), np.ones(3), [1, 1]),
        r"identical .*two agents.* got \[1, 1\]",
    ),
    "identical to strangers": (
        lambda: fs.unequal_treatment(BOX, fs.NoPayment(), np.ones(3), [0, 3]),
        r"identical .*0\.\.2.* got \[0, 3\]",
    ),
    "identical to half an agent": (
        lambda: fs.unequal_treatment(BOX, fs.NoPayment(), np.ones(3), [0.5, 1]),  # type: ignore[list-item]
        r"identical .*0\.\.2.* got \[0.5, 1\]",
    ),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_by_name(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"(?s)^(every entry of |each row of )?{message}"):
        call()


# ---- whatever an array may hold ------------------------------------------------------------------------------

wild = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, -0.0, 1.0, -1e-300, 1e300]))
arrays = npst.arrays(float, npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), elements=wild)


def acceptable(array: np.ndarray, shape_fits: bool) -> bool:
    return bool(shape_fits and np.isfinite(array).all() and (array >= 0).all())


@properties
@given(s=arrays)
def test_profiles_are_refused_exactly_if_they_are_none(s: np.ndarray) -> None:
    if acceptable(s, s.ndim > 0 and s.shape[-1] == 3):
        values = fs.PowerLaw(3, beta=0.5).values(np.minimum(s, 1e150))
        assert values.shape == s.shape
        assert ((values >= 0) & (values <= 1)).all()
    else:
        with pytest.raises(ValueError, match=r"\bs\b"):
            fs.PowerLaw(3, beta=0.5).values(s)


@properties
@given(array=arrays)
def test_rates_weights_and_capacities_are_refused_exactly_if_they_are_none(array: np.ndarray) -> None:
    attempts: list[tuple[str, Callable[[np.ndarray], Any], bool]] = [
        ("rates", fs.LinearCost, array.ndim == 1 and array.size > 0),
        (
            "weights",
            lambda a: fs.PowerLaw(weights=a),
            array.ndim == 2 and len(set(array.shape)) == 1 and array.size > 0,
        ),
    ]
    for name, make, fits in attempts:
        if acceptable(array, fits):
            make(array)
        else:
            with pytest.raises(ValueError, match=rf"\b({name}|n_agents)\b"):
                make(array)
    if array.shape in ((), (3,)) and (array > 0).all():
        fs.Game(LAW, COST, array)
    else:
        with pytest.raises(ValueError, match=r"\bcapacity\b"):
            fs.Game(LAW, COST, array)


@properties
@given(beta=wild, alpha=wild)
def test_exponents_and_heights_are_refused_exactly_if_out_of_range(beta: float, alpha: float) -> None:
    if 0 < beta <= 1 and 0 < alpha < INF:
        fs.PowerLaw(3, alpha=alpha, beta=beta)
    else:
        with pytest.raises(ValueError, match=r"^(alpha|beta)"):
            fs.PowerLaw(3, alpha=alpha, beta=beta)


@properties
@given(s=arrays)
def test_no_function_of_a_profile_lets_a_bad_one_pass(s: np.ndarray) -> None:
    if acceptable(s, s.shape == (3,)):
        return
    mechanism = fs.ShapleyPayment()
    for function in (
        partial(fs.reciprocity, THREE_AGENTS, mechanism),
        partial(fs.regret, THREE_AGENTS, mechanism),
        partial(fs.shapley_hessian, THREE_AGENTS),
    ):
        with pytest.raises(ValueError, match=r"^(every entry of )?s "):
            function(s)


def test_a_message_names_the_first_offender_of_many() -> None:
    s = np.ones((4, 3))
    s[2, 1] = -7.0
    with pytest.raises(ValueError, match=re.escape("s must be at least 0; got -7 at index (2, 1)")):
        TWO_AGENTS.payoff.values(s)
