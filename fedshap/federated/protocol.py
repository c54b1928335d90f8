r"""FedBR-Shap: clients that choose how much to give, earn and pay while the model trains (Sec. 5.2, Algorithm 1).

A round: every client chooses an amount ``s_i`` and trains it from the common model; all clients score the mixtures of
local models that the coalitions make; the scores say what each owes to each, :math:`\Phi_{ij}`, and what a further
batch would earn. After W rounds a stage is settled:

.. math:: p_i = \sum_j (\Phi_{ij} - \Phi_{ji}),

which is the paper's :math:`\varphi_i - a_i` where reports are honest, and adds up to zero whatever is reported.

Algorithm 1 cannot be run as printed. What was mended stands beside the line that it mends, with the number of the
line. The protocol knows no transport and no data: it talks to a :class:`~fedshap.federated.exchange.Clients`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fedshap._files import as_path, claimed
from fedshap._records import Record, short_repr
from fedshap._types import Array, PerAgent
from fedshap._validation import as_count, read_only
from fedshap.federated.estimators import TwoModels
from fedshap.federated.exchange import Clients, Description, Refusal
from fedshap.federated.ledger import NAME, Ledger, Line, Snapshots, digest, exactly
from fedshap.federated.rounds import play_round, settle
from fedshap.federated.rules import Rules
from fedshap.federated.states import State


@dataclass(frozen=True, eq=False, repr=False)
class FederationRun(Record):
    """What a federation did.

    Attributes
    ----------
    weights : ndarray
        The model after the last round, shape (P,).
    amounts : ndarray
        Batches that each client gave in the last round, shape (n,).
    payments, shares, gains : ndarray
        Added up over all stages, in the unit of the scores, shape (n,): what each received (negative: paid), her
        Shapley share, and the gain of her own score.
    lines : tuple
        All lines of the ledger but its first.
    """

    weights: Array
    amounts: PerAgent
    payments: PerAgent
    shares: PerAgent
    gains: PerAgent
    lines: tuple[Line, ...]

    @property
    def rounds(self) -> list[Line]:
        """The lines of the rounds."""
        return [line for line in self.lines if "payments" not in line]

    @property
    def stages(self) -> list[Line]:
        """The lines that settle a stage."""
        return [line for line in self.lines if "payments" in line]

    def __repr__(self) -> str:
        return short_repr(self, {"rounds": len(self.rounds), "amounts": self.amounts, "payments": self.payments})


class FedBRShap(Rules):
    """The protocol's settings.

    Parameters
    ----------
    estimator : Estimator
        Of the marginal share.
    step : float
        ``delta`` of Eq. (11), > 0: batches moved for each unit by which marginal share and marginal cost differ.
    stage : int
        Rounds that are settled together, ``W``.
    repeats : int
        Shuffles of each round that shares are measured on, at least 1; the first one makes the common model.
    start : float
        Batches that everybody gives in the first round.
    average : {"participants", "everyone", "samples"}
        See :class:`~fedshap.federated.coalition_models.CoalitionGame`.
    coalitions : int, optional
        Coalitions scored in each round, drawn in complementary pairs; shares are then estimates with standard errors.
        By default all up to 10 clients, and twenty for each client where there are more.
    search : Search, optional
        What clients try after each stage; with None nothing certifies where they are, and nobody sees 0.
    audit : Audit, optional
        Public inputs that reports are held against.
    quorum : int, optional
        Clients that must answer for a round to count; by default all but one, and at least one.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Examples
    --------
    Three clients, each better at its own rotation of the digits:

    >>> import fedshap as fs
    >>> from fedshap.federated import LocalClients, load_dataset, partition
    >>> federation = partition(load_dataset("digits"), n_clients=3, rng=0)
    >>> clients = LocalClients(federation, fs.LinearCost([0.001, 0.002, 0.003]))
    >>> run = FedBRShap(search=None, start=4, stage=2).run(clients, rounds=2)
    >>> len(run.rounds), len(run.stages), bool(abs(run.payments.sum()) < 1e-12)
    (2, 1, True)

    Notes
    -----
    Sec. 5.2, App. F and Algorithm 1 of the paper.
    """

    @classmethod
    def as_printed(cls, *, epsilon: float = 0.125, step: float = 100.0, stage: int = 5) -> FedBRShap:
        """Algorithm 1 as it is printed, as far as it can be run: two models, a plain average, from one batch each.

        The paper leaves the values of the three parameters open.
        """
        return cls(estimator=TwoModels(epsilon), step=step, stage=stage, start=1.0, average="everyone", search=None)

    def run(
        self,
        clients: Clients,
        rounds: int,
        *,
        out: str | Path | None = None,
        progress: bool | None = None,
        callbacks: Sequence[Callable[[Line], object]] = (),
    ) -> FederationRun:
        """Run the protocol, or go on where the books in ``out`` end.

        Parameters
        ----------
        clients : Clients
            Those who take part.
        rounds : int
            Rounds in all.
        out : path, optional
            Folder for the ledger and the state of the last line. The same call goes on from there, to the same bits.
        progress : bool, optional
            Show a progress bar on stderr; by default only where that is a terminal.
        callbacks : sequence of callable
            Each is told every new line of the ledger.

        Returns
        -------
        FederationRun

        Raises
        ------
        ValueError
            If clients do not fit together, are fewer than the quorum, or the books are those of another federation.
        QuorumError
            If too few clients answer; with ``out``, the same call goes on.
        """
        lines, state, hidden = [], None, None if progress is None else not progress
        with tqdm(total=as_count("rounds", rounds), unit="round", desc="federation", disable=hidden) as bar:
            for line, state, is_new in self._steps(clients, rounds, out):  # noqa: B007 (the last state is wanted)
                lines.append(line)
                bar.set_postfix_str(_summary(line), refresh=False)
                bar.update("payments" not in line)
                for callback in callbacks if is_new else ():
                    callback(line)
        assert state is not None
        return _finished(lines, state)

    def steps(self, clients: Clients, rounds: int, *, out: str | Path | None = None) -> Iterator[tuple[Line, State]]:
        """The lines of the ledger, those that are there already first, each with the state after it.

        The last state is that of the last line; of lines that were read, the states before are gone and it stands for
        them. Parameters and errors are those of :meth:`run`.
        """
        with closing(self._steps(clients, rounds, out)) as steps:  # one who stops early lets go of the folder
            for line, state, _ in steps:
                yield line, state

    def _steps(self, clients: Clients, rounds: int, out: str | Path | None) -> Generator[tuple[Line, State, bool]]:
        """Lines, states, and whether a line is new."""
        described = self._described(clients)
        state = self._first(clients, described)
        with ExitStack() as held:
            books: _Books | None = None
            if out is not None:
                folder = as_path("out", out)
                held.enter_context(claimed(folder / "running", f"the federation in {folder}"))
                books = _Books(folder)
                written = books.open(self._head(clients, described))
                state = books.state() if written else state
                yield from ((line, state, False) for line in written)
            while (step := self._next(clients, state, described, rounds)) is not None:
                line, state = step
                if books is not None:
                    books.add(line, state)
                yield line, state, True

    def _next(
        self, clients: Clients, state: State, described: Sequence[Description], rounds: int
    ) -> tuple[Line, State] | None:
        """What comes after ``state``: a settlement where one is due, else a round, else nothing."""
        unsettled = state.rounds - state.settled
        if unsettled == self.stage or (unsettled and state.rounds >= rounds):
            return settle(self, clients, state, described)
        return play_round(self, clients, state) if state.rounds < rounds else None

    def _described(self, clients: Clients) -> list[Description]:
        """Everybody's description; all must be there before anything is trained."""
        described = list(clients.descriptions)
        missing = {i: each.reason for i, each in enumerate(described) if isinstance(each, Refusal)}
        if missing or len(described) < self.quorum_of(len(described)) or not described:
            reasons = "".join(f"; client {client}: {why}" for client, why in missing.items())
            there = f"{len(described) - len(missing)} of {len(described)} are{reasons}"
            quorum = self.quorum_of(len(described))
            raise ValueError(f"all clients must be there before the first round, {quorum} at least; {there}")
        known = [each for each in described if isinstance(each, Description)]
        sizes = {each.n_weights for each in known} | {len(clients.weights)}
        if len(sizes) > 1:
            told = ", ".join(f"{each.name} {each.n_weights}" for each in known)
            raise ValueError(f"all clients must train the same network; weights: {told}; server {len(clients.weights)}")
        return known

    def _first(self, clients: Clients, described: Sequence[Description]) -> State:
        """Line 3. Where a network of zeros has no gradient behind a ReLU, training starts from drawn weights."""
        n = len(described)
        sizes = () if self.audit is None else self.audit.sizes
        return State(
            weights=clients.weights,
            amounts=np.minimum(self.start, [each.capacity for each in described]),
            marginals=np.full(n, np.nan),
            owed=np.zeros((n, n)),
            public=tuple(np.zeros((size, n)) for size in sizes),
        )

    def _head(self, clients: Clients, described: Sequence[Description]) -> dict[str, Any]:
        """What decides every number in the books."""
        return {
            "settings": exactly(self),
            "clients": [exactly(each) for each in described],
            "weights": digest(clients.weights),
        }


