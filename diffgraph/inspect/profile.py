"""Where a program's time goes, kernel by kernel and layer by layer, beside what the machine could do at most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffgraph.inspect.counts import ITEM_BYTES, multiply_adds
from diffgraph.ir.dimension import Size, evaluate, product
from diffgraph.ir.program import Definition, Program, Provenance, Scan, Statement
from diffgraph.kernels.loops import Kernel
from diffgraph.kernels.share import name_of_all
from diffgraph.kernels.steps import Copy, Launch, Sort
from diffgraph.passes.cost import cost
from diffgraph.runtime.limits import Limits
from diffgraph.runtime.profile import Profile, Timing


@dataclass(frozen=True)
class KernelTime:
    """One kernel of a step. macs, moved: multiply-adds, and bytes of the tensors that it touches, each counted once.
    least: seconds that the machine needs for these. shares: the part of each (layer, phase)."""

    name: str
    seconds: float
    threads: int
    macs: int
    moved: int
    least: float
    by: str
    shares: Mapping[tuple[str, str], float]

    @property
    def part(self) -> float:
        """The part of the machine's limit that it reaches."""
        return self.least / self.seconds if self.seconds else 0.0

    @property
    def layers(self) -> str:
        """The layers it works for, the largest part first."""
        ranked = sorted(self.shares, key=lambda of: -self.shares[of])
        return ", ".join(dict.fromkeys(path or "-" for path, _ in ranked))

    @property
    def phases(self) -> str:
        """What it is for."""
        return "+".join(dict.fromkeys(phase for _, phase in self.shares))


def kernel_times(profile: Profile, limits: Limits, precision: str) -> list[KernelTime]:
    """What each timing of a profile is."""
    made = {name: (statement, times) for name, statement, times in statements(profile.program)}
    parts = Counter(m for t in profile.timings if isinstance(t.step, Launch) for m in t.step.members)
    return [_kernel_time(t, made, parts, profile.sizes, limits, precision) for t in profile.timings]


def statements(program: Program, prefix: str = "", times: Size = 1) -> Iterator[tuple[str, Statement, Size]]:
    """Every definition under the name that it has in a schedule, and how often it is computed."""
    for statement in program.statements:
        if isinstance(statement, Scan):
            inner = f"{prefix}{statement.results[0].name}."
            yield from statements(statement.body, inner, times * statement.length)
        for result in statement.results:
            yield prefix + result.name, statement, times


def _kernel_time(
    timing: Timing, made: Mapping, parts: Counter, sizes: Mapping[str, int], limits: Limits, precision: str
) -> KernelTime:
    macs, moved = 0, 0
    shares: Counter = Counter()
    match timing.step:
        case Launch(kernel, _, members):
            name = kernel.name
            times = 1
            for member in members:
                statement, times = made.get(name_of_all(member), (None, 1))
                if isinstance(statement, Definition):
                    count = parts[member]
                    macs += evaluate(multiply_adds(statement) * times, sizes) // count
                    _share(shares, statement.provenance, _work(statement, sizes))
            moved = evaluate(_touched(kernel, precision) * times, sizes)
            if not shares:
                _share(shares, kernel.provenance, 1)
        case Sort(tensor, provenance=provenance):
            name = f"sort {tensor}"
            _share(shares, provenance, 1)
        case Copy(target):
            name = f"copy to {target}"
        case _:
            name = "copies of states"
    total = sum(shares.values())
    shares = {of: weight / total for of, weight in shares.items()} if total else {("", "forward"): 1.0}
    arithmetic, memory = 2 * macs / limits.flops, moved / limits.bandwidth
    by = "arithmetic" if arithmetic > memory else "memory"
    return KernelTime(name, timing.seconds, timing.threads, macs, moved, max(arithmetic, memory), by, shares)


def _share(shares: Counter, provenance: Provenance, weight: float) -> None:
    """Adds the weight to those that something comes from; the update of a parameter belongs to its layer."""
    for origin in provenance:
        path = origin.path.rpartition(".")[0] if origin.phase == "update" else origin.path
        shares[path, origin.phase] += weight / len(provenance)


def _work(definition: Definition, sizes: Mapping[str, int]) -> int:
    return sum(evaluate(product(t.form.domain), sizes) * max(1, cost(t.form.body)) for t in definition.terms)


def _touched(kernel: Kernel, precision: str) -> Size:
    real = 8 if precision == "f64" else 4
    total: Size = 0
    for buffer in kernel.buffers:
        total = total + buffer.size * ITEM_BYTES.get(buffer.kind, real)
    return total


def layer_times(times: Sequence[KernelTime]) -> dict[str, dict[str, float]]:
    """Seconds of each layer by phase, the slowest layer first. The time of a kernel that works for several is shared
    out by the work that each has in it."""
    found: dict[str, Counter] = {}
    for time in times:
        for (path, phase), share in time.shares.items():
            found.setdefault(path, Counter())[phase] += share * time.seconds
    return {path: dict(found[path]) for path in sorted(found, key=lambda p: -sum(found[p].values()))}


def as_json(times: Sequence[KernelTime], profile: Profile) -> dict[str, Any]:
    """Plain values."""
    kernels = [
        {"kernel": t.name, "layers": t.layers, "phases": t.phases, "seconds": t.seconds, "threads": t.threads}
        | {"macs": t.macs, "bytes": t.moved, "part of limit": t.part, "limit": t.by}
        for t in times
    ]
    return {"seconds": profile.seconds, "arena": profile.arena, "kernels": kernels, "layers": layer_times(times)}


def kernel_table(times: Sequence[KernelTime], most: int | None = None) -> str:
    """The kernels as text, the slowest first."""
    total = sum(t.seconds for t in times) or 1.0
    lines = [
        f"{'us':>10} {'%':>6} {'thr':>3} {'MMAC':>9} {'MB':>8} {'limit':>10} {'% of it':>7}  {'kernel':32} "
        "phase: layers"
    ]
    ranked = sorted(times, key=lambda t: -t.seconds)
    for t in ranked[:most]:
        lines.append(
            f"{t.seconds * 1e6:10.1f} {t.seconds / total:6.1%} {t.threads:3} {t.macs / 1e6:9.2f} {t.moved / 1e6:8.2f} "
            f"{t.by:>10} {t.part:7.1%}  {t.name[:32]:32} {t.phases}: {t.layers}"[:180]
        )
    if most is not None and len(ranked) > most:
        rest = sum(t.seconds for t in ranked[most:])
        lines.append(f"{rest * 1e6:10.1f} {rest / total:6.1%}      {len(ranked) - most} more kernels")
    return "\n".join(lines)


def layer_table(times: Sequence[KernelTime]) -> str:
    """The layers as text, the slowest first."""
    layers = layer_times(times)
    phases = list(dict.fromkeys(phase for row in layers.values() for phase in row))
    total = sum(t.seconds for t in times) or 1.0
    width = max([5, *(len(path) for path in layers)])
    lines = [f"{'layer':{width}} {'us':>10} {'%':>6}" + "".join(f" {phase:>10}" for phase in phases)]
    for path, row in layers.items():
        seconds = sum(row.values())
        cells = "".join(f" {row[p] * 1e6:10.1f}" if p in row else " " * 11 for p in phases)
        lines.append(f"{path or '-':{width}} {seconds * 1e6:10.1f} {seconds / total:6.1%}{cells}")
    return "\n".join(lines)
