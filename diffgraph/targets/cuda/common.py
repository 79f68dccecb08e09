"""Kernels that are the same for every program: rows gathered and kept, copies, counters, sorting."""

from __future__ import annotations

from dataclasses import dataclass

from diffgraph.targets.cuda.module import Part, module

THREADS = 256

_SORT = """unit = int32(block * 256 + thread_of_block())
if unit < rows * count:
    row = int32(quotient(unit, count) * count)
    mine = int32(unit - row)
    x = values[unit]
    before = int32(0)
    for k in range(count):
        y = values[row + k]
        if descending != 0:
            first = y > x or (y != y and x == x)
        else:
            first = y < x or (y == y and x != x)
        same = not first and (y == x or (y != y and x != x))
        if first or (same and k < mine):
            before = int32(before + 1)
    order[row + before] = mine"""


@dataclass(frozen=True)
class Entry:
    """A kernel as text, the element types of its buffers (it writes to the first), and how many sizes it takes after
    them."""

    part: Part
    parameters: tuple[str, ...]
    sizes: int

    @property
    def source(self) -> str:
        """The kernel alone."""
        return module(self.part)


def _entry(title: str, arguments: str, body: str, *parameters: str) -> Entry:
    names = tuple(arguments.split())
    return Entry(Part((title,), (), names, tuple(body.splitlines())), parameters, len(names) - len(parameters))


def _gather(kind: str) -> Entry:
    body = """unit = int32(block * 256 + thread_of_block())
if unit < rows * width:
    i = quotient(unit, width)
    from_row = order[cursor[0] * rows + i]
    target[unit] = source[from_row * width + (unit - i * width)]"""
    title = "target[i] = source[order[cursor * rows + i]] for rows of `width` elements"
    return _entry(title, "target source order cursor rows width", body, kind, kind, "int64", "int64")


def _keep(kind: str) -> Entry:
    body = """unit = int32(block * 256 + thread_of_block())
if unit < count:
    target[cursor[0] * count + unit] = source[unit]"""
    return _entry("target[cursor] = source, of `count` elements", "target source cursor count", body, kind, kind, "int64")


def _move(kind: str) -> Entry:
    body = """unit = int32(block * 256 + thread_of_block())
if unit < count:
    target[unit] = source[unit]"""
    return _entry("target = source, of `count` elements", "target source count", body, kind, kind)


_COUNT = _entry("adds 1 to a counter", "counter", "if block + thread_of_block() == 0:\n    counter[0] = counter[0] + 1", "int64")

ENTRIES = {
    **{f"gather_{kind}": _gather(kind) for kind in ("uint32", "uint8")},
    **{f"keep_{kind}": _keep(kind) for kind in ("uint32", "uint8")},
    **{f"move_{kind}": _move(kind) for kind in ("uint32", "uint8")},
    "count": _COUNT,
    **{
        f"sort_{kind}": _entry(
            "order[i, :] sorts values[i, :] of `count` elements, stably: the place of each is how many come before it",
            "order values rows count descending", _SORT, "int64", kind,
        )
        for kind in ("float32", "float64", "int64", "uint8")
    },
}  # fmt: skip
