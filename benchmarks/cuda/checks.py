"""Every kernel by itself: on fresh inputs, beside float64 on the host."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.samples import samples
from benchmarks.sides.ours import ROOT
from benchmarks.workloads import Workload
from diffgraph.ir.dimension import evaluate
from diffgraph.ir.program import Definition, Input, Output, Program, Reshape, Scan
from diffgraph.kernels.schedule import schedule
from diffgraph.kernels.steps import Launch, Repeat
from diffgraph.passes.pipeline import optimize
from diffgraph.runtime import device, device_launch
from diffgraph.runtime.executable import build

#: Relative to the largest number of a result.
TOLERANCE = {"f32": 1e-4, "tf32": 1e-2, "bf16": 5e-2}

#: How much more uncertain than on the host a result may be that is uncertain there.
NOISES = 8

#: The batch: uneven, and small, since the host takes long.
BATCH = 3

#: The interpreter computes kernels of so many operations; larger ones the CPU target, in float64.
INTERPRETED = 1 << 24


@dataclass(frozen=True)
class Piece:
    """What a kernel computes, as a program of its own."""

    name: str
    program: Program
    work: int


def report(work: Workload, precision: str, clock) -> list[str]:
    """Checks the kernels of a workload; prints how many, and the worst error; gives those that are wrong."""
    program, batch = program_of(work)
    found = list(pieces(optimize(program, target="cuda"), precision, {batch: BATCH} if batch else {}))
    wrong, worst, done = [], 0.0, 0
    most, device_launch.MOST_STARTS = device_launch.MOST_STARTS, 0
    try:
        built = [build(piece.program, "cuda", precision) for piece in found]
        device.make_ready(built)
        for piece, executable in zip(found, built):
            if clock.left < 0:
                break
            error = difference(piece, executable, precision, BATCH)
            worst, done = max(worst, error), done + 1
            if not error <= TOLERANCE[precision]:
                wrong.append(f"{work.name}: {piece.name}")
                print(f"WRONG: {work.name}: {piece.name} differs by {error:.1e}", flush=True)
    finally:
        device_launch.MOST_STARTS = most
    print(f"{work.name:24} {done} of {len(found)} kernels checked, largest error {worst:.1e}", flush=True)
    return wrong


def program_of(work: Workload) -> tuple[Program, str | None]:
    """The program of a workload, and the symbol of its batch."""
    from diffgraph.compiler import Net
    from diffgraph.language.module import load_text
    from diffgraph.language.step import training_network

    path = ROOT / work.file
    text = path.read_text() + "\n" + work.train
    net = Net(load_text(text, path.name, path.parent), work.net, train="bench" if work.train else None)
    net.fix(samples(work))
    batch = net.network().batch
    if work.kind == "train":
        return training_network(net.plan(batch=work.batch, steps=1), sizes=dict(net.sizes)).program, batch
    if work.kind == "gradient":
        return net.gradient([*net.parameters, next(iter(work.columns))]), batch
    return net.forward([o.name for o in net.network().outputs]), batch


def pieces(program: Program, precision: str, sizes: dict[str, int]):
    """What each kernel of a program computes, each once."""
    made = _definitions(program, "")
    seen = set()
    for launch in _launches(schedule(program, device.device_of(precision, _capability())).steps):
        if not launch.members or launch.kernel.digest in seen or any(m not in made for m in launch.members):
            continue
        seen.add(launch.kernel.digest)
        home = made[launch.members[0]][1]
        prefix = launch.members[0].removesuffix(made[launch.members[0]][0].tensor.name)
        own = {m.removeprefix(prefix) for m in launch.members}
        results = [r.removeprefix(prefix) for r in launch.results if r.removeprefix(prefix) in own]
        yield Piece(launch.kernel.name, _alone(home, own, results or sorted(own)), evaluate(launch.kernel.work, sizes))


def _capability() -> int:
    return device._library(None).driver.capability


def _definitions(program: Program, prefix: str) -> dict[str, tuple[Definition, Program]]:
    """The definitions of a program and of the bodies of its scans, by the names that a schedule gives them."""
    found = {}
    for statement in program.statements:
        if isinstance(statement, Definition):
            found[prefix + statement.tensor.name] = statement, program
        elif isinstance(statement, Scan):
            found |= _definitions(statement.body, f"{prefix}{statement.results[0].name}.")
    return found


def _launches(steps):
    for step in steps:
        if isinstance(step, Launch):
            yield step
        elif isinstance(step, Repeat):
            yield from _launches(step.steps)


def _alone(program: Program, members: set[str], results: list[str]) -> Program:
    """Some definitions of a program, with the views between them; what they read from elsewhere is an input."""
    kept, there = [], set()
    for statement in program.statements:
        inside = isinstance(statement, Definition) and statement.tensor.name in members
        if inside or (isinstance(statement, Reshape) and statement.operands[0] in there):
            kept.append(statement)
            there |= {t.name for t in statement.results}
    read = dict.fromkeys(n for s in kept for n in s.operands if n not in there)
    tables = {i.tensor.name: i for i in program.inputs if i.table is not None}
    inputs = tuple(tables.get(n) or Input(program.tensors[n], "input", n) for n in read)
    return Program(inputs, tuple(kept), tuple(Output(n, n) for n in results))


def difference(piece: Piece, executable, precision: str, batch: int) -> float:
    """The largest error of a kernel on random inputs, relative to the largest number of each result; infinite if ints
    differ. A result whose terms cancel, or that is steep, is as uncertain as on the host: then relative to that."""
    rng = np.random.default_rng(len(piece.name))
    program = piece.program
    given = {i.path: _random(i, batch, rng) for i in program.inputs if i.table is None}
    narrow = {p: a.astype(np.float32) if a.dtype == np.float64 else a for p, a in given.items()}
    found, expected = executable.run(narrow), _on_host(piece, given, "f64")
    scales = {name: _largest(np.asarray(value)) for name, value in expected.items()}
    error = _worst(found, expected, scales)
    if error <= TOLERANCE[precision]:
        return error
    rounded = {p: _rounded(a, precision) if a.dtype == np.float64 else a for p, a in given.items()}
    for other in (_on_host(piece, narrow, "f32"), _on_host(piece, rounded, "f64")):
        for name, value in expected.items():
            noise = _apart(np.asarray(other[name]), np.asarray(value))
            scales[name] = max(scales[name], NOISES * noise / TOLERANCE[precision])
    return _worst(found, expected, scales)


def _on_host(piece: Piece, given: dict[str, np.ndarray], precision: str) -> dict[str, np.ndarray]:
    return build(piece.program, "reference" if piece.work < INTERPRETED else "cpu", precision).run(given)


def _rounded(array: np.ndarray, precision: str) -> np.ndarray:
    """Numbers with as many bits as a precision's factors have."""
    lost = np.uint32({"f32": 0, "tf32": 13, "bf16": 16}[precision])
    words = array.astype(np.float32).view(np.uint32)
    half = (np.uint32(1) << lost) >> np.uint32(1)
    return ((words + half) >> lost << lost).view(np.float32).astype(np.float64)


