"""What did each player add? Shapley values and other semivalues of any cooperative game.

A game comes as a table of the values of all coalitions, a dictionary, or a function of coalitions; nothing else is
asked of it. ``values`` is the door. Behind it, ``sources`` reads tables and dictionaries; ``evaluation`` asks a
function for coalitions, each once, in parallel if told to, and ``store`` keeps the answers in a file. Where the values
of all coalitions are known, semivalues are exact; else ``design`` draws coalitions by size, ``surrogate`` fits a simple
game to them, ``regression`` and ``permutations`` estimate, and ``sampling`` says when it is enough. ``weights`` holds
how each semivalue weighs the sizes of coalitions, ``options`` what may be asked for, ``results`` what comes back. Whose
values come from elsewhere, and from there only, asks ``plan`` which coalitions to evaluate and tells it what they gave.

>>> from fedshap import cooperative
>>> cooperative.shapley({(): 0, (0,): 0, (1,): 0, (2,): 0, (0, 1): 1, (0, 2): 1, (1, 2): 0, (0, 1, 2): 1}).values
array([0.66666667, 0.16666667, 0.16666667])
"""

from fedshap.cooperative.plan import SamplingPlan, sampling_plan
from fedshap.cooperative.results import CooperativeValues, ToleranceError
from fedshap.cooperative.values import banzhaf, beta_shapley, semivalue, shapley

__all__ = [
    "CooperativeValues",
    "SamplingPlan",
    "ToleranceError",
    "banzhaf",
    "beta_shapley",
    "sampling_plan",
    "semivalue",
    "shapley",
]
