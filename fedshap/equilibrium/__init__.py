"""Where do the agents settle, and how sure are we? Nash equilibria (Def. 2.1 of the paper), each with its certificate.

A profile s is an equilibrium if no agent gains by changing her own contribution. ``find`` is the door: it maximises the
potential where the mechanism has one (``ascent``), clears the markets of groups where it can (``clearing``), and
otherwise iterates best responses (``best_responses``). Either way the result is judged by ``certificate``: the most
that any single agent gains by deviating, which a separate one-dimensional search over utilities (never over gradients)
determines for every agent. Where coalitions must be sampled, ``sampled`` is the way: ``sampled_ascent`` settles the
game whose potential is that of a sample, ``sampled_certificate`` bounds the regret with confidence, and ``reach`` says
on which scale to look. ``records`` holds what is handed over, ``ranges`` finds the extremes where there are many
equilibria, and ``dynamics`` walks as the paper does.
"""

from fedshap.equilibrium.certificate import regret
from fedshap.equilibrium.dynamics import Trajectory, best_response_dynamics
from fedshap.equilibrium.find import find_equilibrium
from fedshap.equilibrium.optimum import WelfareOptimum, welfare_optimum
from fedshap.equilibrium.options import SolverOptions
from fedshap.equilibrium.ranges import EquilibriumRange, equilibrium_range
from fedshap.equilibrium.records import ConvergenceError, Equilibrium

__all__ = [
    "ConvergenceError",
    "Equilibrium",
    "EquilibriumRange",
    "SolverOptions",
    "Trajectory",
    "WelfareOptimum",
    "best_response_dynamics",
    "equilibrium_range",
    "find_equilibrium",
    "regret",
    "welfare_optimum",
]
