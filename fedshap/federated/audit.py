r"""Are the scores that clients report true? An audit on public inputs, with its false-alarm rate.

Bilateral payments balance whatever anybody reports; they do not catch a liar. The server can: it scores the same
mixtures on inputs of its own, drawn as the client's test inputs are. If client j reports honestly, then what she owes
to i in a stage by her report and by the audit,

.. math:: z_{ij} = \frac{\Phi_{ij} - \bar\Phi_{ij}}{\sigma_{ij}\,\sqrt{1/m + 1/M_j}},

differ by sampling alone: :math:`\bar\Phi_{ij}` is the mean over the m public inputs of the share on one input,
:math:`\sigma_{ij}` its standard deviation over them, :math:`M_j` the number of j's test inputs. The alarm is raised
where the largest :math:`|z_{ij}|` over i exceeds Student's quantile for the level, split over all pairs: the chance of
any alarm in a stage of honest reports is at most ``false_alarm`` as far as means of m inputs are normal.

That holds well from a hundred inputs on. With thirty, of digits, honest stages raised an alarm three times as often as
promised (``book/results/federation_cheating_digits.json``): means of so few shares have longer tails.

What it cannot see: a lie smaller than its errors, and test inputs that the client chose to suit her.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedshap._intervals import student_half_width
from fedshap._records import Record
from fedshap._types import Array, PerAgent, RandomSource
from fedshap._validation import as_generator, as_integer_labels, as_interval
from fedshap.federated.backends import as_tensors
from fedshap.federated.clients import LocalTraining, score_inputs
from fedshap.federated.datasets import Dataset, Federation, as_federation
from fedshap.federated.exchange import ScoreTask


class Audit(Record):
    """Public inputs for each group of clients, and how sure an alarm must be.

    Parameters
    ----------
    public : sequence of Dataset
        One for each group, drawn as the test inputs of its clients are; no client holds them.
    groups : array_like of int
        Group of each client, shape (n,), each in 0..T-1.
    training : LocalTraining
        How the federation trains and scores.
    false_alarm : float
        Chance of any alarm in a stage in which everybody is honest, in (0, 1).
    enforce : bool
        Whether a client who raises an alarm owes what the audit says, instead of what she reports.

    Raises
    ------
    ValueError
        If a group has fewer than two public inputs or a label is out of range.
    """

    def __init__(
        self,
        public: Sequence[Dataset],
        groups: Sequence[int] | NDArray[np.int64],
        training: LocalTraining,
        *,
        false_alarm: float = 0.01,
        enforce: bool = False,
    ) -> None:
        self.public = tuple(public)
        self.groups = as_integer_labels("groups", groups, len(self.public))
        self.training = training
        self.false_alarm = as_interval("false_alarm", false_alarm, 0.0, 1.0)
        self.enforce = enforce
        if any(len(data) < 2 for data in self.public):
            raise ValueError(f"public must hold at least two inputs for each group; got {self.sizes}")
        self._model: nn.Module = training.build(self.public[0])
        self._tensors = [as_tensors(data, training.config) for data in self.public]

    @property
    def sizes(self) -> list[int]:
        """Public inputs of each group, ``m``."""
        return [len(data) for data in self.public]

    def outcomes(self, task: ScoreTask) -> list[Array]:
        """What the first shuffle's mixtures make of each input, for each group: shape (m, mixtures)."""
        first = ScoreTask(task.weights, task.models[:1], task.mixing)
        return [
            score_inputs(self._model, first, inputs, labels, self.training.score)[0].T
            for inputs, labels in self._tensors
        ]

    def verdict(self, reported: Array, public: Sequence[Array], tests: PerAgent) -> Verdict:
        """Hold a stage's reports against its audit.

        Parameters
        ----------
        reported : ndarray
            ``Phi``, shape (n, n): what each column's client reported to owe to each row's.
        public : sequence of ndarray
            Shares of all clients on each public input of a group, added up over the stage, shape (m, n) each.
        tests : ndarray
            Test inputs of each client, shape (n,).
        """
        n = len(reported)
        audited, errors, freedom = np.empty((n, n)), np.empty((n, n)), np.empty(n)
        for client, group in enumerate(self.groups):
            shares = public[group]
            audited[:, client] = shares.mean(axis=0)
            errors[:, client] = shares.std(axis=0, ddof=1) * np.sqrt(1.0 / len(shares) + 1.0 / tests[client])
            freedom[client] = len(shares) - 1.0
        off = np.abs(reported - audited)
        z = np.divide(off, errors, out=np.where(off > 1e-12, np.inf, 0.0), where=errors > 0.0).max(axis=0)
        limit = student_half_width(np.ones(n), freedom, 1.0 - self.false_alarm / n**2)
        return Verdict(audited, z, limit)


@dataclass(frozen=True, eq=False, repr=False)
class Verdict(Record):
    """What the audit of a stage says.

    Attributes
    ----------
    audited : ndarray
        What each column's client owes to each row's on the public inputs, shape (n, n).
    z : ndarray
        Largest deviation of each client's report, in standard errors, shape (n,).
    limit : ndarray
        Beyond which it is an alarm, shape (n,).
    alarms : list of int
        The clients beyond it.
    """

    audited: Array
    z: PerAgent
    limit: PerAgent
    alarms: list[int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "alarms", [int(i) for i in np.flatnonzero(self.z > self.limit)])


def set_aside(federation: Federation, inputs: int, rng: RandomSource = 0) -> tuple[Federation, list[Dataset]]:
    """Take public inputs for an audit out of the clients' test inputs, ``inputs`` for each group.

    Returns
    -------
    federation : Federation
        The same clients with what is left of their test inputs.
    public : list of Dataset
        One for each group.

    Raises
    ------
    ValueError
        If a group has not that many test inputs to spare: every client keeps at least one.
    """
    generator = as_generator(rng)
    tests, public = list(as_federation(federation).test), []
    for group in range(federation.n_groups):
        members = np.flatnonzero(federation.groups == group)
        owner = np.concatenate([np.full(len(tests[i]), i) for i in members])
        place = np.concatenate([np.arange(len(tests[i])) for i in members])
        chosen = generator.permutation(len(owner))[:inputs]
        taken = [place[chosen][owner[chosen] == i] for i in members]
        emptied = any(len(rows) == len(tests[i]) for rows, i in zip(taken, members, strict=True))
        if inputs < 2 or len(owner) < inputs or emptied:
            raise ValueError(f"inputs must be at least 2 and leave clients of group {group} some to test; got {inputs}")
        parts = [(tests[i].inputs[t], tests[i].labels[t]) for t, i in zip(taken, members, strict=True)]
        images, labels = (np.concatenate(each) for each in zip(*parts, strict=True))
        kind = tests[members[0]]
        public.append(Dataset(images, labels, kind.n_classes, kind.name))
        for t, i in zip(taken, members, strict=True):
            left = np.setdiff1d(np.arange(len(tests[i])), t)
            tests[i] = Dataset(tests[i].inputs[left], tests[i].labels[left], kind.n_classes, tests[i].name)
    return Federation(train=federation.train, test=tests, groups=federation.groups, name=federation.name), public
