"""What is said of a text that cannot be read: the code, the exact stretch of the source, and the repair."""

from __future__ import annotations

import pytest

from diffgraph.diagnostics import DiffgraphError
from diffgraph.language.parser import parse_text


def problems(text: str):
    """What reading a text finds wrong."""
    with pytest.raises(DiffgraphError) as caught:
        parse_text(text)
    return caught.value.diagnostics


@pytest.mark.parametrize(
    "statement, code, place, help",
    [
        ("y = x ** 2", "DG144", "**", "write `^` for a power"),
        ("y = x => relu", "DG144", "=>", "write `->`"),
        ("y += 1", "DG144", "+=", "write `y = y + ...`"),
        ("y = .5 * x", "DG144", ".5", "write `0.5`"),
        ("y = x + x -> relu", "DG112", "x + x", "write `(x + x) -> ...` or `x + (x -> ...)`"),
        ("y = 0 < x < 1", "DG123", "<", "write `0 < x and x < 1`"),
        ("y = x && x", "DG103", "&&", "write `and`"),
        ("y = 'a'", "DG103", "'a'", "write `\"` instead of `'`"),
        ("if x = 3 { y = x }", "DG143", "=", "write `==` to compare"),
        ("y = x[n, i] else 0", "DG141", "else", None),
        ("let y = x", "DG140", "let", "a binding has no keyword: `y = ...`"),
        ("inptu z[N]", "DG140", "inptu", "did you mean `input`?"),
        ("state = x", "DG111", "state", "call it `state_`"),
        ("param w[3]", "DG146", "", "add `= 0`, or `~ normal(0, 1)`"),
        ("x -> relu", "DG145", "x", "bind it to a name: `x = x -> relu`"),
        ("for in 0..3 { y = x }", "DG149", "in", "write `for i in ...`"),
        ("for a, b in c { y = x }", "DG149", ",", None),
        ("y = linear(3 4)", "DG150", "4", "put a comma or an operator between the two"),
        ("y = 2 z = 3", "DG151", "z", "start another line, or put `;` between two statements"),
        ("output f[n] = x[n]", "DG143", "=", "bind it first: `f[n] = ...`, then `output f`"),
        ("input a[N], b[N]", "DG151", ",", "write `; input` instead of the comma, or start another line"),
        (
            "y = [k * k for k in 0..4]",
            "DG150",
            "for",
            "write a tensor by its element, `name[i < count] = ...`, or `list = list + [...]` in a loop",
        ),
        ("y = conv(c = 1, 3)", "DG113", "3", "put it before the named ones"),
        ("y = conv(c = 1, c = 2)", "DG114", "c = 2", None),
        ("y = (x -> relu", "DG130", "(", "add the missing `)`"),
        ("y = x)", "DG131", ")", "remove it, or open it before"),
        ("y = 99999999999999999999", "DG105", "99999999999999999999", "write it as a float, such as `1e20`"),
        ("input z[N]: integer", "DG117", "integer", "did you mean `int`?"),
        ('y = "open', "DG104", '"open', 'close it with `"` on the same line'),
        ("y[n, i + 1] = x", "DG116", "i + 1", None),
        ("y = x if x > 0", "DG110", "", "a choice has both sides: `a if c else b`"),
    ],
)
def test_a_statement_that_cannot_be_read(statement, code, place, help):
    (problem,) = problems(f"net model {{\n    input x[N]\n    {statement}\n}}\n")
    assert (problem.code, problem.span.text) == (code, place), problem.render()
    assert problem.span.line == 3
    assert help is None or problem.help == help, problem.render()


@pytest.mark.parametrize(
    "text, code, place, help",
    [
        ("layer f(x[N, D]) {\n    return x\n}\n", "DG147", "x[", "`x` is a tensor: write `layer f()(x[N, D]) {`"),
        ("layer f()(x) = x^2\n", "DG153", "=", None),
        ("net model\n{\n    input x[N]\n}\n", "DG148", "{", None),
        ("train model {\n    batch: 3\n}\n", "DG152", ":", "write `batch 3`"),
        ("input x[N]\n", "DG142", "input", None),
        ('import "2-blocks.net"\n', "DG121", '"2-blocks.net"', "give it one: `import ... as b`"),
    ],
)
def test_a_declaration_that_cannot_be_read(text, code, place, help):
    (problem,) = problems(text)
    assert (problem.code, problem.span.text) == (code, place), problem.render()
    assert help is None or problem.help == help, problem.render()


def test_several_mistakes_are_found_and_none_twice():
    text = "def f(x):\n    return x\n\nnet model {\n    input x[N, 3 4]\n    y = x ** 2\n    state = y\n    output state\n}\n"
    assert [p.code for p in problems(text)] == ["DG140", "DG153", "DG150", "DG144", "DG111"]


def test_a_block_without_a_brace_at_the_end_of_a_file():
    assert {p.code for p in problems("{\n=((}\n))\nlayer\n {e")} >= {"DG130", "DG131"}
