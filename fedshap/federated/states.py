"""Where a federation stands after a line of its ledger, in memory and on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedshap._types import Array, PerAgent
from fedshap.federated.estimators import Observation


@dataclass(frozen=True, eq=False)
class State:
    """Everything that decides what comes next."""

    weights: Array  # (P,), the common model
    amounts: PerAgent  # (n,), what each gave last, or decided to give next
    marginals: PerAgent  # (n,), NaN where none is known
    owed: Array  # (n, n), Phi summed over the rounds of this stage
    public: tuple[Array, ...]  # shares on each public input, summed over this stage, (m, n) for each group
    observations: tuple[Observation, ...] = ()  # of the last rounds, as far as the estimator asks for them
    rounds: int = 0  # done
    settled: int = 0  # rounds done when the last stage was settled
    stages: int = 0  # settled

    def stored(self) -> dict[str, Array]:
        """As arrays by name."""
        arrays = {
            "weights": self.weights,
            "amounts": self.amounts,
            "marginals": self.marginals,
            "owed": self.owed,
            "counts": np.array([self.rounds, self.settled, self.stages]),
        }
        arrays |= {f"public.{group}": each for group, each in enumerate(self.public)}
        for k, seen in enumerate(self.observations):
            arrays |= {f"profiles.{k}": seen.profiles, f"scores.{k}": seen.scores}
        return arrays

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> State:
        """From arrays by name."""
        groups = sum(name.startswith("public.") for name in arrays)
        window = sum(name.startswith("profiles.") for name in arrays)
        rounds, settled, stages = arrays["counts"].tolist()
        return cls(
            weights=arrays["weights"],
            amounts=arrays["amounts"],
            marginals=arrays["marginals"],
            owed=arrays["owed"],
            public=tuple(arrays[f"public.{group}"] for group in range(groups)),
            observations=tuple(Observation(arrays[f"profiles.{k}"], arrays[f"scores.{k}"]) for k in range(window)),
            rounds=rounds,
            settled=settled,
            stages=stages,
        )
