"""What does contributing cost: collecting data, computing on it, giving up its privacy?

Each agent's cost ``c_i(s_i)`` depends on her own contribution alone and is continuous, non-decreasing and convex
(Sec. 2.1 of the paper). ``base`` says what every cost offers, how the rest follows from its values, and how costs add
up; ``standard`` holds linear and power costs, ``custom`` those given by a function, and ``supply`` answers what an
agent gives at a price. Arrays have shape (..., n).
"""

from fedshap.costs.base import Cost, ScaledCost, SumCost
from fedshap.costs.custom import CustomCost
from fedshap.costs.standard import LinearCost, PowerCost

__all__ = ["Cost", "CustomCost", "LinearCost", "PowerCost", "ScaledCost", "SumCost"]
