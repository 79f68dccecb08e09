"""Programs of the literature and combinations of features, each written from the specification alone.

Of each: it checks; in both modes it has values; its derivative in a random direction is that of its differences; what it
expects holds; its train blocks make steps. All by the interpreter, which the other tests compare with the rest.
"""

from pathlib import Path

import numpy as np
import pytest

from diffgraph.compiler import Net, net_of_block
from diffgraph.inspect.expectations import verdicts
from diffgraph.inspect.samples import fitting_inputs, sample_sizes
from diffgraph.ir.evaluate import holding
from diffgraph.language.module import load_module

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.net"))

#: Programs with gradients of their own that no difference shows.
SURROGATES = {"gradient_reversal", "own_gradient_in_scan", "quantized"}

#: Claims of these need a compiled program.
COMPILED = {"augmented"}

STEP = 3e-6


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_program(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    module = load_module(path)
    for name in module.nets:
        net = Net(module, name, target="reference", precision="f64")
        network = net.network(True)
        net.set_sizes({k: v for k, v in sample_sizes(network).items() if k != network.batch})
        network = net.network(True)
        losses = net.losses if network.losses else lambda **_: {}
        inputs = fitting_inputs(network, losses)
        outputs = net(**inputs)
        assert all(np.all(np.isfinite(v)) for v in outputs.values())
        if network.losses:
            assert np.isfinite(net.loss(training=False, **inputs))
            if path.stem not in SURROGATES:
                derivative_is_that_of_differences(net, inputs)
    trains(module)
    expectations_hold(module, path.stem)


def derivative_is_that_of_differences(net, inputs):
    """In one direction of all parameters and inputs at once; directions that meet a kink say nothing."""
    network = net.network(True)
    trained = [v.path for v in network.parameters if v.trained]
    by = [*trained, *(p.name for p in network.inputs if p.tensor.kind == "float")]
    generator = np.random.default_rng(1)
    for path in trained:  # off the kinks at zero biases
        net.storage[path][...] += 0.01 * generator.standard_normal(net.storage[path].shape)
    start = {**inputs, **{path: net.storage[path].copy() for path in trained}}
    if any(term.scope for term in network.losses) or not by:
        net.gradients(**inputs)
        return
    _, gradients = net.gradients(wrt=by, training=True, **inputs)
    held = []

    def loss(step, direction):
        moved = {path: start[path] + step * direction[path] for path in by}
        for path in trained:
            net.storage[path][...] = moved[path]
        with holding(held):
            return net.loss(training=True, **{**inputs, **{p: v for p, v in moved.items() if p in inputs}})

    for _ in range(4):
        direction = {path: generator.standard_normal(start[path].shape) for path in by}
        base = loss(0, direction)
        derivative = sum(float(np.sum(gradients[path] * direction[path])) for path in by)
        ahead, behind = loss(STEP, direction), loss(-STEP, direction)
        central = (ahead - behind) / (2 * STEP)
        if abs(derivative - central) <= 1e-5 * max(abs(derivative), abs(central), 1e-3, 1e-3 * abs(base)):
            return
        kink = abs(ahead - 2 * base + behind) / STEP > 1e-3 * abs(central)
        assert kink, (derivative, central)
    pytest.fail("every direction meets a kink")


def trains(module):
    """A few steps of each train block change nothing into something that is not a number."""
    for block in module.trains:
        net = Net(module, block.net, train=block.name, target="reference")
        net.train(steps=2)
        assert all(np.all(np.isfinite(v)) for v in net.storage.values())


def expectations_hold(module, stem):
    target = "cpu" if stem in COMPILED else "reference"
    for block, verdict in verdicts(module, lambda b, **o: net_of_block(module, b, **{"target": target, **o})):
        assert verdict.holds, f"{block.net}: {verdict.text} ({verdict.measured})"


def test_there_are_many():
    assert len(PROGRAMS) > 150
