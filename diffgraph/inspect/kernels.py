"""The kernels of a program, both targets side by side: which definitions each computes together, and how it is shared out."""

from __future__ import annotations

from collections.abc import Sequence

from diffgraph.ir.dimension import Size, product
from diffgraph.ir.program import Statement
from diffgraph.kernels.contraction import describe
from diffgraph.kernels.grid import grid
from diffgraph.kernels.loops import Contraction, Kernel

#: Columns of the table.
NAME, HOW = 28, 46


def kernels_text(statements: Sequence[Statement], cpu: Sequence[Kernel], cuda: Sequence[Kernel]) -> str:
    """A row for the kernels of the two targets that make the same tensors, in the order of the statements (those of both
    programs: passes differ)."""
    order: dict[str, int] = {}
    for statement in statements:
        for tensor in statement.results:
            order.setdefault(tensor.name, len(order))
    lines = [
        f"{len(cpu)} kernels on cpu, {len(cuda)} on cuda",
        "",
        _row("cpu", "threads share", "cuda", "blocks x threads", "layers"),
        "",
    ]
    for left, right in _aligned(list(cpu), list(cuda), order):
        kernel = left or right
        layers = ", ".join(dict.fromkeys(o.path or "-" for o in kernel.provenance))
        first = ("", "") if left is None else (left.name, _units(left))
        second = ("", "") if right is None else (right.name, _grid(right))
        lines.append(_row(*first, *second, layers))
    return "\n".join(lines)


def kernels_json(cpu: Sequence[Kernel], cuda: Sequence[Kernel]) -> dict:
    """The kernels of both targets as plain values."""

    def plain(kernel: Kernel, shared: str) -> dict:
        layers = list(dict.fromkeys(o.path or "-" for o in kernel.provenance))
        return {"name": kernel.name, "makes": list(kernel.results), "shared": shared, "layers": layers}

    return {"cpu": [plain(k, _units(k)) for k in cpu], "cuda": [plain(k, _grid(k)) for k in cuda]}


def _row(a: str, b: str, c: str, d: str, e: str) -> str:
    return f"{a[:NAME]:{NAME}} {b[:24]:24} {c[:NAME]:{NAME}} {d[:HOW]:{HOW}} {e}".rstrip()


def _aligned(left: list[Kernel], right: list[Kernel], order) -> list[tuple[Kernel | None, Kernel | None]]:
    """Pairs of kernels that make a tensor in common; those without a partner alone, in order."""
    rows = []
    while left or right:
        if left and right and _made(left[0]) & _made(right[0]):
            rows.append((left.pop(0), right.pop(0)))
        elif left and (not right or _first(left[0], order) <= _first(right[0], order)):
            rows.append((left.pop(0), None))
        else:
            rows.append((None, right.pop(0)))
    return rows


def _made(kernel: Kernel) -> set[str]:
    return {b.name for b in kernel.buffers if b.written}


def _first(kernel: Kernel, order) -> int:
    return min((order.get(name.removesuffix(".parts"), len(order)) for name in _made(kernel)), default=0)


def _units(kernel: Kernel) -> str:
    return f"{_size(product([u.extent for u in kernel.units]))} units"


def _grid(kernel: Kernel) -> str:
    found = grid(kernel)
    text = f"{_size(found.blocks)} x {found.threads}"
    if len(kernel.body) == 1 and isinstance(kernel.body[0], Contraction):
        return f"{text}, {describe(kernel.body[0])}"
    return f"{text}, teams of {found.team}" if found.team > 1 else text


def _size(size: Size) -> str:
    text = str(size)
    return f"({text})" if " " in text else text
