"""Equilibria of M^Shap and M^0, and the welfare optimum, against the number of agents: time, memory, conditions.

    python tests/benchmarks/scale.py            # a table, and book/results/scale.json

Three payoff groups with App. E's MNIST weights, shrunk with n so that the federation as a whole stays the same;
linear costs drawn evenly; with a capacity of 100 batches, or without. Growth is the exponent of n between the first
and the last size. Each run has a process of its own, so that its peak memory is its own; medians and ranges are over
the repetitions. ``violation`` is by how much the conditions of the first order miss zero, in units of the mean rate.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time
from typing import Any

from results import save

SIZES = [1_000, 10_000, 100_000, 1_000_000]
REPETITIONS = 3


def measure(mechanism: str, n: int, capacity: float, seed: int) -> dict[str, float]:
    """Solve one game and judge every agent's first-order condition, in units of the mean cost rate."""
    import numpy as np

    import fedshap as fs

    weights = np.array([[3.1e-3, 4.7e-4, 4.4e-4], [6.7e-4, 1.9e-3, 6.5e-4], [9.3e-4, 8.3e-4, 2.1e-3]]) * 30 / n
    rng = np.random.default_rng(seed)
    payoff = fs.PowerLaw(weights=weights, groups=rng.integers(0, 3, n))
    # Without payments only her own benefit moves an agent, and that shrinks with n.
    rates = rng.uniform(0.008, 0.04, n) if mechanism != "M^0" else rng.uniform(0.0, 0.001, n) * 30 / n
    game = fs.Game(payoff, fs.LinearCost(rates), capacity)
    played = fs.ShapleyPayment() if mechanism == "M^Shap" else fs.NoPayment()
    start = time.perf_counter()
    found = fs.welfare_optimum(game) if mechanism == "welfare" else fs.find_equilibrium(game, played)
    seconds = time.perf_counter() - start
    s = found.contributions
    if isinstance(found, fs.WelfareOptimum):  # the gap in the place of the regret, as a part of what is at stake
        slope, missed = payoff.total_gradient(s) - game.cost.derivatives(s), found.relative_gap
    else:
        slope, missed = played.marginal_utilities(game, s), found.regret
    violation = np.where(s <= 0, np.maximum(slope, 0), np.where(s >= game.capacity, np.maximum(-slope, 0), abs(slope)))
    return {
        "seconds": seconds,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "violation": float(violation.max() / rates.mean()),
        "regret": missed,
        "contributors": int((s > 0).sum()),
    }


def summary(mechanism: str, n: int, capacity: float) -> dict[str, Any]:
    """Median and range over the repetitions."""
    runs = []
    for seed in range(REPETITIONS):
        command = [sys.executable, __file__, mechanism, str(n), str(capacity), str(seed)]
        runs.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    seconds = sorted(run["seconds"] for run in runs)
    row = {
        "mechanism": mechanism,
        "agents": n,
        "capacity": "none" if capacity == float("inf") else capacity,
        "seconds": [round(x, 2) for x in (seconds[len(seconds) // 2], seconds[0], seconds[-1])],
        "megabytes": round(max(run["megabytes"] for run in runs)),
        "violation": float(f"{max(run['violation'] for run in runs):.1g}"),
        "regret": float(f"{max(run['regret'] for run in runs):.1g}"),
        "contributors": [run["contributors"] for run in runs],
    }
    print(
        "{mechanism:>7} {agents:>9} {capacity:>6} {seconds!s:>22} s {megabytes:>5} MB {violation:>8}".format(**row),
        flush=True,
    )
    return row


def main() -> None:
    settings = [(mechanism, c) for mechanism in ("M^Shap", "M^0", "welfare") for c in (100.0, float("inf"))]
    rows, growth = [], {}
    for mechanism, capacity in settings:
        sizes = [summary(mechanism, n, capacity) for n in SIZES]
        ratio = sizes[-1]["seconds"][0] / sizes[0]["seconds"][0]
        growth[f"{mechanism}, {capacity:g}"] = round(math.log(ratio) / math.log(SIZES[-1] / SIZES[0]), 2)
        rows += sizes
    print("growth", growth)
    what = "equilibrium with certificate; seconds as median, least, most; growth: exponent of n"
    save("scale", what, growth=growth, rows=rows)


if __name__ == "__main__":
    if len(sys.argv) == 5:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))))
    else:
        main()
