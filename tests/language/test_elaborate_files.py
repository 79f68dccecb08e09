"""Files that use files; untrusted files (LANGUAGE.md sections 13 and 14)."""

from __future__ import annotations

import time

import numpy as np
import pytest
from diffgraph.language.limits import Limits
from elaboration import body, network, problem, values_of

from diffgraph.diagnostics import DiffgraphError
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_module, load_text

BLOCKS = (
    "width = 4\nlayer block(n = width)(x) { return x -> linear(n) -> relu }\nnet inner {\n"
    "input x[N, 3]\noutput y = x -> block\n}\n"
)


def files(tmp_path, **texts):
    """Writes files; gives the path of `main`."""
    for name, text in texts.items():
        path = tmp_path / f"{name.replace('__', '/')}.net"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "main.net"


def made(tmp_path, net="test", **texts):
    return elaborate(load_module(files(tmp_path, **texts)), net)


def failure(tmp_path, **texts):
    with pytest.raises(DiffgraphError) as caught:
        made(tmp_path, **texts)
    assert len(caught.value.diagnostics) == 1
    return caught.value.diagnostics[0]


# ---------------------------------------------------------------- imports


def test_import_brings_every_name_under_the_file(tmp_path):
    main = body("input x[N, 3]\noutput y = x -> blocks.block(blocks.width + 1)", 'import "blocks.net"')
    found = made(tmp_path, main=main, blocks=BLOCKS)
    assert found.parameters[0].path == "block1.linear1.weight"
    assert found.parameters[0].tensor.shape == (5, 3)


def test_import_as(tmp_path):
    main = body("input x[N, 3]\noutput y = x -> b.block", 'import "blocks.net" as b')
    assert made(tmp_path, main=main, blocks=BLOCKS).parameters[0].tensor.shape == (4, 3)


def test_from_import(tmp_path):
    main = body("input x[N, 3]\noutput y = x -> block(2)", 'from "blocks.net" import block, inner')
    assert made(tmp_path, main=main, blocks=BLOCKS).parameters[0].tensor.shape == (2, 3)


def test_nets_of_other_files(tmp_path):
    main = body("input x[N, 3]\noutput y = x -> b.inner", 'import "blocks.net" as b')
    assert made(tmp_path, main=main, blocks=BLOCKS).parameters[0].path == "inner1.block1.linear1.weight"
    main = 'from "blocks.net" import inner\ntrain inner { optimizer sgd }\n'
    assert made(tmp_path, net="inner", main=main, blocks=BLOCKS).name == "inner"
    assert made(tmp_path, net="b.inner", main='import "blocks.net" as b\n', blocks=BLOCKS).parameters


def test_paths_are_relative_to_the_file(tmp_path):
    texts = {
        "main": body("output y = [a.value, 0]", 'import "parts/a.net"'),
        "parts__a": 'import "b.net"\nimport "../c.net" as c\nvalue = b.value + c.value',
        "parts__b": "value = 20",
        "c": "value = 3",
    }
    assert values_of(made(tmp_path, **texts))["y"].tolist() == [23, 0]


def test_the_standard_library_is_imported_by_name(tmp_path):
    main = body(
        "input x[N, 3]\noutput y = x -> f",
        'from "std/activations.net" import leaky_relu as_is\nf = 1'.replace(" as_is\nf = 1", "\nf = leaky_relu"),
    )
    assert made(tmp_path, main=main).instances[0].type == "leaky_relu"
    assert failure(tmp_path, main='from "std/activation.net" import relu6\n' + main).help


@pytest.mark.parametrize("path", ["../secret.net", "/etc/passwd", "a/../../secret.net", "//etc/passwd"])
def test_paths_stay_inside_the_directory_of_the_program(tmp_path, path):
    (tmp_path / "secret.net").write_text("value = 1")
    inside = tmp_path / "program"
    inside.mkdir()
    found = failure(inside, main=body("output y = s.value", f'import "{path}" as s'))
    assert "directory" in found.message


def test_links_do_not_lead_outside(tmp_path):
    (tmp_path / "secret.net").write_text("value = 1")
    inside = tmp_path / "program"
    inside.mkdir()
    (inside / "link.net").symlink_to(tmp_path / "secret.net")
    assert "directory" in failure(inside, main=body("output y = s.value", 'import "link.net" as s')).message