class _Books:
    """The ledger, and the state after its last line."""

    def __init__(self, folder: Path) -> None:
        self._ledger, self._snapshots, self._count = Ledger(folder / NAME), Snapshots(folder), 0

    def open(self, head: dict[str, Any]) -> list[Line]:
        """The lines that are there."""
        written, dropped = self._ledger.open(head)
        if dropped:
            tqdm.write(f"the last line of {self._ledger.path} was torn ({dropped!r}): dropped, and done again")
        self._count = len(written)
        return written

    def state(self) -> State:
        """After the last line."""
        return State.of(self._snapshots.load(self._count))

    def add(self, line: Line, state: State) -> None:
        """State first: a line whose state is lost could not be gone on from."""
        self._count += 1
        self._snapshots.save(self._count, state.stored())
        self._ledger.append(line)
        self._snapshots.forget(self._count)


def _summary(line: Line) -> str:
    """A line of the ledger in a few words, for the progress bar."""
    if "payments" in line:
        return f"stage {line['stage']} settled, largest payment {max(line['payments']):.3g}"
    given = sum(amount or 0.0 for amount in line["amounts"])
    return f"gained {sum(line['gains']):+.3g}, given {given:.4g}, largest transfer {max(line['transfers']):.3g}"


def _finished(lines: Sequence[Line], state: State) -> FederationRun:
    stages = [line for line in lines if "payments" in line]
    last = [line for line in lines if "payments" not in line][-1]
    total = {name: np.sum([line[name] for line in stages], axis=0) for name in ("payments", "shares", "gains")}
    given = np.array([0.0 if amount is None else amount for amount in last["amounts"]])
    return FederationRun(
        weights=read_only(state.weights.copy()),
        amounts=read_only(given),
        payments=read_only(total["payments"]),
        shares=read_only(total["shares"]),
        gains=read_only(total["gains"]),
        lines=tuple(lines),
    )
