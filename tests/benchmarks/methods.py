"""Thirty agents: Shapley values, their gradients and the equilibrium of M^Shap, by this package and by others.

    python tests/benchmarks/methods.py    # tables, book/results/methods.json, a figure in _build/benchmarks

One game: three groups of ten with App. E's MNIST weights, beta = 1, capacity 100 batches. Errors are relative to a
reference of 50 digits; times and errors are medians, least and most. What is not installed
(``pip install 'fedshap[benchmark]'``) is skipped with a line that says so.

shapiq's samplers get the budget that takes them 100 and 1000 times our time, for the values alone, without the time
to set them up. NashOpt gets each agent's utility in JAX, written for speed on this game, with contributions in units
of the capacity; it compiles anew in every solve, so that its time is given with the compilation and without.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np
from reference import DIGITS, Reference, largest_error
from results import save

import fedshap as fs

ROOT = Path(__file__).parents[2]
FIGURE = ROOT / "_build" / "benchmarks" / "methods.png"
WEIGHTS = np.array([[3.1e-3, 4.7e-4, 4.4e-4], [6.7e-4, 1.9e-3, 6.5e-4], [9.3e-4, 8.3e-4, 2.1e-3]])
CAPACITY = 100.0
COST_RATES = {"all at capacity": (0.0, 0.001), "some between": (0.008, 0.04)}
ORDERS = 102  # the paper's sample
REPETITIONS = 20
MULTIPLES = (100, 1000)  # of our time, for shapiq
PACKAGES = ("fedshap", "numpy", "scipy", "mpmath", "shapiq", "nashopt", "jax")
Row = dict[str, Any]
Estimates = tuple[np.ndarray, np.ndarray | None]  # of the values and, unless the method has none, of the gradients


def federation(n: int, rates: tuple[float, float]) -> tuple[fs.Game, np.ndarray]:
    """Three groups with random cost rates, and random contributions."""
    rng = np.random.default_rng(0)
    contributions = rng.uniform(0.0, CAPACITY, n)
    payoff = fs.PowerLaw(weights=WEIGHTS, groups=np.sort(np.arange(n) % 3))
    return fs.Game(payoff, fs.LinearCost(rng.uniform(*rates, n)), CAPACITY), contributions


def checked_reference(game: fs.Game, s: np.ndarray) -> Reference:
    """The reference, after it has been held against enumeration (ten agents) and against efficiency (all)."""
    small, few = federation(10, COST_RATES["all at capacity"])
    ten = Reference(small.payoff, few)
    apart = max(map(largest_error, (ten.values, ten.gradients), ten.by_enumeration()))
    exact = Reference(game.payoff, s)
    gap = exact.budget_gap()
    print(
        f"reference: off by {mp.nstr(apart, 2)} from enumeration (n = 10), {mp.nstr(gap, 2)} from efficiency (n = 30)"
    )
    if max(apart, gap) > mp.mpf(10) ** -DIGITS:
        raise SystemExit(f"the reference does not hold {DIGITS} digits")
    return exact


# ---- values and gradients ---------------------------------------------------------------------------------------


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that it took, and what it returned."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def spread(numbers: Sequence[float]) -> list[float]:
    """Median, least and most, to three digits."""
    return [float(f"{x:.3g}") for x in (statistics.median(numbers), min(numbers), max(numbers))]


def judged(method: str, run: Callable[[int], Estimates], exact: Reference, count: int, **notes: object) -> Row:
    """Time ``run(seed)`` and judge its estimates.

    ``values`` and ``gradients`` are the largest relative errors of any agent; ``values_to_mean`` is the largest error
    of a value in units of the mean value, which does not count against a sampler what it gets wrong of a small share.
    """
    run(0)  # warm
    timings, found = zip(*(timed(lambda seed=seed: run(seed)) for seed in range(count)), strict=True)
    true = np.array([float(v) for v in exact.values])
    gradients = [float(largest_error(g, exact.gradients)) for _, g in found if g is not None]
    errors = {
        "values": spread([float(largest_error(v, exact.values)) for v, _ in found]),
        "values_to_mean": spread([float(abs(v - true).max() / true.mean()) for v, _ in found]),
        "gradients": spread(gradients) if gradients else None,
    }
    row = {"method": method, "seconds": spread(timings), "errors": errors, "repetitions": count, **notes}
    print(
        f"{method:<30} {_text(row['seconds'])} s   values {_text(errors['values'])} ({errors['values_to_mean'][0]:.1e} "
        f"of the mean)   gradients {_text(errors['gradients'])}   {notes or ''}",
        flush=True,
    )
    return row


def _text(numbers: list[float] | None) -> str:
    return "-" if numbers is None else "{:.2e} ({:.1e} to {:.1e})".format(*numbers)


def permutations_by_hand(game: fs.Game, s: np.ndarray, seed: int) -> Estimates:
    """The paper's estimator, all orders at once, for payoffs that depend on group sums alone."""
    payoff, n = game.payoff, len(s)
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(n), (ORDERS, 1)), axis=1)
    gains = (s[:, None] * payoff.weights.T[payoff.groups])[orders]  # (orders, n, groups)
    below = 1.0 / (1.0 + np.cumsum(gains, axis=1))
    surplus = payoff.n_agents - below @ payoff.group_sizes
    slopes = ((below**2 * payoff.group_sizes) * payoff.weights.T[payoff.groups][orders]).sum(axis=2)
    added = np.diff(surplus, axis=1, prepend=0.0)
    by_agent = np.bincount(orders.ravel(), added.ravel()), np.bincount(orders.ravel(), slopes.ravel())
    return by_agent[0] / ORDERS, by_agent[1] / ORDERS


