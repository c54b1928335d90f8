r"""Payoffs ``a_i(s)``: what the jointly trained model is worth to each agent.

A payoff maps a contribution profile ``s`` of shape (..., n) to one value per agent, shape (..., n), and to the
Jacobian ``J[..., i, j] = d a_i / d s_j``. Everything is vectorised over the leading axes. The total
``A(s) = sum_i a_i(s)`` (the surplus) and its gradient have methods of their own, since they can often be had
without the n x n Jacobian.
"""

from fedshap.payoffs.base import Payoff
from fedshap.payoffs.curves import LearningCurve, PACBound, PowerLaw
from fedshap.payoffs.custom import CustomPayoff
from fedshap.payoffs.discovery import RandomCoverage, RandomDiscovery

__all__ = ["CustomPayoff", "LearningCurve", "PACBound", "Payoff", "PowerLaw", "RandomCoverage", "RandomDiscovery"]
