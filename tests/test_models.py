"""The networks, against a forward pass written with scipy."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate
from scipy.special import erf
from torch import nn

from fedshap.federated import ConvNet, build_model
from fedshap.federated.networks import Quadratic, ResMLP


def forward_by_hand(weights, images, padding=2):
    """Scores (B, classes) of images (B, C, H, W) from a state dict of numpy arrays."""

    def convolution(x, kernel, bias):  # (C, H, W) -> (O, H, W)
        padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
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


def shaken(name, shape, n_classes):
    """A network whose biases are not zero, so that a forgotten one would show, and its weights in numpy."""
    network = build_model(name, shape, n_classes, seed=4)
    with torch.no_grad():
        for k, parameter in enumerate(network.parameters()):  # by a different amount each: none may stand for another
            shift = torch.linspace(-0.1, 0.1, parameter.numel(), dtype=torch.double) + 0.003 * k
            parameter.add_(shift.view_as(parameter))
    return network, {name: value.detach().numpy() for name, value in network.state_dict().items()}


def flat(n_inputs, n_outputs=10, *, norm=False):
    """A builder of a linear network that takes no notice of what it is asked for."""

    def build(shape, n_classes):
        layers = [nn.BatchNorm1d(n_inputs)] if norm else []
        return nn.Sequential(nn.Flatten(), *layers, nn.Linear(n_inputs, n_outputs))

    return build


@pytest.mark.parametrize(
    ("name", "shape"),
    [("cnn", (1, 8, 8)), ("cnn", (1, 28, 28)), ("cnn", (3, 9, 6)), ("lenet", (1, 28, 28)), ("lenet", (3, 17, 22))],
)
def test_forward_pass_agrees_with_one_written_by_hand(name, shape):
    network, weights = shaken(name, shape, 7)
    images = np.random.default_rng(0).uniform(size=(3, *shape))
    scores = network(torch.tensor(images)).detach().numpy()
    assert scores.shape == (3, 7)
    by_hand = forward_by_hand(weights, images, padding=2 if name == "cnn" else 0)
    np.testing.assert_allclose(scores, by_hand, rtol=1e-10, atol=1e-10)


def test_resmlp_agrees_with_one_written_by_hand():
    network, w = shaken("resmlp", (5,), 3)
    assert isinstance(network, ResMLP)
    rows, scores = np.random.default_rng(0).normal(size=(4, 5)), []
    for row in rows:
        x = np.array([row[j] * w["embedding"][j] + w["position"][j] for j in range(5)])  # (tokens, width)
        for b in ("blocks.0.", "blocks.1."):
            a = w[b + "affine1.scale"] * x + w[b + "affine1.shift"]
            x = x + w[b + "scale1.scale"] * (w[b + "across.weight"] @ a + w[b + "across.bias"][:, None])
            a = w[b + "affine2.scale"] * x + w[b + "affine2.shift"]
            hidden = a @ w[b + "mlp.0.weight"].T + w[b + "mlp.0.bias"]
            hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
            x = x + w[b + "scale2.scale"] * (hidden @ w[b + "mlp.2.weight"].T + w[b + "mlp.2.bias"])
        x = (w["affine.scale"] * x + w["affine.shift"]).mean(axis=0)
        scores.append(w["head.weight"] @ x + w["head.bias"])
    np.testing.assert_allclose(network(torch.tensor(rows)).detach().numpy(), scores, rtol=1e-10, atol=1e-10)


def test_quadratic_regression_has_every_quadratic_form():
    network = build_model("quadratic", (3,), 2, seed=0)
    assert isinstance(network, Quadratic)
    assert all((parameter == 0).all() for parameter in network.parameters())
    rng = np.random.default_rng(0)
    square, line, constant = rng.normal(size=(2, 3, 3)), rng.normal(size=(2, 3)), rng.normal(size=2)
    symmetric = square + square.transpose(0, 2, 1) - np.array([np.diag(np.diag(m)) for m in square])
    with torch.no_grad():
        upper = symmetric[:, *np.triu_indices(3)]
        network.linear.weight.copy_(torch.tensor(np.column_stack([line, upper])))
        network.linear.bias.copy_(torch.tensor(constant))
    for x in rng.normal(size=(4, 3)):
        expected = [x @ m @ x + v @ x + b for m, v, b in zip(square, line, constant, strict=True)]
        np.testing.assert_allclose(network(torch.tensor(x[None]))[0].detach(), expected, rtol=1e-12)


def test_resnet_is_the_papers_with_groups_normalised():
    network = build_model("resnet18", (3, 32, 32), 10, seed=0)
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    in_depth = [layer for layer in layers if getattr(layer, "kernel_size", None) != (1, 1)]  # not on the shortcuts
    assert len(in_depth) == 18
    assert [layer.stride for layer in in_depth[:-1]].count((2, 2)) == 3  # 32 -> 16 -> 8 -> 4
    norms = [layer for layer in network.modules() if isinstance(layer, nn.GroupNorm)]
    assert [layer.num_groups for layer in norms] == [32] * (len(layers) - 1)
    assert sum(p.numel() for p in network.parameters()) == 11_173_962
    assert list(network.buffers()) == []
    assert min(gradients(network.float(), (3, 8, 8))) > 1e-4


def test_it_is_the_papers_network():
    layers = [layer for layer in ConvNet((1, 8, 8), 10).modules() if not list(layer.children())]
    assert [type(layer) for layer in layers] == [nn.Conv2d, nn.Conv2d, nn.Linear, nn.Linear]
    assert [layer.kernel_size for layer in layers[:2]] == [(5, 5), (5, 5)]
    assert sum(parameter.numel() for parameter in ConvNet((1, 8, 8), 10).parameters()) == 8234  # as the docstring says


def gradients(network, inputs):
    """Largest gradient of each parameter in one batch of random inputs."""
    shape = (10, *inputs)
    batch = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=next(network.parameters()).dtype)
    nn.functional.cross_entropy(network(batch), torch.arange(10) % 7).backward()
    return [float(p.grad.abs().max()) for p in network.parameters()]


@pytest.mark.parametrize(
    ("name", "shape", "least"),
    [
        ("cnn", (1, 8, 8), 1e-4),
        ("lenet", (1, 16, 16), 1e-4),
        ("resmlp", (6,), 1e-5),  # its branches enter with a tenth of their weight
        ("quadratic", (6,), 1e-4),
    ],
)
def test_every_layer_learns_from_the_first_batch(name, shape, least):
    assert min(gradients(build_model(name, shape, 10, seed=0), shape)) > least


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
            "model must be one of 'cnn', 'lenet', 'resnet18', 'mlp', 'resmlp', 'quadratic' or a function; got 'resnet'",
        ),
        (lambda: build_model(None, (1, 8, 8), 10, seed=0), "model must be one of 'cnn', .* or a function; got None"),
        (lambda: build_model("cnn", (14,), 2, seed=0), r"model 'cnn': image_shape must be \(C, H, W\) .* got \(14,\)"),
        (lambda: build_model("lenet", (1, 15, 28), 10, seed=0), "H and W at least 16 without padding; got"),
        (lambda: build_model("resnet18", (3, 32, 7), 10, seed=0), "model 'resnet18': .* H and W at least 8; got"),
        (lambda: build_model("resmlp", (1, 8, 8), 10, seed=0), r"model 'resmlp': input_shape must be \(d,\)"),
        (lambda: build_model("quadratic", (1, 8, 8), 10, seed=0), r"model 'quadratic': input_shape must be \(d,\)"),
        (lambda: build_model(flat(3), (1, 8, 8), 10, seed=0), r"does not take inputs of shape \(1, 8, 8\)"),
        (lambda: build_model(flat(64, 9), (1, 8, 8), 10, seed=0), r"return scores of shape \(B, 10\); got \(1, 9\)"),
        (lambda: build_model("cnn", 8, 10, seed=0), r"input_shape must be \(C, H, W\) of an image or .*; got 8"),
        (lambda: build_model(lambda shape, classes: 3, (1, 8, 8), 10, seed=0), "must return a torch.nn.Module; got 3"),
        (lambda: build_model(flat(64, norm=True), (1, 8, 8), 10, seed=0), "has batch normalisation.*nn.GroupNorm"),
        (lambda: ConvNet((1, 8, 8), 10, padding=1), "padding must be 2 or 0; got 1"),
        (lambda: ResMLP((4,), 2, width=0), "width must be an integer of at least 1; got 0"),
        (lambda: ResMLP((4,), 2, depth=0), "depth must be an integer of at least 1; got 0"),
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
