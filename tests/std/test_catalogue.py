"""The text of the standard library itself: documented, with examples that parse, and tested."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from diffgraph.diagnostics import DiffgraphError, Source
from diffgraph.language import syntax
from diffgraph.language.parser import parse, parse_text

FILES = sorted((e for e in (files("diffgraph") / "std").iterdir() if e.name.endswith(".net")), key=lambda e: e.name)
DECLARATIONS = [
    pytest.param(declaration, id=f"{file.name}:{declaration.name}")
    for file in FILES
    for declaration in parse(Source(file.name, file.read_text(encoding="utf-8"))).declarations
    if not isinstance(declaration, syntax.Expect)
]
TESTS = "\n".join(path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("test_*.py")))


@pytest.mark.parametrize("declaration", DECLARATIONS)
def test_is_documented(declaration):
    assert declaration.doc.strip().splitlines()[0].endswith("."), "its first line is a sentence that says what it is"
    for example in re.findall(r"^Example: (.*)$", declaration.doc, re.MULTILINE):
        assert parses(example), f"the example does not parse: {example}"
    if isinstance(declaration, syntax.Layer):
        assert "Example: " in declaration.doc


def parses(text: str) -> bool:
    """As an expression, a statement of a net, or a field of a train block."""
    for whole in (f"fn f(x) = {text}", f"net n {{ {text} }}", f"train n {{ {text} }}"):
        try:
            parse_text(whole)
        except DiffgraphError:
            continue
        return True
    return False


@pytest.mark.parametrize("declaration", DECLARATIONS)
def test_settings_are_documented(declaration):
    """Where a comment lists settings, it lists no others, and each is named in the signature or by a reference."""
    listed = re.findall(r"^  ([\w, ]+?)  +\S", declaration.doc, re.MULTILINE)
    names = {n.strip() for group in listed for n in group.split(",")}
    given = declaration.parameters if isinstance(declaration, syntax.Function) else getattr(declaration, "settings", ())
    assert names <= {s.name for s in given}


def reached() -> set[str]:
    """The declarations whose name stands in a test of this folder, or in one that is reached."""
    texts = {d.values[0].name: d.values[0].span.text for d in DECLARATIONS}
    found: set[str] = set()
    news = {name for name in texts if re.search(rf"\b{name}\b", TESTS)}
    while news:
        found |= news
        news = {n for n in texts.keys() - found if any(re.search(rf"\b{n}\b", texts[user]) for user in news)}
    return found


def test_all_is_tested():
    assert {d.values[0].name for d in DECLARATIONS} <= reached()
