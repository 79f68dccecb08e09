"""Programs print as `.net` that reads back to the same program."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffgraph.autodiff.differentiate import gradients
from diffgraph.ir.absorb import absorb
from diffgraph.ir.affine import index
from diffgraph.ir.canonical import canonical_term
from diffgraph.ir.form import Form, alone_index
from diffgraph.ir.interpret import interpret
from diffgraph.ir.program import Builder, Definition, Output, Program, Scan, Term
from diffgraph.ir.rewrite import substitute
from diffgraph.ir.simplify import add, is_zero
from diffgraph.ir.text import show
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_module, load_text

EXAMPLES = Path(__file__).parents[2] / "examples"


def with_gradients(module) -> Program:
    """The training program of a net with the gradient of its losses by every float input."""
    network = elaborate(module, training=True)
    builder = Builder(network.program)
    wrt = [i.tensor.name for i in network.program.inputs if i.tensor.kind == "float" and i.role != "run"]
    found = gradients(builder, [(loss.tensor, None) for loss in network.losses], wrt)
    builder.outputs += [Output(f"g_{name}", gradient) for name, gradient in found.items() if gradient]
    return builder.program()


def read_back(program: Program) -> Program:
    return elaborate(load_text(show(program)), training=True).program


def pointwise_together(terms: list[Term]) -> list[Term]:
    """Addends without a reduction are one term in the language."""
    plain = [t for t in terms if t.form.is_pointwise and t.form.op == "sum"]
    if len(plain) < 2:
        return terms
    names = list(dict.fromkeys(o for t in plain for o in t.operands))
    of = {o: operand for t in plain for o, operand in zip(t.operands, t.form.operands)}
    kinds = [of[o].kind for o in names]
    shape = plain[0].form.shape
    bodies = []
    for term in plain:
        places = {alone_index(w): index(k) for k, w in enumerate(term.form.write)}
        slots = {slot: names.index(o) for slot, o in enumerate(term.operands)}
        bodies.append(substitute(term.form.body, places, shape, slots, kinds))
    write = tuple(index(k) for k in range(len(shape)))
    form = Form(shape, "sum", write, shape, tuple(of[o] for o in names), add(*bodies, kinds=kinds))
    return [*(t for t in terms if t not in plain), canonical_term(Term(form, tuple(names)))]


def meaning(statement):
    """What a statement defines, in canonical form."""
    if not isinstance(statement, Definition):
        return replace(statement, provenance=())
    terms = [canonical_term(replace(t, form=absorb(t.form))) for t in statement.terms]
    terms = [t for t in pointwise_together(terms) if not is_zero(t.form.body)]
    return statement.tensor, sorted((t.form.digest, t.operands) for t in terms)


EXACT = ["lenet", "siren", "unet", "inception", "lion", "deblur"]


@pytest.mark.parametrize("name", EXACT)
def test_reads_back_as_the_same_program(name):
    program = with_gradients(load_module(EXAMPLES / f"{name}.net"))
    again = read_back(program)
    assert list(again.maker) == list(program.maker)
    for one, other in zip(program.statements, again.statements):
        assert meaning(one) == meaning(other)
    assert [(c.state, c.tensor) for c in program.commits] == [(c.state, c.tensor) for c in again.commits]
    assert [o.tensor for o in program.outputs] == [o.tensor for o in again.outputs]


def values_for(program: Program, seed=0):
    random = np.random.default_rng(seed)
    values = {}
    for given in program.inputs:
        shape = [size if isinstance(size, int) else 3 for size in given.tensor.shape]
        if given.tensor.kind == "int":
            values[given.tensor.name] = random.integers(0, given.tensor.bound or 4, shape)
        else:
            values[given.tensor.name] = random.standard_normal(shape) / 2
    return values


@pytest.mark.parametrize("name", ["projectile", "rows"])
def test_scans_and_their_derivatives_read_back_with_the_same_values(name):
    program = with_gradients(load_module(EXAMPLES / f"{name}.net"))
    assert any(isinstance(s, Scan) and s.reverse for s in program.statements)
    again = read_back(program)
    values = values_for(program)
    first = interpret(program, values)
    given = {i.tensor.name: values[i.tensor.name] for i in again.inputs}
    second = interpret(again, given)
    for one, other in zip(program.outputs, again.outputs):
        np.testing.assert_allclose(second[other.tensor], first[one.tensor], rtol=1e-9, atol=1e-12)


def shown(text: str) -> list[str]:
    """The definitions of the gradients of a net, without comments."""
    lines = show(with_gradients(load_text(text))).splitlines()
    return [line.strip() for line in lines if line.strip().startswith("d_")]


def test_linear_reads_like_a_textbook():
    lines = shown(
        """
        net model {
            input x[N, 5]
            y = x -> linear(3)
            loss sum(y^2)
        }
        """
    )
    assert "d_linear1_weight[u, d] = sum[n](x[n, d] * d_linear1_y[n, u])" in lines
    assert "d_x[n, d] = sum[u](linear1_weight[u, d] * d_linear1_y[n, u])" in lines
    assert "d_linear1_bias[u] = sum[n](d_linear1_y[n, u])" in lines


def test_writes_print_as_equalities():
    lines = shown(
        """
        net model {
            input x[N, 9]
            input t[4]: int < 9
            y[n, i < 4] = sum[p < 3](x[n, 2 * i + p])
            z[n, k] = x[n, t[k]]
            loss sum(y) + sum(z)
        }
        """
    )
    (line,) = [line for line in lines if line.startswith("d_x")]
    assert "if k == 2 * i + j else 0" in line
    assert "if k == t[" in line


@pytest.mark.parametrize(
    "body",
    [
        "x[n, i] * 0.1 + 1e-30",
        "-x[n, i]^2 - 1",
        "(x[n, i] - 1) * (x[n, i] + 2.5) / (x[n, i]^2 + 3)^2",
        "2^x[n, i] + x[n, i]^7 + x[n, i]^0.5 + x[n, i]^(-2)",
        "x[n, i] / 7 / (x[n, i] / 49)",
        "(x[n, i - 1] else inf) + (x[n, i + 1] else -0.5)",
        "max(x[n, i], 0.5) - min(x[n, i] * 2, i)",
        "x[n, i] if not (i > 1 or n < 2) and x[n, i] < i / 2 else -inf",
        "abs(x[n, (2 * i + n) % 5]) * (n // 2) - i % 2 + clamp(3 * i - 4, 0, 4)",
        "x[n, clamp(2 * i - 3, 0, 4)]",
        "atan2(x[n, i], 1 + i) + stop_gradient(x[n, i])",
        "1 if x[n, i] != 0.25 else 2",
        "int(x[n, i] * 10) % 3",
        "random(4, step, 77, 5 * n + i) + step * x[n, i]",
        "pi * x[n, i] - 1.7976931348623157e308 * x[n, i]",
    ],
)
def test_expressions_read_back(body):
    source = f"net model {{\n input x[N, 5]\n y[n, i < 5] = {body}\n output y\n}}"
    program = elaborate(load_text(source)).program
    again = elaborate(load_text(show(program))).program
    assert list(again.maker) == list(program.maker)
    for one, other in zip(program.statements, again.statements):
        assert meaning(one) == meaning(other), show(program)
    assert without_comments(show(again)) == without_comments(show(program))


def without_comments(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.strip().startswith("#")]


def test_states_checks_and_names_that_are_words():
    source = """
    net model {
        input x[N, 5]
        state total[5] = 0
        total <- total + sum(x, axis = 0)
        assert sum(x^2) < 100, "a {{brace}} and a \\"quote\\""
        loss sum(x * total)
    }
    """
    program = elaborate(load_text(source), training=True).program
    text = show(program)
    assert "state total[5] = 0" in text
    again = elaborate(load_text(text), training=True).program
    assert again.checks[0].message == program.checks[0].message
    assert [(c.state, c.tensor) for c in again.commits] == [(c.state, c.tensor) for c in program.commits]
    assert [o.tensor for o in again.outputs] == [o.tensor for o in program.outputs]


def test_gradients_of_ones_own_read_back():
    source = """
    fn rough(x) = round(x) with gradient(dy) { d[n, i] = dy[n, i] * x.shape[0]; return d }
    net model {
        input x[N, 5]
        y = rough(x * 2)
        loss sum(y^2)
    }
    """
    program = with_gradients(load_text(source))
    again = read_back(program)
    values = values_for(program)
    for one, other in zip(program.outputs, again.outputs):
        found = interpret(again, values)[other.tensor]
        np.testing.assert_array_equal(found, interpret(program, values)[one.tensor])
    twice = with_gradients(load_text(show(elaborate(load_text(source)).program).replace("output", "loss")))
    assert "rough" in show(twice)


def test_sorting_reads_back():
    source = "net model {\n input x[N, 5]\n y = sort(x, descending = true)\n output y\n}"
    program = elaborate(load_text(source)).program
    again = elaborate(load_text(show(program))).program
    assert [meaning(s) for s in again.statements] == [meaning(s) for s in program.statements]
