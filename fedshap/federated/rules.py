"""The settings of FedBR-Shap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fedshap._records import Record
from fedshap._validation import as_choice, as_count, as_instance, as_interval
from fedshap.federated.audit import Audit
from fedshap.federated.coalition_models import MOST_EXACT
from fedshap.federated.config import AVERAGES
from fedshap.federated.deviations import Search
from fedshap.federated.estimators import Estimator, Secant

DEFAULT_SEARCH = Search()


class QuorumError(RuntimeError):
    """Too few clients answered for a round to count; the books stand at the round before."""


class Rules(Record):
    """What a federation has agreed on: see :class:`fedshap.federated.FedBRShap`, which plays by it."""

    def __init__(
        self,
        *,
        estimator: Estimator | None = None,
        step: float = 100.0,
        stage: int = 5,
        repeats: int = 1,
        start: float = 4.0,
        average: str = "participants",
        coalitions: int | None = None,
        search: Search | None = DEFAULT_SEARCH,
        audit: Audit | None = None,
        quorum: int | None = None,
    ) -> None:
        self.estimator = Secant() if estimator is None else as_instance("estimator", estimator, Estimator)
        self.step = as_interval("step", step, 0.0, np.inf)
        self.stage = as_count("stage", stage)
        self.repeats = as_count("repeats", repeats)
        self.start = as_interval("start", start, 0.0, np.inf, closed_low=True)
        self.average = as_choice("average", average, AVERAGES)
        self.coalitions = coalitions if coalitions is None else as_count("coalitions", coalitions, minimum=2)
        self.search = search if search is None else as_instance("search", search, Search)
        self.audit = audit if audit is None else as_instance("audit", audit, Audit)
        self.quorum = quorum if quorum is None else as_count("quorum", quorum)

    def quorum_of(self, n: int) -> int:
        """Clients that must answer, of ``n``."""
        return max(n - 1, 1) if self.quorum is None else self.quorum

    def require_quorum(self, players: Sequence[int], n: int, refused: Mapping[str, str]) -> None:
        """Refuse a round in which too few of ``n`` clients can be counted on.

        Raises
        ------
        QuorumError
            With the reasons why the others cannot.
        """
        quorum = self.quorum_of(n)
        if len(players) < quorum:
            reasons = "; ".join(f"client {client}: {why}" for client, why in sorted(refused.items()))
            raise QuorumError(
                f"{len(players)} of {n} clients can be counted on and the quorum is {quorum} ({reasons}). The books "
                "stand at the round before; with the same folder the same command goes on"
            )

    def drawn(self, n: int) -> dict[str, int | None]:
        """How many coalitions of ``n`` clients are scored, and with how many each version of one of them."""
        if self.coalitions is None and n <= MOST_EXACT:
            return {"coalitions": None, "joined": None}
        wanted = 20 * n if self.coalitions is None else self.coalitions
        return {"coalitions": wanted, "joined": _all_or(max(wanted // (2 * n), 8), n)}

    def drawn_for_search(self, search: Search, n: int) -> dict[str, int | None]:
        """The same for the search after a stage."""
        return {**self.drawn(n), "joined": _all_or(search.coalitions, n)}


def _all_or(wanted: int, n: int) -> int | None:
    """None, for all, where there are no more coalitions of the n - 1 others."""
    return None if n <= MOST_EXACT and 1 << (n - 1) <= wanted else wanted
