"""What passes decide, and what they must not do."""

import re

import numpy as np
import pytest
from blocks import differentiated

from diffgraph.inspect.stages import gradient_program
from diffgraph.ir.dimension import symbols
from diffgraph.ir.interpret import interpret
from diffgraph.ir.program import Definition, Reshape, Scan, walk
from diffgraph.ir.verify import verify
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text
from diffgraph.passes.canonicalize import canonicalize
from diffgraph.passes.contract import contract
from diffgraph.passes.cse import cse
from diffgraph.passes.dce import dce
from diffgraph.passes.fuse import fuse
from diffgraph.passes.hoist import hoist
from diffgraph.passes.pack import split_packed
from diffgraph.passes.pipeline import PIPELINE, optimize, stages
from diffgraph.passes.prepare import split_prepared
from diffgraph.passes.report import Report
from examples import examples, program_of, signature
from program_maker import random_program


def training_program(statements: str):
    """A program in training mode, with the gradients of its loss."""
    return gradient_program(elaborate(load_text(f"net example {{\n{statements}\n}}"), training=True))


def after(step, text: str):
    """A program after canonicalization and a pass, and what the pass reported."""
    report = Report()
    return step(canonicalize(program_of(text), Report()), report), report


def names(program) -> list[str]:
    return [t.name for s in program.statements for t in s.results]


def values_of(program, sizes):
    rng = np.random.default_rng(1)
    given = {}
    for i in program.inputs:
        shape = [s if isinstance(s, int) else sizes[str(s)] for s in i.tensor.shape]
        whole = i.tensor.kind == "int"
        given[i.tensor.name] = rng.integers(0, i.tensor.bound or 3, shape) if whole else rng.standard_normal(shape)
    return given


def agree(program, optimized, values):
    expected, found = interpret(program, values), interpret(optimized, values)
    for a, b in zip(program.outputs, optimized.outputs, strict=True):
        np.testing.assert_allclose(found[b.tensor], expected[a.tensor], rtol=1e-9, atol=1e-11, err_msg=a.name)


# ----------------------------------------------------------------------------------------- what must not be done


def test_two_draws_are_two():
    text = "input x[N, 3]\na = x -> dropout(0.5)\nb = x -> dropout(0.5)\noutput a\noutput b"
    program = elaborate(load_text(f"net example {{\n{text}\n}}"), training=True).program
    found = cse(canonicalize(program, Report()), Report())
    first, second = (found.output(o.name) for o in found.outputs)
    assert first != second
    values = {i.tensor.name: np.ones((40, 3)) if i.role == "input" else 3 for i in program.inputs}
    results = interpret(found, values)
    assert np.any(results[first] != results[second])


def test_a_draw_that_several_read_is_drawn_once():
    drawn = "k[n, i] = 0 * x[n, i] + random(7, 1, 5, 3 * n + i)"
    text = f"input x[N, 3]\n{drawn}\na[n, i] = x[n, i] * k[n, i]\nb = sum(k)\noutput a\noutput b"
    found, report = after(fuse, text)
    assert "k" in names(found)
    assert any("drawn once" in e.text for e in report.entries if not e.done)


def test_results_commits_and_checks_stay():
    text = """
    input x[N, 3]
    target y[N, 2]
    h = x -> linear(2) -> batchnorm
    assert all[n, i](x[n, i] < 100), "too large"
    output h
    loss mse(h, y)
    """
    program = training_program(text)
    assert program.commits
    found = optimize(program)
    assert [o.name for o in found.outputs] == [o.name for o in program.outputs]
    assert [c.state for c in found.commits] == [c.state for c in program.commits]
    assert len(found.checks) == len(program.checks) and found.inputs == program.inputs


def test_a_user_s_own_gradient_is_not_merged_away_before_it_is_used():
    text = """
    input  x[N, 3]
    target t[N, 3]
    a[n, i] = sign(x[n, i])
    w = x -> linear(3)
    b = sign_ste(w)
    output b
    loss mse(a + b, t)
    """
    source = "fn sign_ste(x) = sign(x) with gradient(dy) = dy\nnet example {" + text + "}"
    network = elaborate(load_text(source), training=True)
    program = gradient_program(network)
    assert any(isinstance(s, Definition) and s.gradient for s in cse(network.program, Report()).statements)
    found = optimize(program)
    assert not any(isinstance(s, Definition) and s.gradient for s in walk(found))
    agree(program, found, values_of(program, {"N": 4}))
    gradient = next(o for o in found.outputs if "weight" in o.name)
    assert np.any(interpret(found, values_of(program, {"N": 4}))[gradient.tensor] != 0)


