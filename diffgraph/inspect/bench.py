"""How fast a net is: a step of inference and one of training, beside the machine's limits, layer by layer; and beside
programs of others, which the user names."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diffgraph.diagnostics import error
from diffgraph.inspect import turns
from diffgraph.inspect.counts import macs, traffic
from diffgraph.inspect.profile import KernelTime, as_json, kernel_table, kernel_times, layer_table
from diffgraph.inspect.samples import sample_inputs
from diffgraph.inspect.turns import Configuration, Effort, Prepared, Result
from diffgraph.ir.program import Program
from diffgraph.language.step import training_network
from diffgraph.passes.select import select
from diffgraph.runtime import values
from diffgraph.runtime.executable import Executable
from diffgraph.runtime.storage import Storage
from diffgraph.runtime.limits import Limits
from diffgraph.runtime.profile import Profile, profile
from diffgraph.training.initial import initial_values

#: Samples in a batch where nothing says how many, and the size of an axis that is left open.
BATCH, OPEN_SIZE = 32, 32

#: Steps that are profiled, and about how long the timing of a mode takes, if it is not told how many steps.
PROFILED, SECONDS = 7, 1.0

INFERENCE, TRAINING = "inference", "training"


@dataclass(frozen=True)
class Case:
    """What a peer gets to compute on.

    mode: `inference` or `training`. inputs: inputs and targets by name, for one batch. parameters: parameters and
    states by path, as they are before the first step. threads: how many it may use.
    """

    mode: str
    inputs: Mapping[str, np.ndarray]
    parameters: Mapping[str, np.ndarray]
    threads: int


@dataclass(frozen=True)
class Work:
    """A step of a net in one mode, ready to run. program: before the passes; arrays: parameters and states by path,
    with those of the optimizer."""

    mode: str
    program: Program
    executable: Executable
    inputs: Mapping[str, np.ndarray]
    case: Case
    arrays: Mapping[str, np.ndarray]

    @property
    def commits(self) -> bool:
        """Whether a step changes parameters."""
        return bool(self.program.commits) and self.mode == TRAINING


@dataclass(frozen=True)
class Peer:
    """Something to compare with. make(work) -> a function that makes one step and returns the outputs, by name or in
    order, or the loss; it is called in a process of its own. modes: those that it has."""

    name: str
    make: Callable[[Work], Callable[[], Any]]
    modes: tuple[str, ...] = (INFERENCE, TRAINING)


@dataclass(frozen=True)
class Measured:
    """What was found about a mode. seconds: the median of a step. macs, moved: multiply-adds, and bytes that must move.
    stored: bytes of parameters, states and the optimizer's states. peers: ours first; empty without peers."""

    mode: str
    seconds: float
    macs: int
    moved: int
    stored: int
    limits: Limits
    profile: Profile
    kernels: Sequence[KernelTime]
    peers: Sequence[Result] = ()

    @property
    def least(self) -> float:
        """Seconds that the machine needs at least."""
        return self.limits.seconds(2 * self.macs, self.moved)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        peers = [
            {"name": r.name, "seconds": r.median if r.seconds else None, "agrees": r.agrees, "error": r.error}
            for r in self.peers
        ]
        found = {"mode": self.mode, "seconds per step": self.seconds, "macs": self.macs, "bytes": self.moved}
        found |= {"least seconds": self.least, "part of limit": self.least / self.seconds, "stored": self.stored}
        return found | {"profile": as_json(self.kernels, self.profile), "against": peers}


def works(net, batch: int | None, sizes: Mapping[str, int], modes: Sequence[str]) -> Iterator[Work]:
    """A step of each mode of a `compiler.Net` that it has: outputs, and with a loss training by its train block, or
    without one the loss and its gradients."""
    inputs = _inputs(net, batch, sizes)
    network = net.network()
    before = {path: array.copy() for path, array in net.storage.items()}
    threads = net.threads or turns.available_threads()
    if INFERENCE in modes and network.outputs:
        program = net.forward([o.name for o in network.outputs])
        case = Case(INFERENCE, inputs, before, threads)
        yield Work(INFERENCE, program, net.inference_executable(sizes_of(network, inputs)), _given(program, inputs), case, net.storage)
    if TRAINING in modes and network.losses:
        program, arrays = _training(net)
        executable = net.executable(program, sizes_of(network, inputs))
        executable.bind(Storage.of(arrays))
        yield Work(
            TRAINING, program, executable, _given(program, inputs), Case(TRAINING, inputs, before, threads), arrays
        )


