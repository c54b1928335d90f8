"""Sampled Shapley values by `fedshap.cooperative`, shapiq and pyDVL, evaluation for evaluation.

    python tests/benchmarks/cooperative.py    # a table and book/results/cooperative.json, in three minutes

Games of 12, 20 and 30 players whose values are known exactly: by a formula, by dynamic programming over weights, by
`fedshap.shapley_values` for the exponential mixture, or from all 2^n coalitions. Every method gets 30 n and 100 n
evaluations. Its error is the root mean square over players, relative to that of the values; medians, least and most
over seeds. What is not installed is skipped with a line that says so: ``pip install shapiq pyDVL`` (pyDVL 0.10 needs
numpy 1.26, hence perhaps an environment of its own).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import statistics
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from results import save

import fedshap as fs

PLAYERS = (12, 20, 30)
PER_PLAYER = (30, 100)  # evaluations
SEEDS = 8
PACKAGES = ("numpy", "scipy", "shapiq", "pyDVL")
Worth = Callable[[np.ndarray], np.ndarray]  # members (k, n) -> (k,)


class Known(NamedTuple):
    """A game, zero for the empty coalition, and its Shapley values."""

    name: str
    worth: Worth
    values: np.ndarray


# ---- games ------------------------------------------------------------------------------------------


def known_games(n: int) -> Iterator[Known]:
    rng = np.random.default_rng(n)
    yield saturating(rng.exponential(1.0, n))
    yield voting(rng.integers(1, 30, n))
    yield airport(rng.exponential(1.0, n))
    yield unanimity(rng.random((20, n)) < rng.uniform(0.05, 0.4, (20, 1)), rng.normal(size=20))
    if n <= 20:
        yield network(rng.normal(size=(n, 8)) / math.sqrt(n), rng.normal(size=8))


def saturating(data: np.ndarray) -> Known:
    """Accuracy ``1 - (1 + sum s)^-0.7`` of a model trained on the members' data: an exponential mixture."""
    n = len(data)
    federation = fs.Game(fs.PowerLaw(n, beta=0.7), fs.LinearCost(np.ones(n)))
    return Known("saturating", lambda m: 1.0 - (1.0 + m @ data) ** -0.7, fs.shapley_values(federation, data) / n)


def voting(votes: np.ndarray) -> Known:
    """A majority of the votes wins: for each voter, how many of the others have how many votes, counted."""
    n, quota = len(votes), votes.sum() / 2
    values = np.empty(n)
    for i in range(n):
        ways = np.zeros((n, votes.sum() + 1))  # by size and votes
        ways[0, 0] = 1.0
        for k, vote in enumerate(np.delete(votes, i)):
            ways[1 : k + 2, vote:] += ways[: k + 1, : ways.shape[1] - vote].copy()
        tally = np.arange(ways.shape[1])
        swings = ways[:, (tally <= quota) & (tally + votes[i] > quota)].sum(axis=1)
        values[i] = sum(swings[size] / (n * math.comb(n - 1, size)) for size in range(n))
    return Known("voting", lambda m: (m @ votes > quota).astype(float), values)


def airport(costs: np.ndarray) -> Known:
    """The longest runway that a member needs; each stretch is shared by those who need it (Littlechild and Owen)."""
    order = np.argsort(costs)
    values = np.empty(len(costs))
    values[order] = np.cumsum(np.diff(costs[order], prepend=0.0) / np.arange(len(costs), 0, -1))
    return Known("airport", lambda m: (m * costs).max(axis=1), values)


def unanimity(carriers: np.ndarray, worths: np.ndarray) -> Known:
    """A sum of games in which a carrier, if all of it is there, is worth something; its members share that."""
    sizes = carriers.sum(axis=1)
    carriers, worths = carriers[sizes > 0], worths[sizes > 0]
    values = (carriers * (worths / carriers.sum(axis=1))[:, None]).sum(axis=0)
    return Known("unanimity", lambda m: ((m @ carriers.T.astype(float)) == carriers.sum(axis=1)) @ worths, values)


def network(first: np.ndarray, second: np.ndarray) -> Known:
    """A network of eight hidden units whose inputs are the players."""

    def worth(m: np.ndarray) -> np.ndarray:
        return np.tanh(m @ first * 2.0) @ second

    return Known("network", worth, fs.cooperative.shapley(worth, len(first), vectorised=True).values)


# ---- methods ----------------------------------------------------------------------------------------

Run = Callable[[Known, int, int], tuple[np.ndarray, int]]  # game, budget, seed -> values, evaluations


class Counted:
    """A game that counts the coalitions it was asked for, each once."""

    def __init__(self, worth: Worth) -> None:
        self.worth = worth
        self.asked: set[bytes] = set()

    def __call__(self, members: np.ndarray) -> np.ndarray:
        self.asked.update(bytes(row) for row in np.packbits(members, axis=1))
        return self.worth(members)


def ours(method: str) -> Run:
    def run(game: Known, budget: int, seed: int) -> tuple[np.ndarray, int]:
        n = len(game.values)
        found = fs.cooperative.shapley(game.worth, n, vectorised=True, method=method, budget=budget, rng=seed)  # type: ignore
        return found.values, found.evaluations

    return run