def test_files_that_import_one_another(tmp_path):
    found = failure(tmp_path, main='import "other.net"\n' + body("output y = [1]"), other='import "main.net"\na = 1')
    assert found.code == "DG514" and "main.net" in found.message


def test_a_file_that_is_not_there(tmp_path):
    assert failure(tmp_path, main='import "other.net"\n' + body("output y = [1]")).code == "DG206"


def test_a_name_that_a_file_does_not_have(tmp_path):
    assert (
        failure(tmp_path, main='from "blocks.net" import blok\n' + body("output y = [1]"), blocks=BLOCKS).help
        == "did you mean `block`?"
    )
    main = body("input x[N, 3]\noutput y = x -> blocks.blok", 'import "blocks.net"')
    assert failure(tmp_path, main=main, blocks=BLOCKS).help == "did you mean `block`?"


def test_a_name_is_declared_once(tmp_path):
    found = failure(
        tmp_path, main='from "blocks.net" import block\nfn block(x) = x\n' + body("output y = [1]"), blocks=BLOCKS
    )
    assert found.code == "DG205"


def test_problems_in_another_file_are_shown_there(tmp_path):
    main = body("input x[N, 3]\noutput y = x -> other.f", 'import "other.net"')
    found = failure(tmp_path, main=main, other="\nlayer f()(x) { return x + missing }")
    assert found.span.source.name.endswith("other.net") and found.span.line == 2


