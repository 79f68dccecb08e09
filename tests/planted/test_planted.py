"""Mistakes planted on purpose: each must be caught by the kind of check that the suite lives on.

A check that never fails proves nothing. For every mistake below one of the oracles (finite differences, the interpreter
against the passes, the rules of shapes, formulas written with NumPy) has to raise.
"""

import sys
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from diffgraph.autodiff import adjoint as adjoints
from diffgraph.autodiff import differentiate
from diffgraph.diagnostics import DiffgraphError
from diffgraph.inspect.gradcheck import compare_gradients
from diffgraph.inspect.samples import sample_inputs
from diffgraph.inspect.stages import gradient_program
from diffgraph.ir import scalar
from diffgraph.ir.expression import Const
from diffgraph.ir.interpret import interpret
from diffgraph.ir.verify import verify
from diffgraph.language import core_functions, extents, reductions, session, tensors
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text
from diffgraph.passes import cse, pipeline

NET = """
net checked {
    input  x[N, 2, 5]
    target y[N, 3]
    param scale[2] = [0.7, -1.3]
    h[n, c, i] = tanh(scale[c] * x[n, c, i]) + (x[n, c, i - 1] else 0) * sigmoid(scale[c] + x[n, c, i])
    m[n, c] = max[i](h[n, c, i]) + prod[i < 3](1 + h[n, c, i] / 4)
    r = relu(h) / (1 + h^2) + where(h > 0.2, softplus(h), exp(-h)) + max(h, 0.1 * h)
    u = mean(r, axis = 2)
    t = concat(m, u, axis = 1) -> linear(3)
    first[n] = sum[c](m[n, c]^2)
    second[n] = sum[c](u[n, c]^2)
    z[n, k] = t[n, k] + sum[c](m[n, c] * scale[c]) + first[n] - second[n] / 3
    output z
    loss mean((z - y)^2) + 0.1 * mean(exp(-relu(h))) + mean(log(1 + h^2))
}"""

WRONG_SHAPES = [
    "net n { input x[N, 3]; input y[N, 4]; output z = x + y }",
    "net n { input x[N, 3]; z[n, i < 3] = x[n, i + 1]; output z }",
    "net n { input x[N, 3]; output z = reshape(x, [N, 4]) }",
    "net n { input x[N, 3]; input y[N, 4]; output z = concat(x, y, axis = 0) }",
    "net n { input x[N, 3]; input w[4, 2]; output z = x @ w }",
]


def values_of(network, program):
    start = interpret(network.initial, {i.tensor.name: 3 for i in network.initial.inputs if i.role == "run"})
    known = {o.name: start[o.tensor] for o in network.initial.outputs} | sample_inputs(network, seed=5)
    return {i.tensor.name: known.get(i.path, 1) for i in program.inputs if i.table is None}


def derivatives_agree():
    """Every derivative against finite differences."""
    network = elaborate(load_text(NET), training=True)
    program = gradient_program(network)
    values = values_of(network, program)
    found = interpret(program, values)
    paths = {i.path: i.tensor.name for i in program.inputs}
    gradients = {
        paths[o.name.removeprefix("gradient of ")]: found[o.tensor] for o in program.outputs if "gradient of" in o.name
    }
    assert len(gradients) == 3
    loss = network.losses[0].tensor
    for c in compare_gradients(lambda v: float(interpret(network.program, v, keep=[loss])[loss]), gradients, values):
        assert c.ok, c


def passes_agree():
    """Every pass against the interpreter on the program before."""
    network = elaborate(load_text(NET), training=True)
    program = gradient_program(network)
    values = values_of(network, program)
    before = interpret(program, values)
    for stage in pipeline.stages(program):
        verify(stage.program, stage.name)
        after = interpret(stage.program, values)
        for a, b in zip(program.outputs, stage.program.outputs):
            np.testing.assert_allclose(after[b.tensor], before[a.tensor], rtol=1e-10, atol=1e-12)


def shapes_are_checked():
    """Wrong shapes are refused, and sizes come out as the formula says."""
    for text in WRONG_SHAPES:
        with pytest.raises(DiffgraphError):
            elaborate(load_text(text))
    network = elaborate(load_text("net n { input x[N, 1, 11, 9]; output x -> conv(2, 3, 2, pad = 1) as c }"))
    assert str(network.program.tensors[network.outputs[0].tensor].shape) == "(N, 2, 6, 5)"
    network = elaborate(load_text("net n { input x[9]; y[i] = x[2 * i + 1]; output y }"))
    assert network.program.tensors[network.outputs[0].tensor].shape == (4,)