def _random(given: Input, batch: int, rng) -> np.ndarray:
    tensor = given.tensor
    shape = tuple(evaluate(s, dict.fromkeys(_symbols(tensor.shape), batch)) for s in tensor.shape)
    if tensor.kind == "float":
        return rng.standard_normal(shape).astype(np.float32).astype(np.float64)
    if tensor.kind == "bool":
        return rng.random(shape) < 0.5
    bound = tensor.bound if isinstance(tensor.bound, int) else 4
    return rng.integers(0, max(1, bound), shape)


def _symbols(shape) -> set[str]:
    from diffgraph.ir.dimension import symbols

    return {name for size in shape for name in symbols(size)}


def _worst(found: dict, expected: dict, scales: dict[str, float]) -> float:
    """The largest error of all results, each relative to its scale; infinite where ints, or what is finite, differ."""
    errors = [_apart(np.asarray(found[name]), np.asarray(value)) / scales[name] for name, value in expected.items()]
    return max(errors, default=0.0)


def _largest(array: np.ndarray) -> float:
    return float(np.max(np.abs(array[np.isfinite(array)]), initial=1e-30)) if array.dtype.kind == "f" else 1.0


def _apart(found: np.ndarray, expected: np.ndarray) -> float:
    if expected.dtype.kind != "f":
        return 0.0 if np.array_equal(found, expected) else float("inf")
    finite = np.isfinite(expected) & (np.abs(expected) < np.finfo(np.float32).max)
    if not np.all(np.isfinite(found[finite])) or np.any(np.isfinite(found) & np.isnan(expected)):
        return float("inf")
    return float(np.max(np.abs(found[finite] - expected[finite]), initial=0.0))