def permutations_by_package(game: fs.Game, s: np.ndarray, seed: int) -> Estimates:
    estimates = [
        function(game, s, method="permutation", permutations=ORDERS, rng=seed)
        for function in (fs.shapley_values, fs.shapley_gradient)
    ]
    return estimates[0].values, estimates[1].values


def shapiq_rows(game: fs.Game, s: np.ndarray, exact: Reference, ours: float) -> Iterator[Row]:
    """shapiq's samplers at the budgets that take them a multiple of our time."""
    from shapiq.approximator import SVARM, KernelSHAP, OwenSamplingSV, PermutationSamplingSV

    payoff = game.payoff
    gains = s[:, None] * payoff.weights.T[payoff.groups]  # (n, groups)

    def surplus(coalitions: np.ndarray) -> np.ndarray:
        return payoff.n_agents - (1.0 / (1.0 + np.atleast_2d(coalitions) @ gains)) @ payoff.group_sizes

    samplers = {
        "KernelSHAP": (KernelSHAP, {"pairing_trick": True}),
        "SVARM": (SVARM, {}),
        "permutation sampling": (PermutationSamplingSV, {}),
        "Owen sampling": (OwenSamplingSV, {"n_anchor_points": 30}),
    }
    for name, (sampler, options) in samplers.items():
        ready = [sampler(len(s), random_state=seed, **options) for seed in range(REPETITIONS)]

        def run(seed: int, budget: int, ready: list = ready) -> Estimates:
            return ready[seed].approximate(budget, surplus).get_n_order_values(1), None

        for multiple in MULTIPLES:
            budget, reachable = _budget(lambda b, run=run: timed(lambda: run(0, b))[0], multiple * ours)
            count = max(3, min(REPETITIONS, int(20.0 / (multiple * ours))))
            notes = {"budget_of_ours": multiple, "evaluations": budget, "reachable": reachable}
            yield judged(f"shapiq: {name}", lambda seed, b=budget, run=run: run(seed, b), exact, count, **notes)


def _budget(seconds: Callable[[int], float], target: float) -> tuple[int, bool]:
    """Evaluations that take about ``target`` seconds; the least budget, and False, if even that takes longer."""
    budget, last, before = 128, 0.0, 0
    seconds(budget)  # warm
    while (now := seconds(budget)) < target:
        last, before, budget = now, budget, 2 * budget
    if not before:
        return budget, False
    return int(before + (budget - before) * (target - last) / (now - last)), True


# ---- equilibria -------------------------------------------------------------------------------------------------


def equilibria(name: str) -> Iterator[Row]:
    """Equilibria of one game by each solver, each judged by the same search for profitable deviations."""
    game, _ = federation(30, COST_RATES[name])
    ours = [timed(lambda: fs.find_equilibrium(game, fs.ShapleyPayment())) for _ in range(REPETITIONS + 1)][1:]
    at = ours[0][1].contributions
    bounds = {"at_zero": int((at == 0.0).sum()), "at_capacity": int((at == CAPACITY).sum())}
    yield _solved(name, "fedshap, with certificate", game, ours, at, **bounds)
    if not installed("nashopt"):
        return
    import nashopt

    n = game.n_agents
    problem = nashopt.GNEP([1] * n, jax_losses(game), lb=np.zeros(n), ub=np.ones(n))
    start = np.minimum(1.0, CAPACITY / 2.0) / CAPACITY * np.ones(n)  # where find_equilibrium starts
    for solver, options, count in (("golden_ratio", {"max_iter": 5000, "tol": 1e-9}, 3), ("hybr", None, 1)):
        runs = []
        for _ in range(count):
            seconds, found = timed(lambda o=options, s=solver: problem.solve(start, solver=s, verbose=0, solver_opts=o))
            runs.append((seconds - found.stats.jax_jit_time, seconds, found))
        at = np.clip(CAPACITY * runs[0][2].x, 0.0, CAPACITY)
        yield _solved(name, f"NashOpt, {solver}", game, runs, at, with_compilation=spread([run[1] for run in runs]))


def _solved(name: str, solver: str, game: fs.Game, runs: list, at: np.ndarray, **notes: object) -> Row:
    regret = float(f"{fs.regret(game, fs.ShapleyPayment(), at):.2g}")
    row = {"game": name, "solver": solver, "seconds": spread([run[0] for run in runs]), "regret": regret}
    row |= {"repetitions": len(runs), **notes}
    print(f"{name:<16} {solver:<26} {_text(row['seconds'])} s   regret {regret:.1e}   {notes}", flush=True)
    return row


