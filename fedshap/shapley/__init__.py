"""What did each agent add? Shapley values of a federation, their own-gradients and the potential behind them.

``values`` is the door: it picks enumeration, quadrature or random orders. The rooms behind it are ``enumeration`` (all
coalitions), ``permutations`` (random orders) with ``estimates`` (what they hand over), ``sampled_potential`` (a sample
of coalitions that solvers can maximise over), ``quadrature`` (integrals over random coalitions of an exponential
mixture) with ``compression`` (many agents as a few points), ``expansion`` and ``deviations`` (what solvers and
certificates ask for), ``aumann_shapley`` (the limit of many small agents), and ``participants`` (the same integrals
where only members' payoffs count).
"""

from fedshap.shapley.aumann_shapley import aumann_shapley_values
from fedshap.shapley.estimates import Estimate
from fedshap.shapley.values import shapley_gradient, shapley_hessian, shapley_potential, shapley_values

__all__ = [
    "Estimate",
    "aumann_shapley_values",
    "shapley_gradient",
    "shapley_hessian",
    "shapley_potential",
    "shapley_values",
]
