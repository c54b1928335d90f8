"""The networks of App. E: a small convolutional one, ResNet-18, one hidden layer, ResMLP for table rows, quadratic
regression."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedshap._validation import as_count


class ConvNet(nn.Module):
    r"""Two 5 x 5 convolutions and two fully connected layers with ReLU, the paper's network for MNIST.

    .. math:: x \to \mathrm{relu}(\mathrm{pool}(\mathrm{conv}_1)) \to \mathrm{relu}(\mathrm{pool}(\mathrm{conv}_2))
              \to \mathrm{relu}(\mathrm{fc}_1) \to \mathrm{fc}_2

    The convolutions are padded by two pixels, so that each layer keeps its size and only the 2 x 2 max-pooling
    halves it: 8 -> 4 -> 2 for the digits, 28 -> 14 -> 7 for MNIST. Unpadded, 8 x 8 images would not survive.
    With ``padding=0``, as in LeNet-5 (LeCun et al., 1998), 28 becomes 24 -> 12 -> 8 -> 4 and a step takes a
    fifth less time.
    Grey levels are moved from [0, 1] to [-1, 1] and weights drawn as He et al. (2015) propose for ReLU; with torch's
    own, smaller weights the first hundred steps teach nothing and clients that give little look worthless.

    Parameters
    ----------
    image_shape : tuple of int
        (C, H, W) with H and W at least 4, unpadded at least 16.
    n_classes : int
        Number of classes, at least 2.
    channels : tuple of int
        Output channels of the two convolutions.
    hidden : int
        Width of the first fully connected layer.
    padding : {2, 0}
        Pixels of zeros around what is convolved.

    Raises
    ------
    ValueError
        If an image is too small, a width not positive or the padding another.

    Examples
    --------
    >>> logits = ConvNet((1, 28, 28), n_classes=10)(torch.zeros(3, 1, 28, 28))
    >>> logits.shape
    torch.Size([3, 10])

    Notes
    -----
    App. E of the paper, which gives neither widths nor padding; these have 8,234 parameters on 8 x 8 images. LeNet-5
    has 6 channels first; 8 fill a processor's vectors and take no longer. The zero initial model of
    Algorithm 1 cannot be trained: with all weights zero, no gradient passes a ReLU.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        n_classes: int,
        *,
        channels: tuple[int, int] = (8, 16),
        hidden: int = 64,
        padding: int = 2,
    ) -> None:
        super().__init__()
        if padding not in (0, 2):
            raise ValueError(f"padding must be 2 or 0; got {padding!r}")
        least = 4 if padding else 16
        if len(image_shape) != 3 or min(image_shape[1:]) < least:
            unpadded = "" if padding else " without padding"
            raise ValueError(
                f"image_shape must be (C, H, W) with H and W at least {least}{unpadded}; got {tuple(image_shape)}"
            )
        depth, height, width = (as_count("image_shape", size) for size in image_shape)
        first, second = (as_count("channels", size) for size in channels)
        hidden = as_count("hidden", hidden)
        self.conv1 = nn.Conv2d(depth, first, kernel_size=5, padding=padding)
        self.conv2 = nn.Conv2d(first, second, kernel_size=5, padding=padding)
        height, width = (((size + 2 * padding - 4) // 2 + 2 * padding - 4) // 2 for size in (height, width))
        self.fc1 = nn.Linear(second * height * width, hidden)
        self.fc2 = nn.Linear(hidden, as_count("n_classes", n_classes, minimum=2))
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_uniform_(parameter, nonlinearity="relu")
            else:
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (B, n_classes) of images ``x`` (B, C, H, W)."""
        # ReLU after pooling is the same, on a quarter of the numbers
        x = F.relu(F.max_pool2d(self.conv1(2.0 * x - 1.0), 2))  # (B, channels[0], H/2, W/2) if padded
        x = F.relu(F.max_pool2d(self.conv2(x), 2))  # (B, channels[1], H/4, W/4)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class Perceptron(nn.Module):
    """One hidden layer with ReLU: for images and rows where many models are to be scored, in little time each.

    Weights are drawn as in :class:`ConvNet`.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of one input, (C, H, W) or (d,); it is flattened, grey levels moved from [0, 1] to [-1, 1].
    n_classes : int
        Number of classes, at least 2.
    hidden : int
        Width of the hidden layer.

    Raises
    ------
    ValueError
        If a width is not positive.

    Examples
    --------
    >>> network = Perceptron((1, 8, 8), n_classes=10)
    >>> network(torch.zeros(3, 1, 8, 8)).shape, sum(p.numel() for p in network.parameters())
    (torch.Size([3, 10]), 2410)
    """

    def __init__(self, input_shape: Sequence[int], n_classes: int, *, hidden: int = 32) -> None:
        super().__init__()
        size = 1
        for length in input_shape:
            size *= as_count("input_shape", length)
        self.is_image = len(input_shape) == 3
        self.fc1 = nn.Linear(size, as_count("hidden", hidden))
        self.fc2 = nn.Linear(hidden, as_count("n_classes", n_classes, minimum=2))
        for layer in (self.fc1, self.fc2):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (B, n_classes) of inputs ``x``, shape (B, C, H, W) or (B, d)."""
        flat = x.flatten(1)
        return self.fc2(F.relu(self.fc1(2.0 * flat - 1.0 if self.is_image else flat)))


def lenet(image_shape: tuple[int, ...], n_classes: int) -> ConvNet:
    """:class:`ConvNet` without padding, for images of at least 16 x 16."""
    return ConvNet(image_shape, n_classes, padding=0)


def resnet18(image_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    """ResNet-18 (He et al., 2016) for small images such as CIFAR-10's, 11.2 million parameters.

    torchvision's, with the stem that is usual at 32 x 32, one 3 x 3 convolution without stride or pooling. Groups of
    channels are normalised, not batches: batch normalisation keeps running statistics, and what the average of
    those of clients with different data should be, the paper does not say. Sec. 5 calls the network ResNet-10 and
    App. E ResNet-18; this follows the appendix.

    Parameters
    ----------
    image_shape : tuple of int
        (C, H, W) with H and W at least 8.
    n_classes : int
        Number of classes, at least 2.

    Raises
    ------
    ValueError
        If an image is too small.

    Examples
    --------
    >>> resnet18((3, 32, 32), n_classes=10)(torch.zeros(3, 3, 32, 32)).shape
    torch.Size([3, 10])

    References
    ----------
    Wu & He (2018), Group Normalization, ECCV. Hsieh et al. (2020), The Non-IID Data Quagmire of Decentralized
    Machine Learning, ICML, on why it replaces batch normalisation in federated learning.
    """
    if len(image_shape) != 3 or min(image_shape[1:]) < 8:
        raise ValueError(f"image_shape must be (C, H, W) with H and W at least 8; got {tuple(image_shape)}")
    from torchvision.models import resnet18 as torchvision_resnet18

    network = torchvision_resnet18(
        num_classes=as_count("n_classes", n_classes, minimum=2), norm_layer=lambda width: nn.GroupNorm(32, width)
    )
    network.conv1 = nn.Conv2d(image_shape[0], 64, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()  # type: ignore[assignment]
    return network


class Affine(nn.Module):
    """A scale and a shift for each entry of a token, in place of a normalisation; ``shift=False``: a scale alone."""

    def __init__(self, width: int, *, scale: float = 1.0, shift: bool = True) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((width,), scale))
        self.shift = nn.Parameter(torch.zeros(width)) if shift else None

    def forward(self, x: Tensor) -> Tensor:
        """Same shape (..., width) as ``x``."""
        return self.scale * x if self.shift is None else self.scale * x + self.shift


class ResMLPBlock(nn.Module):
    """Tokens talk to each other, then each is transformed by itself; both are added to what came in."""

    def __init__(self, n_tokens: int, width: int) -> None:
        super().__init__()
        self.affine1, self.affine2 = Affine(width), Affine(width)
        self.across = nn.Linear(n_tokens, n_tokens)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.scale1, self.scale2 = (Affine(width, scale=0.1, shift=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, n_tokens, width) to the same shape."""
        x = x + self.scale1(self.across(self.affine1(x).transpose(1, 2)).transpose(1, 2))
        return x + self.scale2(self.mlp(self.affine2(x)))


class ResMLP(nn.Module):
    r"""ResMLP (Touvron et al., 2022) for rows of features: every feature is a token, as patches are for images.

    .. math:: z &= x + \lambda_1 \odot (A\, \mathrm{aff}(x)) \\
              y &= z + \lambda_2 \odot \mathrm{MLP}(\mathrm{aff}(z))

    in each block, with ``A`` across tokens and the MLP within each. Feature ``j`` enters as ``x_j e_j + b_j`` with
    learned ``e_j`` and ``b_j``; after the last block the tokens are averaged and classified.

    Parameters
    ----------
    input_shape : tuple of int
        (d,), the number of features, best standardised.
    n_classes : int
        Number of classes, at least 2.
    width : int
        Length of a token.
    depth : int
        Number of blocks.

    Raises
    ------
    ValueError
        If inputs are no rows or a size is not positive.

    Examples
    --------
    >>> ResMLP((14,), n_classes=2)(torch.zeros(3, 14)).shape
    torch.Size([3, 2])

    Notes
    -----
    The paper names the network for its healthcare data, and neither its size nor how features become tokens; with
    two blocks of width 16 it has about 5,500 parameters on 14 features, where the original has 15 million.
    """

    def __init__(self, input_shape: Sequence[int], n_classes: int, *, width: int = 16, depth: int = 2) -> None:
        super().__init__()
        n_tokens = _n_features(input_shape)
        width = as_count("width", width)
        self.embedding = nn.Parameter(torch.randn(n_tokens, width) / width**0.5)
        self.position = nn.Parameter(torch.randn(n_tokens, width) / width**0.5)
        self.blocks = nn.Sequential(*(ResMLPBlock(n_tokens, width) for _ in range(as_count("depth", depth))))
        self.affine = Affine(width)
        self.head = nn.Linear(width, as_count("n_classes", n_classes, minimum=2))

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (B, n_classes) of rows ``x`` (B, d)."""
        tokens = x.unsqueeze(-1) * self.embedding + self.position  # (B, d, width)
        return self.head(self.affine(self.blocks(tokens)).mean(dim=1))


class Quadratic(nn.Module):
    r"""Quadratic regression as a classifier: scores linear in all products of two features, the features and 1.

    .. math:: z_c(x) = b_c + \sum_j v_{cj} x_j + \sum_{j \le k} w_{cjk} x_j x_k

    Parameters
    ----------
    input_shape : tuple of int
        (d,), the number of features.
    n_classes : int
        Number of classes, at least 2.

    Raises
    ------
    ValueError
        If inputs are no rows.

    Examples
    --------
    >>> network = Quadratic((10,), n_classes=2)
    >>> network.linear.in_features, network(torch.zeros(3, 10)).shape  # 55 products and 10 features
    (65, torch.Size([3, 2]))

    Notes
    -----
    The network for the synthetic data of Sec. 5. Its loss is convex in the weights, so that it starts from zero as
    Algorithm 1 has it and the seed decides the shuffles alone.
    """

    products: Tensor

    def __init__(self, input_shape: Sequence[int], n_classes: int) -> None:
        super().__init__()
        d = _n_features(input_shape)
        self.register_buffer("products", torch.triu_indices(d, d), persistent=False)  # (2, d(d+1)/2)
        self.linear = nn.Linear(d * (d + 3) // 2, as_count("n_classes", n_classes, minimum=2))
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (B, n_classes) of rows ``x`` (B, d)."""
        first, second = self.products
        return self.linear(torch.cat([x, x[:, first] * x[:, second]], dim=1))


def _n_features(input_shape: Sequence[int]) -> int:
    if len(input_shape) != 1:
        raise ValueError(f"input_shape must be (d,), one row of features; got {tuple(input_shape)}")
    return as_count("input_shape", input_shape[0])
