"""A kernel as a person reads it: its text, and what its machine code takes."""

from __future__ import annotations

from dataclasses import replace

from diffgraph.kernels.grid import Device
from diffgraph.kernels.loops import Kernel
from diffgraph.targets.cuda.compile import CAPABILITIES, assemble, occupancy, to_ptx
from diffgraph.targets.cuda.emit import emit


def listing(kernel: Kernel, precision: str, device: Device, capability: int) -> str:
    """The source with a line on top: registers, shared memory, occupancy."""
    text = emit(kernel, precision, device)
    known = max((c for c in CAPABILITIES if c <= capability), default=CAPABILITIES[0])
    generation = 80 if device.asynchronous else 75
    ptx = to_ptx(text.source, text.parameters, len(text.sizes), text.grid.threads, generation, "<kernel>")
    taken = assemble(ptx, known)[1]
    share = occupancy(replace(taken, shared=taken.shared + text.shared), text.grid.threads, known)
    line = f"# sm_{known}: {taken.registers} registers, {text.shared:,} bytes of shared memory"
    if taken.spills:
        line += f", {taken.spills} bytes spilled"
    return f"{line}; {share:.0%} of the threads of a multiprocessor\n{text.source}"