def jax_losses(game: fs.Game) -> list[Callable]:
    """Cost minus Shapley value of each agent, of contributions in units of the capacity.

    With as few nodes as this game needs for 11 digits: 16 Gauss-Laguerre nodes in t, the variable scaled to the
    range of 1 + (W s)_i, and 10 Gauss-Legendre nodes in q.
    """
    import jax.numpy as jnp

    payoff, n = game.payoff, game.n_agents
    scale = np.sqrt(1.0 + (payoff.weights @ payoff.group_sizes).max() * CAPACITY)
    x, w = np.polynomial.laguerre.laggauss(16)
    t, weights = x / scale, w * np.exp(x - x / scale) / scale
    coefficients = jnp.array(np.outer(payoff.group_sizes, weights).ravel())
    rates = jnp.array((payoff.weights[:, None, :] * t[:, None]).reshape(-1, 3)[:, payoff.groups])
    y, v = np.polynomial.legendre.leggauss(10)
    q, measure = jnp.array((y + 1.0) / 2.0), jnp.array(v / 2.0)
    costs = [float(rate) for rate in game.cost.rates]

    def loss(i: int) -> Callable:
        def of(units):
            s = CAPACITY * units
            decay = jnp.exp(-rates * s)
            factors = (1.0 - q)[:, None] + q[:, None] * jnp.delete(decay, i, axis=1)[:, None, :]
            return costs[i] * s[i] - coefficients @ ((1.0 - decay[:, i]) * (factors.prod(axis=2) @ measure))

        return of

    losses = [loss(i) for i in range(n)]
    ones = np.ones(n)
    values = [costs[i] - float(losses[i](ones / CAPACITY)) for i in range(n)]
    if not np.allclose(values, fs.shapley_values(game, ones), rtol=1e-10, atol=0.0):
        raise SystemExit("the utilities given to NashOpt are not this game's")
    return losses


# ---- the whole --------------------------------------------------------------------------------------------------


def installed(name: str) -> bool:
    """Whether the package is there; says so if not."""
    found = importlib.util.find_spec(name) is not None
    if not found:
        print(f"{name} is not installed: skipped (pip install 'fedshap[benchmark]')")
    return found


def values_and_gradients() -> tuple[Reference, list[Row]]:
    """Every method at the same random profile."""
    game, s = federation(30, COST_RATES["all at capacity"])
    exact = checked_reference(game, s)
    ours = judged(
        "fedshap", lambda _: (fs.shapley_values(game, s), fs.shapley_gradient(game, s)), exact, 10 * REPETITIONS
    )
    rows = [ours]
    for name, estimator in {"by hand": permutations_by_hand, "fedshap": permutations_by_package}.items():
        rows.append(
            judged(f"{ORDERS} permutations, {name}", lambda seed, e=estimator: e(game, s, seed), exact, REPETITIONS)
        )
    if installed("shapiq"):
        rows.extend(shapiq_rows(game, s, exact, ours["seconds"][0]))
    for row in rows:
        row["time_to_ours"] = float(f"{row['seconds'][0] / ours['seconds'][0]:.3g}")
        row["error_to_ours"] = float(f"{row['errors']['values'][0] / ours['errors']['values'][0]:.2g}")
    return exact, rows


def draw(rows: list[Row]) -> None:
    """Error against time, both on log axes."""
    if not installed("matplotlib"):
        return
    import matplotlib.pyplot as plt

    from fedshap import plotting

    plotting.use_style()
    figure, axes = plt.subplots()
    methods = dict.fromkeys(row["method"] for row in rows)
    colours = [*(f"C{k}" for k in range(6)), plotting.ACCENT]
    for method, marker, colour in zip(methods, "ov^sDPX", colours, strict=False):
        of = [row for row in rows if row["method"] == method]
        seconds, errors = (
            np.array(x).T for x in zip(*((r["seconds"], r["errors"]["values"]) for r in of), strict=True)
        )
        spans = [abs(x[1:] - x[0]) for x in (seconds, errors)]  # down to the least, up to the most
        axes.errorbar(
            seconds[0], errors[0], xerr=spans[0], yerr=spans[1], marker=marker, color=colour, lw=1, label=method
        )
    axes.set(xscale="log", yscale="log", xlabel="time (s)", ylabel="largest relative error of a Shapley value")
    figure.legend(loc="outside right upper")
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURE)


def main() -> None:
    exact, rows = values_and_gradients()
    save(
        "methods",
        "30 agents; seconds and errors as median, least, most; errors are the largest of any agent",
        versions={name: importlib.metadata.version(name) for name in PACKAGES if importlib.util.find_spec(name)},
        reference={
            "contributions": [float(c) for c in exact.contributions],
            "values": [mp.nstr(v, DIGITS) for v in exact.values],
            "gradients": [mp.nstr(g, DIGITS) for g in exact.gradients],
        },
        values_and_gradients=rows,
        equilibria=[row for name in COST_RATES for row in equilibria(name)],
    )
    draw(rows)


if __name__ == "__main__":
    main()
