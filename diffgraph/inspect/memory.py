"""What a step keeps in memory, and where: the plan of an executable as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from diffgraph.inspect.samples import sample_sizes
from diffgraph.runtime.executable import Block, Executable


def peak_bytes(blocks: tuple[Block, ...]) -> int:
    """Bytes of all that has memory of its own, and of the block that the others share."""
    own = sum(b.size for b in blocks if b.offset is None)
    return own + max((b.offset + b.size for b in blocks if b.offset is not None), default=0)


def memory_of(network, executable: Executable) -> tuple[Block, ...]:
    """The memory of a step on one sample."""
    return executable.memory(sample_sizes(network, batch=1))


def memory_json(network, executable: Executable, of: Callable[[str], bool] = lambda path: True) -> dict:
    """The same as `memory_text` as plain values."""
    blocks = memory_of(network, executable)
    origins = _origins(executable.program)
    rows = [
        {"tensor": b.tensor, "bytes": b.size, "at": b.offset, "rows": None if b.offset is None else list(b.lives),
         "from": _paths(origins, b)}
        for b in blocks if any(map(of, _paths(origins, b)))
    ]  # fmt: skip
    return {"bytes": peak_bytes(blocks), "tensors": rows}


def _paths(origins: Mapping[str, str], block: Block) -> list[str]:
    return origins.get(block.tensor, "").split(", ")


def memory_text(network, executable: Executable, of: Callable[[str], bool] = lambda path: True) -> str:
    """What is alive where memory is fullest, layer by layer; then a row for each tensor: its bytes, its place, when it lives,
    and the layers that it comes from. of: says of these whether their tensors get a row."""
    blocks = memory_of(network, executable)
    shared = [b for b in blocks if b.offset is not None]
    own = sum(b.size for b in blocks if b.offset is None)
    origins = _origins(executable.program)
    total = f"{peak_bytes(blocks):,} bytes for one sample: {own:,} of inputs and parameters,"
    sharing = f"{peak_bytes(blocks) - own:,} shared by {len(shared)} tensors of {sum(b.size for b in shared):,}"
    lines = [f"{total} {sharing}", ""]
    lines += [*_fullest(shared, origins), ""]
    lines.append(f"{'tensor':32} {'bytes':>12} {'at':>12}  {'rows':12} from")
    shown = [b for b in blocks if any(map(of, _paths(origins, b)))]
    for b in sorted(shown, key=lambda b: (b.offset is not None, b.lives, b.tensor)):
        place = "-" if b.offset is None else str(b.offset)
        lives = "always" if b.offset is None else f"{b.lives[0]}..{b.lives[1]}"
        lines.append(f"{b.tensor:32} {b.size:>12,} {place:>12}  {lives:12} {origins.get(b.tensor, '')}".rstrip())
    return "\n".join(lines)


def _fullest(blocks: list[Block], origins: Mapping[str, str]) -> list[str]:
    """What is alive where most is, by the layers that it comes from."""
    at, most = fullest(blocks)
    alive = [b for b in blocks if b.lives[0] <= at <= b.lives[1]]
    layers: dict[str, int] = {}
    for b in alive:
        layer = origins.get(b.tensor, "").split(", ")[0] or "-"
        layers[layer] = layers.get(layer, 0) + b.size
    lines = [f"most is alive at row {at}: {most:,} bytes of {len(alive)} tensors"]
    return lines + [f"    {layer:28} {size:>12,}" for layer, size in sorted(layers.items(), key=lambda t: -t[1])]


def fullest(blocks: list[Block]) -> tuple[int, int]:
    """(the first row at which most is alive, its bytes)."""
    changes: dict[int, int] = {}
    for b in blocks:
        changes[b.lives[0]] = changes.get(b.lives[0], 0) + b.size
        changes[b.lives[1] + 1] = changes.get(b.lives[1] + 1, 0) - b.size
    live, most, at = 0, 0, 0
    for row in sorted(changes):
        live += changes[row]
        if live > most:
            most, at = live, row
    return at, most


def _origins(program) -> Mapping[str, str]:
    """The layers that each tensor comes from."""
    made = {n: ", ".join(dict.fromkeys(o.path or "-" for o in s.provenance)) for n, s in program.maker.items()}
    return {i.tensor.name: i.path for i in program.inputs} | made
