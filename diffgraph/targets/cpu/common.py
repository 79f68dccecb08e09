"""Kernels that are the same for every program: rows of a data set, sorting, and draws."""

from __future__ import annotations

import numpy as np
from numba import njit
from numba.core import types
from numba.core.typing import signature

from diffgraph.targets.cpu.native import WORDS, copy_bytes, words_at
from diffgraph.targets.cpu.prelude import draw, float32, float64, int64, values_at


def gather_rows(addresses, slots, sizes, first, last, thread):
    """target[i] = source[order[i]] for rows of sizes[0] bytes. Slots: target, source, order."""
    target = addresses[slots[0]]
    source = addresses[slots[1]]
    order = words_at(addresses[slots[2]])
    bytes_of_row = sizes[0]
    for i in range(first, last):
        copy_bytes(target + i * bytes_of_row, source + order[i] * bytes_of_row, bytes_of_row)


@njit(error_model="numpy")
def _comes_first(values, a, b, descending):
    """Whether element a stands strictly before element b; NaN is larger than everything."""
    x = values[a]
    y = values[b]
    if descending != 0:
        return x > y or (x != x and y == y)
    return x < y or (x == x and y != y)


@njit(error_model="numpy")
def _sort_row(values, order, spare, count, descending):
    """Stable merge sort of places, runs of 1, 2, 4, ... merged into `spare` and copied back."""
    for i in range(count):
        order[i] = i
    width = 1
    while width < count:
        start = 0
        while start < count:
            middle = min(start + width, count)
            end = min(start + 2 * width, count)
            a = start
            b = middle
            for at in range(start, end):
                if a < middle and (b >= end or not _comes_first(values, order[b], order[a], descending)):
                    spare[at] = order[a]
                    a += 1
                else:
                    spare[at] = order[b]
                    b += 1
            start += 2 * width
        for i in range(count):
            order[i] = spare[i]
        width *= 2


def _sorter(dtype, name: str):
    def sort(addresses, slots, sizes, first, last, thread):
        count = sizes[0]
        for i in range(first, last):
            values = values_at(addresses[slots[1]] + i * count * sizes[2], dtype)
            order = words_at(addresses[slots[0]] + i * count * 8)
            spare = words_at(addresses[slots[2]] + i * count * 8)
            _sort_row(values, order, spare, count, sizes[1])

    sort.__name__ = name
    return sort


def draws(addresses, slots, sizes, first, last, thread):
    """drawn[i] = draw(sizes[0], sizes[1], sizes[2], elements[i]): seed, step and site. Slots: drawn, elements."""
    drawn = values_at(addresses[slots[0]], float64)
    elements = words_at(addresses[slots[1]])
    seed, step, site = np.uint64(sizes[0]), np.uint64(sizes[1]), np.uint64(sizes[2])
    for i in range(first, last):
        drawn[i] = draw(seed, step, site, np.uint64(elements[i]))


_kernel = signature(types.void, WORDS, WORDS, WORDS, types.int64, types.int64, types.int64)

#: Functions by name. The sorts: order[i, :] sorts values[i, :] of sizes[0] elements of sizes[2] bytes, descending if
#: sizes[1]; slots are order, values and spare memory of the size of the order.
ENTRIES = {
    "gather_rows": (gather_rows, _kernel),
    "sort_float32": (_sorter(float32, "sort_float32"), _kernel),
    "sort_float64": (_sorter(float64, "sort_float64"), _kernel),
    "sort_int64": (_sorter(int64, "sort_int64"), _kernel),
    "sort_bool": (_sorter(types.uint8, "sort_bool"), _kernel),
    "draws": (draws, _kernel),
}
