"""Training steps against PyTorch eager: `python -m benchmarks.steps`.

Both run in processes of their own that take turns in short rounds, since two thread pools in one process disturb each
other. Medians over rounds; PyTorch with fused optimizers, contiguous data, the same threads and precision, warmed up.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import time
from dataclasses import dataclass

import numpy as np

ROUNDS = 15

#: Idle seconds between turns, in which the other side's spinning threads go to sleep.
PAUSE = 0.3


@dataclass(frozen=True)
class Workload:
    """A net as text, the shapes of its data, and how many steps make a round. `model` names a PyTorch twin below."""

    name: str
    text: str
    shape: tuple[int, ...]
    classes: int | None
    batch: int
    steps: int
    model: str


WORKLOADS = (
    Workload(
        "2-8-8-1, Adam, batch 32",
        """net n { input x[N, 2]; target y[N, 1]
        p = x -> linear(8) -> tanh -> linear(8) -> tanh -> linear(1); output p; loss mean((p - y)^2) }
        train n { optimizer adam(lr = 1e-3) }""",
        (2,), None, 32, 400, "small",
    ),
    Workload(
        "784-128-10, Adam, batch 64",
        """net n { input x[N, 784]; target y[N]: int < 10
        p = x -> linear(128) -> relu -> linear(10); output p; loss cross_entropy(p, y) }
        train n { optimizer adam(lr = 1e-3) }""",
        (784,), 10, 64, 100, "wide",
    ),
    Workload(
        "LeNet, AdamW, batch 64",
        """net n { input x[N, 1, 28, 28]; target y[N]: int < 10
        p = x -> conv(6, 5, pad = 2) -> tanh -> avgpool(2) -> conv(16, 5) -> tanh -> avgpool(2) -> flatten
              -> linear(120) -> tanh -> linear(84) -> tanh -> linear(10)
        output p; loss cross_entropy(p, y) }
        train n { optimizer adamw(lr = 1e-3) }""",
        (1, 28, 28), 10, 64, 16, "lenet",
    ),
)  # fmt: skip


def data(work: Workload) -> tuple[np.ndarray, np.ndarray]:
    """Random samples, enough for a round."""
    generator = np.random.default_rng(0)
    samples = work.batch * work.steps
    x = generator.standard_normal((samples, *work.shape)).astype(np.float32)
    if work.classes is None:
        return x, generator.standard_normal((samples, 1)).astype(np.float32)
    return x, generator.integers(0, work.classes, samples)


def ours(work: Workload, threads: int):
    """A function that makes a round of steps."""
    from diffgraph.compiler import Net
    from diffgraph.language.module import load_text
    from diffgraph.training.assembly import assemble
    from diffgraph.training.data.dataset import Dataset

    x, y = data(work)
    net = Net(load_text(work.text), threads=threads)
    run = assemble(net, net.plan(batch=work.batch, steps=10**6), Dataset("random", {"x": x, "y": y}))
    order = np.random.default_rng(0).permutation(len(x)).reshape(work.steps, work.batch)
    return lambda: run.steps.advance(order, 1)


def peer(work: Workload, threads: int):
    """The same with PyTorch eager."""
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    layers = {
        "small": lambda: [nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)],
        "wide": lambda: [nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)],
        "lenet": lambda: [
            nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
        ],
    }  # fmt: skip
    model = nn.Sequential(*layers[work.model]())
    make = torch.optim.AdamW if "AdamW" in work.name else torch.optim.Adam
    optimizer = make(model.parameters(), lr=1e-3, fused=True)
    loss = nn.MSELoss() if work.classes is None else nn.CrossEntropyLoss()
    x, y = map(torch.from_numpy, data(work))

    def round_of_steps():
        for k in range(0, len(x), work.batch):
            optimizer.zero_grad(set_to_none=True)
            loss(model(x[k : k + work.batch]), y[k : k + work.batch]).backward()
            optimizer.step()

    return round_of_steps


def serve(connection, make, work: Workload, threads: int) -> None:
    """A side: makes a round whenever it is asked, and tells the seconds of a step."""
    step = make(work, threads)
    step()
    connection.send("ready")
    while connection.recv():
        start = time.perf_counter()
        step()
        connection.send((time.perf_counter() - start) / work.steps)


def compare(work: Workload, threads: int) -> tuple[float, float]:
    """Median seconds of a step: (ours, PyTorch's)."""
    context = multiprocessing.get_context("spawn")
    sides = []
    for make in (ours, peer):
        near, far = context.Pipe()
        process = context.Process(target=serve, args=(far, make, work, threads), daemon=True)
        process.start()
        near.recv()
        sides.append((near, process, []))
    for _ in range(ROUNDS):
        for near, _, seconds in sides:
            time.sleep(PAUSE)
            near.send(True)
            seconds.append(near.recv())
    for near, process, _ in sides:
        near.send(False)
        process.join()
    return tuple(statistics.median(seconds) for _, _, seconds in sides)


def main(threads: int = 2) -> None:
    """Prints a line for each workload."""
    print(f"{'training step':28} {'ours':>12} {'torch eager':>12} {'ratio':>8}")
    for work in WORKLOADS:
        mine, theirs = compare(work, threads)
        print(f"{work.name:28} {mine * 1e6:9.1f} us {theirs * 1e6:9.1f} us {theirs / mine:7.1f}x", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
