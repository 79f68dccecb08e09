"""The workloads of the table on a device, ours beside PyTorch's; the data is on the device."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

import numpy as np

from benchmarks.cuda.checks import TOLERANCE
from benchmarks.cuda.limits import repeated
from benchmarks.samples import COMPARED, samples
from benchmarks.sides.ours import ROOT, cost
from benchmarks.workloads import Workload
from diffgraph.runtime import device_launch
from diffgraph.targets.cuda.machine import Machine

HEAD = f"{'a step of':20} {'ours':>11} {'of limit':>9} {'kernels':>11} {'eager':>11} {'compiled':>11} {'graph':>11}"

#: Steps of one call of ours.
STEPS = 64

#: Losses in float64 come from the interpreter where a step has no more multiply-adds than this, else from the CPU.
INTERPRETED = 1 << 24


@dataclass(frozen=True)
class Row:
    """Seconds of a step: ours (`separate`: each kernel a launch), and each way of PyTorch. share: of the device's limit.
    error: of the losses, relative to float64."""

    name: str
    ours: float
    share: float
    separate: float | None
    torch: dict[str, float] = field(default_factory=dict)
    error: float = 0.0
    is_wrong: bool = False

    def describe(self) -> str:
        times = [self.separate, *(self.torch.get(k) for k in ("eager", "compiled", "graph"))]
        cells = " ".join(f"{t * 1e6:8.1f} us" if t else f"{'-':>11}" for t in times)
        verdict = f"  WRONG: losses differ by {self.error:.1e}" if self.is_wrong else ""
        return f"{self.name:20} {self.ours * 1e6:8.1f} us {self.share:9.1%} {cells}{verdict}"

    def as_json(self) -> dict:
        return asdict(self)


def tiny(work: Workload) -> Workload:
    """The workload for a simulated device."""
    return replace(work, batch=2, steps=1)


def measured(work: Workload, precision: str, rounds: int, machine: Machine, clock, dry: bool) -> Row:
    """Ours, checked against float64, and PyTorch's, as far as the time allows."""
    rounds = 1 if dry else rounds
    macs, size = cost(work)
    error = _loss_error(work, precision, macs) if work.kind == "train" else 0.0
    ours = _seconds(work, precision, rounds)
    separate = None
    if work.kind == "train" and clock.left > 0:
        # As it would be without one launch for the whole step.
        most, device_launch.MOST_STARTS = device_launch.MOST_STARTS, 0
        try:
            separate = _seconds(work, precision, rounds)
        finally:
            device_launch.MOST_STARTS = most
    torch = {}
    if clock.left > 0:
        from benchmarks.cuda.torch_side import seconds

        torch = seconds(work, precision, rounds, clock, dry)
    share = machine.seconds(macs, size, precision) / ours
    return Row(work.name, ours, share, separate, torch, error, not error <= TOLERANCE[precision])


def net_of(work: Workload, target: str, precision: str):
    """The net of a workload on a target."""
    from diffgraph.compiler import Net
    from diffgraph.language.module import load_text

    path = ROOT / work.file
    text = path.read_text() + "\n" + work.train
    module = load_text(text, path.name, path.parent)
    return Net(module, work.net, train="bench" if work.train else None, target=target, precision=precision)


def _steps(work: Workload, target: str, precision: str):
    from diffgraph.training.assembly import assemble
    from diffgraph.training.data.dataset import Dataset

    net = net_of(work, target, precision)
    return assemble(net, net.plan(batch=work.batch, steps=10**6), Dataset("random", samples(work))).steps


def _loss_error(work: Workload, precision: str, macs: int) -> float:
    """How much the first losses differ from those in float64."""
    order = _order(work)[:COMPARED]
    oracle = "reference" if macs < INTERPRETED else "cpu"
    found, expected = (
        np.asarray(_steps(work, t, p).advance(order, 1)) for t, p in (("cuda", precision), (oracle, "f64"))
    )
    return float(np.max(np.abs(found / expected - 1)))


def _order(work: Workload) -> np.ndarray:
    return np.arange(len(next(iter(samples(work).values())))).reshape(-1, work.batch)


def _seconds(work: Workload, precision: str, rounds: int) -> float:
    """Of a step of ours."""
    if work.kind == "train":
        steps, order = _steps(work, "cuda", precision), _order(work)
        order = np.resize(order, (len(order) if rounds == 1 else max(STEPS, work.steps), work.batch))
        return repeated(lambda: steps.advance(order, 1), lambda: None, rounds) / len(order)
    net, columns = net_of(work, "cuda", precision), samples(work)
    net.fix(columns)
    if work.kind == "infer":
        executable = net.inference_executable()
    else:
        executable = net.executable(net.gradient([*net.parameters, next(iter(columns))]))
        executable.bind(net.storage)
    start, wait = executable.resident({p: a for p, a in columns.items() if p in executable.given})
    return repeated(start, wait, rounds)
