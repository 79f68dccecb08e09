"""Data that is made, not read: classic problems in the plane, and tables written in the program."""

from __future__ import annotations

import numpy as np

from diffgraph.diagnostics import error
from diffgraph.training.data.dataset import Dataset


def table(rows: list) -> Dataset:
    """The rows of a table, `[[0, 0, 0], [0, 1, 1], ...]`, as numbers side by side."""
    try:
        values = np.array(rows, dtype=np.float64)
    except (ValueError, TypeError):
        values = np.empty(0)
    if values.ndim != 2 or values.size == 0:
        raise error("DG705", "`table` takes rows of numbers, all of one width", help="table([[0, 1], [1, 2]])")
    return Dataset("table", {f"column {k + 1}": values[:, k] for k in range(values.shape[1])}, table=True)


def _labelled(name: str, points: np.ndarray, label: np.ndarray) -> Dataset:
    return Dataset(name, {"x": points, "label": label.astype(np.int64)}, targets=("label",))


def _generator(seed: int, name: str) -> np.random.Generator:
    """Noise of its own for each source: two sources of one seed are independent."""
    return np.random.Generator(np.random.Philox(key=[seed, int.from_bytes(name.encode()[:8], "big")]))


def spiral(n: int = 500, noise: float = 0.1, classes: int = 2, turns: float = 1.5, seed: int = 0) -> Dataset:
    """Arms of a spiral, one for each class: points [n, 2] within the unit circle, and a label."""
    draw = _generator(seed, "spiral")
    label = np.arange(n) % classes
    radius = draw.uniform(0.05, 1, n)
    angle = 2 * np.pi * (turns * radius + label / classes)
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _labelled("spiral", points + noise * draw.standard_normal((n, 2)), label)


def circles(n: int = 500, noise: float = 0.05, classes: int = 2, seed: int = 0) -> Dataset:
    """Rings around one another, one for each class: points [n, 2] and a label, 0 the innermost."""
    draw = _generator(seed, "circles")
    label = np.arange(n) % classes
    angle = draw.uniform(0, 2 * np.pi, n)
    points = ((label + 1) / classes)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _labelled("circles", points + noise * draw.standard_normal((n, 2)), label)


def xor(n: int = 500, noise: float = 0.0, classes: int = 2, seed: int = 0) -> Dataset:
    """Points [n, 2] in a square; the label is the parity of the number of negative coordinates."""
    if classes != 2:
        raise error("DG705", f"`xor` has 2 classes, not {classes}")
    draw = _generator(seed, "xor")
    points = draw.uniform(-1, 1, (n, 2))
    label = (points[:, 0] < 0) ^ (points[:, 1] < 0)
    return _labelled("xor", points + noise * draw.standard_normal((n, 2)), label)


def gauss(n: int = 500, noise: float = 0.3, classes: int = 2, seed: int = 0) -> Dataset:
    """Normal clouds, one for each class, their centres spread over the unit circle: points [n, 2] and a label."""
    draw = _generator(seed, "gauss")
    label = np.arange(n) % classes
    angle = 2 * np.pi * label / classes
    centers = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _labelled("gauss", centers + noise * draw.standard_normal((n, 2)), label)


def plane(n: int = 500, noise: float = 0.1, seed: int = 0) -> Dataset:
    """A regression: points [n, 2] in a square, and y[n, 1], the height of a tilted plane over them."""
    draw = _generator(seed, "plane")
    points = draw.uniform(-1, 1, (n, 2))
    y = 0.7 * points[:, :1] - 0.4 * points[:, 1:] + 0.2
    return Dataset("plane", {"x": points, "y": y + noise * draw.standard_normal((n, 1))}, targets=("y",))
