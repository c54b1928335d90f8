"""All clients at once against one after the other, in every network and precision."""

import numpy as np
import pytest
import torch

from fedshap.federated import Dataset, Federation, TrainingConfig, build_model, train
from fedshap.federated import backends as module

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")
SHAPES = {"cnn": (1, 8, 8), "lenet": (2, 16, 16), "resnet18": (3, 8, 8), "resmlp": (6,), "quadratic": (6,)}
SETTINGS = {"rounds": 2, "batch_size": 4, "learning_rate": 0.2, "seed": 3}


def noise(shape):
    """Four clients in two groups, random inputs of three classes."""
    rng = np.random.default_rng(0)
    make = lambda size: Dataset(rng.uniform(size=(size, *shape)), rng.integers(3, size=size), n_classes=3)  # noqa: E731
    return Federation([make(n) for n in (19, 12, 17, 13)], [make(n) for n in (8, 5, 9, 7)], np.array([0, 0, 1, 1]))


def distance(a, b):
    pairs = zip(a.model.parameters(), b.model.parameters(), strict=True)
    return max(float((p.detach().cpu() - q.detach().cpu()).abs().max()) for p, q in pairs)


@pytest.mark.parametrize(
    ("model", "contributions", "rounds"),
    [
        *((model, s, 2) for model in SHAPES if model != "resnet18" for s in ([1, 0, 2, 3], [2.4, 0.1, 0, 1.75])),
        # eleven million weights: a second or two per step
        pytest.param("resnet18", [0.5, 0.25, 0.3, 0], 1, marks=pytest.mark.slow),
    ],
)
def test_both_backends_give_the_same(model, contributions, rounds):
    federation, settings = noise(SHAPES[model]), SETTINGS | {"model": model, "rounds": rounds}
    runs = [train(federation, contributions, backend=backend, **settings) for backend in ("sequential", "batched")]
    assert distance(*runs) < 1e-12
    np.testing.assert_allclose(runs[0].losses, runs[1].losses, rtol=1e-12)
    assert runs[0].confusion.tolist() == runs[1].confusion.tolist()
    start = build_model(model, SHAPES[model], 3, seed=SETTINGS["seed"])
    assert (
        max(
            float((p - q).detach().abs().max())
            for p, q in zip(runs[0].model.parameters(), start.parameters(), strict=True)
        )
        > 1e-3
    )


@pytest.mark.parametrize("backend", ["sequential", "batched"])
@pytest.mark.parametrize("model", ["cnn", "lenet"])
def test_float32_in_its_own_memory_layout_is_float64_up_to_rounding(model, backend):
    double, single = (
        train(noise(SHAPES[model]), [2.4, 0, 1, 3], model=model, dtype=dtype, backend=backend, **SETTINGS)
        for dtype in ("float64", "float32")
    )
    assert 0 < distance(double, single) < 1e-5
    assert all(parameter.is_contiguous() for parameter in single.model.parameters())


@pytest.mark.parametrize("backend", ["sequential", "batched"])
def test_mixed_precision_is_near_and_keeps_float32_weights(backend):
    settings = SETTINGS | {"dtype": "float32", "backend": backend}
    mixed, single = (train(noise((1, 8, 8)), [2.4, 0, 1, 3], mixed_precision=on, **settings) for on in (True, False))
    assert 1e-5 < distance(mixed, single) < 0.05
    assert next(mixed.model.parameters()).dtype == torch.float32


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_auto_chooses(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert TrainingConfig(device=device).batched == (device == "cuda")
    assert TrainingConfig(device=device, backend="batched").batched
    assert not TrainingConfig(device=device, backend="sequential").batched


def one_round(backend, s):
    """What each client sends back: her weights and her loss."""
    config = TrainingConfig(model="quadratic", **SETTINGS)
    clients = module.TrainingClients.of(noise((6,)), np.array(s), config)
    model = build_model("quadratic", (6,), 3, seed=0)
    updates = getattr(module, backend)(model, module.get_weights(model), clients, 0, config)
    return {client: (theta, loss) for client, theta, loss in updates}


def same_update(a, b):
    return torch.allclose(a[0], b[0], rtol=0, atol=1e-14) and a[1] == pytest.approx(b[1], rel=1e-13)


def test_every_client_sends_back_her_own_weights_and_loss():
    sequential, batched = (one_round(backend, [1.5, 0.0, 0.4, 3.0]) for backend in ("sequential", "batched"))
    assert list(sequential) == list(batched) == [0, 2, 3]
    for client, update in sequential.items():
        assert [same_update(update, other) for other in batched.values()] == [client == k for k in batched]


@pytest.mark.parametrize("backend", ["sequential", "batched"])
def test_a_client_who_is_done_waits(backend):
    """Another one's long work does not move her."""
    short, long = (one_round(backend, [1.5, 0.0, 0.4, longest]) for longest in (1.5, 3.0))
    assert [same_update(short[client], long[client]) for client in (0, 2, 3)] == [True, True, False]


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("backend", ["sequential", "batched"])
@pytest.mark.parametrize("model", ["cnn", "lenet", "resmlp", "quadratic"])
def test_a_gpu_gives_the_same_as_the_cpu(model, backend):
    runs = [
        train(noise(SHAPES[model]), [2.4, 0.1, 0, 1.75], model=model, backend=backend, device=device, **SETTINGS)
        for device in ("cpu", "cuda")
    ]
    assert distance(*runs) < 1e-10
    assert runs[0].confusion.tolist() == runs[1].confusion.tolist()


@pytest.mark.gpu
@GPU
def test_a_gpu_gives_the_same_bits_twice_and_when_resumed(tmp_path):
    settings = SETTINGS | {"device": "cuda", "dtype": "float32", "mixed_precision": True}
    federation, s = noise((1, 8, 8)), [2.4, 0.1, 0, 1.75]
    first, second = (train(federation, s, checkpoint=path, **settings) for path in (None, tmp_path / "run"))
    assert distance(first, second) == 0
    assert distance(first, train(federation, s, checkpoint=tmp_path / "run", **settings)) == 0
