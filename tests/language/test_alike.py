"""Layers that are applied again are not evaluated again; whatever that adds is what evaluation would have added."""

import pytest
from everything import everything

from diffgraph.language import alike
from diffgraph.language.blocks import train_block
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text
from diffgraph.language.step import training_network

#: Bodies of `layer block(channels)(x[N, C])`, each applied five times in a row and once beside, and what stands before.
BLOCKS = {
    "plain": "return x -> linear(channels) -> relu",
    "states": "return x -> linear(channels) -> batchnorm -> relu",
    "draws": "return (x -> dropout(0.3)) + (x -> linear(channels) -> dropout(0.1) -> drop_path(0.2))",
    "a draw in a loop": "for i in 0..3 { z[x.shape] ~ normal(0, 0.1); x = x + z }\nreturn x -> linear(channels)",
    "views": "y = reshape(x, [N, 2, C / 2])\nz = reshape(y, [N, C])\nreturn z -> linear(channels)",
    "a view of a view": "y = reshape(x, [N, C])\nz = reshape(y, [N, C])\nreturn z + 1",
    "sorting": "return sort(x) -> linear(channels)",
    "a table": "k = [1.5, 2.5, 3.5, 4.5]\ny[n, c] = x[n, c] * k[c]\nreturn y -> linear(channels)",
    "one of many names": "for i in 0..2 { x = x -> linear(channels) as part[i] -> tanh as act[i] }\nreturn x",
    "numbers that names are taken from": "y = x -> linear(channels) as linear1 -> linear(channels)\nreturn y -> relu",
    "a path of its own": "y = x -> linear(channels)\nreturn y @ linear1.weight",
    "all parameters": "y = x -> linear(channels)\nreturn y * l2(parameters)",
    "a shared layer": "f = shared(linear(channels))\nreturn x -> f -> f",
    "a shared composition": "f = shared(linear(channels) -> tanh)\nreturn x -> f -> f",
    "a frozen layer": "return x -> frozen(linear(channels) -> batchnorm) -> linear(channels)",
    "modes": "if training { y = x -> relu } else { y = x -> tanh -> relu }\nreturn y -> linear(channels)",
    "several results": "a, b = x -> halves\nreturn concat(a, b, axis = 1)",
    "what it was given": "return x if channels > 2 else x -> linear(channels)",
    "pending": "return (2 * x + 1) -> linear(channels) -> scaled",
    "a scan": "h = scan t in 0..3 from h = x { next h = h -> linear(channels) }\nreturn h",
    "own gradient": "return steep(x) -> linear(channels)",
    "asserts on values": "assert x < 100, \"too large\"\nreturn x -> linear(channels)",
    "a count": "return x + 0 * step",
    "a function as setting": "return x -> acted(leaky_relu(slope = 0.1)) -> acted(tanh)",
    "a state that is drawn": "state s[C] ~ normal(0, 1)\ns <- s + 1\nreturn x + s",
    "twice updated": "state s[C] = 0\ns <- s + 1\ny = x + s\ns <- s * 2\nreturn y + s",
}
HEAD = """
layer halves()(x[N, C]) { return x[:, :C // 2], x[:, C // 2:] }
layer scaled()(x) {
    param scale = 1
    return scale * x
}
layer acted(f)(x[N, C]) { return f(x -> linear(C)) }
fn steep(x) = sign(x) with gradient(dy) = 2 * dy
"""


def text(body: str) -> str:
    return f"""{HEAD}
layer block(channels)(x[N, C]) {{ {body} }}
net f() {{
    input x[N, 4]
    y = x
    for i in 0..5 {{ y = y -> block(4) }}
    z = x
    for i in 0..3 {{ z = z -> block(4) as other[i] -> block(4) -> relu }}
    output y, z
    loss mean(y * z)
}}"""


def both(source: str, monkeypatch, **about):
    """(with, without) repetition, and how often something was repeated."""
    count = 0
    repeat = alike._repeated

    def counted(*arguments):
        nonlocal count
        found = repeat(*arguments)
        count += found is not None
        return found

    monkeypatch.setattr(alike, "_repeated", counted)
    module = load_text(source)
    ours = [everything(elaborate(module, training=t, **about)) for t in (True, False)]
    monkeypatch.setattr(alike, "_can_repeat", lambda session: False)
    module.elaborated.clear()
    return ours, [everything(elaborate(module, training=t, **about)) for t in (True, False)], count


@pytest.mark.parametrize("name", BLOCKS)
def test_nothing_differs(name, monkeypatch):
    ours, evaluated, _ = both(text(BLOCKS[name]), monkeypatch)
    assert ours == evaluated


@pytest.mark.parametrize("name", "plain states draws views sorting modes pending".split() + ["several results"])
def test_it_is_repeated(name, monkeypatch):
    assert both(text(BLOCKS[name]), monkeypatch)[2] >= 4


@pytest.mark.parametrize("net", ["resnet50", "densenet121", "vit_b_32", "googlenet"])
def test_networks(net, monkeypatch):
    ours, evaluated, count = both(f'from "std/vision.net" import {net}', monkeypatch)
    assert ours == evaluated and count > 10


def test_other_sizes_are_other_applications(monkeypatch):
    body = """
net f() {
    input x[N, 4]
    y = x
    for i in 0..12 { y = concat(y, x -> linear(i % 3 + 1), axis = 1) -> linear(4 + i // 4) -> relu }
    output y
}"""
    ours, evaluated, _ = both(body, monkeypatch)
    assert ours == evaluated


def test_frozen_paths(monkeypatch):
    """What is frozen by a train block is by its path, so each is evaluated."""
    module = load_text(text(BLOCKS["states"]))
    frozen = elaborate(module, training=True, freeze=("block2", "other.1"))
    assert {v.path for v in frozen.parameters if not v.trained} == {
        f"{path}.{name}"
        for path in ("block2", "other.1")
        for name in ("linear1.weight", "linear1.bias", "batchnorm1.weight", "batchnorm1.bias")
    }


@pytest.mark.parametrize("rule", ["sgd(lr = cosine(0.1), momentum = 0.9)", "adamw", "lamb(lr = 1e-2)"])
def test_updates(rule, monkeypatch):
    """Each parameter has an update of its own; those of one shape are alike. What the schedule gives is a tensor that all
    of them read."""
    train = f"train f {{\ndata spiral\nsteps 9\nclip_norm 1.0\naverage ema(0.9)\noptimizer {rule}\n}}"
    plan = train_block(load_text(text(BLOCKS["states"]) + "\n" + train))
    ours = everything(training_network(plan))
    monkeypatch.setattr(alike, "_can_repeat", lambda session: False)
    assert ours == everything(training_network(plan))