def test_conditions_keep_what_is_undefined_out_of_results():
    # 1 / s is infinite where the condition fails.
    text = "input x[N, 3]\ninput s[N]\ny[n] = sum[i](x[n, i] / s[n] if s[n] != 0 else 0)\noutput y"
    found, _ = after(hoist, text)
    values = {"x": np.ones((2, 3)), "s": np.array([0.0, 2.0])}
    np.testing.assert_array_equal(interpret(found, values)[found.output("y")], [0, 1.5])


# ----------------------------------------------------------------------------------------------- what is decided


def test_the_two_sums_of_a_normalization_are_found_equal():
    # d_beta and the sum in d_mu; d_gamma and the sum in d_var.
    program = differentiated(1)
    merged = cse(hoist(canonicalize(program, Report()), Report()), Report())
    separate = hoist(canonicalize(program, Report()), Report())
    assert len(separate.statements) - len(merged.statements) >= 2


def test_a_chain_of_maps_becomes_one():
    text = "input x[N, 8]\na = x * 2 + 1\nb = tanh(a)\nc = b * b\ny = c - 1\noutput y"
    found, _ = after(fuse, text)
    assert names(found) == ["y"]


def test_what_a_contraction_reads_stays_a_tensor():
    text = "input x[N, 8]\ninput w[4, 8]\nr = relu(x)\ny[n, o] = sum[d](w[o, d] * r[n, d])\noutput y"
    found, report = after(fuse, text)
    assert names(found) == ["r", "y"]
    (reason,) = [e for e in report.entries if not e.done]
    assert reason.text == "r stays a tensor: y reads each element several times" and reason.provenance


def test_what_a_contraction_reads_through_a_view_stays_a_tensor():
    text = """input x[N, 8]\ninput w[4, 4]\nr = relu(x)\nleft[n, i < 4] = r[n, i]
    right[n, i < 4] = r[n, i + 4]\ny[n, o] = sum[i](w[o, i] * right[n, i])\noutput y\noutput left"""
    found, report = after(fuse, text)
    assert "r" in names(found)
    assert "r stays a tensor: y reads each element several times" in [e.text for e in report.entries if not e.done]


def test_a_reduction_takes_its_map_with_it():
    text = "input x[N, 8]\ns = exp(x * 0.1)\ny[n] = sum[d](s[n, d])\noutput y"
    found, _ = after(fuse, text)
    assert names(found) == ["y"]


def test_what_a_view_has_become_is_not_computed_in_a_window():
    text = (
        "input x[N, 8, 4]\ninput w[4, 3]\na[n, t, c] = exp(x[n, t, c])\nb[n, c, t] = a[n, t, c]\n"
        "y[n, c, i < 6] = sum[p](w[c, p] * b[n, c, i + p])\noutput y"
    )
    found, _ = after(fuse, text)
    assert len(found.statements) == 2 and "y" in names(found)


def test_a_mask_of_places_is_told_where_it_is_read():
    text = (
        "input x[N, 8, 8]\nmask[i < 8, j < 8] = j < i + 1\nm[n, i, j] = x[n, i, j] if mask[i, j] else -1\n"
        "low[n, i] = max[j](x[n, i, j] if mask[i, j] else -1)\noutput low\noutput m"
    )
    assert "mask" not in names(after(fuse, text)[0])


def test_costly_maps_are_not_repeated_and_cheap_ones_are():
    text = "input x[N, 8]\nm = {}\na = m - 1\nb = m * m\ny = a\noutput y\noutput b"
    assert "m" in names(after(fuse, text.format("tanh(x)"))[0])
    assert "m" not in names(after(fuse, text.format("x * 2"))[0])


def test_the_order_of_a_product_is_that_of_least_work():
    text = "input a[64, 64]\ninput b[64, 64]\ninput v[64]\ny[i] = sum[j, k](a[i, j] * b[j, k] * v[k])\noutput y"
    found, _ = after(contract, text)
    inner = found.statements[0]
    assert inner.tensor.shape == (64,), "the matrix times the vector first"
    assert all(len(t.form.domain) == 2 for s in found.statements for t in s.terms)


