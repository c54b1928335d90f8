"""What all semivalues take by keyword, checked."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal, TypeAlias, TypedDict, get_args

import numpy as np

from fedshap._coalitions import MAX_EXACT
from fedshap._files import as_path, claimed
from fedshap._types import Progress, RandomSource
from fedshap._validation import as_count, as_generator, as_interval
from fedshap.cooperative.evaluation import Evaluator, name_of
from fedshap.cooperative.sampling import Limits
from fedshap.cooperative.store import ValueStore

Method: TypeAlias = Literal["auto", "exact", "regression", "stratified", "permutation"]
OnFailure: TypeAlias = Literal["raise", "return"]


class Options(TypedDict, total=False):
    """The keywords, described in `fedshap.cooperative.shapley`."""

    method: Method
    tol: float | None
    budget: int | None
    rng: RandomSource | None
    vectorised: bool
    executor: Executor | None
    progress: Progress
    cache: str | PathLike[str] | None
    on_failure: OnFailure


@dataclass(frozen=True)
class Settings:
    """The keywords and their defaults."""

    method: Method = "auto"
    tol: float | None = None
    budget: int | None = None
    rng: RandomSource | None = None
    vectorised: bool = False
    executor: Executor | None = None
    progress: Progress = None
    cache: str | PathLike[str] | None = None
    on_failure: OnFailure = "raise"

    def __post_init__(self) -> None:
        for name, kind in (("method", Method), ("on_failure", OnFailure)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}; got {getattr(self, name)!r}")
        if not isinstance(self.vectorised, bool):
            raise ValueError(f"vectorised must be True or False; got {self.vectorised!r}")
        if self.executor is not None and not isinstance(self.executor, Executor):
            raise ValueError(f"executor must be a concurrent.futures.Executor; got {self.executor!r}")
        if self.progress is not None and not callable(self.progress):
            raise ValueError(f"progress must be callable; got {self.progress!r}")

    @property
    def limits(self) -> Limits:
        tol = None if self.tol is None else as_interval("tol", self.tol, 0.0, np.inf)
        return Limits(tol, None if self.budget is None else as_count("budget", self.budget, minimum=2))

    def cache_claimed(self) -> AbstractContextManager[None]:
        """While this is open the cache is nobody else's: two who append to it at once would mix up its lines."""
        if self.cache is None:
            return nullcontext()
        path = as_path("cache", self.cache)
        return claimed(path.with_name(f".{path.name}.lock"), str(path))

    def generator(self) -> np.random.Generator:
        if self.rng is None:
            raise ValueError("rng must be given, a seed or a generator, where coalitions are sampled")
        return as_generator(self.rng)

    def evaluator(self, function: Callable[..., Any], n_players: int) -> Evaluator:
        """What asks the function, as these settings have it."""
        store = None if self.cache is None else ValueStore(self.cache, n_players, name_of(function))
        return Evaluator(
            function,
            n_players,
            vectorised=self.vectorised,
            executor=self.executor,
            progress=self.progress,
            store=store,
        )

    def refuse_function_options(self) -> None:
        """What is of no use to a game that comes as numbers."""
        for name in ("vectorised", "executor", "progress", "cache"):
            if getattr(self, name):
                raise ValueError(f"{name} applies to a function of coalitions; these values are numbers")

    def method_for(self, n: int, *, known: bool) -> str:
        """The method meant for n players, after a check that what it needs is there and nothing that it has no use for.

        ``known`` says that the values of all coalitions are.
        """
        limits = self.limits
        if self.method == "exact":
            given = [name for name in ("tol", "budget", "rng") if getattr(self, name) is not None]
            if given:
                raise ValueError(f"{', '.join(given)} must be left out with method='exact', which samples nothing")
            if not known and n > MAX_EXACT:
                raise ValueError(f"a function is asked for all coalitions of at most {MAX_EXACT} players; got {n}")
            return "exact"
        few = n <= MAX_EXACT and limits.tol is None and (limits.budget is None or limits.budget >= 1 << n)
        if self.method == "auto" and (known or few):
            return "exact"
        if limits.tol is None and limits.budget is None:
            raise ValueError(
                f"the values of {n} players must be sampled: give rng (a seed), and tol (a standard error to reach) or "
                "budget (the most evaluations)"
            )
        self.generator()
        if n <= 2:
            return "exact"  # every order of two players and its reverse are all there is
        return "regression" if self.method == "auto" else self.method
