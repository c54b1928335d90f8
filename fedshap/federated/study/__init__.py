"""What FedBR-Shap earns, measured: one module for each question, and a thin door, ``fedshap federate study``."""

from fedshap.federated.study.command import QUESTIONS, study

__all__ = ["QUESTIONS", "study"]
