"""The names that :mod:`fedshap.federated` offers, collected; the package itself loads them when they are asked for."""

from fedshap.federated.audit import Audit, set_aside
from fedshap.federated.clients import Client, LocalClients, LocalTraining
from fedshap.federated.datasets import Dataset, Federation
from fedshap.federated.deviations import Search
from fedshap.federated.estimators import Estimator, LocalFit, Secant, TwoModels
from fedshap.federated.grid import TrainingRuns, train_grid
from fedshap.federated.members import Members
from fedshap.federated.models import MODELS, build_model
from fedshap.federated.networks import ConvNet, Perceptron, Quadratic, ResMLP, lenet, resnet18
from fedshap.federated.options import FederationOptions
from fedshap.federated.partitions import partition, partition_dirichlet, partition_label_shares
from fedshap.federated.protocol import FedBRShap, FederationRun
from fedshap.federated.rules import QuorumError
from fedshap.federated.sources import DATASETS, load_dataset
from fedshap.federated.training import TrainingConfig, TrainingResult, train
from fedshap.payoffs.fitting import FittedPayoff, fit_payoff
from fedshap.payoffs.measurements import AccuracyDrop, accuracy_drops, contribution_grid

__all__ = [
    "DATASETS",
    "MODELS",
    "AccuracyDrop",
    "Audit",
    "Client",
    "ConvNet",
    "Dataset",
    "Estimator",
    "FedBRShap",
    "Federation",
    "FederationOptions",
    "FederationRun",
    "FittedPayoff",
    "LocalClients",
    "LocalFit",
    "LocalTraining",
    "Members",
    "Perceptron",
    "Quadratic",
    "QuorumError",
    "ResMLP",
    "Search",
    "Secant",
    "TrainingConfig",
    "TrainingResult",
    "TrainingRuns",
    "TwoModels",
    "accuracy_drops",
    "build_model",
    "contribution_grid",
    "fit_payoff",
    "lenet",
    "load_dataset",
    "partition",
    "partition_dirichlet",
    "partition_label_shares",
    "resnet18",
    "set_aside",
    "train",
    "train_grid",
]
