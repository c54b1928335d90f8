"""Equilibria from sampled coalitions: evaluations of the payoff against what is still wrong.

    python tests/benchmarks/sampled.py    # tables, and book/results/sampled.json

Games of which the exact equilibrium is known, given to the solver as functions of which nothing is known: App. E's
with MNIST weights (shrunk with n so that the federation as a whole stays the same) and 100 batches of capacity, and one
curve that all share, without capacities. One search a seed, judged after each of its stages. Regrets are relative to
the largest payoff gained or cost borne by an agent, errors of contributions to the largest contribution.

Before that: samples of coalitions, compared by the error of the potential's gradient, times the root of the
evaluations; and why the potential of a fixed sample is maximised. Stochastic approximation (Robbins and Monro, with
averaging over the second half) gets as many evaluations, and the best of five step sizes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from methods import CAPACITY, WEIGHTS
from results import save

import fedshap as fs
from fedshap.equilibrium import sampled
from fedshap.equilibrium.reach import own_reach
from fedshap.equilibrium.sampled_ascent import SampledGame
from fedshap.shapley.sampled_potential import SampledPotential, Surplus, balanced_coalitions

SEEDS = range(4)
STAGES = {30: 3, 100: 2}
STEPS = (0.001, 0.003, 0.01, 0.03, 0.1)
SHAP = fs.ShapleyPayment()
Row = dict[str, Any]


def games(n: int) -> dict[str, fs.Game]:
    """What is to be solved, exactly solvable as it stands."""
    rates = np.random.default_rng(6).uniform(0.008, 0.04, n)  # some agents stop between
    groups = fs.PowerLaw(weights=WEIGHTS * 30 / n, groups=np.sort(np.arange(n) % 3))
    return {
        "App. E": fs.Game(groups, fs.LinearCost(rates), CAPACITY),
        "common curve": fs.Game(fs.PowerLaw(n), fs.LinearCost(np.linspace(0.1, 0.5, n))),
    }


def unknown(game: fs.Game) -> fs.Game:
    payoff = fs.CustomPayoff(game.payoff.values, game.n_agents, concave=True)
    return fs.Game(payoff, game.cost, game.capacity)


def spread(numbers: Any) -> list[float]:
    """Median, least and most, to three digits."""
    numbers = list(numbers)
    return [float(f"{x:.3g}") for x in (statistics.median(numbers), min(numbers), max(numbers))]


def relative_regret(game: fs.Game, s: np.ndarray) -> float:
    return fs.regret(game, SHAP, s) / sampled._scale(game, s)


def stages(name: str, game: fs.Game) -> Iterator[Row]:
    """Each stage of a search: what it cost, what it promises and what is true."""
    exact = fs.find_equilibrium(game, SHAP).contributions
    found: list[list[Row]] = [[] for _ in range(STAGES[game.n_agents])]
    for seed in SEEDS:
        begun = time.perf_counter()
        search = sampled._Search(unknown(game), np.random.default_rng(seed), 0.95, 1e-3, None)
        s = None
        for stage in found:
            judged = search.stage(s)
            s = judged.record.contributions
            stage.append(
                {
                    "evaluations": judged.record.evaluations,
                    "seconds": time.perf_counter() - begun,
                    "largest_error": abs(s - exact).max() / exact.max(),
                    "mean_error": abs(s - exact).mean() / exact.max(),
                    "regret": relative_regret(game, s),
                    "bound": judged.excess,
                }
            )
    for k, runs in enumerate(found):
        row = {"game": name, "agents": game.n_agents, "stage": k + 1, "seeds": len(runs)}
        row |= {key: spread(run[key] for run in runs) for key in runs[0]}
        row["held"] = sum(run["regret"] <= run["bound"] for run in runs)
        evaluations, seconds, largest, mean, regret, bound = (row[key][0] for key in runs[0])
        print(
            f"{name:<13} {game.n_agents:>4} agents {evaluations:>9.2g} evaluations {seconds:>6.2f} s   contributions "
            f"off by {mean:.1e} (at most {largest:.1e})   regret {regret:.1e}, bound {bound:.1e}, held {row['held']}",
            flush=True,
        )
        yield row


def fixed_sample(game: fs.Game, draws: int, seed: int) -> tuple[np.ndarray, int]:
    """The maximiser of one sampled potential, and the evaluations it took."""
    hidden, generator = unknown(game), np.random.default_rng(seed)
    surplus = Surplus(hidden.payoff)
    reach = own_reach(hidden, surplus)
    potential = SampledPotential(surplus, *balanced_coalitions(game.n_agents, draws, generator))
    s = SampledGame(hidden, potential, reach, None, 0).solve(None, 1e-4)
    return s, surplus.evaluations


def robbins_monro(game: fs.Game, evaluations: int, step: float, seed: int) -> np.ndarray:
    """Projected ascent along the gradient of one random order a step, in units of what each would give alone."""
    generator, n = np.random.default_rng(seed), game.n_agents
    reach = own_reach(game, Surplus(game.payoff))
    steps = evaluations // (2 * n)
    s, mean = np.minimum(reach / n, game.capacity), np.zeros(n)
    for t in range(steps):
        rank = generator.permutation(n)
        slopes = game.payoff.total_gradient(np.where(rank <= rank[:, None], s, 0.0)).diagonal()
        climb = (slopes - game.cost.derivatives(s)) / game.cost.derivatives(s).mean()
        s = np.clip(s + step / (1.0 + 0.01 * t) ** 0.6 * reach * climb, 0.0, game.capacity)
        if t >= steps // 2:
            mean += s / (steps - steps // 2)
    return np.minimum(mean, game.capacity)


def fits(name: str, game: fs.Game) -> Iterator[Row]:
    """A fixed sample against fresh ones, at equal evaluations."""
    for draws in (64, 256):
        fixed = [fixed_sample(game, draws, seed) for seed in SEEDS]
        budget = int(statistics.median(evaluations for _, evaluations in fixed))
        fresh = {
            step: spread(relative_regret(game, robbins_monro(game, budget, step, seed)) for seed in SEEDS)
            for step in STEPS
        }
        best = min(fresh, key=lambda step: fresh[step][0])
        row = {
            "game": name,
            "agents": game.n_agents,
            "evaluations": budget,
            "fixed_sample": spread(relative_regret(game, s) for s, _ in fixed),
            "robbins_monro": fresh[best],
            "step": best,
        }
        print(
            f"{name:<13} {budget:>9} evaluations: regret {row['fixed_sample'][0]:.1e} by a fixed sample, "
            f"{row['robbins_monro'][0]:.1e} by Robbins and Monro (step {best})",
            flush=True,
        )
        yield row


def orders(game: fs.Game, s: np.ndarray, count: int, antithetic: bool, seed: int) -> tuple[np.ndarray, int]:
    sample = {"method": "permutation", "permutations": count, "antithetic": antithetic, "rng": seed}
    return fs.shapley_gradient(game, s, **sample).values, 2 * count * game.n_agents


def classes(game: fs.Game, s: np.ndarray, draws: int, seed: int) -> tuple[np.ndarray, int]:
    surplus = Surplus(game.payoff)
    sample = SampledPotential(surplus, *balanced_coalitions(game.n_agents, draws, np.random.default_rng(seed)))
    gradient = sample.value_and_gradient(s, 1e-5 * np.maximum(s, 1e-3 * s.max()))[1]
    return gradient, surplus.evaluations


def samples(name: str, game: fs.Game) -> Iterator[Row]:
    """Relative errors of the gradient at the equilibrium, times the root of the evaluations."""
    s = fs.find_equilibrium(game, SHAP).contributions
    exact = fs.shapley_gradient(game, s)
    designs: dict[str, Callable[[int], tuple[np.ndarray, int]]] = {
        "random orders": lambda seed: orders(game, s, 400, False, seed),
        "orders and their reverses": lambda seed: orders(game, s, 400, True, seed),
        "balanced in classes of sizes": lambda seed: classes(game, s, 400, seed),
    }
    for design, draw in designs.items():
        errors = []
        for seed in range(20):
            gradient, evaluations = draw(seed)
            errors.append(float(np.sqrt(np.mean((gradient / exact - 1.0) ** 2) * evaluations)))
        row = {"game": name, "agents": game.n_agents, "sample": design, "error": spread(errors)}
        print(f"{name:<13} {game.n_agents:>4} agents  {design:<30} {row['error'][0]:.2f}", flush=True)
        yield row


def main() -> None:
    sizes = {n: games(n) for n in STAGES}
    save(
        "sampled",
        "sampled equilibria; numbers over the seeds as median, least, most",
        designs=[row for n in sizes for name, game in sizes[n].items() for row in samples(name, game)],
        fits=[row for name, game in sizes[30].items() for row in fits(name, game)],
        stages=[row for n in sizes for name, game in sizes[n].items() for row in stages(name, game)],
    )


if __name__ == "__main__":
    main()
