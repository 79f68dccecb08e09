"""Whatever a text says, reading and elaborating it gives a network or a `DiffgraphError`, and nothing else escapes."""

from random import Random

import pytest
from hostile_texts import Maker

from diffgraph.diagnostics import DiffgraphError
from diffgraph.language.elaborate import elaborate
from diffgraph.language.limits import Limits
from diffgraph.language.module import load_text

#: Texts in all, in parts that can run beside one another.
TEXTS, PARTS = 20_000, 8


def check(text: str) -> str:
    """Does what `check` does with a text; says how it ended."""
    try:
        module = load_text(text)
        for name in module.nets:
            elaborate(module, name, training=True)
        return "accepted"
    except DiffgraphError as problem:
        assert problem.diagnostics
        for diagnostic in problem.diagnostics[:2]:
            diagnostic.render()
        return "refused"


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_but_a_diagnostic_escapes(part, monkeypatch):
    monkeypatch.setattr("diffgraph.language.limits._current", Limits(nodes=3_000))
    maker = Maker(Random(part))
    ends = []
    for _ in range(TEXTS // PARTS):
        text = maker.text()
        try:
            ends.append(check(text))
        except Exception as problem:
            raise AssertionError(f"{type(problem).__name__} escapes from\n{text}") from problem
    assert ends.count("accepted") > 20, "some programs are right, so that what comes after the checks is reached"
