"""The CUDA target on a GPU machine: `python -m benchmarks --target cuda [WORKLOAD...] [--precision f32|tf32|bf16]`.

For each training workload of the table: the first losses beside those of the interpreter in float64, and the time of a step
beside PyTorch on the same device, eager and as a captured graph, at equal precision. It needs a GPU and the extra `cuda`;
PyTorch with CUDA for the comparison. Times include nothing but the steps: the data is on the device.

No device was at hand when this was written: it has been run up to the point where one is asked for.
"""

from __future__ import annotations

import argparse
import inspect
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from benchmarks.samples import samples
from benchmarks.sides.ours import ROOT
from benchmarks.workloads import Workload, named
from diffgraph.diagnostics import DiffgraphError
from diffgraph.targets.cuda.driver import CudaDriver

#: Losses may differ from those in float64 by so much, relatively, after a few steps.
TOLERANCE = {"f32": 1e-4, "tf32": 1e-2, "bf16": 5e-2}

#: Steps whose losses are compared; the interpreter takes long.
COMPARED = 3


def main(given: list[str]) -> None:
    """Checks, times, prints a table."""
    parser = argparse.ArgumentParser("python -m benchmarks --target cuda")
    parser.add_argument("workloads", nargs="*")
    parser.add_argument("--precision", choices=sorted(TOLERANCE), default="f32")
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args(given)
    try:
        driver = CudaDriver()
    except DiffgraphError as problem:
        print(problem, file=sys.stderr)
        raise SystemExit(2) from None
    print(f"sm_{driver.capability}, {driver.room() / 2**30:.0f} GiB free, {asked.precision}")
    print(f"{'training step':32} {'ours':>12} {'eager':>12} {'graph':>12}")
    for work in named(tuple(asked.workloads)):
        if work.kind == "train":
            _report(work, asked.precision, asked.rounds)


def _report(work: Workload, precision: str, rounds: int) -> None:
    columns = samples(work)
    order = np.arange(len(next(iter(columns.values())))).reshape(-1, work.batch)
    losses = {}
    for target, real in (("cuda", precision), ("reference", "f64")):
        losses[target] = np.asarray(_steps(work, target, real, columns).advance(order[:COMPARED], 1))
    difference = np.max(np.abs(losses["cuda"] / losses["reference"] - 1))
    verdict = "" if difference < TOLERANCE[precision] else f"  WRONG: losses differ by {difference:.1e}"
    ours = _steps(work, "cuda", precision, columns)
    times = [_seconds(lambda: ours.advance(order, 1), len(order), rounds), *_torch(work, columns, precision, rounds)]
    shown = " ".join(f"{t * 1e6:9.1f} us" if t else f"{'-':>12}" for t in times)
    print(f"{work.name:32} {shown}{verdict}", flush=True)


def _steps(work: Workload, target: str, precision: str, columns):
    """What makes steps of a workload on a target."""
    from diffgraph.compiler import Net
    from diffgraph.language.module import load_text
    from diffgraph.training.assembly import assemble
    from diffgraph.training.data.dataset import Dataset

    path = ROOT / work.file
    text = path.read_text() + "\n" + work.train
    net = Net(load_text(text, path.name, path.parent), work.net, train="bench", target=target, precision=precision)
    return assemble(net, net.plan(batch=work.batch, steps=10**6), Dataset("random", columns)).steps


def _seconds(steps: Callable[[], object], count: int, rounds: int) -> float:
    """Median seconds of a step."""
    steps()
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        steps()
        found.append((time.perf_counter() - start) / count)
    return statistics.median(found)


def _torch(work: Workload, columns, precision: str, rounds: int) -> list[float | None]:
    """Seconds of a step of PyTorch: eager, and as a captured graph; None where it has no device."""
    try:
        import torch
    except ImportError:
        return [None, None]
    if not torch.cuda.is_available() or not work.torch:
        return [None, None]
    from benchmarks import torch_models
    from benchmarks.sides.torch import module_of

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    model = module_of(work.torch[0], None).cuda()
    kind, settings = work.optimizer
    make = getattr(torch.optim, kind)
    capturable = {"capturable": True} if "capturable" in inspect.signature(make).parameters else {}
    optimizer = make(model.parameters(), **settings, fused=True, **capturable)
    loss = getattr(torch_models, work.loss)
    batch = [torch.from_numpy(c[: work.batch]).cuda() for c in columns.values()]

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
            value = loss(model(*batch[:-1]), batch[-1])
        value.backward()
        optimizer.step()

    def many(one: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(50):
                one()
            torch.cuda.synchronize()

        return run

    eager = _seconds(many(step), 50, rounds)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return [eager, _seconds(many(graph.replay), 50, rounds)]

