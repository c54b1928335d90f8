"""The settings of the paper's experiment, data set by data set: those it prints, and ours where it prints none.

No torch is needed to read them, so that the command can name the data sets wherever it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

STEP = 10.0
"""Step size of the dynamics (App. E)."""
ITERATIONS = 1000
"""Iterations of the dynamics (App. E)."""
BETA = 0.8
"""Fraction of costs shared in ``M^BG``: the paper names none, its published code has this one for any n."""
COST_TO_WORTH = 0.4
"""Upper end of the cost rates where the paper gives none, as a fraction of what a client's own first batch is worth.

That is the mean of the diagonal of the fitted weights. With App. E's MNIST weights and costs the fraction is 0.42; in
every game it lets the cheapest clients train and leaves the others a reason not to.
"""


@dataclass(frozen=True)
class Experiment:
    """The settings of one data set.

    Attributes
    ----------
    dataset, model : str
        Names for `load_dataset` and `build_model`.
    n_clients : int
        Clients: in three groups turned by 10, 90 and 180 degrees, or two with 70 % and 30 % positives.
    test_fraction : float
        Share of the data kept for testing.
    batch_size, rounds, learning_rate, dtype
        As in `TrainingConfig`.
    given : int
        Batches per client of the groups that give in the runs of the fit; the others give none. App. E has 200 a group.
    cap : int or None
        Most batches a client may contribute; None: all she owns.
    rate_limit : float or None
        Costs per batch are uniform on [0, rate_limit]; None: see `COST_TO_WORTH`.
    iterations : int
        Iterations of the dynamics.
    n_inputs : int or None
        Size of the data set where it can be played without the data.
    """

    dataset: str
    model: str = "lenet"
    n_clients: int = 30
    test_fraction: float = 1 / 7
    batch_size: int = 11
    rounds: int = 10
    learning_rate: float = 0.1
    dtype: str = "float32"
    given: int = 20
    cap: int | None = 100
    rate_limit: float | None = 0.001
    iterations: int = ITERATIONS
    n_inputs: int | None = None

    @property
    def rotated(self) -> bool:
        """Whether clients are groups of rotated images, not two agents with shares of labels."""
        return self.n_clients > 2

    @property
    def movers(self) -> int:
        """Agents that move in an iteration of the paper's protocol: a third, but both of two."""
        return self.n_clients // 3 if self.rotated else self.n_clients

    def quick(self) -> Experiment:
        """The same in small: two rounds of training, contributions of at most ten batches."""
        return replace(self, rounds=2, given=min(self.given, 5), cap=10)


_TWO_AGENTS = {"n_clients": 2, "test_fraction": 0.2, "cap": None, "rate_limit": None}
_ALL = (
    Experiment("mnist", n_inputs=70_000),
    Experiment("fashion-mnist", n_inputs=70_000),
    Experiment("cifar10", model="resnet18", test_fraction=1 / 6, batch_size=60, cap=27, n_inputs=60_000),
    Experiment("lumpy", model="resmlp", batch_size=7, given=200, **_TWO_AGENTS),
    Experiment("quadratic", model="quadratic", given=200, **_TWO_AGENTS),
    Experiment("breast-cancer", model="resmlp", batch_size=4, rounds=30, given=32, **_TWO_AGENTS),
    Experiment(
        "digits",
        model="cnn",
        n_clients=9,
        test_fraction=0.3,
        batch_size=8,
        rounds=25,
        given=8,
        cap=None,
        rate_limit=None,
    ),
)
#: The experiments by data set. App. E's batch size is not printed: 11 and 60 give its number of batches per client.
EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType({each.dataset: each for each in _ALL})
