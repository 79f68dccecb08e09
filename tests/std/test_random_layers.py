"""Dropout and augmentation: what they may change, how often, and that samples differ."""

import numpy as np
import pytest

from diffgraph.ir.interpret import interpret
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text


def apply(text: str, x: np.ndarray, training=True, step=1, seed=0) -> np.ndarray:
    shape = ", ".join(["N", *map(str, x.shape[1:])])
    module = load_text(f"net r {{\n    input x[{shape}]\n    output y = x -> {text}\n}}")
    program = elaborate(module, training=training).program
    run = {"x": x, "seed": seed, "step": step, "total_steps": 10}
    values = {i.tensor.name: run[i.path] for i in program.inputs if i.table is None}
    return interpret(program, values)[program.output("y")]


@pytest.mark.parametrize("text, shared_axes", [("dropout(0.3)", 0), ("channel_dropout(0.3)", 2), ("drop_path(0.3)", 3)])
def test_dropout(text, shared_axes):
    x = np.random.default_rng(0).uniform(1, 2, (200, 30, 3, 2))
    y = apply(text, x)
    kept = y != 0
    np.testing.assert_allclose(y[kept], x[kept] / 0.7, rtol=1e-12)
    groups = kept.reshape(*x.shape[: 4 - shared_axes], -1)
    assert np.all(groups.all(-1) | ~groups.any(-1)) if shared_axes else True
    assert groups[..., 0].mean() == pytest.approx(0.7, abs=5 * 0.46 / np.sqrt(groups[..., 0].size))
    np.testing.assert_array_equal(apply(text, x, training=False), x)
    np.testing.assert_array_equal(apply(text, x), y)
    assert np.any(apply(text, x, step=2) != y) and np.any(apply(text, x, seed=1) != y)


def test_dropout_of_nothing():
    x = np.ones((3, 4))
    np.testing.assert_array_equal(apply("dropout(0)", x), x)


IMAGES = np.random.default_rng(1).uniform(1, 2, (60, 2, 6, 5))


def shifted(image: np.ndarray, dy: int, dx: int) -> np.ndarray:
    wide = np.pad(image, ((0, 0), (9, 9), (9, 9)))
    return wide[:, 9 + dy : 9 + dy + image.shape[1], 9 + dx : 9 + dx + image.shape[2]]


def test_random_shift():
    places = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
    found = set()
    for image, moved in zip(IMAGES, apply("random_shift(2)", IMAGES)):
        (place,) = [p for p in places if np.array_equal(shifted(image, *p), moved)]
        found.add(place)
    assert len(found) > 15


def test_random_flip():
    y = apply("random_flip", IMAGES)
    flipped = np.array([np.array_equal(a[:, :, ::-1], b) for a, b in zip(IMAGES, y)])
    assert np.all(flipped | np.array([np.array_equal(a, b) for a, b in zip(IMAGES, y)]))
    assert 0.25 < flipped.mean() < 0.75
    np.testing.assert_array_equal(apply("random_flip(1)", IMAGES), IMAGES[..., ::-1])


def test_random_crop():
    y = apply("random_crop([4, 5], pad = 1)", IMAGES)
    assert y.shape == (60, 2, 4, 5)
    wide = np.pad(IMAGES, ((0, 0), (0, 0), (1, 1), (1, 1)))
    found = set()
    for image, part in zip(wide, y):
        (place,) = [
            (i, j) for i in range(5) for j in range(3) if np.array_equal(image[:, i : i + 4, j : j + 5], part)
        ]
        found.add(place)
    assert len(found) > 10


def test_random_erase():
    y = apply("random_erase(3)", IMAGES)
    erased = y == 0
    np.testing.assert_array_equal(y[~erased], IMAGES[~erased])
    assert np.all(erased.any((1, 2, 3))) and erased[:, 0].sum((1, 2)).max() == 9
    np.testing.assert_array_equal(erased[:, 0], erased[:, 1])


def test_random_brightness_and_noise():
    ratio = apply("random_brightness(0.2)", IMAGES) / IMAGES
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1, :1, :1], ratio.shape), rtol=1e-12)
    assert 0.8 <= ratio.min() < 0.9 and 1.1 < ratio.max() <= 1.2
    noise = apply("random_noise(0.1)", IMAGES) - IMAGES
    assert noise.std() == pytest.approx(0.1, rel=0.1) and abs(noise.mean()) < 0.01


def test_normalize():
    y = apply("normalize([1, 2], [0.5, 4])", IMAGES)
    np.testing.assert_allclose(y[:, 0], (IMAGES[:, 0] - 1) / 0.5, rtol=1e-12)
    np.testing.assert_allclose(y[:, 1], (IMAGES[:, 1] - 2) / 4, rtol=1e-12)
    np.testing.assert_allclose(apply("normalize(1.5, 2)", IMAGES), (IMAGES - 1.5) / 2, rtol=1e-12)