def test_what_only_one_operand_depends_on_is_summed_first():
    text = "input a[64, 32]\ninput b[32, 64]\ny[i] = sum[j, k](a[i, j] * b[j, k])\noutput y"
    found, _ = after(contract, text)
    assert [s.tensor.shape for s in found.statements] == [(32,), (64,)]


def test_a_product_that_is_cheapest_at_once_stays():
    text = "input a[N, 3]\ninput b[N, 3]\ninput c[N, 3]\ny[n] = sum[i](a[n, i] * b[n, i] * c[n, i])\noutput y"
    found, report = after(contract, text)
    assert len(found.statements) == 1 and not report.entries


def test_a_long_product_is_put_in_order():
    letters = "abcdefg"
    declared = "".join(f"input {c}[16, 16]\n" for c in letters)
    factors = " * ".join(f"{c}[i{k}, i{k + 1}]" for k, c in enumerate(letters))
    bound = ", ".join(f"i{k}" for k in range(1, 7))
    program = canonicalize(program_of(f"{declared}y[i0, i7] = sum[{bound}]({factors})\noutput y"), Report())
    found = contract(program, Report())
    assert len(found.statements) == 6
    values = values_of(program, {})
    expected = np.linalg.multi_dot([values[c] for c in letters])
    np.testing.assert_allclose(interpret(found, values)[found.output("y")], expected, rtol=1e-10)


# ---------------------------------------------------------------------------------------- where things come from


def test_no_pass_loses_where_things_come_from():
    program = differentiated(2)
    known = {o for s in program.statements for o in s.provenance}
    for stage in stages(program):
        for statement in stage.program.statements:
            assert statement.provenance, f"{statement.results[0].name} after {stage.name}"
            assert known.issuperset(statement.provenance)


def test_what_is_merged_carries_the_origins_of_all():
    text = "input x[N, 3]\na = exp(x)\nb = exp(x)\nh = a * 2\ny = h + b\noutput y"
    program = cse(canonicalize(program_of(text), Report()), Report())
    first = program.statements[0]
    assert len(first.provenance) == 2
    fused = fuse(program, Report())
    assert len(fused.statements[-1].provenance) >= 2


# -------------------------------------------------------------------------------------------- bodies and symbols


def test_bodies_of_scans_are_optimized_too():
    text = """
    input x[N, 6, 3]
    target y[N, 4]
    h = scan t in 0..6 from h = zeros([N, 4]) {
        a = x[:, t, :] -> linear(4, bias = false)
        b = tanh(a + 0.5 * h)
        unused = exp(b)
        next h = b * b
    }
    output h
    loss mse(h, y)
    """
    program = training_program(text)
    found = optimize(program)
    verify(found, "after all passes")
    before = sum(len(s.body.statements) for s in walk(program) if isinstance(s, Scan))
    assert sum(len(s.body.statements) for s in walk(found) if isinstance(s, Scan)) < before
    agree(program, found, values_of(program, {"N": 3}))


@pytest.mark.parametrize("height, width", [(8, 12), (6, 10)])
def test_sizes_that_are_symbols(height, width):
    text = """
    input  x[N, 2, H, W]
    target t[N, 3]
    h = x -> conv(3, 3, pad = 1) -> relu -> maxpool(2) -> conv(4, 3, 2, pad = 1) -> batchnorm
    h = h -> upsample(2) -> avgpool(2) -> silu
    p = h -> global_avgpool -> linear(3)
    output p
    loss mse(p, t)
    """
    program = training_program(text)
    assert len({s for t in program.tensors.values() for size in t.shape for s in symbols(size)}) == 3
    values = values_of(program, {"N": 2, "H": height, "W": width})
    for stage in stages(program):
        verify(stage.program, f"after {stage.name}")
        agree(program, stage.program, values)


def test_a_flattened_layer_divides_nothing():
    text = "input x[N, 2, 3, 5]\ny[n, f < 30] = tanh(x[n, f // 15, f // 5 % 3, f % 5])\noutput y"
    found = optimize(program_of(text))
    assert [type(s) for s in found.statements] == [Definition, Reshape]


# ---------------------------------------------------------------------------------------------------- as a whole


