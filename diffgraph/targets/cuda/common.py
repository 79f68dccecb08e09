"""Kernels that are the same for every program: rows gathered and kept, counters, sorting."""

from __future__ import annotations

from dataclasses import dataclass

THREADS = 256

_GATHER = '''"""target[i] = source[order[cursor * rows + i]] for rows of `width` elements."""
from diffgraph.targets.cuda.prelude import *


def kernel(target, source, order, cursor, rows, width):
    unit = thread_of_grid()
    if unit < rows * width:
        i = quotient(unit, width)
        from_row = order[cursor[0] * rows + i]
        target[unit] = source[from_row * width + (unit - i * width)]
'''

_KEEP = '''"""target[cursor] = source, of `count` elements."""
from diffgraph.targets.cuda.prelude import *


def kernel(target, source, cursor, count):
    unit = thread_of_grid()
    if unit < count:
        target[cursor[0] * count + unit] = source[unit]
'''

_COUNT = '''"""Adds 1 to a counter."""
from diffgraph.targets.cuda.prelude import *


def kernel(counter):
    if thread_of_grid() == 0:
        counter[0] = counter[0] + 1
'''

_SORT = '''"""order[i, :] sorts values[i, :] of `count` elements, stably: the place of each is how many come before it."""
from diffgraph.targets.cuda.prelude import *


def kernel(order, values, rows, count, descending):
    unit = thread_of_grid()
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
        order[row + before] = mine
'''


@dataclass(frozen=True)
class Entry:
    """A kernel as text, the element types of its buffers, and how many sizes it takes after them."""

    source: str
    parameters: tuple[str, ...]
    sizes: int


ENTRIES = {
    **{f"gather_{kind}": Entry(_GATHER, (kind, kind, "int64", "int64"), 2) for kind in ("uint32", "uint8")},
    **{f"keep_{kind}": Entry(_KEEP, (kind, kind, "int64"), 1) for kind in ("uint32", "uint8")},
    "count": Entry(_COUNT, ("int64",), 0),
    **{f"sort_{kind}": Entry(_SORT, ("int64", kind), 3) for kind in ("float32", "float64", "int64", "uint8")},
}
