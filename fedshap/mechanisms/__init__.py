r"""Who is paid what? What each agent receives on top of, or instead of, the full payoff (Def. 3.1 of the paper).

Under a mechanism with payments ``p`` the utility of agent i is ``u_i(s) = a_i(s) + p_i(s) - c_i(s_i)``. Besides
payments and utilities a mechanism tells a solver what it needs, so that the solver need not know which mechanism is
played: marginal utilities, the utilities of unilateral deviations and, where the game has them, a potential
(``potential``) or the markets of its groups (``markets``). One file a rule: ``no_payment``, ``cost_sharing``,
``shaping``, ``shapley_payment``, ``damped_shapley``,
``participants_shapley``, ``aumann_shapley_payment``.
"""

from fedshap.mechanisms.aumann_shapley_payment import AumannShapleyPayment
from fedshap.mechanisms.base import Mechanism
from fedshap.mechanisms.cost_sharing import CostSharing
from fedshap.mechanisms.damped_shapley import DampedShapley
from fedshap.mechanisms.no_payment import NoPayment
from fedshap.mechanisms.participants_shapley import ParticipantsShapley
from fedshap.mechanisms.potential import Potential
from fedshap.mechanisms.shaping import AccuracyShaping
from fedshap.mechanisms.shapley_payment import ShapleyPayment

__all__ = [
    "AccuracyShaping",
    "AumannShapleyPayment",
    "CostSharing",
    "DampedShapley",
    "Mechanism",
    "NoPayment",
    "ParticipantsShapley",
    "Potential",
    "ShapleyPayment",
]
