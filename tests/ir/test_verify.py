"""What a legal program is: legal ones pass, and each kind of damage is found and named."""

from dataclasses import replace

import pytest

from diffgraph.autodiff.differentiate import gradients
from diffgraph.diagnostics import CompilerBug
from diffgraph.ir.affine import affine, index
from diffgraph.ir.dimension import symbol
from diffgraph.ir.expression import Affine, Call, Const, Index, Read
from diffgraph.ir.form import Form, Operand
from diffgraph.ir.program import (
    Builder,
    Carry,
    Check,
    Commit,
    Definition,
    Output,
    Program,
    Reshape,
    Scan,
    Tensor,
    Term,
    Yield,
)
from diffgraph.ir.verify import form_problem, verify

N = symbol("N")


def rowsum() -> Form:
    """y[n] = sum[i](x[n, i])"""
    return Form((N, 3), "sum", (index(0),), (N,), (Operand((N, 3)),), Read(0, (index(0), index(1)), None))


def program() -> Program:
    builder = Builder()
    x = builder.input("x", (N, 3), "input")
    y = builder.define("y", (rowsum(), (x.name,)), kind="float")
    builder.outputs.append(Output("y", y.name))
    return builder.program()


def body() -> Program:
    builder = Builder()
    builder.input("h", (), "free")
    builder.input("e", (), "free")
    total = Form((), "sum", (), (), (Operand(()), Operand(())), Call("add", (Read(0, (), None), Read(1, (), None))))
    builder.define("o", (total, ("h", "e")), kind="float")
    return builder.program()


def with_scan(**changes) -> Program:
    builder = Builder()
    builder.input("x", (3,), "input")
    builder.input("h0", (), "input")
    scan = Scan(
        3, "", (Carry("h", "h0", "o", Tensor("h1", ())),), (("e", "x"),), (), (Yield("o", Tensor("os", (3,))),), body()
    )
    builder.append(replace(scan, **changes))
    return builder.program()


def test_legal_programs_pass():
    verify(program())
    verify(with_scan())
    builder = Builder(with_scan())
    gradients(builder, [("os", None), ("h1", None)], ["x", "h0"])
    verify(builder.program())


def damage(change):
    def make():
        legal = program()
        return change(legal, legal.statements[0])

    return make


def changed_form(**changes):
    return damage(
        lambda p, d: p.with_(statements=(replace(d, terms=(Term(Form(*_fields(rowsum(), changes)), ("x",)),)),))
    )


def _fields(form: Form, changes):
    names = ("domain", "op", "write", "shape", "operands", "body")
    return [changes.get(n, getattr(form, n)) for n in names]


DAMAGES = {
    "y reads z before it is defined": damage(
        lambda p, d: p.with_(statements=(replace(d, terms=(replace(d.terms[0], operands=("z",)),)),))
    ),
    "y is defined twice": damage(lambda p, d: p.with_(statements=(d, d))),
    "x is defined twice": damage(lambda p, d: p.with_(inputs=p.inputs * 2)),
    "y has no terms": damage(lambda p, d: p.with_(statements=(replace(d, terms=()),))),
    "y is int but its term is float": damage(
        lambda p, d: p.with_(statements=(replace(d, tensor=replace(d.tensor, kind="int")),))
    ),
    "y and its term: the shapes [3] and [N, 3] differ": damage(
        lambda p, d: p.with_(statements=(replace(d, tensor=replace(d.tensor, shape=(3,)), terms=_square(d)),))
    ),
    "the output z is w": damage(lambda p, d: p.with_(outputs=(Output("z", "w"),))),
    "two outputs have one name": damage(lambda p, d: p.with_(outputs=p.outputs * 2)),
    "y is committed to, but is no state": damage(lambda p, d: p.with_(commits=(Commit("y", "y"),))),
    "the commit to x: the shapes": damage(lambda p, d: p.with_(commits=(Commit("x", "y"),))),
    "the check y is not a single bool": damage(lambda p, d: p.with_(checks=(Check("y", "no"),))),
    "v views [N, 3] as [N, 4]": damage(
        lambda p, d: p.with_(statements=(d, Reshape(Tensor("v", (N, 4)), "x")))
    ),
    "there is no reduction mean": changed_form(op="mean"),
    "there is no function cbrt": changed_form(body=Call("cbrt", (Const(1.0),))),
    "sin of 2 arguments": changed_form(body=Call("sin", (Const(1.0), Const(1.0)))),
    "the index 2 of a domain of 2 axes": changed_form(body=Call("float", (Index(2),))),
    "the slot 1 of 1": changed_form(body=Read(1, (index(0), index(1)), None)),
    "1 subscripts for [N, 3]": changed_form(body=Read(0, (index(0),), None)),
    "an unguarded read from 1 to 3 of an axis of 3": changed_form(
        body=Read(0, (index(0), affine(1, [(Index(1), 1)])), None)
    ),
    "an unguarded read from 0 to N of an axis of N": changed_form(
        body=Read(0, (affine(0, [(Index(0), 1), (Index(1), 1)]), index(1)), None), domain=(N, 2)
    ),
    "what is read outside has indices": changed_form(body=Read(0, (index(0), index(1)), Call("float", (Index(0),)))),
    "nested in a place": changed_form(body=Read(0, (index(0), Affine(0, ((index(1), 1),))), Const(0.0))),
    "a float in a place": changed_form(
        body=Read(0, (index(0), Affine(0, ((Read(0, (index(0), index(1)), None), 1),))), Const(0.0))
    ),
    "max writes at computed places": changed_form(op="max", write=(affine(0, [(Index(0), 2)]),)),
    "the body wants ['e', 'h'] and is given ['h']": lambda: with_scan(sequences=()),
    "the sequence e: the shapes [4] and [3] differ": lambda: with_scan(length=4, yields=()),
    "the carry h: the shapes [] and [3] differ": lambda: with_scan(
        carries=(Carry("h", "x", "o", Tensor("h1", ())),)
    ),
    "the yield o: the shapes [3] and [2] differ": lambda: with_scan(yields=(Yield("o", Tensor("os", (2,))),)),
}


def _square(definition: Definition):
    square = Form((N, 3), "sum", (index(0), index(1)), (N, 3), (Operand((N, 3)),), rowsum().body)
    return (Term(square, definition.operands),)


@pytest.mark.parametrize("message", DAMAGES)
def test_damage_is_found_and_blamed(message):
    with pytest.raises(CompilerBug) as caught:
        verify(DAMAGES[message](), "after some pass")
    assert message in str(caught.value)
    assert caught.value.where == "after some pass"


def test_reads_that_cannot_be_decided_are_left():
    read = Read(0, (index(0), affine(0, [(Call("mod", (index(1), Const(5))), 1)])), None)
    assert form_problem(Form((N, 9), "sum", (index(0),), (N,), (Operand((N, 3)),), read)) is None
