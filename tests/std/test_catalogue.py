"""The text of the standard library itself: documented, with examples that parse, and tested."""

import re
from pathlib import Path

import pytest

from diffgraph.diagnostics import DiffgraphError
from diffgraph.language import library, syntax
from diffgraph.language.cycles import cycles
from diffgraph.language.module import load_text, standard_library
from diffgraph.language.names import unknown_names
from diffgraph.language.parser import parse, parse_text
from diffgraph.language.traversal import walk

DECLARATIONS = [
    pytest.param(declaration, id=f"{path}:{declaration.name}")
    for path in library.paths()
    for declaration in parse(library.source(path)).declarations
    if isinstance(declaration, (syntax.Function, syntax.Layer, syntax.Net, syntax.NetAlias))
]
CONSTANTS = [p for path in library.paths() for p in library.places(library.source(path)) if not p.word]
TESTS = "\n".join(path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("test_*.py")))


@pytest.mark.parametrize("declaration", DECLARATIONS)
def test_is_documented(declaration):
    assert declaration.doc.strip().splitlines()[0].endswith("."), "its first line is a sentence that says what it is"
    for example in re.findall(r"^Example: (.*)$", declaration.doc, re.MULTILINE):
        assert parses(example), f"the example does not parse: {example}"
    if isinstance(declaration, syntax.Layer):
        assert "Example: " in declaration.doc


@pytest.mark.parametrize("path", library.paths())
def test_declarations_are_found_without_reading_the_file(path):
    """What `library` reads on demand is what the parser reads of the whole file, to the character."""
    source = library.source(path)
    whole = parse(source).declarations
    found = [library.read(place) for place in library.places(source)]
    assert [d.span.text for d in found] == [d.span.text for d in whole]
    assert all(spans(ours) == spans(theirs) for ours, theirs in zip(found, whole))


def spans(declaration) -> list[tuple]:
    return [(type(node), node.span.start, node.span.end) for node in walk(declaration)]


@pytest.mark.parametrize("path", library.paths())
def test_no_name_of_a_file_is_unknown(path):
    module = load_text(f'import "{path}" as file').imported["file"][0]
    assert unknown_names(module) == []


def test_the_library_has_no_cycles():
    assert cycles(standard_library().declarations) == []


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
    listed = re.findall(r"^ *(\w[\w, ]*?)  +\S", declaration.doc, re.MULTILINE)
    names = {n.strip() for group in listed for n in group.split(",")}
    given = declaration.parameters if isinstance(declaration, syntax.Function) else getattr(declaration, "settings", ())
    assert names <= {s.name for s in given}


def reached() -> set[str]:
    """The networks, which `test_vision` finds itself, the declarations whose name stands in a test of this folder, and
    those that stand in one that is reached."""
    texts = {d.values[0].name: d.values[0].span.text for d in DECLARATIONS}
    found: set[str] = set()
    texts |= {place.name: place.source.text[place.start : place.stop] for place in CONSTANTS}
    news = {d.values[0].name for d in DECLARATIONS if isinstance(d.values[0], (syntax.Net, syntax.NetAlias))}
    news |= {name for name in texts if re.search(rf"\b{name}\b", TESTS)}
    while news:
        found |= news
        news = {n for n in texts.keys() - found if any(re.search(rf"\b{n}\b", texts[user]) for user in news)}
    return found


def test_all_is_tested():
    assert {d.values[0].name for d in DECLARATIONS} <= reached()
