"""Kernels as machine code: which there are, and what came of each."""

import re
import shutil
import subprocess
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

#: Devices of both generations that the target knows, by the generation whose PTX they get.
DEVICES = {75: (75,), 80: (80, 86, 89, 90)}


@dataclass(frozen=True)
class Job:
    """A kernel to compile: where it is from, its text, what `to_ptx` wants to know; bytes of shared memory of its launch."""

    origin: str
    source: str
    parameters: tuple[str, ...]
    sizes: int
    threads: int
    generation: int
    shared: int = 0


@dataclass(frozen=True)
class Made:
    """What came of a kernel: its PTX, and by device its resources and machine code."""

    job: Job
    ptx: str
    resources: dict
    code: dict


def kernels_of(program, origin, precision="f32", generation=80):
    """The kernels of a program, after the passes."""
    from diffgraph.kernels.schedule import schedule
    from diffgraph.passes.pipeline import optimize
    from diffgraph.runtime.device import device_of
    from diffgraph.runtime.library import plain
    from diffgraph.targets.cuda.emit import emit

    device = device_of(precision, generation)
    for kernel in schedule(optimize(program, target="cuda"), device).kernels:
        text = emit(plain(kernel), "f32", device)
        named = f"{origin}: {kernel.name}"
        yield Job(named, text.source, text.parameters, len(text.sizes), text.grid.threads, generation, text.shared)


def step_as_one_launch(text, batch, generation=80):
    """A training step of a net, its updates included, as one launch."""
    from diffgraph.compiler import Net
    from diffgraph.language.module import load_text
    from diffgraph.language.step import training_network
    from diffgraph.passes.pipeline import optimize
    from diffgraph.runtime.device import DeviceExecutable, _planner
    from diffgraph.runtime.device_launch import Arguments, Launches
    from diffgraph.targets.cuda.simulated import SimulatedDriver

    net = Net(load_text(text), target="cuda")
    program = training_network(net.plan(batch=batch, steps=1), sizes={}).program
    executable = DeviceExecutable(optimize(program, target="cuda"), "f32", SimulatedDriver(generation))
    planner = _planner(executable, {net.network().batch: batch}, True, None, frozenset())
    plan = planner.plan()
    assert plan.is_one
    threads, shared = (max(getattr(s, what) for s in plan.items[0].starts) for what in ("threads", "shared"))
    made = Arguments(Launches(executable.library, executable.texts, None, planner.extent, None), plan.items[0], True)
    kinds = ("uint32", *made.kinds.values())
    return Job("a step as one launch", made.text(threads), kinds, len(made.values) + 1, threads, generation, shared)


def training_program(network):
    """The loss and its gradients, or the outputs where there is no loss."""
    from diffgraph.inspect.stages import gradient_program

    return gradient_program(network) if network.losses else network.program


def kernels_of_file(path, generation=80):
    """The kernels of the training programs of a file's nets."""
    from diffgraph.language.elaborate import elaborate
    from diffgraph.language.module import load_module

    module = load_module(path)
    for net in dict.fromkeys(block.net for block in module.trains) or [None]:
        program = training_program(elaborate(module, net, {}, training=True))
        yield from kernels_of(program, Path(path).stem, "f32", generation)


def compiled(job):
    """The kernel as machine code for every device of its generation."""
    from diffgraph.targets.cuda.compile import assemble, to_ptx

    ptx = to_ptx(job.source, job.parameters, job.sizes, job.threads, job.generation, "<kernel>")
    made = {device: assemble(ptx, device) for device in DEVICES[job.generation]}
    return Made(job, ptx, {d: m[1] for d, m in made.items()}, {d: m[0] for d, m in made.items()})


def instructions(code):
    """The names of the instructions of machine code, with their modifiers; None where no disassembler is installed."""
    there = Path(sysconfig.get_paths()["purelib"]) / "nvidia" / "cu13" / "bin" / "nvdisasm"
    tool = str(there) if there.exists() else shutil.which("nvdisasm")
    if tool is None:
        return None
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(code)
        file.flush()
        text = subprocess.run([tool, "-c", file.name], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"\b[A-Z][A-Z0-9_]+(?:\.[A-Z0-9_]+)*\b", text))
