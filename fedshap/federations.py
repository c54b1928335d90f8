"""Outside the federation: who would leave it, which federations are stable, and what keeps everybody in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedshap._records import Record
from fedshap._types import Array, PerAgent
from fedshap._validation import as_instance, read_only
from fedshap.equilibrium import ConvergenceError, find_equilibrium
from fedshap.equilibrium.find import EXACT_TOL
from fedshap.game import Game
from fedshap.mechanisms import Mechanism, NoPayment
from fedshap.payoffs.regrouped import Regrouped

MAX_PARTNERS = 12
"""Most agents all of whose coalitions are solved: 4095 games."""

_TIE = 1e-9  # of the largest utility: less is no reason to leave

Coalition = tuple[int, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Participation(Record):
    """What agents have together, in smaller federations, and alone.

    Attributes
    ----------
    alone : Array
        What each has who trains by herself, ``max_x a_i(x e_i) - c_i(x)``, shape (n,).
    together : Array
        Utilities in the equilibrium of the federation of all, shape (n,).
    table : Array
        Utilities of each member of each coalition in the equilibrium of that federation, shape (2^n, n): coalition m
        contains agent i if bit i of m is set; NaN for who is not in it.
    blocking : tuple of tuple of int
        Coalitions all of whose members have more on their own than in the federation of all.
    stable : tuple of tuple of tuple of int
        Partitions into federations that no coalition blocks: the core-stable ones.
    transfers : Array or None
        The least transfers between agents (what each gets, negative where she gives), shape (n,), with which no
        coalition gains by leaving, even if its members compensate each other; the most even of them. None where there
        are none.
    """

    alone: PerAgent
    together: PerAgent
    table: Array
    blocking: tuple[Coalition, ...]
    stable: tuple[tuple[Coalition, ...], ...]
    transfers: PerAgent | None

    @property
    def least_transfer(self) -> float:
        """What must change hands to keep everybody in; infinite where nothing does."""
        return np.inf if self.transfers is None else float(np.maximum(self.transfers, 0.0).sum())

    def __repr__(self) -> str:
        return (
            f"Participation(n_agents={len(self.alone)}, blocking={len(self.blocking)}, stable={len(self.stable)}, "
            f"least_transfer={self.least_transfer:g})"
        )


def participation(game: Game, mechanism: Mechanism) -> Participation:
    """Who would leave the federation, which federations are stable, and the least transfer that keeps everybody in.

    A coalition that leaves takes its data along, plays the same mechanism among its members, and has what they have in
    the equilibrium that `find_equilibrium` finds; somebody who leaves alone trains alone. Those who stay do not react.

    Parameters
    ----------
    game : Game
        At most 12 agents: all coalitions are solved.
    mechanism : Mechanism
        What is played in every federation of two or more.

    Returns
    -------
    Participation
        Stand-alone values, blocking coalitions, core-stable partitions and transfers.

    Raises
    ------
    ValueError
        If there are more than 12 agents.
    ConvergenceError
        If the equilibrium of some coalition is not found.

    Notes
    -----
    A partition is core stable if no coalition exists all of whose members strictly prefer it to where they are
    (Karakaya 2011, Hedonic coalition formation games). The search is complete: agents are placed one federation at a
    time, and what some coalition of those placed already blocks is given up. Transfers solve the linear programme that
    minimises what changes hands over the core of the game with transferable utility.

    Where a mechanism has several equilibria, the answer is about those found.

    Examples
    --------
    Two hospitals with dear data and one whose data are nearly free: with her the two give little, and have less.

    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([1.2, 1.2, 0.01]))
    >>> found = participation(game, fs.ShapleyPayment())
    >>> found.blocking, found.stable
    (((0, 1),), (((0, 1), (2,)),))
    >>> found.transfers.round(4)
    array([ 0.0355,  0.0355, -0.071 ])
    >>> round(float(found.least_transfer / found.together[2]), 3)  # of what the third has with them; alone she has 0.81
    0.029
    """
    as_instance("game", game, Game)
    as_instance("mechanism", mechanism, Mechanism)
    if game.n_agents > MAX_PARTNERS:
        raise ValueError(
            f"participation solves the game of every coalition: at most {MAX_PARTNERS} agents; the game has "
            f"{game.n_agents}"
        )
    table = _table(game, mechanism)
    leaving = _Leaving(table)
    together = table[-1]
    blocking = tuple(_members(m) for m in np.flatnonzero(leaving.blocks(together)).tolist())
    return Participation(
        alone=read_only(table[1 << np.arange(game.n_agents), np.arange(game.n_agents)].copy()),
        together=read_only(together.copy()),
        table=read_only(table),
        blocking=blocking,
        stable=tuple(leaving.stable()),
        transfers=_least_transfers(table),
    )


def _table(game: Game, mechanism: Mechanism) -> Array:
    """Utilities of the members of every coalition on their own, NaN for all others, shape (2^n, n)."""
    table = np.full((1 << game.n_agents, game.n_agents), np.nan)
    # What is at stake in a small coalition may be nothing but rounding: all are held against what is at stake in any.
    worst, scale = None, 0.0
    for m in range(1, 1 << game.n_agents):
        members = np.array(_members(m), dtype=np.intp)
        rule = mechanism if len(members) > 1 else NoPayment()
        found = find_equilibrium(_own(game, members), rule, on_failure="return")
        table[m, members] = found.utilities
        worst = found if worst is None or found.regret > worst.regret else worst
        scale = max(scale, found.scale)
    if worst is not None and worst.regret > EXACT_TOL * scale:
        raise ConvergenceError(worst, EXACT_TOL)
    return table


def _own(game: Game, members: NDArray[np.intp]) -> Game:
    """The game among some agents on their own."""
    if len(members) == game.n_agents:
        return game
    payoff = Regrouped(game.payoff, members, np.ones(len(members)))
    return Game(payoff, game.cost.of(members), game.capacity[members], minimum=game.minimum[members])


def _members(coalition: int) -> Coalition:
    return tuple(i for i in range(int(coalition).bit_length()) if coalition >> i & 1)


class _Leaving:
    """Who leaves for what: utilities of all coalitions, and what blocks."""

    def __init__(self, table: Array) -> None:
        self.table, self.n = table, table.shape[1]
        self._tie = _TIE * float(np.nanmax(np.abs(table)))

    def blocks(self, have: PerAgent) -> NDArray[np.bool_]:
        """Which coalitions give all their members more than they have, shape (2^n,); infinity is never bettered."""
        better = np.isnan(self.table) | (self.table > have + self._tie)
        better[0] = False
        return np.asarray(better.all(axis=1))

    def stable(self) -> Iterator[tuple[Coalition, ...]]:
        """Core-stable partitions, in the order of their first federations."""
        calm = []  # what no part of it blocks
        for m in range(1, 1 << self.n):
            have = np.where(np.isnan(self.table[m]), np.inf, self.table[m])
            if not self.blocks(have).any():
                calm.append(m)
        yield from self._completed((), np.full(self.n, np.inf), (1 << self.n) - 1, calm)

    def _completed(
        self, placed: tuple[Coalition, ...], have: PerAgent, rest: int, calm: list[int]
    ) -> Iterator[tuple[Coalition, ...]]:
        if rest == 0:
            yield placed
            return
        first = rest & -rest
        for m in calm:
            if m & first and not m & ~rest:
                now = np.where(np.isnan(self.table[m]), have, self.table[m])
                if not self.blocks(now).any():
                    yield from self._completed((*placed, _members(m)), now, rest & ~m, calm)


def _least_transfers(table: Array) -> PerAgent | None:
    """Transfers that add up to nothing and leave every coalition at least what it has on its own; None if there are
    none."""
    from scipy.optimize import linprog  # half a second to import

    n, scale = table.shape[1], float(np.nanmax(np.abs(table))) or 1.0
    if n == 1:
        return read_only(np.zeros(1))
    inside = ~np.isnan(table[1:-1])
    lacking = np.nansum(table[1:-1], axis=1) - np.where(inside, table[-1], 0.0).sum(axis=1)
    # Variables: what each gets, what each gives, and the most that anybody gets.
    rows = np.hstack([np.where(inside, -1.0, 0.0), inside, np.zeros((len(inside), 1))])
    most = np.hstack([np.eye(n), np.zeros((n, n)), -np.ones((n, 1))])
    bounds = {"A_ub": np.vstack([rows, most]), "b_ub": np.append(-lacking / scale, np.zeros(n))}
    balance, amount = np.append(np.ones(n), np.append(-np.ones(n), 0.0)), np.append(np.ones(n), np.zeros(n + 1))
    least = linprog(amount, **bounds, A_eq=balance[None], b_eq=[0.0], method="highs")
    if least.status != 0:
        return None
    # Of all that move as little, the most even.
    equal = {"A_eq": np.array([balance, amount]), "b_eq": [0.0, least.fun]}
    found = linprog(np.append(np.zeros(2 * n), 1.0), **bounds, **equal, method="highs")
    chosen = found.x if found.status == 0 else least.x
    return read_only(scale * (chosen[:n] - chosen[n:-1]))
