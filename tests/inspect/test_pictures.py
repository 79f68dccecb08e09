"""Pictures of networks: boxes in boxes, where they stand, and the forms they are printed in."""

import json
import random
import re
import shutil
import subprocess
import xml.etree.ElementTree as xml
from html import unescape
from pathlib import Path

import pytest

from diffgraph.cli import run
from diffgraph.inspect import layered
from diffgraph.inspect.drawing import draw
from diffgraph.inspect.layer_tree import ENTRY, EXIT, find, layer_tree
from diffgraph.inspect.layered import Bend, arrange, place
from diffgraph.inspect.page import key
from diffgraph.ir.graph import layer_graph
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_module, load_text

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

#: Blocks in blocks, a group that is left and entered again (`down`), one that is not (`stage`), strange names.
TEXT = """
layer inner()(x) { return x + (x -> linear(4) -> relu) }
layer outer(n)(x) {
    for i in 0..n { x = x -> inner as stage[i] }
    return x -> dropout(0.5)
}
net deep {
    input  x[N, 4]
    target y[N, 4]
    a = x -> outer(2) as down[0] -> relu
    b = a -> outer(1) as down[1]
    output z = a + b
    loss mean((z - y)^2)
}
"""


@pytest.fixture(scope="module")
def deep():
    return elaborate(load_text(TEXT), "deep", {}, training=True)


# ---------------------------------------------------------------- boxes in boxes


def test_boxes(deep):
    tree = layer_tree(deep)
    names = [box.name for box in tree.boxes]
    assert {"x", "y", "down.0", "relu1", "down.1", "output z", "loss loss"} <= set(names)
    assert "down" not in names, "the group is left for relu1 and entered again"
    first = find(tree, "down.0")
    assert [box.name for box in first.boxes] == ["down.0.stage", "down.0.dropout1"]
    assert [box.label for box in first.boxes] == ["stage", "dropout1"]
    assert first.edges == (
        (f"{ENTRY}x", "down.0.stage"),
        ("down.0.stage", "down.0.dropout1"),
        ("down.0.dropout1", EXIT),
    )
    stage = find(tree, "down.0.stage.1")
    (formula,) = [box for box in stage.boxes if box.kind == "formula"]
    assert formula.label == "x + (x -> linear(4) -> relu)"
    assert (f"{ENTRY}down.0.stage.0", formula.name) in stage.edges


@pytest.mark.parametrize("file", ["vit.net", "unet.net", "inception.net", "projectile.net", "deblur.net"])
def test_every_node_and_edge_of_the_graph_is_in_the_picture(file):
    network = elaborate(load_module(EXAMPLES / file), None, {}, training=True)
    graph = layer_graph(network)
    tree = layer_tree(network)
    leaves = [box.name for box in tree.walk() if not box.boxes]
    assert sorted(leaves) == sorted(graph.nodes)
    assert len({box.name for box in tree.walk()}) == sum(1 for _ in tree.walk())
    found = {edge for box in tree.walk() for edge in box.edges}
    targets = {target for _, target in found}
    assert {node for node in graph.nodes if graph.in_degree(node)} <= targets
    for box in tree.walk():
        inside = {inner.name for inner in box.boxes} | {EXIT}
        assert all(target in inside and (source in inside or source.startswith(ENTRY)) for source, target in box.edges)


# ---------------------------------------------------------------- places


def random_graph(seed: int):
    chance = random.Random(seed)
    nodes = [f"n{k}" for k in range(chance.randrange(1, 30))]
    edges = [(chance.choice(nodes), chance.choice(nodes)) for _ in range(chance.randrange(0, 45))]
    ordered = [(a, b) for a, b in edges if int(a[1:]) < int(b[1:])] if seed % 4 else edges
    sizes = {node: (chance.randrange(30, 200), chance.choice([26, 40, 300])) for node in nodes}
    return nodes, ordered, sizes


@pytest.mark.parametrize("start", [0, 40])
def test_boxes_do_not_touch_and_edges_go_down(start):
    for seed in range(start, start + 40):
        nodes, edges, sizes = random_graph(seed)
        layers = arrange(nodes, edges)
        layer = {node: k for k, row in enumerate(layers.rows) for node in row}
        assert sorted(n for row in layers.rows for n in row if not isinstance(n, Bend)) == sorted(nodes)
        assert set(layers.chains) == {(a, b) for a, b in edges if a != b}
        for (source, target), chain in layers.chains.items():
            assert (chain[0], chain[-1]) == (source, target)
            steps = {layer[b] - layer[a] for a, b in zip(chain, chain[1:])}
            assert len(steps) == 1 and (steps == {1} or (steps == {-1} and seed % 4 == 0))
        placed = place(layers, sizes, gap=10)
        for row in layers.rows:
            for a, b in zip(row, row[1:]):
                apart = (sizes.get(a, (0, 0))[0] + sizes.get(b, (0, 0))[0]) / 2 + 10
                assert placed.centres[b][0] - placed.centres[a][0] >= apart - 1e-6
        for node, (width, height) in sizes.items():
            x, y = placed.centres[node]
            assert width / 2 - 1e-6 <= x <= placed.width - width / 2 + 1e-6
            assert height / 2 - 1e-6 <= y <= placed.height - height / 2 + 1e-6


def test_few_crossings_and_straight_lines():
    """Two chains and an edge around one of them: nothing crosses, and every chain is a straight line."""
    nodes = ["in", "a1", "b1", "a2", "b2", "a3", "b3", "end"]
    edges = [("in", "b1"), ("in", "a1"), ("b1", "b2"), ("a1", "a2"), ("a2", "a3"), ("b2", "b3")]
    edges += [("a3", "end"), ("b3", "end"), ("in", "end")]
    layers = arrange(nodes, edges)
    centres = place(layers, dict.fromkeys(nodes, (50, 20))).centres
    for chain in ("a", "b"):
        assert len({round(centres[f"{chain}{k}"][0], 6) for k in (1, 2, 3)}) == 1
    assert len({round(centres[bend][0], 6) for bend in layers.chains["in", "end"][1:-1]}) == 1
    below = layered._beside(layers)[1]
    assert layered._crossings(layers, below) == 0


