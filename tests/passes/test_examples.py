"""Every pass does what its docstring says."""

from dataclasses import replace

import numpy as np
import pytest

from diffgraph.ir.inline import replace_body
from diffgraph.ir.interpret import interpret
from diffgraph.ir.verify import verify
from diffgraph.passes.canonicalize import canonicalize
from diffgraph.passes.pipeline import PIPELINE
from diffgraph.passes.report import Report
from diffgraph.passes.select import select
from examples import examples, program_of, signature

PASSES = dict(PIPELINE)


def values(program, batch=2):
    rng = np.random.default_rng(0)
    given = {}
    for i in program.inputs:
        shape = [s if isinstance(s, int) else batch for s in i.tensor.shape]
        given[i.tensor.name] = 1 if i.role == "run" else rng.standard_normal(shape)
    return given


def given_to(name):
    """The example of a pass as the pass gets it: in canonical form, the addends of a sum being terms for `fold`."""
    before, after = examples(PASSES[name])
    if name != "canonicalize":
        before = canonicalize(before, Report())
    return (addends_as_terms(before) if name == "fold" else before), after


def addends_as_terms(program):
    (definition,) = program.statements
    (term,) = definition.terms
    forms = [replace_body(term.form, addend) for addend in term.form.body.args]
    return program.with_(statements=(replace(definition, terms=tuple(replace(term, form=f) for f in forms)),))


def seen_by(name, program):
    """What a pass is there to change: for `order` that is where definitions stand."""
    return (signature(program), [s.results[0].name for s in program.statements] if name == "order" else None)


@pytest.mark.parametrize("name", PASSES)
def test_the_example_of_a_pass(name):
    before, after = given_to(name)
    assert name == "canonicalize" or seen_by(name, before) != seen_by(name, after), "the example shows nothing"
    report = Report()
    found = PASSES[name](before, report)
    verify(found, name)
    assert seen_by(name, found) == seen_by(name, after)
    assert name == "canonicalize" or any(e.done for e in report.entries), "what is done is reported"
    given = values(before)
    expected, got = interpret(before, given), interpret(found, given)
    for a, b in zip(before.outputs, found.outputs):
        assert a.name == b.name and np.any(expected[a.tensor])
        np.testing.assert_allclose(got[b.tensor], expected[a.tensor], rtol=1e-12)


def test_the_example_of_select():
    before, after = examples(select)
    assert signature(select(before, ["y"])) == signature(after)


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_leaves_what_it_has_done(name):
    """Doing it twice is doing it once."""
    before, _ = given_to(name)
    once = PASSES[name](before, Report())
    assert signature(PASSES[name](once, Report())) == signature(once)


def test_canonicalizing_makes_forms_canonical():
    before, after = examples(PASSES["canonicalize"])
    (statement,) = PASSES["canonicalize"](before, Report()).statements
    (other,) = PASSES["canonicalize"](after, Report()).statements
    assert statement.terms[0].form is other.terms[0].form
    assert program_of("input x[N]\noutput y = x").outputs
