"""The kernels that go band by band, among those of a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diffgraph.ir.program import Tensor
from diffgraph.kernels.bands import Outside, chains
from diffgraph.kernels.member import Member
from diffgraph.kernels.nest import Nest
from diffgraph.kernels.steps import Launch
from diffgraph.kernels.tiles import Machine


def band_launches(
    kernels: Sequence[Sequence[Member]], outside: Outside, tensors: dict[str, Tensor], memory: dict[str, str], machine
) -> tuple[Mapping[int, Launch], set[int]]:
    """(launches of kernels that go band by band, by the number of the last kernel that each takes the place of; the numbers
    of the others). kernels: see `bands.chains`. Memory of threads is added to tensors and memory."""
    if not isinstance(machine, Machine):
        return {}, set()
    found, within = chains(kernels, outside, machine)
    room = max((chain.offsets(size)[-1] for chain, size in found.values()), default=0)
    launches = {}
    for at, (chain, size) in found.items():
        kept = outside.get(at, {})
        names = [m.tensor.name for m in chain.members]
        title = next((n for n in names if n in kept), names[-1])
        title = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in title)[:60]
        provenance = tuple(dict.fromkeys(o for m in chain.members for o in m.provenance))
        kernel = Nest(tensors, memory, frozenset(kept), machine).bands(title, chain, size, room, provenance)
        for buffer in kernel.buffers:
            if buffer.private:
                tensors[buffer.name], memory[buffer.name] = Tensor(buffer.name, (buffer.size,)), buffer.name
        launches[at] = Launch(kernel, kernel.results, tuple(names))
    return launches, within
