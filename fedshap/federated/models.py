"""The networks that clients train (App. E), built by name with weights that depend on nothing but the seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedshap._validation import as_count

ModelBuilder = Callable[[tuple[int, ...], int], nn.Module]
"""Takes the shape of one input and the number of classes, returns a module from (B, *shape) to (B, classes)."""


class ConvNet(nn.Module):
    r"""Two 5 x 5 convolutions and two fully connected layers with ReLU, the paper's network for MNIST.

    .. math:: x \to \mathrm{pool}(\mathrm{relu}(\mathrm{conv}_1)) \to \mathrm{pool}(\mathrm{relu}(\mathrm{conv}_2))
              \to \mathrm{relu}(\mathrm{fc}_1) \to \mathrm{fc}_2

    The convolutions are padded by two pixels, so that each layer keeps its size and only the 2 x 2 max-pooling
    halves it: 8 -> 4 -> 2 for the digits, 28 -> 14 -> 7 for MNIST. Unpadded, 8 x 8 images would not survive.
    Grey levels are moved from [0, 1] to [-1, 1] and weights drawn as He et al. (2015) propose for ReLU; with torch's
    own, smaller weights the first hundred steps teach nothing and clients that give little look worthless.

    Parameters
    ----------
    image_shape : tuple of int
        (C, H, W) with H and W at least 4.
    n_classes : int
        Number of classes, at least 2.
    channels : tuple of int
        Output channels of the two convolutions.
    hidden : int
        Width of the first fully connected layer.

    Raises
    ------
    ValueError
        If an image is too small or a width not positive.

    Examples
    --------
    >>> logits = ConvNet((1, 28, 28), n_classes=10)(torch.zeros(3, 1, 28, 28))
    >>> logits.shape
    torch.Size([3, 10])

    Notes
    -----
    App. E of the paper, which gives no widths; these have 8,234 parameters on 8 x 8 images. The zero initial model
    of Algorithm 1 cannot be trained: with all weights zero, no gradient passes a ReLU.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        n_classes: int,
        *,
        channels: tuple[int, int] = (8, 16),
        hidden: int = 64,
    ) -> None:
        super().__init__()
        if len(image_shape) != 3 or min(image_shape[1:]) < 4:
            raise ValueError(f"image_shape must be (C, H, W) with H and W at least 4; got {tuple(image_shape)}")
        depth, height, width = (as_count("image_shape", size) for size in image_shape)
        first, second = (as_count("channels", size) for size in channels)
        hidden = as_count("hidden", hidden)
        self.conv1 = nn.Conv2d(depth, first, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(first, second, kernel_size=5, padding=2)
        self.fc1 = nn.Linear(second * (height // 4) * (width // 4), hidden)
        self.fc2 = nn.Linear(hidden, as_count("n_classes", n_classes, minimum=2))
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_uniform_(parameter, nonlinearity="relu")
            else:
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (B, n_classes) of images ``x`` (B, C, H, W)."""
        x = F.max_pool2d(F.relu(self.conv1(2.0 * x - 1.0)), 2)  # (B, channels[0], H/2, W/2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)  # (B, channels[1], H/4, W/4)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


#: Networks by name.
MODELS: Mapping[str, ModelBuilder] = MappingProxyType({"cnn": ConvNet})


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
        A name in ``MODELS``, or a function of the input shape and the number of classes that returns a module.
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
        If the name is not known; the message lists those that are.

    Examples
    --------
    >>> a, b, c = (build_model("cnn", (1, 8, 8), 10, seed=seed) for seed in (0, 0, 1))
    >>> torch.equal(a.fc2.weight, b.fc2.weight), torch.equal(a.fc2.weight, c.fc2.weight)
    (True, False)
    """
    if isinstance(model, str) and model not in MODELS:
        raise ValueError(f"model must be one of {', '.join(map(repr, MODELS))} or a function; got {model!r}")
    builder = MODELS[model] if isinstance(model, str) else model
    if not callable(builder):
        raise ValueError(f"model must be one of {', '.join(map(repr, MODELS))} or a function; got {model!r}")
    seed = as_count("seed", seed, minimum=0)
    # devices=[] and the CPU generator alone: torch.manual_seed would also reseed a GPU and not put it back
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        with _default_dtype(torch.float64):
            return builder(input_shape, n_classes)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Weights drawn in float32 differ in the last bit between processors, and training can make 0.05 of 1e-7."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
