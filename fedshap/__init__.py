"""fedshap: reciprocally fair federated learning.

Games of data sharing, exact Shapley values, the mechanisms of "You Get What You Give: Reciprocally Fair Federated
Learning" (Murhekar et al., ICML 2025) and their Nash equilibria, each with a certificate.

>>> import fedshap as fs
>>> game = fs.Game(fs.PowerLaw(n_agents=3), fs.LinearCost([0.10, 0.25, 0.40]))
>>> fs.find_equilibrium(game, fs.ShapleyPayment()).contributions.round(2)
array([3.59, 1.45, 0.79])
"""

from importlib import import_module
from types import ModuleType

from fedshap import _interruptions  # noqa: F401 (before anything that takes time to load)
from fedshap.bayesian import BayesianEquilibrium, BayesianGame
from fedshap.costs import Cost, CustomCost, LinearCost, PowerCost, ScaledCost, SumCost
from fedshap.equilibrium import (
    ConvergenceError,
    Equilibrium,
    EquilibriumRange,
    SolverOptions,
    Trajectory,
    WelfareOptimum,
    best_response_dynamics,
    equilibrium_range,
    find_equilibrium,
    regret,
    welfare_optimum,
)
from fedshap.federations import Participation, participation
from fedshap.game import Game
from fedshap.mechanisms import (
    AccuracyShaping,
    AumannShapleyPayment,
    CostSharing,
    DampedShapley,
    Mechanism,
    NoPayment,
    ParticipantsShapley,
    ShapleyPayment,
)
from fedshap.metrics import (
    accuracy_gain,
    budget_gap,
    data_gain,
    rationality,
    reciprocity,
    unequal_treatment,
)
from fedshap.payoffs import (
    CustomPayoff,
    FittedCurve,
    FittedPayoff,
    LearningCurve,
    PACBound,
    Payoff,
    PowerLaw,
    RandomCoverage,
    RandomDiscovery,
    fit_learning_curve,
    fit_payoff,
)
from fedshap.shapley import (
    Estimate,
    aumann_shapley_values,
    shapley_gradient,
    shapley_hessian,
    shapley_potential,
    shapley_values,
)
from fedshap.splitting import Names, names
from fedshap.worst_case import WorstReciprocity, worst_case_reciprocity

__version__ = "0.1.0"

__all__ = [
    "AccuracyShaping",
    "AumannShapleyPayment",
    "BayesianEquilibrium",
    "BayesianGame",
    "ConvergenceError",
    "Cost",
    "CostSharing",
    "CustomCost",
    "CustomPayoff",
    "DampedShapley",
    "Equilibrium",
    "EquilibriumRange",
    "Estimate",
    "FittedCurve",
    "FittedPayoff",
    "Game",
    "LearningCurve",
    "LinearCost",
    "Mechanism",
    "Names",
    "NoPayment",
    "PACBound",
    "ParticipantsShapley",
    "Participation",
    "Payoff",
    "PowerCost",
    "PowerLaw",
    "RandomCoverage",
    "RandomDiscovery",
    "ScaledCost",
    "ShapleyPayment",
    "SolverOptions",
    "SumCost",
    "Trajectory",
    "WelfareOptimum",
    "WorstReciprocity",
    "accuracy_gain",
    "aumann_shapley_values",
    "best_response_dynamics",
    "budget_gap",
    "data_gain",
    "equilibrium_range",
    "find_equilibrium",
    "fit_learning_curve",
    "fit_payoff",
    "names",
    "participation",
    "rationality",
    "reciprocity",
    "regret",
    "shapley_gradient",
    "shapley_hessian",
    "shapley_potential",
    "shapley_values",
    "unequal_treatment",
    "welfare_optimum",
    "worst_case_reciprocity",
]


def __getattr__(name: str) -> ModuleType:
    """Import on first use what a game of data does not need: ``cooperative``, ``federated`` and ``plotting``."""
    if name in ("cooperative", "federated", "plotting"):
        return import_module(f"fedshap.{name}")
    raise AttributeError(f"module 'fedshap' has no attribute {name!r}")
