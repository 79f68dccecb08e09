"""Sums of products, and what moves windows: matrix products, convolutions, pools."""

from __future__ import annotations

import math
from collections.abc import Sequence

from diffgraph.interop.onnx.operation import Operation


def gemm(op: Operation) -> str:
    a = f"transpose({op.atom(0)})" if op.attribute("transA", 0) else op.atom(0)
    b = f"transpose({op.atom(1)})" if op.attribute("transB", 0) else op.atom(1)
    alpha, beta = op.attribute("alpha", 1.0), op.attribute("beta", 1.0)
    result = f"{a} @ {b}" if alpha == 1 else f"{alpha} * ({a} @ {b})"
    if not op.has(2):
        return result
    return f"{result} + {op.atom(2)}" if beta == 1 else f"{result} + {beta} * {op.atom(2)}"


def einsum(op: Operation) -> str:
    equation = op.attribute("equation", "").replace(" ", "")
    left, _, right = equation.partition("->")
    parts = left.split(",")
    if "->" not in equation:
        letters = [c for c in sorted(set(left.replace(".", ""))) if left.count(c) == 1 and c != ","]
        right = ("..." if "..." in left else "") + "".join(letters)
    open_axes = max(op.rank(k) - len(p.replace("...", "")) for k, p in enumerate(parts))
    dots = [f"e{k}" for k in range(open_axes)]

    def places(part: str, rank: int) -> list[str]:
        before, found, after = part.partition("...")
        own = dots[open_axes - (rank - len(before + after)) :] if found else []
        return [*(f"x_{c}" for c in before), *own, *(f"x_{c}" for c in after)]

    reads = [op.read(k, places(part, op.rank(k))) for k, part in enumerate(parts)]
    result = places(right, open_axes + len(right.replace("...", "")))
    summed = sorted({f"x_{c}" for c in left.replace(",", "").replace(".", "")} - set(result))
    product = " * ".join(reads)
    return op.element(result, f"sum[{', '.join(summed)}]({product})" if summed else product)


class Window:
    """The window of a convolution or a pool: kernel, strides, dilations and padding of each axis behind the
    channels."""

    def __init__(self, op: Operation, kernel: Sequence[int], sizes: Sequence[int]):
        count = len(kernel)
        self.kernel = list(kernel)
        self.strides = op.attribute("strides", [1] * count)
        self.dilations = op.attribute("dilations", [1] * count)
        pads = op.attribute("pads", [0] * 2 * count)
        self.before, self.after = list(pads[:count]), list(pads[count:])
        mode = op.attribute("auto_pad", "NOTSET")
        if mode.startswith("SAME"):
            for k in range(count):
                reach = self.dilations[k] * (self.kernel[k] - 1) + 1
                total = max((math.ceil(sizes[k] / self.strides[k]) - 1) * self.strides[k] + reach - sizes[k], 0)
                self.before[k] = total // 2 if mode == "SAME_UPPER" else total - total // 2
                self.after[k] = total - self.before[k]
        elif mode == "VALID":
            self.before, self.after = [0] * count, [0] * count

    def places(self, outer: Sequence[str], inner: Sequence[str]) -> list[str]:
        """Where the element `inner` of the window at `outer` is."""
        return [
            f"{s} * {i} + {d} * {p} - {b}"
            for s, i, d, p, b in zip(self.strides, outer, self.dilations, inner, self.before)
        ]


def conv(op: Operation) -> str:
    groups, shape, filters = op.attribute("group", 1), op.shape(0), op.shape(1)
    window = Window(op, op.attribute("kernel_shape", filters[2:]), shape[2:])
    i = op.indices(bounded=2)
    names = op.bare(i)
    inner = [f"p{k}" for k in range(len(shape) - 2)]
    channel = "c" if groups == 1 else f"{names[1]} // {filters[0] // groups} * {filters[1]} + c"
    x = op.read(0, [names[0], channel, *window.places(names[2:], inner)])
    w = op.read(1, [names[1], "c", *inner])
    bias = f" + {op.read(2, [names[1]])}" if op.has(2) else ""
    return op.element(i, f"sum[c, {', '.join(inner)}]({w} * ({x} else 0)){bias}")


def conv_transpose(op: Operation) -> str:
    groups, shape, filters = op.attribute("group", 1), op.shape(0), op.shape(1)
    kernel = op.attribute("kernel_shape", filters[2:])
    window = Window(op, kernel, shape[2:])
    result = op.result_shape()
    for k, size in enumerate(shape[2:]):
        # Padding follows from the size of the result, where that is asked for.
        reach = (size - 1) * window.strides[k] + window.dilations[k] * (kernel[k] - 1) + 1
        total = reach + op.attribute("output_padding", [0] * len(kernel))[k] - result[2 + k]
        if op.attribute("output_shape", None) or op.attribute("auto_pad", "NOTSET").startswith("SAME"):
            less_first = op.attribute("auto_pad", "NOTSET") == "SAME_UPPER"
            window.before[k] = max(total // 2 if less_first else total - total // 2, 0)
    i = op.indices(bounded=1)
    names = op.bare(i)
    inner, outer = [f"p{k}" for k in range(len(kernel))], [f"h{k}" for k in range(len(kernel))]
    share, each = shape[1] // groups, filters[1]
    channel = "c" if groups == 1 else f"{names[1]} // {each} * {share} + c"
    own = names[1] if groups == 1 else f"{names[1]} % {each}"
    x, w = op.read(0, [names[0], channel, *outer]), op.read(1, [channel, own, *inner])
    places = window.places(outer, inner)
    holds = " and ".join(f"{n} == {place}" for n, place in zip(names[2:], places))
    bounds = [f"c < {share}", *(f"{h} < {s}" for h, s in zip(outer, shape[2:]))]
    bounds += [f"{p} < {s}" for p, s in zip(inner, kernel)]
    bias = f" + {op.read(2, [names[1]])}" if op.has(2) else ""
    return op.element(i, f"sum[{', '.join(bounds)}]({x} * {w} if {holds} else 0){bias}")


def pool(op: Operation) -> str:
    shape = op.shape(0)
    kernel = op.attribute("kernel_shape", list(shape[2:]))
    window = Window(op, kernel, shape[2:])
    i = op.indices(bounded=2)
    names, inner = op.bare(i), [f"p{k}" for k in range(len(kernel))]
    bounds = ", ".join(f"{p} < {s}" for p, s in zip(inner, kernel))
    places = window.places(names[2:], inner)
    x = op.read(0, [names[0], names[1], *places])
    if op.node.op == "MaxPool":
        if len(op.node.outputs) > 1 and op.node.outputs[1]:
            raise op.refused("with the places of what it takes")
        return op.element(i, f"max[{bounds}]({x} else -inf)" if op.kind(0) == "float" else f"max[{bounds}]({x} else 0)")
    if op.node.op == "LpPool":
        p = op.attribute("p", 2)
        return op.element(i, f"sum[{bounds}](abs({x} else 0)^{p})^(1 / {p})")
    counts = []
    for k, size in enumerate(shape[2:]):
        low, high = 0, size
        if op.attribute("count_include_pad", 0):
            low, high = -window.before[k], size + window.after[k]
        counts.append(f"sum[{inner[k]} < {kernel[k]}](1.0 if {places[k]} >= {low} and {places[k]} < {high} else 0.0)")
    return op.element(i, f"sum[{bounds}]({x} else 0) / ({' * '.join(counts)})")
