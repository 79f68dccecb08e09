"""What `diffgraph compile` leaves runs without the text: the same numbers, and refusals of what does not fit."""

import json
from pathlib import Path

import numpy as np
import pytest

import diffgraph as dg
from diffgraph.artifact import write_artifact
from diffgraph.cli import run
from diffgraph.inspect.samples import sample_inputs
from diffgraph.interop import safetensors

EXAMPLES = Path(__file__).parents[1] / "examples"

#: Tables, draws, integers, states, a name that no word of a program has, an output that is an input.
TEXT = """
layer shifted(k)(x[N, D]) {
    state centre[D] = 0.5
    param scale[D] ~ normal(1, 0.1)
    return (x - centre) * scale
}
net model(width = 3) {
    input x[N, 3]
    input choice[N]: int < 4
    table = constant([[1, 2, 3], [4, 5, 6], [7, 8, 10], [0, 1, 0]])
    weights = [0.5, 1.5, 2.5]
    noise[N, 3] ~ normal(0, 1)
    y[n, d] = table[choice[n], d] + x[n, d]
    h = y -> shifted(3) as first -> linear(width) as fc[0]
    output sum_1 = h + noise + weights
    output best = argmax(h, axis = 1)
    output x
}
"""


def inputs_of(net) -> dict:
    names = {p.name for p in net.network().inputs}
    return {name: array for name, array in sample_inputs(net.network()).items() if name in names}


@pytest.mark.parametrize("target", ["cpu", "reference"])
def test_the_same_numbers(tmp_path, target):
    net = dg.loads(TEXT, target=target, precision="f64", seed=5)
    write_artifact(net, tmp_path)
    compiled = dg.load_artifact(tmp_path)
    assert compiled.inputs == {"x": "[N, 3]", "choice": "[N]"}
    for batch in (2, 5):
        given = {"x": np.random.default_rng(batch).normal(size=(batch, 3)), "choice": np.arange(batch) % 4}
        expected, found = net(**given), compiled(**given)
        assert found.keys() == expected.keys() == {"sum_1", "best", "x"}
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("file", ["unet.net", "rows.net", "deblur.net", "bases.net"])
def test_examples(tmp_path, file):
    net = dg.load(EXAMPLES / file, target="reference", precision="f64")
    write_artifact(net, tmp_path)
    given = inputs_of(net)
    expected, found = net(**given), dg.load_artifact(tmp_path)(**given)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-12)


def test_weights_are_prepared_once_and_may_be_changed(tmp_path):
    text = "net n { input x[N, 3]\noutput y = x -> linear(2) -> batchnorm }"
    net = dg.loads(text, precision="f64")
    write_artifact(net, tmp_path)
    compiled = dg.load_artifact(tmp_path)
    x = np.ones((2, 3))
    first = compiled(x=x)["y"]
    assert compiled.executable.prepared_now and np.array_equal(compiled(x=x)["y"], first)
    compiled.storage["batchnorm1.bias"][...] += 1
    assert not compiled.executable.prepared_now
    np.testing.assert_allclose(compiled(x=x)["y"], first + 1)


def test_refusals(tmp_path):
    with pytest.raises(dg.DiffgraphError, match="there is no artifact in"):
        dg.load_artifact(tmp_path)
    write_artifact(dg.loads(TEXT, target="reference"), tmp_path)
    compiled = dg.load_artifact(tmp_path)
    x, choice = np.zeros((2, 3), np.float32), np.zeros(2, int)
    with pytest.raises(dg.DiffgraphError, match="choice"):
        compiled(x=x)
    with pytest.raises(dg.DiffgraphError, match="x_1"):
        compiled(x_1=x, choice=choice)
    with pytest.raises(dg.DiffgraphError, match="int < 4"):
        compiled(x=x, choice=choice + 4)
    with pytest.raises(dg.DiffgraphError, match="first.scale"):
        compiled(**{"x": x, "choice": choice, "first.scale": np.zeros(3)})

    arrays, about = safetensors.read(tmp_path / "weights.safetensors")
    safetensors.write(tmp_path / "weights.safetensors", {**arrays, "fc.0.bias": np.zeros(4, np.float32)}, about)
    with pytest.raises(dg.DiffgraphError, match="fc.0.bias"):
        dg.load_artifact(tmp_path)
    facts = json.loads((tmp_path / "compile.json").read_text())
    (tmp_path / "compile.json").write_text(json.dumps({**facts, "format": 0}))
    with pytest.raises(dg.DiffgraphError, match="another version"):
        dg.load_artifact(tmp_path)


def test_command(tmp_path, capsys):
    (tmp_path / "model.net").write_text("net model { input x[N, 2]\n output y = x -> linear(2) -> tanh }\n")
    out, data = tmp_path / "made", tmp_path / "x.npy"
    np.save(data, np.ones((3, 2), np.float32))
    assert run(["compile", str(tmp_path / "model.net"), "-o", str(out), "--seed", "2"]) == 0
    assert "6 parameters, f32, cpu" in capsys.readouterr().out
    (tmp_path / "model.net").unlink()
    assert run(["predict", str(out), str(data), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["y"]
    assert found == dg.load_artifact(out)(x=np.ones((3, 2)))["y"].tolist()
