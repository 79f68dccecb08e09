"""The layer graph of a net."""

import pytest

from diffgraph.ir.graph import layer_graph
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text

pytest.importorskip("networkx")

SOURCE = """
layer block(units)(x) {
    y = x -> linear(units) -> relu
    return x + y
}

net model {
    input x[N, 4]
    target t[N, 4]
    h = x -> block(4) -> block(4)
    z = (h * h) -> tanh
    output y = z
    loss (z - t)^2
}
"""


def network():
    return elaborate(load_text(SOURCE))


def test_nodes_carry_operands_and_edges_carry_slots():
    graph = layer_graph(network(), depth=1)
    assert graph.nodes["block1"]["operands"] == ("x",)
    assert graph.nodes["block2"]["operands"] == ("block1",)
    assert graph.nodes["tanh1"]["operands"] == ("block2",)
    assert graph.edges["x", "block1"]["slots"] == (0,)
    assert graph.nodes["output y"]["operands"] == ("tanh1",)
    assert [n for n, data in graph.nodes(data=True) if data["kind"] == "loss"] == ["loss loss"]


def test_depth_opens_the_blocks():
    graph = layer_graph(network())
    assert graph.nodes["block1.linear1"]["parameters"] == ("block1.linear1.weight", "block1.linear1.bias")
    assert graph.nodes["block1.relu1"]["operands"] == ("block1.linear1",)
    assert "block1" not in graph
    sums = [n for n, data in graph.nodes(data=True) if data["kind"] == "formula" and data["path"].startswith("block")]
    assert len(sums) == 2
    assert set(graph.predecessors(sums[0])) == {"x", "block1.relu1"}


def test_every_node_knows_its_definitions_by_phase():
    from diffgraph.autodiff.differentiate import gradients
    from diffgraph.ir.program import Builder

    model = network()
    builder = Builder(model.program)
    gradients(builder, [(model.losses[0].tensor, None)], [v.tensor.name for v in model.parameters])
    graph = layer_graph(model, depth=1, program=builder.program())
    definitions = graph.nodes["block2"]["definitions"]
    assert "d_block2_linear1_weight" in definitions["backward"]
    assert any(name.startswith("block2_linear1") for name in definitions["forward"])


def test_the_same_tensor_twice_keeps_both_slots():
    source = "layer both()(a, b) { return a * b }\nnet model {\n input x[N, 4]\n y = (x, x) -> both\n output y\n}"
    graph = layer_graph(elaborate(load_text(source)))
    assert graph.nodes["both1"]["operands"] == ("x", "x")
    assert graph.edges["x", "both1"]["slots"] == (0, 1)
