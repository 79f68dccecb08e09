"""What may be written at a place: found from the words before it, so that it works in texts that do not parse yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from diffgraph.diagnostics import Source
from diffgraph.editors.fields import FIELD_NOTES, NAME_NOTES, source_note
from diffgraph.editors.hover import declaration_text
from diffgraph.editors.words import bindings, declared, settings_of
from diffgraph.inspect.catalogue import entry_of, source_settings, source_signature
from diffgraph.language import library, syntax
from diffgraph.language.blocks import LBFGS
from diffgraph.language.core_functions import CORE
from diffgraph.language.core_notes import CORE_NOTES
from diffgraph.language.lexing import CLOSING, OPENING, Token, tokenize
from diffgraph.language.module import Module, standard_library
from diffgraph.language.tables import tables
from diffgraph.training.data.sources import SOURCES

#: Words that begin a declaration, and a statement, with what usually follows.
_DECLARATIONS = "net layer fn train expect optimizer import from".split()
_OF_NETS = "input target output loss metric".split()
_STATEMENTS = "param state return if for assert".split()
_CLAIMS = ("gradients ok", "trains to ", "parameters == ", "macs == ", "kernels == ", "peak_memory == ")
_ATTRIBUTES = {"shape": "the list of its sizes", "size": "the product of its sizes"}


@dataclass(frozen=True)
class Proposal:
    """Something that may be written. kind: keyword, function, layer, optimizer, net, name, setting, field, source,
    attribute, or file. detail: its signature; about: markdown. insert: what is written, where it is not the label."""

    label: str
    kind: str
    detail: str = ""
    about: str = ""
    insert: str = ""


def completions(text: str, offset: int, module: Module | None, tree: syntax.File | None) -> list[Proposal]:
    """What may be written at an offset. module, tree: of the last text that could be read."""
    place = _Place(text, offset)
    found: dict[str, Proposal] = {}
    for proposal in _proposals(place, module, tree):
        found.setdefault(proposal.label, proposal)
    return list(found.values())


class _Place:
    """What stands before an offset."""

    def __init__(self, text: str, offset: int):
        tokens = [t for t in tokenize(Source("", text), tables(), [], 0, offset) if t.kind != "COMMENT"]
        # The word that is being written is no part of what stands before it.
        if tokens and tokens[-1].end == offset and tokens[-1].kind in ("NAME", "STRING"):
            tokens.pop()
        ends = ("_LINE_END", "{", "}")
        self.starts = {t.start for before, t in zip(tokens, tokens[1:]) if before.kind in ends}
        self.line_is_new = not tokens or tokens[-1].kind in ("_LINE_END", "{", "}")
        self.tokens = [t for t in tokens if t.kind != "_LINE_END"]
        self.in_text = _is_in_text(text, offset)
        self.open: list[int] = []
        for index, token in enumerate(self.tokens):
            if token.kind in OPENING:
                self.open.append(index)
            elif token.kind in CLOSING and self.open:
                self.open.pop()

    @property
    def before(self) -> str:
        return self.tokens[-1].text if self.tokens else ""

    @property
    def two_before(self) -> str:
        return self.tokens[-2].text if len(self.tokens) > 1 else ""

    def called(self) -> str | None:
        """The name whose arguments the place is among."""
        if not self.open or self.tokens[self.open[-1]].kind != "(" or not self.open[-1]:
            return None
        head = self.tokens[self.open[-1] - 1]
        return head.text if head.kind == "NAME" else None

    def block(self) -> Token | None:
        """The word that the innermost declaration around begins with: `train`, `net`, `layer`, ...; None outside."""
        braces = [index for index in self.open if self.tokens[index].kind == "{"]
        if not braces:
            return None
        starts = [t for k, t in enumerate(self.tokens[: braces[0]]) if t.text in _DECLARATIONS and self._starts_line(k)]
        return starts[-1] if starts else None

    def _starts_line(self, index: int) -> bool:
        return index == 0 or self.tokens[index].start in self.starts

    def field(self) -> str | None:
        """The field of a train block that the present line belongs to."""
        braces = [index for index in self.open if self.tokens[index].kind == "{"]
        if not braces or self.line_is_new:
            return None
        known = [t.text for t in self.tokens[braces[-1] + 1 :] if t.start in self.starts]
        return known[-1] if known else None


def _is_in_text(text: str, offset: int) -> bool:
    line = text[text.rfind("\n", 0, offset) + 1 : offset]
    return line.count('"') % 2 == 1


def _proposals(place: _Place, module: Module | None, tree: syntax.File | None) -> Iterator[Proposal]:
    if place.in_text:
        yield from _files(place, module)
        return
    if place.before == ".":
        yield from _attributes(place.two_before, module)
        return
    if place.two_before in ("train", "expect") and place.before != "{" or place.before in ("train", "expect"):
        yield from (_net(name) for name in (module.nets if module is not None else ()))
        return
    block = place.block()
    if place.line_is_new:
        yield from _starts(block.text if block is not None else None)
    called = place.called()
    if called is not None and place.before in ("(", ","):
        yield from _settings(called, module)
    if block is not None and block.text == "train":
        if place.line_is_new:
            return
        yield from _values_of_field(place.field(), module)
    yield from _names(place, module, tree, block)


def _starts(block: str | None) -> Iterator[Proposal]:
    """What a statement may begin with."""
    if block is None:
        yield from (Proposal(word, "keyword", insert=f"{word} ") for word in _DECLARATIONS)
    elif block == "train":
        yield from (Proposal(name, "field", about=note, insert=f"{name} ") for name, note in FIELD_NOTES.items())
        yield Proposal("clip_norm", "field", about="`clip_norm 1.0`: the norm of all gradients", insert="clip_norm ")
    elif block == "expect":
        yield from (Proposal(claim.strip(), "keyword", insert=claim) for claim in _CLAIMS)
    else:
        words = (*_OF_NETS, *_STATEMENTS) if block == "net" else _STATEMENTS
        yield from (Proposal(word, "keyword", insert=f"{word} ") for word in words)


def _settings(called: str, module: Module | None) -> Iterator[Proposal]:
    """What can be given by name to what is called."""
    if called in SOURCES:
        yield from (Proposal(name, "setting", text, insert=f"{name} = ") for name, text in source_settings(called))
    for setting in settings_of(declared(module, called), module):
        shown = " ".join(setting.span.text.split())
        yield Proposal(setting.name, "setting", shown, insert=f"{setting.name} = ")
    if called in CORE:
        yield from (Proposal(name, "setting", insert=f"{name} = ") for name, _ in CORE[called].parameters)


def _values_of_field(field: str | None, module: Module | None) -> Iterator[Proposal]:
    if field == "data":
        for name in SOURCES:
            yield Proposal(name, "source", source_signature(name), source_note(name))
    elif field in ("optimizer", "average"):
        for name, declaration in _declarations(module):
            if isinstance(declaration, syntax.Layer) and declaration.kind == "optimizer":
                yield _declaration(name, declaration)
        yield Proposal(LBFGS, "optimizer", about="steps all parameters at once, with a strong Wolfe line search")


def _attributes(owner: str, module: Module | None) -> Iterator[Proposal]:
    imported = module.imported.get(owner) if module is not None else None
    if imported is not None and imported[1] is None:
        for name, declaration in imported[0].declarations.items():
            yield _declaration(name, declaration)
        return
    yield from (Proposal(name, "attribute", about) for name, about in _ATTRIBUTES.items())


def _names(place: _Place, module: Module | None, tree: syntax.File | None, block: Token | None) -> Iterator[Proposal]:
    """Every name that can be seen: bound in the declaration around, in the file, in the standard library."""
    if block is not None and tree is not None:
        around = [d for d in tree.declarations if d.span.text.startswith(block.text) and d.span.start <= block.start]
        for name, node in bindings(around[-1]) if around else ():
            yield Proposal(name, "name", " ".join(node.span.text.split())[:80])
    for name, declaration in _declarations(module):
        yield _declaration(name, declaration)
    for name, row in CORE.items():
        yield Proposal(name, "function", row.signature, CORE_NOTES[name][0])
    yield from (Proposal(name, "name", about=note) for name, note in NAME_NOTES.items())


def _declarations(module: Module | None) -> Iterable[tuple[str, syntax.Declaration]]:
    if module is not None:
        yield from module.declarations.items()
        for name in module.imported:
            found = declared(module, name)
            if found is not None:
                yield name, found
    yield from standard_library().declarations.items()


def _declaration(name: str, node: syntax.Declaration) -> Proposal:
    if not isinstance(node, (syntax.Function, syntax.Layer, syntax.Net)):
        kind = "net" if isinstance(node, syntax.NetAlias) else "name"
        return Proposal(name, kind, " ".join(node.span.text.split())[:80])
    entry = entry_of(node)
    kind = {"fn": "function"}.get(entry.kind, entry.kind)
    return Proposal(name, kind, entry.signature, "\n\n".join(list(declaration_text(node))[1:2]))


def _net(name: str) -> Proposal:
    return Proposal(name, "net")


def _files(place: _Place, module: Module | None) -> Iterator[Proposal]:
    """The files that an import may name."""
    if place.before not in ("import", "from"):
        return
    yield from (Proposal(path, "file") for path in library.paths())
    if module is not None and module.folder is not None:
        for path in sorted(module.folder.glob("*.net")):
            yield Proposal(path.name, "file")