def _inputs(net, batch: int | None, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    declared = net.declared
    unknown = [name for name in sizes if name not in declared.symbols or name == declared.batch]
    if unknown:
        known = ", ".join(s for s in declared.symbols if s != declared.batch) or "none"
        raise error("DG941", f"`{net.declared.name}` has no open size `{unknown[0]}`; its open sizes: {known}")
    if batch is None:
        blocks = [b for b in net.module.trains if b.net == declared.name] if declared.losses else []
        batch = (net.plan().batch if blocks else None) or BATCH
    elif declared.batch is None:
        raise error("DG942", f"the net `{declared.name}` has no batch", help="leave --batch out")
    chosen = {s: sizes.get(s, OPEN_SIZE) for s in declared.symbols if s != declared.batch}
    net.set_sizes({**net.sizes, **chosen})
    real = np.float64 if net.precision == "f64" else np.float32
    found = sample_inputs(net.network(), batch, sizes=chosen)
    return {name: a.astype(real) if a.dtype.kind == "f" else a for name, a in found.items()}


def sizes_of(network, inputs: Mapping[str, np.ndarray]) -> dict[str, int]:
    """The symbols, from arrays for the inputs and targets."""
    ports = {i.path: i for i in network.program.inputs if i.role in ("input", "target")}
    return values.solve([(ports[name], a.shape) for name, a in inputs.items() if name in ports])


def _given(program: Program, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the program is given for a run: arrays, and the scalars of a run."""
    known = {**inputs, "seed": np.int64(0), "step": np.int64(1), "total_steps": np.int64(10**6)}
    roles = ("parameter", "state")
    paths = [i.path or i.tensor.name for i in program.inputs if i.table is None and i.role not in roles]
    return {path: known[path] for path in paths if path in known}


def _training(net) -> tuple[Program, dict[str, np.ndarray]]:
    """The step of the train block, with copies of all that it changes."""
    network = net.network(True)
    arrays = {path: array.copy() for path, array in net.storage.items()}
    trains = [block for block in net.module.trains if block.net == network.name]
    plan = net.plan() if trains else None
    if plan is None or plan.lbfgs is not None:
        return net.gradient([v.path for v in network.parameters if v.trained]), arrays
    made = training_network(plan, sizes=dict(net.sizes))
    more = [o.name for o in made.initial.outputs if o.name not in arrays]
    return made.program, {**arrays, **initial_values(select(made.initial, more), plan.seed, net.precision)}


def bench(
    work: Work, limits: Limits, precision: str, steps: int | None = None, peers: Sequence[Result] = ()
) -> Measured:
    """Times steps of a work, then each of its kernels."""
    step = work.executable.stepper(work.inputs, work.commits)
    step()
    seconds, _ = turns.timed(step, SECONDS) if steps is None else _counted(step, steps)
    found = profile(work.executable, work.inputs, work.commits, PROFILED)
    names = _sizes(work)
    kernels = kernel_times(found, limits, precision)
    counted = min(int(macs(p, names)) for p in (work.program, work.executable.for_inputs(work.inputs).program))
    moved = traffic(work.program, names, precision)
    stored = sum(a.nbytes for a in work.arrays.values())
    median = float(np.median(seconds))
    return Measured(work.mode, median, counted, int(moved), stored, limits, found, kernels, peers)


def limits_of(work: Work, precision: str) -> Limits:
    """What the device of a work can do at most."""
    from diffgraph.runtime import device_profile

    return device_profile.limits_of(work.executable.for_inputs(work.inputs), precision)


def _counted(step: Callable[[], Any], steps: int) -> tuple[list[float], float]:
    return [turns.timed(step, 0)[0][0] for _ in range(steps)], 0.0


def _sizes(work: Work) -> dict[str, int]:
    """The symbols of the program that was not fixed: the batch."""
    found: dict[str, int] = {}
    for given in work.program.inputs:
        array = work.inputs.get(given.path)
        for size, number in zip(given.tensor.shape, np.shape(array) if array is not None else ()):
            if not isinstance(size, int):
                found.setdefault(str(size), number)
    return found


# ------------------------------------------------------------------------------------------------ text


def text(name: str, measured: Measured, kernels: int = 12) -> str:
    """A mode for people: the step, its layers, its slowest kernels, its peers."""
    m = measured
    by = "arithmetic" if 2 * m.macs / m.limits.flops > m.moved / m.limits.bandwidth else "memory"
    lines = [
        f"{name}, {m.mode}: {_time(m.seconds)} a step, {m.least / m.seconds:.1%} of the machine's limit of {by}",
        f"  {m.macs / 1e6:,.1f} M multiply-adds, {m.moved / 1e6:,.2f} MB must move; {len(m.kernels)} kernels; "
        f"{m.stored / 1e6:,.2f} MB of parameters and states, {m.profile.arena / 1e6:,.2f} MB between",
        "",
        layer_table(m.kernels),
        "",
        kernel_table(m.kernels, kernels),
    ]
    if m.peers:
        lines += ["", *(_peer_line(r, m.peers[0]) for r in m.peers)]
    return "\n".join(lines) + "\n"


def _peer_line(result: Result, ours: Result) -> str:
    if result.error:
        return f"  {result.name:40} failed: {result.error.splitlines()[0]}"
    note = {None: "", True: "  same result", False: "  DIFFERENT RESULT"}[result.agrees if result is not ours else None]
    ratio = f"{result.median / ours.median:8.2f}x" if ours.seconds else ""
    return f"  {result.name:40} {_time(result.median):>12} {ratio}{note}"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.2f} us"


# ------------------------------------------------------------------------------------------------ peers


def against(
    load: Callable[[], Any], batch: int | None, sizes: Mapping[str, int], mode: str, threads: int,
    peers: Sequence[Peer], effort: Effort,
) -> list[Result]:  # fmt: skip
    """Our step of a mode and those of peers that have it, taking turns. load() -> net, in any process."""
    common = (load, batch, dict(sizes), mode)
    sides = [partial(turns.Side, threads, _ours, *common)]
    sides += [partial(turns.Side, threads, _theirs, *common, peer) for peer in peers if mode in peer.modes]
    (results,) = turns.compare([sides], effort)
    return results


def _ours(load, batch, sizes, mode) -> Iterator[Configuration]:
    (work,) = works(load(), batch, sizes, (mode,))

    def make() -> Prepared:
        step = work.executable.stepper(work.inputs, work.commits)
        return Prepared(step, evidence(step(), mode, [o.name for o in work.program.outputs]))

    yield Configuration("diffgraph", make)


def _theirs(load, batch, sizes, mode, peer: Peer) -> Iterator[Configuration]:
    (work,) = works(load(), batch, sizes, (mode,))

    def make() -> Prepared:
        step = peer.make(work)
        return Prepared(step, evidence(step(), mode, [o.name for o in work.program.outputs]))

    yield Configuration(peer.name, make)


def evidence(result: Any, mode: str, names: Sequence[str]) -> np.ndarray | None:
    """What must agree of the result of a step: the outputs in order, or the loss. None if a peer gives nothing."""
    if result is None:
        return None
    if isinstance(result, Mapping):
        values = [result[name] for name in names if name in result]
        values = values[:1] if mode == TRAINING else values
    else:
        values = [result]
    return np.concatenate([np.asarray(v, np.float64).ravel() for v in values]) if values else None


def peer_of(path: Path, function: str) -> Peer:
    """A function of a Python file as a peer: given a `Case`, it makes a function that makes a step."""
    return Peer(f"{path.name}:{function}", partial(_step_of_file, path, function))


def _step_of_file(path: Path, function: str, work: Work) -> Callable[[], Any]:
    return function_of(path, function)(work.case)


def function_of(path: Path, name: str) -> Callable[[Case], Callable[[], Any]]:
    """A function of a Python file. DiffgraphError if there is none."""
    spec = importlib.util.spec_from_file_location(f"_peer_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found = getattr(module, name, None)
    if not callable(found):
        raise error("DG943", f"{path} has no function `{name}`")
    return found
