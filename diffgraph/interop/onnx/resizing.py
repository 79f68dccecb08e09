"""`Resize`: each element of the result is a weighted sum of a few of the input, axis by axis. Which ones follows from
the sizes alone, and is computed when importing."""

from __future__ import annotations

import math

import numpy as np

from diffgraph.interop.onnx.operation import Operation


def resize(op: Operation) -> str:
    """The statements of a `Resize`, and the expression of its result."""
    if op.attribute("antialias", 0) and op.attribute("mode", "nearest") != "nearest":
        raise op.refused("with antialias")
    if op.attribute("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        raise op.refused("with a region")
    shape, result, scales = op.shape(0), op.result_shape(), _scales(op)
    current = op.atom(0)
    for axis in range(len(shape)):
        if scales[axis] == 1 and shape[axis] == result[axis]:
            continue
        places, weights = _taps(op, op.size(0, axis), int(result[axis]), scales[axis])
        i = [f"i{k}" for k in range(len(shape))]
        table = op.constant(f"places{axis}", places)
        name = op.extra(f"resized{axis}")
        if places.shape[1] == 1:
            at = [x if k != axis else f"{table}[{x}, 0]" for k, x in enumerate(i)]
            text = f"{current}[{', '.join(at)}]"
        else:
            at = [x if k != axis else f"{table}[{x}, s]" for k, x in enumerate(i)]
            share = op.constant(f"shares{axis}", weights)
            text = f"sum[s < {places.shape[1]}]({share}[i{axis}, s] * {current}[{', '.join(at)}])"
        i[axis] = f"{i[axis]} < {result[axis]}"
        op.write(f"{name}[{', '.join(i)}] = {text}")
        current = name
    return current


def _scales(op: Operation) -> list[float]:
    """How many times as long each axis becomes."""
    shape, result = op.shape(0), op.result_shape()
    axes = [a % len(shape) for a in op.attribute("axes", None) or range(len(shape))]
    scales = [1.0] * len(shape)
    given = op.array(2) if op.has(2) else op.array(1) if op.node.op == "Upsample" else None
    if given is not None and given.size:
        for axis, scale in zip(axes, given):
            scales[axis] = float(scale)
        return scales
    sizes = dict(zip(axes, (float(s) for s in op.known(3))))
    own = {axis: size / op.size(0, axis) for axis, size in sizes.items()}
    policy = op.attribute("keep_aspect_ratio_policy", "stretch")
    for axis in axes:
        chosen = {"stretch": own[axis], "not_larger": min(own.values()), "not_smaller": max(own.values())}[policy]
        scales[axis] = chosen if isinstance(result[axis], int) else 1.0
    return scales


def _taps(op: Operation, size: int, count: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """For each of `count` places of an axis of `size`: where the elements are that it is made of, and their weights."""
    mode = op.attribute("mode", "nearest")
    found = [_at(op, mode, _place(op, k, size, count, scale), size) for k in range(count)]
    places = np.clip(np.array([p for p, _ in found]), 0, size - 1)
    return places, np.array([w for _, w in found], float)


def _place(op: Operation, k: int, size: int, count: int, scale: float) -> float:
    """Where in the input a place of the result is."""
    mode = op.attribute("coordinate_transformation_mode", "half_pixel" if op.node.op == "Resize" else "asymmetric")
    if mode == "asymmetric":
        return k / scale
    if mode == "align_corners":
        # The length is that before it is rounded.
        return k * (size - 1) / (size * scale - 1) if count > 1 else 0.0
    if mode == "pytorch_half_pixel" and count == 1:
        return 0.0
    place = (k + 0.5) / scale - 0.5
    if mode == "half_pixel_symmetric":
        place += size / 2 * (1 - count / (size * scale))
    return place


def _at(op: Operation, mode: str, place: float, size: int) -> tuple[list[int], list[float]]:
    if mode == "nearest":
        rule = op.attribute("nearest_mode", "round_prefer_floor" if op.node.op == "Resize" else "floor")
        chosen = {
            "round_prefer_floor": math.ceil(place - 0.5),
            "round_prefer_ceil": math.floor(place + 0.5),
            "floor": math.floor(place),
            "ceil": math.ceil(place),
        }[rule]
        return [chosen], [1.0]
    first = math.floor(place)
    part = place - first
    if mode in ("linear", "bilinear"):
        places, weights = [first, first + 1], [1 - part, part]
    else:
        a = op.attribute("cubic_coeff_a", -0.75)
        places = [first - 1, first, first + 1, first + 2]
        weights = [_cubic(abs(part + 1 - k), a) for k in range(4)]
    if op.attribute("exclude_outside", 0):
        weights = [w if 0 <= p < size else 0.0 for p, w in zip(places, weights)]
        weights = [w / sum(weights) for w in weights]
    return places, weights


def _cubic(x: float, a: float) -> float:
    """Keys' kernel (1981)."""
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0
