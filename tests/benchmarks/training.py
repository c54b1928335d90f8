"""Samples per second of federated training against a PyTorch loop written by hand for the same work.

    python tests/benchmarks/training.py            # a table, and book/results/training.json

Thirty clients, random images of MNIST's size in batches of 11 (a thirtieth of MNIST in 181 batches, as in App. E).
The loop by hand is what one would write without this package: a module, ``torch.optim.SGD``, the same inputs in
the same order, precision, memory layout and initial weights, one thread; its weights must come out the same. The
contenders take turns, so that a busy moment hits both; ratios are of neighbouring runs. On a GPU the batched
backend runs too.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from results import save
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from fedshap.federated import Dataset, Federation, TrainingConfig, build_model
from fedshap.federated.backends import TrainingClients, batched, get_weights, memory_format, sequential, set_weights

N_CLIENTS, BATCH_SIZE, LEARNING_RATE = 30, 11, 0.05
BATCHES = 10  # of each client in one round
REPETITIONS = 9
Work = Callable[[], torch.Tensor]  # trains every client once, returns the sum of their weights


def federation() -> Federation:
    """Random images: what they show takes no time."""
    rng = np.random.default_rng(0)
    data = [
        Dataset(rng.uniform(size=(BATCHES * BATCH_SIZE, 1, 28, 28)), rng.integers(10, size=BATCHES * BATCH_SIZE), 10)
        for _ in range(N_CLIENTS)
    ]
    return Federation(data, data, np.arange(N_CLIENTS) * 3 // N_CLIENTS)


def by_hand(model: nn.Module, weights: torch.Tensor, clients: TrainingClients, config: TrainingConfig) -> Work:
    """The plain loop: load the common weights, then zero_grad, loss, backward, step for every batch."""
    criterion, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=config.learning_rate)

    def work() -> torch.Tensor:
        total = torch.zeros_like(weights)
        for k in range(len(clients.numbers)):
            order = torch.from_numpy(clients.chosen(k, 0, config)).to(config.device)
            set_weights(model, weights)
            for rows in order.split(config.batch_size):
                with record_function("forward"):
                    optimizer.zero_grad()
                    loss = criterion(model(clients.inputs[rows]), clients.labels[rows])
                with record_function("backward"):
                    loss.backward()
                with record_function("update"):
                    optimizer.step()
            total += get_weights(model)
        return total

    return work


def ours(
    backend: Any, model: nn.Module, weights: torch.Tensor, clients: TrainingClients, config: TrainingConfig
) -> Work:
    """One round's local training by a backend of the package."""

    def work() -> torch.Tensor:
        total = torch.zeros_like(weights)
        for _, theta, _ in backend(model, weights, clients, 0, config):
            total += theta
        return total

    return work


def seconds(work: Work, device: str) -> float:
    """Wall time of one round, the device's queue emptied before and after."""
    synchronize = torch.cuda.synchronize if device != "cpu" else (lambda: None)
    synchronize()
    start = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - start


def spread(values: list[float]) -> list[float]:
    """Median, least and most, to three digits."""
    return [float(f"{x:.3g}") for x in (statistics.median(values), min(values), max(values))]


def shares(work: Work, device: str) -> dict[str, float]:
    """Where the loop's time goes: forward, backward, update, and the rest (shuffles, copies, averaging).

    By the processor's clock, the profiler's own overhead included. On a GPU it shows who waits to launch what.
    """
    with profile(activities=[ProfilerActivity.CPU]) as record:
        elapsed = seconds(work, device)
    totals = {event.key: event.cpu_time_total / 1e6 for event in record.key_averages()}
    parts = {name: totals[name] / elapsed for name in ("forward", "backward", "update")}
    return {name: round(share, 2) for name, share in (parts | {"other": 1 - sum(parts.values())}).items()}


def compare(data: Federation, model: str, dtype: str, device: str) -> dict[str, Any]:
    """One row of the table."""
    config = TrainingConfig(
        model=model,
        dtype=dtype,
        device=device,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        backend="sequential",
    )
    clients = TrainingClients.of(data, np.full(N_CLIENTS, float(BATCHES)), config)
    network = build_model(model, (1, 28, 28), 10, seed=0).to(device, clients.inputs.dtype)
    network = network.to(memory_format=memory_format(config))
    weights = get_weights(network)
    works = {"by hand": by_hand(network, weights, clients, config)}
    works["sequential"] = ours(sequential, network, weights, clients, config)
    if device != "cpu":
        works["batched"] = ours(batched, network, weights, clients, config)
    expected = works["by hand"]()  # warms up too
    for name, work in works.items():
        torch.testing.assert_close(work(), expected, msg=lambda text, name=name: f"{name}: {text}")
    times = {name: [] for name in works}
    for _ in range(REPETITIONS):
        for name, work in works.items():
            times[name].append(seconds(work, device))
    samples = N_CLIENTS * BATCHES * BATCH_SIZE
    row = {"model": model, "dtype": dtype, "device": device}
    row["samples_per_second"] = {name: spread([samples / t for t in each]) for name, each in times.items()}
    row["milliseconds_per_step"] = {
        name: round(1e3 * statistics.median(each) / (N_CLIENTS * BATCHES), 3) for name, each in times.items()
    }
    row["speed_over_by_hand"] = {
        name: spread([a / b for a, b in zip(times["by hand"], each, strict=True)])
        for name, each in times.items()
        if name != "by hand"
    }
    row["where_the_time_of_the_loop_goes"] = shares(works["by hand"], device)
    print(f"{model:>6} {dtype} {device:>4}")
    for name, (median, low, high) in row["samples_per_second"].items():
        ratio = row["speed_over_by_hand"].get(name)
        print(f"    {name:>10} {median:>8,.0f} samples/s ({low:,.0f} to {high:,.0f})  {ratio or ''}", flush=True)
    print(f"    {row['where_the_time_of_the_loop_goes']}", flush=True)
    return row


def main() -> None:
    torch.set_num_threads(1)
    data = federation()
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    kinds = [("lenet", "float32"), ("cnn", "float32"), ("cnn", "float64")]
    save(
        "training",
        f"one round of {N_CLIENTS} clients, {BATCHES} batches of {BATCH_SIZE} images of 1 x 28 x 28 each; "
        "median, least and most",
        machine={
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "torch": torch.__version__,
        },
        repetitions=REPETITIONS,
        rows=[compare(data, model, dtype, device) for device in devices for model, dtype in kinds],
    )


if __name__ == "__main__":
    main()
