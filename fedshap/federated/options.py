"""The options of ``fedshap federate``: one flat table that a command line, a TOML file and Flower all can carry.

Keys of such a table are the attributes' names with dashes; its values are texts, numbers and truth values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache

import numpy as np

from fedshap._records import Record
from fedshap._types import PerAgent
from fedshap._validation import as_array, as_choice, as_count, as_flag, as_interval
from fedshap.costs import LinearCost
from fedshap.federated.audit import Audit, set_aside
from fedshap.federated.clients import Client, LocalTraining
from fedshap.federated.datasets import Dataset, Federation
from fedshap.federated.deviations import Search
from fedshap.federated.estimators import Estimator, LocalFit, Secant, TwoModels
from fedshap.federated.partitions import partition, partition_dirichlet
from fedshap.federated.protocol import FedBRShap
from fedshap.federated.sources import load_dataset

ANGLES = (10.0, 90.0, 180.0)
"""Rotation of each group of clients, for images (Sec. 5.1)."""
CONCENTRATION = 1.0
"""Of the label skew, for rows of features."""
RATES = (0.0005, 0.002)
"""Cost of a batch a round to the first client and to the last, in the unit of the scores, unless given."""
ESTIMATORS: Mapping[str, type[Estimator]] = {"secant": Secant, "two-models": TwoModels, "local-fit": LocalFit}

Value = str | int | float | bool


@dataclass(frozen=True, repr=False)
class FederationOptions(Record):
    """Who takes part in a federation, and by which rules.

    Parameters
    ----------
    dataset : str
        A name in ``DATASETS``. Images are turned, by an angle for each third of the clients; rows are dealt out with
        label skew.
    data : str
        Folder of the data sets, or the file; empty for the usual place.
    clients : int
        At least 1.
    rounds : int
        At least 1.
    seed : int
        Decides who gets what, the initial weights and all shuffles.
    model, batch_size, learning_rate, score
        As in `LocalTraining`.
    rates : str
        Cost of a batch to each client, numbers with blanks between them; by default from .0005 to .002.
    estimator : {"secant", "two-models", "local-fit"}
        Of the marginal share.
    step, stage, start, repeats, average
        As in `FedBRShap`.
    search : bool
        Whether clients look for something better to give after each stage.
    audit : int
        Public inputs that reports are held against, for each group of clients; 0 for no audit.
    quorum : int
        Clients that must answer; 0 for all but one.
    as_printed : bool
        Algorithm 1 as the paper prints it, as far as it can be run.
    timeout : float
        Seconds that a client on Flower has for an answer.

    Raises
    ------
    ValueError
        If an option is out of range.

    Examples
    --------
    >>> options = FederationOptions(clients=3, rates="0.001 0.002 0.003")
    >>> options.rules().stage, options.rules().quorum_of(3)
    (5, 2)
    >>> options.client(2).cost, options.client(2).description.capacity
    (LinearCost(rates=[0.003]), 52.0)
    """

    dataset: str = "digits"
    data: str = ""
    clients: int = 4
    rounds: int = 20
    seed: int = 0
    model: str = "mlp"
    batch_size: int = 8
    learning_rate: float = 0.1
    score: str = "accuracy"
    rates: str = ""
    estimator: str = "secant"
    step: float = 100.0
    stage: int = 5
    start: float = 4.0
    repeats: int = 1
    average: str = "participants"
    search: bool = True
    audit: int = 0
    quorum: int = 0
    as_printed: bool = False
    timeout: float = 600.0

    def __post_init__(self) -> None:
        for name in ("clients", "rounds"):
            as_count(name, getattr(self, name))
        for name in ("seed", "audit", "quorum"):
            as_count(name, getattr(self, name), minimum=0)
        as_interval("timeout", self.timeout, 0.0, np.inf)
        as_choice("estimator", self.estimator, tuple(ESTIMATORS))
        as_flag("search", self.search)
        if as_flag("as_printed", self.as_printed):
            self._check_printed()
        if self.quorum > self.clients:
            raise ValueError(f"quorum must be at most the number of clients, {self.clients}; got {self.quorum}")
        _ = self.training, self.costs
        self._rules(None)

    @classmethod
    def of(cls, table: Mapping[str, Value]) -> FederationOptions:
        """From a flat table, whose other keys are somebody else's."""
        known = {each.name: each.name.replace("_", "-") for each in fields(cls)}
        given = {name: table[key] for name, key in known.items() if key in table}
        floats = {each.name for each in fields(cls) if each.type == "float"}
        return cls(**{name: float(value) if name in floats else value for name, value in given.items()})  # type: ignore

    @property
    def table(self) -> dict[str, Value]:
        """As a flat table."""
        return {each.name.replace("_", "-"): getattr(self, each.name) for each in fields(self)}

    @property
    def training(self) -> LocalTraining:
        """How clients train and score."""
        return LocalTraining(self.batch_size, self.learning_rate, self.model, self.seed, score=self.score)

    @property
    def costs(self) -> PerAgent:
        """Cost of a batch to each client, shape (n,)."""
        if not self.rates:
            return np.linspace(*RATES, self.clients)
        try:
            rates = as_array("rates", [float(word) for word in self.rates.split()], minimum=0.0)
        except ValueError as error:
            raise ValueError(f"rates must be numbers of at least 0; got {self.rates!r}") from error
        if rates.shape != (self.clients,):
            raise ValueError(f"rates must be one for each of {self.clients} clients; got {len(rates)}")
        return rates

    def rules(self) -> FedBRShap:
        """What the federation has agreed on."""
        if not self.audit:
            return self._rules(None)
        federation, public = _dealt_out(self.dataset, self.data, self.clients, self.seed, self.audit)
        return self._rules(Audit(public, federation.groups, self.training))

    def client(self, number: int) -> Client:
        """One of the clients; her data are dealt out in every process alike."""
        if not 0 <= number < self.clients:
            raise ValueError(f"clients are numbered 0 to {self.clients - 1}; got {number}")
        federation, _ = _dealt_out(self.dataset, self.data, self.clients, self.seed, self.audit)
        cost = LinearCost(self.costs[number : number + 1])
        return Client(number, federation.train[number], federation.test[number], cost, self.training)

    def _rules(self, audit: Audit | None) -> FedBRShap:
        if self.as_printed:
            return FedBRShap.as_printed(step=self.step, stage=self.stage)
        return FedBRShap(
            estimator=ESTIMATORS[self.estimator](),
            step=self.step,
            stage=self.stage,
            repeats=self.repeats,
            start=self.start,
            average=self.average,
            search=Search() if self.search else None,
            audit=audit,
            quorum=self.quorum or None,
        )

    def _check_printed(self) -> None:
        """Refuse what Algorithm 1 leaves no room for."""
        own = {each.name for each in fields(self) if getattr(self, each.name) != each.default}
        if extra := own & {"estimator", "start", "repeats", "average", "search", "audit", "quorum"}:
            raise ValueError(f"as_printed is Algorithm 1 as it stands: leave out {', '.join(sorted(extra))}")


@cache
def _dealt_out(name: str, root: str, clients: int, seed: int, public: int) -> tuple[Federation, tuple[Dataset, ...]]:
    """The clients' data, and the public inputs of each group."""
    dataset = load_dataset(name, root or None)
    if len(dataset.input_shape) == 3:
        federation = partition(dataset, n_clients=clients, angles=ANGLES[:clients], rng=seed)
    else:
        federation = partition_dirichlet(dataset, n_clients=clients, concentration=CONCENTRATION, rng=seed)
    if not public:
        return federation, ()
    federation, inputs = set_aside(federation, public, seed)
    return federation, tuple(inputs)