def test_optimizing_twice_changes_nothing_more():
    # What comes from `layout` on is about memory and threads; algebra would put its parts together again.
    algebra = [name for name, _ in PIPELINE].index("layout")
    once = optimize(differentiated(2), until=algebra)
    assert signature(optimize(once, until=algebra))[:2] == signature(once)[:2]


def test_deep_networks_have_few_distinct_forms():
    forms = lambda program: {t.form for s in walk(program) for t in getattr(s, "terms", ())}
    assert len(forms(optimize(differentiated(12)))) <= len(forms(optimize(differentiated(3)))) + 2


def test_a_program_of_nothing_stays_one():
    program = program_of("input x[N]\noutput y = x")
    for _, step in PIPELINE:
        program = step(program, Report())
    assert program.outputs and not dce(program, Report()).statements or len(program.statements) == 1


# -------------------------------------------------------------------------------------------------- preparation


def parts_agree(program, split, values):
    """The rest of a program, given what its preparation commits, gives what the program gives."""
    read = {i.tensor.name for i in split.preparation.inputs}
    made = interpret(split.preparation, {k: v for k, v in values.items() if k in read} | _nothing(split.preparation))
    targets = {i.path: i.tensor.name for i in split.preparation.inputs if i.role == "prepared"}
    news = {c.state: made[c.tensor] for c in split.preparation.commits}
    given = {i.tensor.name: news[targets[i.path]] for i in split.rest.inputs if i.role == "prepared"}
    given |= {i.tensor.name: values[i.tensor.name] for i in split.rest.inputs if i.tensor.name in values}
    expected, found = interpret(program, values), interpret(split.rest, given)
    for a, b in zip(program.outputs, split.rest.outputs, strict=True):
        np.testing.assert_allclose(found[b.tensor], expected[a.tensor], rtol=1e-12, err_msg=a.name)
    for a, b in zip(program.commits, split.rest.commits, strict=True):
        assert a.state == b.state
        np.testing.assert_allclose(found[b.tensor], expected[a.tensor], rtol=1e-12, err_msg=a.state)


def _nothing(preparation):
    return {i.tensor.name: np.zeros(i.tensor.shape) for i in preparation.inputs if i.role == "prepared"}


def test_the_example_of_prepare():
    before, rest = examples(split_prepared)
    split = split_prepared(before, Report())
    verify(split.preparation, "prepare")
    verify(split.rest, "prepare")
    assert signature(split.rest)[:2] == signature(rest)[:2]
    parts_agree(before, split, values_of(before, {"N": 2}) | {"v": np.array([1.0, 2.0, 3.0])})


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_in_two_parts(seed):
    program, values = random_program(seed)
    for made in (program, optimize(program)):
        split = split_prepared(made, Report())
        if split is not None:
            verify(split.preparation, "prepare")
            verify(split.rest, "prepare")
            assert not split.preparation.outputs and not {i.role for i in split.preparation.inputs} & {"input", "run"}
            parts_agree(made, split, values)


def test_some_random_programs_are_prepared():
    assert sum(split_prepared(random_program(seed)[0], Report()) is not None for seed in range(12)) > 3


# -------------------------------------------------------------------------------------------------- packing


def in_training(text: str):
    """A program that commits to its states."""
    return elaborate(load_text(f"net example {{\n{text}\n}}"), training=True).program


def test_the_example_of_pack():
    texts = re.split(r"(?:Before|The steps):\n", split_packed.__doc__)[1:]
    before, steps = (in_training(text) for text in texts)
    packing = split_packed(before, Report())
    for part in (packing.pack, packing.steps, packing.unpack):
        verify(part, "pack")
    assert signature(packing.steps)[:2] == signature(steps)[:2]
    assert [packing.steps.tensors[c.state].shape for c in packing.steps.commits] == [(3, 4)]


def test_a_state_that_others_want_as_it_is_stays_so():
    text = """
        input x[N, 3]
        state w[4, 3] = 1
        v[d, u] = w[u, d]
        y[n, u] = sum[d](v[d, u] * x[n, d])
        z[n, d] = sum[u](w[u, d] * y[n, u])
        w_new[u, d] = w[u, d] - sum[n](x[n, d] * y[n, u])
        output OUTPUT
        w <- w_new
    """
    assert split_packed(dce(in_training(text.replace("OUTPUT", "z")), Report()), Report()) is None
    assert split_packed(dce(in_training(text.replace("OUTPUT", "y")), Report()), Report()) is not None