@pytest.mark.skipif(shutil.which("node") is None, reason="compares with what the script of the page does")
def test_the_page_puts_boxes_where_the_picture_does(tmp_path):
    script = (Path(layered.__file__).parent / "page.js").read_text()
    functions = script[script.index("const GAP") : script.index("const data")]
    functions += script[script.index("function place") : script.index("// " + "-" * 64 + " drawing")]
    cases, expected = [], []
    for seed in range(30):
        nodes, edges, sizes = random_graph(seed)
        layers = arrange(nodes, edges)
        names = {node: key(node) for row in layers.rows for node in row}
        rows = [[names[n] for n in row] for row in layers.rows]
        chains = [[names[n] for n in chain] for chain in layers.chains.values()]
        cases.append([rows, chains, list(sizes.items())])
        expected.append({names[n]: list(at) for n, at in place(layers, sizes).centres.items()})
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    program = functions + (
        'const cases = JSON.parse(require("fs").readFileSync(process.argv[2]));'
        "console.log(JSON.stringify(cases.map(([r, c, s]) => Object.fromEntries(place(r, c, new Map(s)).centres))));"
    )
    (tmp_path / "place.js").write_text(program)
    command = ["node", str(tmp_path / "place.js"), str(tmp_path / "cases.json")]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    for one, other in zip(found, expected):
        assert one.keys() == other.keys()
        assert all(one[name] == pytest.approx(other[name], abs=1e-6) for name in one)


# ---------------------------------------------------------------- forms


def texts_of(svg: str) -> list[str]:
    """What is written in a picture."""
    root = xml.fromstring(svg)
    return ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]


def test_svg(deep):
    closed = texts_of(draw(deep, "svg"))
    assert "down.0 outer" in closed and "stage" not in closed
    opened = texts_of(draw(deep, "svg", depth=4))
    assert {"down.0 outer", "stage", "0 inner", "linear1"} <= set(opened)
    assert texts_of(draw(deep, "svg", layer="down.1")) == ["stage", "dropout1", "[N, 4]"]
    assert texts_of(draw(deep, "svg", layer="relu1")) == ["relu1", "[N, 4]"]


@pytest.mark.parametrize("file", sorted(p.name for p in EXAMPLES.glob("*.net")))
def test_every_example_is_drawn(file):
    module = load_module(EXAMPLES / file)
    network = elaborate(module, next(iter(module.nets)), {}, training=True)
    xml.fromstring(draw(network, "svg", depth=9))
    assert data_of(draw(network, "html"))["root"]["boxes"]


def data_of(page: str) -> dict:
    """What the script of a page gets. No element but the script itself is closed as one."""
    assert page.count("</script>") == 2
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_html(deep):
    data = data_of(draw(deep, "html", depth=2))
    assert data["title"] == "deep" and data["opened"] == ["", "down.0", "down.1"]
    assert ["parameters", "60"] in data["facts"]
    boxes = {}

    def collect(node):
        boxes[node["name"]] = node
        for inner in node.get("boxes", ()):
            collect(inner)

    collect(data["root"])
    linear = boxes["down.0.stage.1.linear1"]
    about = dict(linear["about"])
    assert about["parameters"] == "20" and about["weight"] == "[4, 4]" and about["MACs"] == "16"
    assert "sum[d](" in linear["text"] and "weight[u, d]" in linear["text"]
    assert linear["source"] == ["<text>:2", "layer inner()(x) { return x + (x -> ", "linear(4)", " -> relu) }"]


def test_hostile_texts_stay_texts():
    text = TEXT.replace("mean((z - y)^2)", "mean((z - y)^2)  # </script><b>&")
    network = elaborate(load_text(text, "</script><b>&.net"), "deep", {}, training=True)
    assert "<b>" not in draw(network, "html") and "<b>" not in draw(network, "svg")
    sources = [box for box in data_of(draw(network, "html"))["root"]["boxes"] if box["source"]]
    assert any("</script><b>&" in unescape(box["source"][0]) for box in sources)


def test_dot(deep):
    closed = draw(deep, "dot")
    assert '"x" -> "down.0";' in closed and "subgraph" not in closed
    opened = draw(deep, "dot", depth=3)
    assert 'subgraph "cluster down.0" {' in opened
    assert '"down.0.stage.1" -> "down.0.dropout1";' in opened and '"down.0.dropout1" -> "relu1";' in opened
    assert '"x" -> "down.0.stage.0";' in opened


def test_command(tmp_path, capsys):
    target = tmp_path / "net.svg"
    assert run(["show", str(EXAMPLES / "lenet.net"), "--format", "svg", "-o", str(target)]) == 0
    assert "conv1" in texts_of(target.read_text())
    capsys.readouterr()
    assert run(["show", str(EXAMPLES / "resnet.net"), "--net", "resnet", "--layer", "layer2", "--format", "json"]) == 0
    assert {r["path"].split(".")[0] for r in json.loads(capsys.readouterr().out)["layers"]} == {"layer2"}
    assert run(["show", str(EXAMPLES / "lenet.net"), "--format", "html", "--layer", "conf1"]) == 2
    assert "did you mean `conv1`?" in capsys.readouterr().err
    assert run(["show", str(EXAMPLES / "lenet.net"), "--format", "svg", "--stage", "source"]) == 2
