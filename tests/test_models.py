"""The networks, against a forward pass written with scipy."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate
from torch import nn

from fedshap.federated import ConvNet, build_model


def forward_by_hand(weights, images):
    """Scores (B, classes) of images (B, C, H, W) from a state dict of numpy arrays."""

    def convolution(x, kernel, bias):  # (C, H, W) -> (O, H, W)
        padded = np.pad(x, ((0, 0), (2, 2), (2, 2)))
        return np.array([correlate(padded, k, mode="valid", method="direct")[0] for k in kernel]) + bias[:, None, None]

    def pooled(x):
        channels, height, width = x.shape
        return (
            x[:, : height // 2 * 2, : width // 2 * 2].reshape(channels, height // 2, 2, width // 2, 2).max(axis=(2, 4))
        )

    scores = []
    for image in images:
        x = 2.0 * image - 1.0
        for name in ("conv1", "conv2"):
            x = pooled(np.maximum(convolution(x, weights[f"{name}.weight"], weights[f"{name}.bias"]), 0.0))
        x = np.maximum(weights["fc1.weight"] @ x.ravel() + weights["fc1.bias"], 0.0)
        scores.append(weights["fc2.weight"] @ x + weights["fc2.bias"])
    return np.array(scores)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 9, 6)])
def test_forward_pass_agrees_with_one_written_by_hand(shape):
    network = build_model("cnn", shape, 7, seed=4)
    with torch.no_grad():
        for parameter in network.parameters():  # biases start at zero: a forgotten one would not show
            parameter.add_(torch.linspace(-0.1, 0.1, parameter.numel(), dtype=torch.double).view_as(parameter))
    weights = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    images = np.random.default_rng(0).uniform(size=(3, *shape))
    scores = network(torch.tensor(images)).detach().numpy()
    assert scores.shape == (3, 7)
    np.testing.assert_allclose(scores, forward_by_hand(weights, images), rtol=1e-10, atol=1e-10)


def test_it_is_the_papers_network():
    layers = [layer for layer in ConvNet((1, 8, 8), 10).modules() if not list(layer.children())]
    assert [type(layer) for layer in layers] == [nn.Conv2d, nn.Conv2d, nn.Linear, nn.Linear]
    assert [layer.kernel_size for layer in layers[:2]] == [(5, 5), (5, 5)]
    assert sum(parameter.numel() for parameter in ConvNet((1, 8, 8), 10).parameters()) == 8234  # as the docstring says


def test_every_layer_learns_from_the_first_batch():
    network = build_model("cnn", (1, 8, 8), 10, seed=0)
    images = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    nn.functional.cross_entropy(network(images), torch.arange(16) % 10).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 1e-4 for p in network.parameters())


def test_seed_alone_decides_the_weights_and_torch_is_left_alone():
    torch.manual_seed(123)
    first = build_model("cnn", (1, 8, 8), 10, seed=5)
    following = torch.rand(3)
    torch.manual_seed(123)
    assert torch.equal(following, torch.rand(3))
    again, other = (build_model("cnn", (1, 8, 8), 10, seed=seed) for seed in (5, 6))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.conv1.weight, other.conv1.weight)


def test_a_function_may_build_the_network():
    network = build_model(
        lambda shape, n: nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), n)), (1, 4, 4), 3, seed=0
    )
    assert network(torch.zeros(2, 1, 4, 4, dtype=torch.double)).shape == (2, 3)
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: build_model("resnet", (1, 8, 8), 10, seed=0),
            "model must be one of 'cnn' or a function; got 'resnet'",
        ),
        (lambda: build_model(None, (1, 8, 8), 10, seed=0), "model must be one of 'cnn' or a function; got None"),
        (lambda: build_model("cnn", (1, 8, 8), 10, seed=-1), "seed must be an integer of at least 0; got -1"),
        (lambda: build_model("cnn", (1, 8, 8), 1, seed=0), "n_classes must be an integer of at least 2; got 1"),
        (lambda: ConvNet((1, 8, 3), 10), r"image_shape must be \(C, H, W\) with H and W at least 4; got \(1, 8, 3\)"),
        (lambda: ConvNet((8, 8), 10), r"image_shape must be \(C, H, W\)"),
        (lambda: ConvNet((0, 8, 8), 10), "image_shape must be an integer of at least 1; got 0"),
        (lambda: ConvNet((1, 8, 8), 10, channels=(0, 4)), "channels must be an integer of at least 1; got 0"),
        (lambda: ConvNet((1, 8, 8), 10, hidden=0), "hidden must be an integer of at least 1; got 0"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
