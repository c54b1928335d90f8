"""Equilibria of payoffs given by a function, against the quadrature of the same game, in one run.

    python tests/benchmarks/custom.py [AGENTS ...]

The game is a weighted power law, once as `PowerLaw` and once as a plain function without a gradient, so that all
coalitions are enumerated. Prints the fastest of a few runs: seconds, the ratio to quadrature, evaluations of the
function for each agent and each coalition of the others, and how far contributions are apart.
"""

from __future__ import annotations

import sys
import time

import numpy as np

import fedshap as fs

AGENTS = (8, 12, 16)
REPETITIONS = 3


def games(n: int) -> tuple[fs.Game, fs.Game, list[int]]:
    """By quadrature and by enumeration, and a list that counts what the function is asked."""
    rng = np.random.default_rng(n)
    weights, cost, asked = rng.uniform(0.2, 1.0, (n, n)), fs.LinearCost(rng.uniform(0.1, 0.8, n)), [0]

    def payoffs(s: np.ndarray) -> np.ndarray:
        asked[0] += len(s)
        return 1.0 - 1.0 / (1.0 + s @ weights.T)

    return fs.Game(fs.PowerLaw(weights=weights), cost), fs.Game(fs.CustomPayoff(payoffs, n), cost), asked


def fastest(game: fs.Game) -> tuple[float, fs.Equilibrium]:
    """Seconds of the fastest run, and the equilibrium."""
    seconds = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        found = fs.find_equilibrium(game, fs.ShapleyPayment())
        seconds.append(time.perf_counter() - start)
    return min(seconds), found


def main() -> None:
    for n in map(int, sys.argv[1:]) if len(sys.argv) > 1 else AGENTS:
        known, custom, asked = games(n)
        reference, exact = fastest(known)
        asked[0] = 0
        seconds, found = fastest(custom)
        each = asked[0] / REPETITIONS / n / 2 ** (n - 1)
        apart = np.abs(found.contributions - exact.contributions).max() / exact.contributions.max()
        print(
            f"{n:>3} agents  {seconds:8.3f} s  {seconds / reference:7.1f} x quadrature ({reference:.3f} s)  "
            f"{each:5.1f} evaluations each  apart {apart:.0e}  regret {found.regret:.0e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
