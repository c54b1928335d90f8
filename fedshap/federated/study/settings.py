"""The settings of the study, by data set; everything that decides a number in its results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

TUNING = 1000
"""First of the seeds on which steps are tuned; results are from seeds 0, 1, ..."""


@dataclass(frozen=True)
class Settings:
    """Of one data set; amounts in batches a round, scores in shares of test inputs classified correctly.

    Attributes
    ----------
    dataset, model, dtype, batch_size, learning_rate
        What is learnt, and how.
    inputs : int
        Images drawn from the data set for each seed.
    test_fraction : float
        Share of them that is tested on.
    clients : int
        In three rotated groups.
    capacity : float
        Most batches a round.
    warm_up : int
        Rounds of plain averaging, with ``warm_amount`` batches each, before the round that is played over and over.
    rates : tuple of float
        Private costs: marginal cost in scores per batch is uniform between these at every amount (linear), or at half
        the capacity (convex: quadratic).
    kinds : tuple of str
        Of costs that are tried, ``"linear"`` and ``"convex"``.
    while_training : bool
        Whether each estimator is followed, with linear costs, while the model trains as well.
    rounds, stage, start
        Of the protocol while it looks for amounts.
    steps : tuple of float
        Steps of Eq. (11) among which each estimator's is chosen, on ``tuning_seeds`` seeds of their own.
    shuffles, tuning_shuffles, search_shuffles : int
        On which gains from deviating are measured, in the results, while tuning and within the protocol.
    levels : tuple of float
        Amounts that deviations go to.
    players : tuple of int
        Federations in which the price of noise is measured, with ``draws`` draws of each sampler at each budget and
        ``noise_shuffles`` shuffles of the round.
    amounts : tuple of float
        What the clients give whose contributions are measured, in an order drawn for each seed.
    contribution_rounds, truth_shuffles : int
        Rounds of that federation, and shuffles on which every coalition is trained as a federation of its own.
    cheating_clients, cheating_rounds, cheating_amount, cheating_test_fraction
        The federation that is cheated, settled every ``stage`` rounds.
    public : tuple of int
        Public inputs of each group for the audit; ``splits`` divisions of the test inputs say how often it errs.
    sizes : tuple of int
        Clients of the federations whose costs are measured.
    """

    dataset: str
    inputs: int
    model: str = "mlp"
    dtype: str = "float64"
    batch_size: int = 8
    learning_rate: float = 0.1
    test_fraction: float = 0.2
    clients: int = 4
    capacity: float = 24.0
    warm_up: int = 2
    warm_amount: float = 8.0
    rates: tuple[float, float] = (0.002, 0.012)
    kinds: tuple[str, ...] = ("linear", "convex")
    while_training: bool = True
    rounds: int = 20
    stage: int = 5
    start: float = 4.0
    steps: tuple[float, ...] = (10.0, 30.0, 100.0, 300.0)
    tuning_seeds: int = 3
    shuffles: int = 40
    tuning_shuffles: int = 16
    search_shuffles: int = 8
    levels: tuple[float, ...] = (0.0, 2.0, 4.0, 8.0, 16.0, 24.0)
    players: tuple[int, ...] = (6, 7, 8, 9)
    draws: int = 100
    noise_shuffles: int = 8
    amounts: tuple[float, ...] = (2.0, 4.0, 8.0, 12.0, 16.0)
    contribution_rounds: int = 6
    truth_shuffles: int = 6
    cheating_clients: int = 6
    cheating_rounds: int = 15
    cheating_amount: float = 8.0
    cheating_test_fraction: float = 0.4
    public: tuple[int, ...] = (30, 100, 300)
    splits: int = 60
    sizes: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8, 9, 10)

    def quick(self) -> Settings:
        """A small run through all layers."""
        return replace(
            self,
            inputs=min(self.inputs, 700),
            clients=3,
            rounds=4,
            stage=2,
            steps=(100.0,),
            tuning_seeds=1,
            shuffles=4,
            tuning_shuffles=4,
            search_shuffles=4,
            levels=(0.0, 4.0, 24.0),
            players=(5,),
            draws=4,
            noise_shuffles=2,
            amounts=(2.0, 4.0, 8.0),
            contribution_rounds=2,
            truth_shuffles=2,
            cheating_clients=3,
            cheating_rounds=2,
            public=(10, 30),
            splits=3,
            sizes=(2, 3),
        )


SETTINGS: Mapping[str, Settings] = MappingProxyType(
    {
        "digits": Settings("digits", inputs=1797),
        "mnist": Settings(
            "mnist",
            inputs=2500,
            dtype="float32",
            learning_rate=0.03,
            clients=3,
            capacity=48.0,
            warm_up=3,
            warm_amount=24.0,
            rates=(0.001, 0.006),
            kinds=("linear",),
            while_training=False,
            start=8.0,
            steps=(100.0, 300.0, 1000.0),
            tuning_seeds=2,
            levels=(0.0, 8.0, 16.0, 32.0, 48.0),
            players=(6, 7),
            draws=50,
            amounts=(4.0, 8.0, 16.0, 24.0, 32.0),
            truth_shuffles=4,
            cheating_amount=24.0,
            sizes=(2, 4, 6),
        ),
    }
)