def shapiq_methods() -> dict[str, Run]:
    import shapiq
    from shapiq.approximator import (
        SVARM,
        KernelSHAP,
        OwenSamplingSV,
        PermutationSamplingSV,
        StratifiedSamplingSV,
        UnbiasedKernelSHAP,
        kADDSHAP,
    )

    def runner(make: Callable[..., Any], **options: Any) -> Run:
        def run(game: Known, budget: int, seed: int) -> tuple[np.ndarray, int]:
            n = len(game.values)
            counted = Counted(game.worth)

            class Asked(shapiq.Game):
                def value_function(self, coalitions: np.ndarray) -> np.ndarray:
                    return counted(np.asarray(coalitions, dtype=bool))

            asked = Asked(n_players=n, normalize=True, normalization_value=0.0)
            found = make(n=n, random_state=seed, **options).approximate(budget, asked)
            return np.array([found[(i,)] for i in range(n)]), len(counted.asked)

        return run

    paired = runner(KernelSHAP, pairing_trick=True)
    classes = (kADDSHAP, SVARM, UnbiasedKernelSHAP, PermutationSamplingSV, StratifiedSamplingSV, OwenSamplingSV)
    return {"shapiq: KernelSHAP, paired": paired} | {f"shapiq: {each.__name__}": runner(each) for each in classes}


def pydvl_methods() -> dict[str, Run]:
    from pydvl.valuation import AntitheticPermutationSampler, MaxUpdates, PermutationSampler, ShapleyValuation
    from pydvl.valuation.games import DummyGameDataset, DummyGameUtility

    def runner(sampler: Callable[..., Any]) -> Run:
        def run(game: Known, budget: int, seed: int) -> tuple[np.ndarray, int]:
            n = len(game.values)
            counted = Counted(game.worth)

            def score(players: np.ndarray) -> float:
                row = np.zeros((1, n), dtype=bool)
                row[0, players.ravel().astype(int)] = True
                return float(counted(row)[0])

            utility = DummyGameUtility(score, (-np.inf, np.inf))
            orders = max(2, budget // n)
            valuation = ShapleyValuation(utility, sampler(seed=seed), is_done=MaxUpdates(orders), progress=False)
            valuation.fit(DummyGameDataset(n))
            return np.array(valuation.result.values), len(counted.asked)

        return run

    return {f"pyDVL: {each.__name__}": runner(each) for each in (PermutationSampler, AntitheticPermutationSampler)}


def methods() -> dict[str, Run]:
    found = {f"fedshap: {name}": ours(name) for name in ("regression", "stratified", "permutation")}
    for package, made in (("shapiq", shapiq_methods), ("pydvl", pydvl_methods)):
        if importlib.util.find_spec(package):
            found |= made()
        else:
            print(f"{package} is not installed: skipped")
    return found


# ---- measurement ------------------------------------------------------------------------------------


def judged(game: Known, run: Run, budget: int) -> dict[str, Any]:
    errors, evaluations = [], []
    for seed in range(SEEDS):
        values, count = run(game, budget, seed)
        errors.append(float(np.sqrt(np.mean((values - game.values) ** 2) / np.mean(game.values**2))))
        evaluations.append(count)
    spread = (statistics.median(errors), min(errors), max(errors))
    return {"error": [float(f"{x:.3g}") for x in spread], "evaluations": statistics.median(evaluations)}


def main() -> None:
    warnings.simplefilter("ignore")
    rows = []
    for n in PLAYERS:
        for game in known_games(n):
            for per_player in PER_PLAYER:
                for name, run in methods().items():
                    row = {"players": n, "game": game.name, "budget": per_player * n, "method": name}
                    try:
                        row |= judged(game, run, per_player * n)
                    except ValueError as error:
                        row |= {"error": None, "reason": str(error)}
                    rows.append(row)
                    print(n, game.name, per_player * n, name, row["error"], row.get("evaluations"), flush=True)
    wins = best_of_others(rows)
    versions = {name: importlib.metadata.version(name) for name in PACKAGES if importlib.util.find_spec(name.lower())}
    versions["fedshap"] = fs.__version__
    what = "Relative error (root mean square over players; median, least, most over seeds) at equal evaluations"
    save("cooperative", what, machine={"packages": versions}, seeds=SEEDS, rows=rows, against_the_best=wins)


def best_of_others(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Our default's median error over the least median of any other package, for each game and budget."""
    cases: dict[tuple[int, str, int], dict[str, float]] = {}
    for row in rows:
        if row["error"]:
            cases.setdefault((row["players"], row["game"], row["budget"]), {})[row["method"]] = row["error"][0]
    table = []
    for (n, game, budget), errors in cases.items():
        others = {name: x for name, x in errors.items() if not name.startswith("fedshap")}
        if others:
            best = min(others, key=lambda name: others[name])
            ratio = float(f"{errors['fedshap: regression'] / others[best]:.3g}")
            table.append({"players": n, "game": game, "budget": budget, "best": best, "ratio": ratio})
            print(f"{n:3d} {game:11s} {budget:5d}  {ratio:6.3f} of {best}")
    return table


if __name__ == "__main__":
    main()