def values_are_right():
    """Values against NumPy."""
    text = "net n { input x[N, 4]; output a = softmax(x); output b = mean(x, axis = 1); output c = x @ transpose(x)"
    network = elaborate(load_text(f"{text}; output d = transpose(reshape(x, [N, 2, 2]), 1, 2) }}"))
    x = np.random.default_rng(0).standard_normal((3, 4))
    found = interpret(network.program, {network.inputs[0].tensor.name: x})
    a, b, c, d = (found[o.tensor] for o in network.outputs)
    np.testing.assert_allclose(a, np.exp(x) / np.exp(x).sum(1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(b, x.mean(1), rtol=1e-12)
    np.testing.assert_allclose(c, x @ x.T, rtol=1e-12)
    np.testing.assert_allclose(d, x.reshape(3, 2, 2).transpose(0, 2, 1), rtol=1e-12)


CHECKS = (derivatives_agree, passes_agree, shapes_are_checked, values_are_right)


def call(name, *args):
    return scalar._call(name, *args)


def wrong_derivative(name, derivative):
    """A row of the table with another derivative."""
    return lambda patch: patch.setitem(scalar.FUNCTIONS, name, replace(scalar.FUNCTIONS[name], derivative=derivative))


def wrong_pass(name, step):
    """A pass of the pipeline with another meaning."""
    wrong = tuple((n, step if n == name else own) for n, own in pipeline.PIPELINE)
    return lambda patch: patch.setattr(pipeline, "PIPELINE", wrong)


def wrong(owner, name, value):
    """A function that does something else."""
    return lambda patch: patch.setattr(owner, name, value)


def without_last_terms(program, report):
    changed = [replace(s, terms=s.terms[:-1]) if len(getattr(s, "terms", ())) > 1 else s for s in program.statements]
    return program.with_(statements=tuple(changed))


def without_first_statement(program, report):
    return program.with_(statements=program.statements[1:])


def with_last_operand_doubled(program, report):
    """Every term reads its last operand in all slots of that shape."""
    changed = []
    for s in program.statements:
        terms = []
        for t in getattr(s, "terms", ()):
            last = t.operands[-1:] * len(t.operands)
            same = all(o == t.form.operands[-1] for o in t.form.operands)
            terms.append(replace(t, operands=last) if same else t)
        changed.append(replace(s, terms=tuple(terms)) if terms else s)
    return program.with_(statements=tuple(changed))


def key_without_operands(statement):
    terms = getattr(statement, "terms", None)
    return None if terms is None else tuple(t.form.digest for t in terms)


def scattered_gradient(form, alone=True, real=adjoints.adjoint.__wrapped__):
    """The adjoint with the cotangent read everywhere, also where an extreme was not."""
    return real(replace_op(form), alone)


def replace_op(form):
    from diffgraph.ir.form import Form

    op = "sum" if form.op in ("max", "prod") else form.op
    return Form(form.domain, op, form.write, form.shape, form.operands, form.body)


MISTAKES = {
    "tanh: 1 + y^2": wrong_derivative("tanh", lambda c: (call("add", 1.0, call("mul", c, c)),)),
    "sigmoid: y": wrong_derivative("sigmoid", lambda c: (c,)),
    "relu: 1 everywhere": wrong_derivative("relu", lambda c: (Const(1.0),)),
    "exp: x": wrong_derivative("exp", lambda c: (c.args[0],)),
    "log: -1 / x": wrong_derivative("log", lambda c: (call("mul", -1.0, call("recip", c.args[0])),)),
    "recip: y^2": wrong_derivative("recip", lambda c: (call("mul", c, c),)),
    "softplus: 1": wrong_derivative("softplus", lambda c: (Const(1.0),)),
    "max of two: to the second": wrong_derivative("max", lambda c: (None, Const(1.0))),
    "add: to the first only": wrong_derivative("add", lambda c: (Const(1.0), *(None for _ in c.args[1:]))),
    "where: sides exchanged": wrong_derivative(
        "where", lambda c: (None, call("where", c.args[0], 0.0, 1.0), call("where", c.args[0], 1.0, 0.0))
    ),
    "max and prod: the adjoint of a sum": wrong(differentiate, "adjoint", scattered_gradient),
    "a pass loses a term": wrong_pass("fold", without_last_terms),
    "a pass loses a definition": wrong_pass("dce", without_first_statement),
    "a pass mixes up operands": wrong_pass("fuse", with_last_operand_doubled),
    "cse: operands ignored": wrong(cse, "_key", key_without_operands),
    "shapes: sizes never compared": wrong(session.Session, "require_equal", lambda *a, **k: None),
    "shapes: ranges of reads never checked": wrong(extents._Solver, "check", lambda *a, **k: None),
    "shapes: one window too many": wrong(core_functions.sizes, "floor_of", lambda a, b: a // b + 1),
    "mean: the count forgotten": wrong(reductions, "Fraction", lambda *a: 1),
    "transpose: the other axes": wrong(
        tensors, "axis_of", lambda axis, rank, span, real=reductions.axis_of: (real(axis, rank, span) + 1) % rank
    ),
    "reshape: the count of elements never compared": wrong(tensors, "product", lambda sizes: 1),
}


@contextmanager
def planted(change):
    """A mistake, with every memo that could hide it forgotten before and after."""
    patch = pytest.MonkeyPatch()
    forget()
    try:
        change(patch)
        yield
    finally:
        patch.undo()
        forget()


def forget():
    for name, module in list(sys.modules.items()):
        if name.startswith("diffgraph.") and not name.endswith(("module", "tables")):
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


def test_nothing_is_wrong_to_begin_with():
    for check in CHECKS:
        check()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_caught(mistake):
    with planted(MISTAKES[mistake]):
        for check in CHECKS:
            try:
                check()
            except (Exception, pytest.fail.Exception):
                return
    pytest.fail(f"nothing noticed: {mistake}")


def test_there_are_twenty():
    assert len(MISTAKES) >= 20
