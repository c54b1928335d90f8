"""Networks by name, built with weights that depend on nothing but the seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

import torch
from torch import nn

from fedshap._validation import as_count
from fedshap.federated.networks import ConvNet, Perceptron, Quadratic, ResMLP, lenet, resnet18

ModelBuilder = Callable[[tuple[int, ...], int], nn.Module]
"""Takes the shape of one input and the number of classes, returns a module from (B, *shape) to (B, classes)."""

#: Networks by name.
MODELS: Mapping[str, ModelBuilder] = MappingProxyType(
    {
        "cnn": ConvNet,
        "lenet": lenet,
        "resnet18": resnet18,
        "mlp": Perceptron,
        "resmlp": ResMLP,
        "quadratic": Quadratic,
    }
)


def build_model(
    model: str | ModelBuilder,
    input_shape: tuple[int, ...],
    n_classes: int,
    *,
    seed: int,
) -> nn.Module:
    """Build a network on the CPU, in float64, with initial weights that only ``seed`` decides.

    Parameters
    ----------
    model : str or callable
        A name in ``MODELS``: for images ``"cnn"`` (from 4 x 4), ``"lenet"`` (from 16 x 16), ``"resnet18"``; for
        rows ``"resmlp"``, ``"quadratic"``; for both ``"mlp"``. Or a function of the input shape and the number of
        classes that returns a module.
    input_shape : tuple of int
        Shape of one input: (C, H, W) of an image, (d,) of a row of features.
    n_classes : int
        Number of classes.
    seed : int
        Non-negative. Torch's global random state and default dtype are put back as they were.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ValueError
        If the name is not known; the message lists those that are. Or if the network does not take inputs
        of this shape to one score per class, or keeps running statistics, which federated averaging would not average.

    Examples
    --------
    >>> a, b, c = (build_model("cnn", (1, 8, 8), 10, seed=seed) for seed in (0, 0, 1))
    >>> torch.equal(a.fc2.weight, b.fc2.weight), torch.equal(a.fc2.weight, c.fc2.weight)
    (True, False)
    """
    builder = MODELS.get(model) if isinstance(model, str) else model
    if not callable(builder):
        raise ValueError(f"model must be one of {', '.join(map(repr, MODELS))} or a function; got {model!r}")
    seed = as_count("seed", seed, minimum=0)
    if not isinstance(input_shape, Sequence) or isinstance(input_shape, str):
        raise ValueError(f"input_shape must be (C, H, W) of an image or (d,) of a row; got {input_shape!r}")
    # devices=[] and the CPU generator alone: torch.manual_seed would also reseed a GPU and not put it back
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        with _default_dtype(torch.float64):
            try:
                network = builder(input_shape, n_classes)
            except ValueError as error:
                raise ValueError(f"model {model!r}: {error}") from error
            _check(network, model, input_shape, n_classes)
            return network


@torch.no_grad()
def _check(network: nn.Module, model: str | ModelBuilder, input_shape: tuple[int, ...], n_classes: int) -> None:
    """Refuse a network that is not one from inputs to scores whose parameters say all."""
    if not isinstance(network, nn.Module):
        raise ValueError(f"model {model!r} must return a torch.nn.Module; got {network!r}")
    statistics = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    if any(isinstance(layer, statistics) and layer.track_running_stats for layer in network.modules()):
        raise ValueError(
            f"model {model!r} has batch normalisation, whose running statistics are not averaged; "
            "use torch.nn.GroupNorm or track_running_stats=False"
        )
    try:
        shape = tuple(network(torch.zeros(1, *input_shape)).shape)
    except RuntimeError as error:
        raise ValueError(f"model {model!r} does not take inputs of shape {input_shape}: {error}") from error
    if shape != (1, n_classes):
        raise ValueError(f"model {model!r} must return scores of shape (B, {n_classes}); got {shape} for B = 1")


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Weights drawn in float32 differ in the last bit between processors, and training can make 0.05 of 1e-7."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
