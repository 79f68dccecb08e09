"""Every derivative of a program against finite differences, in float64.

A directional derivative is compared for each parameter and each float input: <gradient, v> with the central difference
(L(x + h v) - L(x - h v)) / 2h for random directions v. Where the loss has a kink within the step (a relu that switches)
the two one-sided differences disagree, however small the step; such a direction says nothing and another one is drawn.
A net that starts on a kink (a relu of nothing but biases of 0) is compared beside it. What `stop_gradient` gives is the
same on both sides: it is a constant of the derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from diffgraph.inspect.samples import fitting_inputs, sample_sizes
from diffgraph.ir.evaluate import holding
from diffgraph.ir.program import Definition, walk
from diffgraph.language.paths import matches

#: Directions compared for each tensor, and how many may be drawn to find that many without a kink.
DIRECTIONS = 3
ATTEMPTS = 12

#: The step, relative to the size of the tensor's elements: near the cube root of the float64 precision.
STEP = 3e-6

#: How far from a kink parameters are moved, relative to the size of their elements.
ASIDE = 1e-2

#: Largest relative disagreement that counts as equal; the differences themselves are good to about 1e-8.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Comparison:
    """The derivative by one tensor: what the program says and what the differences say, at the worst direction."""

    path: str
    derivative: float
    difference: float
    error: float
    kinks: int

    @property
    def ok(self) -> bool:
        return self.error <= TOLERANCE


Values = Mapping[str, np.ndarray]


def compare_gradients(
    loss: Callable[[Values], float], gradients: Values, values: Values, seed: int = 0
) -> list[Comparison]:
    """Compares the gradients of a function with its differences at `values`, tensor by tensor.

    loss: a function of all values by path. gradients: the derivative by each path that is to be checked.
    """
    generator = np.random.default_rng(seed)
    base = loss(values)
    return [_compare(loss, base, path, gradients[path], values, generator) for path in gradients]


def _compare(loss, base: float, path: str, gradient: np.ndarray, values: Values, generator) -> Comparison:
    value = np.asarray(values[path], dtype=np.float64)
    scale = max(1.0, float(np.sqrt(np.mean(value**2)))) if value.size else 1.0
    worst = Comparison(path, 0.0, 0.0, 0.0, 0)
    compared = kinks = 0
    for _ in range(ATTEMPTS):
        if compared == DIRECTIONS or value.size == 0:
            break
        direction = generator.standard_normal(value.shape)
        direction /= max(1e-30, float(np.sqrt(np.sum(direction**2))))
        derivative = float(np.sum(gradient * direction))
        central, smooth = _difference(loss, base, path, value, direction, STEP * scale, values)
        if not smooth:
            kinks += 1
            continue
        compared += 1
        error = abs(derivative - central) / max(abs(derivative), abs(central), 1e-3 * max(1.0, abs(base)))
        if not np.isfinite(error) or error >= worst.error:
            worst = Comparison(path, derivative, central, error if np.isfinite(error) else np.inf, kinks)
    if compared == 0 and value.size:
        return Comparison(path, np.nan, np.nan, np.inf, kinks)
    return worst


def _difference(loss, base, path, value, direction, step, values) -> tuple[float, bool]:
    """The central difference, and whether both sides agree that the function is smooth here."""
    central, apart, slope = _differences(loss, base, path, value, direction, step, values)
    if apart <= 1e-3 * slope + _noise(base, step):
        return central, True
    # One-sided differences of a smooth function differ by step * curvature, those at a kink by the same at any step.
    central, closer, slope = _differences(loss, base, path, value, direction, step / 8, values)
    return central, bool(closer <= max(1e-3 * slope, apart / 4) + _noise(base, step / 8))


def _differences(loss, base, path, value, direction, step, values) -> tuple[float, float, float]:
    """The central difference, how far the two one-sided ones are apart, and the size of the larger one."""
    ahead = loss({**values, path: value + step * direction})
    behind = loss({**values, path: value - step * direction})
    right, left = (ahead - base) / step, (base - behind) / step
    return (ahead - behind) / (2 * step), abs(right - left), max(abs(right), abs(left))


def _noise(base: float, step: float) -> float:
    """What rounding adds to the one-sided differences."""
    return 4e-14 * max(1.0, abs(base)) / step + 1e-7


def check_net(net, seed: int = 0) -> list[Comparison]:
    """Compares every derivative of a net (by its trained parameters and its float inputs) at its present parameters, in
    training mode, on made-up inputs. `net` is a `compiler.Net` in float64; its parameters are as before afterwards."""
    network = net.network(True)
    net.set_sizes({k: v for k, v in sample_sizes(network).items() if k != network.batch})
    network = net.network(True)
    inputs = fitting_inputs(network, net.losses, seed)
    trained = [v.path for v in network.parameters if v.trained]
    by = [*trained, *(p.name for p in network.inputs if p.tensor.kind == "float")]
    before = {path: net.storage[path].copy() for path in trained}
    try:
        compared = _compare_paths(net, network, by, inputs, before, seed)
        kinked = [c.path for c in compared if np.isnan(c.derivative)]
        if kinked:
            beside = _compare_paths(net, network, kinked, inputs, _aside(before, seed), seed)
            again = {c.path: c for c in beside}
            compared = [again.get(c.path, c) for c in compared]
        return compared
    finally:
        for path, value in before.items():
            net.storage[path][...] = value


def own_gradients(network) -> tuple[str, ...]:
    """Where a derivative that the user wrote is used: a disagreement may be meant there."""
    made = [s for s in walk(network.program) if isinstance(s, Definition) and s.gradient is not None]
    return tuple(dict.fromkeys(str(s.provenance[0].span) for s in made if s.provenance and s.provenance[0].span))


def _compare_paths(net, network, by: list[str], inputs: Values, parameters: Values, seed: int) -> list[Comparison]:
    """The comparisons at given parameters."""
    for path, value in parameters.items():
        net.storage[path][...] = value
    _, gradients = net.gradients(wrt=by, training=True, **inputs)
    values = {**inputs, **parameters}
    held: list[np.ndarray] = []

    def loss(given: Values, reaching: tuple[str, ...]) -> float:
        for path in parameters:
            net.storage[path][...] = given[path]
        with holding(held):
            found = net.losses(training=True, **{name: given[name] for name in inputs})
        return sum(found[name] for name in reaching)

    loss(values, ())
    compared: list[Comparison] = []
    for path in by:
        # A loss `for` a path reaches only the parameters under it.
        reaching = tuple(t.name for t in network.losses if t.scope is None or matches(t.scope, path))
        if reaching:
            own = {path: gradients[path]}
            compared += compare_gradients(lambda v, r=reaching: loss(v, r), own, values, seed)
    return compared


def _aside(parameters: Values, seed: int) -> dict[str, np.ndarray]:
    """Parameters a little way off in a random direction."""
    generator = np.random.default_rng(seed)
    return {
        path: value + ASIDE * max(1.0, float(np.sqrt(np.mean(value**2))) if value.size else 1.0)
        * generator.standard_normal(value.shape)
        for path, value in parameters.items()
    }  # fmt: skip
