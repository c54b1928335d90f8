r"""What is the model worth to me? Payoffs ``a_i(s)`` of the jointly trained model to each agent.

A payoff maps a contribution profile ``s`` of shape (..., n) to one value per agent, shape (..., n), and to the
Jacobian ``J[..., i, j] = d a_i / d s_j``. Everything is vectorised over the leading axes. The total
``A(s) = sum_i a_i(s)`` (the surplus) and its gradient have methods of their own, since they can often be had
without the n x n Jacobian.

One file a payoff: ``curves`` (learning curves of your own), ``power_law``, ``pac_bound``, ``discovery``, ``coverage``
and ``custom``. ``exponential_sums`` writes a curve as a mixture of exponentials; ``fitting`` makes a payoff of measured
accuracies, ``curve_fitting`` a learning curve of one total, in one of several forms (``curve_forms``), and
``measurements`` says where to measure.
"""

from fedshap.payoffs.base import Payoff
from fedshap.payoffs.coverage import RandomCoverage
from fedshap.payoffs.curve_fitting import FittedCurve, fit_learning_curve
from fedshap.payoffs.curve_scores import CurveScore
from fedshap.payoffs.curves import LearningCurve
from fedshap.payoffs.custom import CustomPayoff
from fedshap.payoffs.discovery import RandomDiscovery
from fedshap.payoffs.fitting import FittedPayoff, fit_payoff
from fedshap.payoffs.measurements import AccuracyDrop, accuracy_drops, contribution_grid
from fedshap.payoffs.pac_bound import PACBound
from fedshap.payoffs.power_law import PowerLaw

__all__ = [
    "AccuracyDrop",
    "CurveScore",
    "CustomPayoff",
    "FittedCurve",
    "FittedPayoff",
    "LearningCurve",
    "PACBound",
    "Payoff",
    "PowerLaw",
    "RandomCoverage",
    "RandomDiscovery",
    "accuracy_drops",
    "contribution_grid",
    "fit_learning_curve",
    "fit_payoff",
]