def test_tables(tmp_path):
    np.save(tmp_path / "table.npy", np.arange(6.0).reshape(2, 3))
    found = made(tmp_path, main=body('input x[N, 3]\nt = constant("table.npy")\noutput y = x @ transpose(t, 0, 1)'))
    assert values_of(found, x=np.eye(3))["y"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_tables_stay_inside_and_hold_no_code(tmp_path):
    inside = tmp_path / "program"
    inside.mkdir()
    np.save(tmp_path / "table.npy", np.zeros(2))
    assert "directory" in failure(inside, main=body('output y = constant("../table.npy")')).message
    np.save(inside / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert failure(inside, main=body('output y = constant("evil.npy")'))
    (inside / "broken.npy").write_bytes(b"\x93NUMPY no more")
    assert failure(inside, main=body('output y = constant("broken.npy")'))
    assert failure(inside, main=body('output y = constant("missing.npy")'))


# ---------------------------------------------------------------- what would exhaust the machine


@pytest.fixture
def small_limits(monkeypatch):
    """Limits that are reached sooner, so that these tests are short."""
    monkeypatch.setattr("diffgraph.language.limits._current", Limits(nodes=5_000))


@pytest.mark.parametrize("statements", [
    "a = 10^10^10",
    "a = 9^9999999",
    "a = 2\nfor i in 0..100 { a = a * a }",
    "a = 3\nfor i in 0..100 { a = a^a }",
    "a = [1]\nfor i in 0..100 { a = a + a }",
    "a = \"x\"\nfor i in 0..100 { a = \"{a}{a}\" }",
    "a = \"x\"\nfor i in 0..100 { a = a + a }",
    "for i in 0..1000000000 { a = i }",
    "for i in 0..2000 { for j in 0..2000 { a = i } }",
    "a = 0..10^12",
    "a = []\nfor i in 0..60 { a = [a, a] }\nb = \"{a}\"",
    "for i in 0..200000 { a = x -> relu }",
    "for i in 0..200000 { x = x + 1\nz = x }",
    "param w[10^6, 10^6] = 0",
    "a = 1 / 3\nfor i in 0..100 { a = a * a + 1 / 7 }",
    "a = reshape(x, [1])\nfor i in 0..64 { a = concat(a, a, axis = 0) }\nparam w[a.shape] = 0",
    "b = 1.5\nfor i in 0..100 { b = b^b }",
    "a = []\nfor i in 0..1000 { for j in 0..1000 { a = a + [j] } }",
    "a = f0(1)",
    "x = x -> f(f, f)",
], ids=str)  # fmt: skip
def test_exhaustion_is_refused(statements, small_limits):
    head = "fn f(x, g, h) = g(g(g(x, g, h), g, h), g, h)\n"
    head += "\n".join(f"fn f{i}(x) = f{i + 1}(x) + f{i + 1}(x)" for i in range(40)) + "\nfn f40(x) = x"
    start = time.process_time()
    try:
        network(body(f"input x[N]\n{statements}\noutput y = x", head))
    except DiffgraphError:
        pass
    assert time.process_time() - start < 5


def test_omega():
    found = problem(body("output y = w(w)", "fn w(f) = f(f)"))
    assert found.code == "DG590"


def test_deep_expressions():
    for text in (
        "(" * 5000 + "1" + ")" * 5000,
        "-" * 5000 + "1",
        "[" * 5000 + "]" * 5000,
        "1" + " + 1" * 20000,
        "not " * 3000 + "true",
    ):
        start = time.perf_counter()
        try:
            network(body(f"output y = [{text}]"))
        except DiffgraphError:
            pass
        assert time.perf_counter() - start < 10


def test_long_pipes_and_chains_of_declarations():
    network(body("input x[N]\noutput y = x" + " -> relu" * 2000))
    chain = "\n".join(f"a{i} = a{i + 1} + 1" for i in range(2000)) + "\na2000 = 0"
    try:
        network(body("output y = [a0]", chain))
    except DiffgraphError:
        pass


def test_compositions_that_double(small_limits):
    head = "a0 = relu -> relu\n" + "\n".join(f"a{i + 1} = a{i} -> a{i}" for i in range(40))
    assert problem(body("input x[N]\noutput y = x -> a40", head)).code == "DG591"


@pytest.mark.parametrize(
    "text",
    [
        "output y = x" + " -> relu" * 1_500,
        "".join(f"x = x -> linear(4) -> dropout(0.{k})\n" for k in range(1_000, 1_120)) + "output y = x",
        "".join(f"x = x -> batchnorm(0.{k})\n" for k in range(1_000, 1_080)) + "output y = x",
        "for i in 0..800 { x[n, d] = x[n, d] + i }\noutput y = x",
        "y = x\nfor i in 0..12 { y = grad(sum(exp(x) * sin(x * y)), x) }\noutput y",
        "a = []\nfor i in 0..5000 { a = a + [i] }\noutput y = x",
        "y = x[0, 0]\n" + "y = scan t in 0..9 from h = 0.0 { next h = h + 1 }\n" * 120 + "output y",
    ],
)
def test_work_is_counted_for_what_it_costs(text, monkeypatch):
    monkeypatch.setattr("diffgraph.language.limits._current", Limits(nodes=6_000))
    assert problem(body("input x[N, 4]\n" + text)).code == "DG591"


def test_a_deep_network_of_few_blocks_is_within_the_limits(monkeypatch):
    monkeypatch.setattr("diffgraph.language.limits._current", Limits(nodes=15_000))
    blocks = "for s in 0..3 { for b in 0..20 { x = x -> basic_block(16 * 2^s, 2 if b == 0 and s > 0 else 1) } }"
    head = 'from "std/vision/resnet.net" import basic_block'
    network(body(f"input x[N, 16, 8, 8]\n{blocks}\noutput y = x -> global_avgpool -> linear(10)", head), training=True)


def test_sizes_of_many_divisions():
    text = "input x[N, 4]\na = N\nfor i in 0..600 { a = a // 3 + N // (i + 2) }\noutput y = x * a"
    assert problem(body(text)).code == "DG598"


def test_nets_in_nets():
    inner = "net a0 { input x[N, 4]\noutput y = x + 1 }\n"
    nets = "\n".join(f"net a{k + 1} {{ input x[N, 4]\noutput y = x -> a{k} -> a{k} }}" for k in range(5))
    made = elaborate(load_text(inner + nets), "a5")
    assert len([i for i in made.instances if i.type == "a0"]) == 32


def test_residual_networks_elaborate_in_linear_time():
    from pathlib import Path

    module = load_module(Path(__file__).parents[2] / "examples" / "resnet.net")
    elaborate(module, "resnet50", training=True)

    def seconds(depths):
        start = time.perf_counter()
        elaborate(module, "resnet50", settings={"depths": depths}, training=True)
        return time.perf_counter() - start

    # ResNet-152 has 3 times as many blocks as ResNet-50.
    small, large = (min(seconds(depths) for _ in range(2)) for depths in ("[3, 4, 6, 3]", "[3, 8, 36, 3]"))
    assert large < 8 * small
