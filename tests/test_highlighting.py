"""The colours of Pygments and of the TextMate grammar, against the parser's own reading of every file."""

import json
import random
import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from pygments.token import Error

from diffgraph.diagnostics import Source
from diffgraph.editors import pygments_lexer, textmate
from diffgraph.language.lexing import tokenize
from diffgraph.language.parser import parse_with_tokens, read_source
from diffgraph.language.tables import END, tables
from diffgraph.language.words import REDUCTIONS

ROOT = Path(__file__).parents[1]
SHIPPED = sorted([*(ROOT / "diffgraph" / "std").rglob("*.net"), *(ROOT / "examples").glob("*.net")])
GRAMMAR = ROOT / "grammar" / "net.tmLanguage.json"

TEXTS = [pytest.param(read_source(path), id=path.name) for path in SHIPPED]

#: Words in the places where they are keywords, and in those where they are names.
WORDS = """
import "a.net" as step
from "b.net" import from, to
layer f(from = 1, step = 2)(x) { return x }
fn f(within, ok = sum) = within + ok if not to else from
fn g(x) = sign(x) with gradient(gradient) = gradient
layer l(a)(x) {
    param w[2] = 0 if a; state s = 1; target y; metric x
    if x { assert x, "no" } else { return x and true or not false }
}
optimizer o(lr = step / total_steps)(w, g) { w <- w - lr * g / step }
net optimizer(layer = 3, fn = 4) {
    input  input_1[N, step]: int < step; target net[N]
    layer = a.for.if + b.0.1 - layer * x.shape[1] + x.output
    for i in 0..n step 2 { h = h -> conv(from, step = step) as for[i] -> relu as layer{step + 1}_{i}[step] }
    h = scan t in 0..T step 3 from h = zeros(N), from = step checkpoint step { next h = h; yield step, from }
    y = step if step else step
    p = table[step, 1:step, ...] + [step, to][0]
    checkpoint = "a \\"b\\" {{x}} {step + 1} # no comment"  # a comment "
    output net = net, logits
    loss (a - b)^2 for generator
    loss -x
    metric [1][0]
    loss.x <- 1
}
train net.block(step = 1) as step {
    data      function(n = 1,
        x = uniform(step),
        loss = 3)
    optimizer sgd(lr = 1) for "*.bias"; loss 3
    steps(step = 1)
    step      3
}
expect net(step = 2) {
    loss < 1; metric.x == 3
    gradients ok
    trains to loss < ok within 1e-3
    gradients == ok
    f(ok = 3) ~= to within 2
}
"""


def kinds_of_parser(source: Source) -> dict[int, str]:
    """What each character is to the parser; strings, templates and spaces left out."""
    result: dict[int, str] = {}
    _, taken = parse_with_tokens(source)
    before = ""
    for token, kind in taken:
        if kind in ("STRING", "TEMPLATE", "_LINE_END", END):
            kind_here = None
        elif token.kind == "NAME":
            kind_here = "name" if kind == "NAME" else "word"
        elif kind in ("INT", "FLOAT"):
            kind_here = "name" if before in (".", "as") else "number"
        else:
            kind_here = "sign"
        before = token.text
        if kind_here is not None:
            result |= dict.fromkeys(range(token.start, token.end), kind_here)
    for token in tokenize(source, tables(), []):
        if token.kind == "COMMENT":
            result |= dict.fromkeys(range(token.start, token.end), "comment")
    return result


PARTS = {
    "comment": "comment",
    "number": "number",
    "keyword": "word",
    "declaration": "word",
    "word_operator": "word",
    "operator": "sign",
    "punctuation": "sign",
    **dict.fromkeys("reduction type definition call parameter label field attribute name".split(), "name"),
}


def part(kind: str, text: str) -> str | None:
    if kind == "constant":
        return "word" if text in ("true", "false") else "name"
    return PARTS.get(kind)


# ---------------------------------------------------------------- Pygments

KINDS = {token: kind for kind, token in pygments_lexer._TOKENS.items()}


def pygments_pieces(text: str) -> list[tuple[int, str, str]]:
    lexer = pygments_lexer.NetLexer()
    return [(start, KINDS.get(kind, str(kind)), piece) for start, kind, piece in lexer.get_tokens_unprocessed(text)]


def test_pygments_finds_the_lexer():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["pygments.lexers"]["diffgraph"].partition(":")
    assert getattr(import_module(module), name).aliases[0] == "net"


# ---------------------------------------------------------------- TextMate


