"""Would anybody rather have given something else? Measured by training again, on fresh shuffles.

No derivative sees that a share may drop where ``s_i`` leaves 0, and a share measured once is mostly the luck of one
shuffle. So after a stage every client trains a few amounts far from hers on several fresh shuffles, and learns her
share at each while the others give what they give. What she makes of it, with her cost, is a `Decision`: how much she
would gain, with its standard error and a bound. The profile that was played is an equilibrium of the round that starts
from the model at hand up to the largest of these bounds, among the amounts tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fedshap._records import Record
from fedshap._types import Array, PerAgent
from fedshap._validation import as_array, as_count, as_interval, read_only
from fedshap.federated.exchange import Curve, Decision, Keep, Trained, TrainTask

_FRESH = 1  # last number of the shuffles' streams: no round has it


class Search(Record):
    """Which amounts clients try after each stage, and on how many shuffles.

    Parameters
    ----------
    levels : sequence of float
        Amounts in batches a round, increasing from 0. Those beyond a client's capacity become all she has; so infinity
        stands for that.
    shuffles : int
        At least 4: one half proposes, the other half judges, and each needs a standard error.
    coalitions : int
        Coalitions of the others that each amount of a client is tried with, all if there are no more.
    level : float
        Confidence of the bound on each client's gain, in (0.5, 1). The largest of all bounds holds with it too.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """

    def __init__(
        self,
        levels: Sequence[float] = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, np.inf),
        shuffles: int = 8,
        *,
        coalitions: int = 64,
        level: float = 0.95,
    ) -> None:
        self.levels = read_only(as_array("levels", levels, minimum=0.0, finite=False))
        rising = self.levels.ndim == 1 and len(self.levels) > 1 and bool((np.diff(self.levels) > 0.0).all())
        if not rising or self.levels[0] != 0.0:
            raise ValueError(f"levels must increase from 0, where a share may drop at once; got {list(self.levels)}")
        self.shuffles = as_count("shuffles", shuffles, minimum=4)
        self.coalitions = as_count("coalitions", coalitions)
        self.level = as_interval("level", level, 0.5, np.nextafter(1.0, 0.0))

    def task(self, weights: Array, amounts: PerAgent, round_: int) -> TrainTask:
        """Training of everybody's present amount and of all levels, on fresh shuffles."""
        offers = {client: Keep(amount) for client, amount in enumerate(amounts.tolist())}
        streams = tuple((round_, shuffle, _FRESH) for shuffle in range(1, self.shuffles + 1))
        return TrainTask(weights, offers, streams, levels=tuple(self.levels.tolist()))

    def question(self, task: TrainTask, trained: Mapping[int, Trained], shares: Array) -> TrainTask:
        """What each client would give, now that she knows her ``shares`` (K, n, k) at all of her amounts."""
        offers = {
            client: Curve(answer.amounts, read_only(shares[:, place]), self.level)
            for place, (client, answer) in enumerate(trained.items())
        }
        return TrainTask(task.weights, offers, streams=())


def certificate(
    trained: Mapping[int, Trained], shares: Array, decisions: Mapping[int, Decision], n: int
) -> dict[str, list]:
    """The search as the ledger has it: one entry for each client, None for one who took no part."""
    found: dict[str, list] = {name: [None] * n for name in _ENTRIES}
    for place, (client, answer) in enumerate(trained.items()):
        curve = shares[:, place]
        found["amounts"][client] = answer.amounts.tolist()
        found["shares"][client] = curve.mean(axis=0).tolist()
        found["share errors"][client] = (curve.std(axis=0, ddof=1) / np.sqrt(len(curve))).tolist()
        if client in decisions:
            decision = decisions[client]
            found["gains"][client] = decision.gain
            found["standard errors"][client] = decision.standard_error
            found["bounds"][client] = decision.bound
    return found


_ENTRIES = ("amounts", "shares", "share errors", "gains", "standard errors", "bounds")