class TextMate:
    """Reads lines as an editor does, with what TextMate grammars have that ours uses."""

    def __init__(self, grammar: dict):
        self.repository = grammar["repository"]
        self.first = grammar["patterns"]
        self.compiled: dict[str, re.Pattern] = {}

    def pieces(self, text: str) -> list[tuple[int, str, str]]:
        found, start = [], 0
        stack = [(None, self.first)]
        for line in text.splitlines(keepends=True):
            found += [(start + at, scope, piece) for at, scope, piece in self.line(line, stack)]
            start += len(line)
        return found

    def line(self, line: str, stack: list):
        place = 0
        while place < len(line):
            best = None
            ending, patterns = stack[-1]
            candidates = [] if ending is None else [(ending["end"], ending, True)]
            candidates += [(r.get("match") or r["begin"], r, False) for r in self.rules(patterns)]
            for pattern, rule, is_end in candidates:
                match = self.compiled.setdefault(pattern, re.compile(pattern, re.MULTILINE)).search(line, place)
                if match and (best is None or match.start() < best[0].start()):
                    best = match, rule, is_end
            if best is None:
                yield place, "nothing", line[place:]
                return
            match, rule, is_end = best
            if match.start() > place:
                yield place, "nothing", line[place : match.start()]
            captures = rule.get("endCaptures", {}) if is_end else rule.get("captures", rule.get("beginCaptures", {}))
            for group, capture in captures.items():
                if match.group(int(group)):
                    yield match.start(int(group)), capture["name"], match.group(int(group))
            if is_end:
                stack.pop()
            elif "begin" in rule:
                stack.append((rule, rule["patterns"]))
            assert match.end() > place or is_end or "begin" in rule, "a rule that takes nothing"
            place = match.end()

    def rules(self, patterns: list[dict]):
        for pattern in patterns:
            if "include" in pattern:
                yield from self.rules(self.repository[pattern["include"][1:]]["patterns"])
            else:
                yield pattern


SCOPES = {f"{scope}.net": kind for kind, scope in textmate._SCOPES.items() if scope}


def textmate_pieces(text: str) -> list[tuple[int, str, str]]:
    grammar = json.loads(GRAMMAR.read_text(encoding="utf-8"))
    return [(start, SCOPES.get(scope, scope), piece) for start, scope, piece in TextMate(grammar).pieces(text)]


def test_the_textmate_grammar_is_that_of_the_language():
    assert GRAMMAR.read_text(encoding="utf-8") == textmate.text(), (
        "run: python -m diffgraph.editors.textmate > grammar/net.tmLanguage.json"
    )


# ---------------------------------------------------------------- both


@pytest.mark.parametrize("pieces", [pygments_pieces, textmate_pieces])
@pytest.mark.parametrize("source", [*TEXTS, pytest.param(Source("words", WORDS), id="words")])
def test_every_file_is_coloured_as_it_is_parsed(pieces, source):
    expected = kinds_of_parser(source)
    covered = set()
    for start, kind, text in pieces(source.text):
        if text.strip():
            assert kind not in ("nothing", str(Error)), f"{source.position(start)}: {text!r}"
        for place in range(start, start + len(text)):
            covered.add(place)
            if place in expected:
                line = source.position(place)
                assert part(kind, text) == expected[place], f"{text!r} at {line}: {kind}, not {expected[place]}"
    assert covered >= expected.keys()


@pytest.mark.parametrize("pieces", [pygments_pieces, textmate_pieces])
def test_the_kinds_of_names(pieces):
    text = 'net n(k = 1) {\n  y = sum[i](x.shape * f(a = "t{b}")) as g\n}\ntrain n { lr 3 }\n'
    kinds = {piece: kind for _, kind, piece in pieces(text)}
    expected = {"n": "definition", "k": "parameter", "y": "name", "sum": "reduction", "shape": "attribute"}
    expected |= {"f": "call", "a": "parameter", "t": "string", "b": "name", "g": "label", "lr": "field"}
    assert {name: kinds[name] for name in expected} == expected


@pytest.mark.parametrize("pieces", [pygments_pieces, textmate_pieces])
def test_every_word_and_sign_of_the_grammar_is_known(pieces):
    kinds = {}
    for _, kind, piece in pieces(WORDS + "".join(f"x {sign} 1\n" for sign in tables().signs)):
        kinds.setdefault(piece, set()).add(part(kind, piece))
    assert {word for word in tables().words if "word" not in kinds[word]} == set()
    assert {sign for sign in tables().signs if "sign" not in kinds[sign]} == set()
    reductions = pieces("".join(f"x = {name}[i](y)\n" for name in REDUCTIONS))
    assert {piece for _, kind, piece in reductions if kind == "reduction"} == REDUCTIONS


@pytest.mark.parametrize("pieces", [pygments_pieces, textmate_pieces])
def test_any_text_is_read_to_its_end(pieces):
    chance = random.Random(0)
    letters = 'ab1 .:"{}()[]#\\\n\n\t=<->~as train expect net in "$%é'
    for _ in range(100):
        text = "".join(chance.choice(letters) for _ in range(chance.randrange(60)))
        places = [place for start, _, piece in pieces(text) for place in range(start, start + len(piece))]
        assert len(places) == len(set(places)) and set(places) >= {k for k, c in enumerate(text) if c.strip()}
