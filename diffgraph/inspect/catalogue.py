"""The catalogue: an entry for each layer, function, optimizer and net of the standard library, made of its own text and
comment; for each function of the core, and each data source."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from diffgraph.language import library, syntax
from diffgraph.language.core_functions import CORE
from diffgraph.language.core_notes import CORE_NOTES, ELSEWHERE
from diffgraph.language.parser import parse

Declared = syntax.Function | syntax.Layer | syntax.Net | syntax.NetAlias

#: A line of a comment that says what settings mean: their names, two spaces at least, what is said of them.
_ABOUT = re.compile(r"([^\W\d]\w*(?:, [^\W\d]\w*)*)  +(\S.*)")
_EXAMPLE = "Example: "


@dataclass(frozen=True)
class Setting:
    """A setting, argument or tensor as it is declared (`stride = 1`), and what is said of it."""

    name: str
    written: str
    about: str


@dataclass(frozen=True)
class Entry:
    """Something that programs can use. kind: fn, layer, optimizer, net, or source. theme: the file it is in, without
    `.net`; `core` or `data`. doc: its comment, which holds all of `prose`, `settings` and `examples`. parameters: its
    `param` and `state` statements. definition: its text; place: where that is. brought: how it is brought into scope,
    where it is not there by itself. claims: what the library expects of a net."""

    name: str
    kind: str
    theme: str
    signature: str
    doc: str
    settings: tuple[Setting, ...] = ()
    parameters: tuple[str, ...] = ()
    definition: str = ""
    place: str = ""
    brought: str = ""
    claims: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The first line of its comment."""
        return self.doc.strip().splitlines()[0].strip() if self.doc.strip() else ""

    @property
    def examples(self) -> tuple[str, ...]:
        """Uses of it, each a line of a program. What has none is of use to the library itself."""
        lines = self.doc.splitlines()
        return tuple(line.removeprefix(_EXAMPLE) for line in lines if line.startswith(_EXAMPLE))

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """What other libraries call it."""
        if self.theme == "core":
            return tuple(filter(None, ELSEWHERE.get(self.name, "").split(", ")))
        lines = (line for line in self.doc.splitlines() if line.startswith(library.ELSEWHERE))
        return tuple(name for line in lines for name in line.removeprefix(library.ELSEWHERE).split(", "))

    @property
    def prose(self) -> str:
        """What the comment says, without settings, examples and other names."""
        names = {setting.name for setting in self.settings}
        apart = (_EXAMPLE, library.ELSEWHERE, library.MENDS)
        kept = [line for line in self.doc.splitlines() if not line.startswith(apart) and not _named(line, names)]
        return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()

    def text(self) -> str:
        """The whole entry as a person reads it."""
        parts = [self.signature, "", self.prose]
        if self.settings:
            parts += ["", "Settings:", *self._settings()]
        if self.parameters:
            parts += ["", "Parameters and states:", *(f"  {p}" for p in self.parameters)]
        if self.examples:
            parts += ["", "Example:", *(f"  {e}" for e in self.examples)]
        if self.elsewhere:
            parts += ["", "Elsewhere called:", f"  {', '.join(self.elsewhere)}"]
        if self.brought:
            parts += ["", "Brought into scope by:", f"  {self.brought}"]
        if self.claims:
            parts += ["", "Tested:", *(f"  {claim}" for claim in self.claims)]
        if self.definition:
            parts += ["", f"Defined in {self.place}:" if self.place else "Definition:", "", self.definition]
        return "\n".join(parts)

    def _settings(self) -> Iterator[str]:
        width = max(len(s.written) for s in self.settings)
        yield from (f"  {s.written:{width}}  {s.about}".rstrip() for s in self.settings)

    def as_json(self) -> dict:
        return {
            "name": self.name,
            "kind": self.kind,
            "theme": self.theme,
            "signature": self.signature,
            "summary": self.summary,
            "doc": self.doc,
            "settings": [{"name": s.name, "written": s.written, "about": s.about} for s in self.settings],
            "parameters": list(self.parameters),
            "examples": list(self.examples),
            "definition": self.definition,
            "place": self.place,
            "brought": self.brought,
            "claims": list(self.claims),
        }


def catalogue() -> dict[str, Entry]:
    """Every entry by name, grouped by theme: the library's files in their order, then the core, then data."""
    entries: dict[str, Entry] = {}
    for path in library.paths():
        theme, _, file = path.removeprefix("std/").removesuffix(".net").partition("/")
        declarations = parse(library.source(path)).declarations
        for declaration in declarations:
            if isinstance(declaration, Declared) and declaration.name not in entries:
                entry = entry_of(declaration, theme)
                if file:
                    brought = f'from "std/{theme}.net" import {declaration.name}'
                    entry = replace(entry, brought=brought, claims=tuple(_claims(declaration.name, declarations)))
                entries[declaration.name] = entry
    for entry in (*_core(), *_sources()):
        entries.setdefault(entry.name, entry)
    return entries


def entry_of(declaration: Declared, theme: str = "") -> Entry:
    """The entry of a declaration of the library or of a file."""
    text = declaration.span.text
    kinds = {syntax.Function: "fn", syntax.Net: "net", syntax.NetAlias: "net"}
    kind = kinds.get(type(declaration)) or declaration.kind
    if isinstance(declaration, syntax.NetAlias):
        return Entry(declaration.name, kind, theme, text, declaration.doc, (), (), "", str(declaration.span))
    body = declaration.body.span.start - declaration.span.start
    signature = " ".join(text[:body].split()).rstrip("=").rstrip()
    return Entry(
        declaration.name, kind, theme, signature, declaration.doc, tuple(_settings(declaration)),
        _variables(declaration.body), text, str(declaration.span),
    )  # fmt: skip


def _claims(name: str, declarations: tuple[syntax.Declaration, ...]) -> Iterator[str]:
    """What the library's expect blocks say of a net."""
    for block in declarations:
        if isinstance(block, syntax.Expect) and block.net == name:
            yield from (" ".join(claim.span.text.split()) for claim in block.claims)


def _settings(declaration: syntax.Function | syntax.Layer | syntax.Net) -> Iterator[Setting]:
    """The settings of a declaration, and the tensors that its comment says something of."""
    said: dict[str, str] = {}
    for line in declaration.doc.splitlines():
        found = _ABOUT.fullmatch(line.strip())
        if found is not None:
            said.update(dict.fromkeys(found[1].split(", "), found[2]))
    own = declaration.parameters if isinstance(declaration, syntax.Function) else declaration.settings
    tensors = [t for t in getattr(declaration, "tensors", ()) if t.name in said]
    for one in (*own, *tensors):
        yield Setting(one.name, " ".join(one.span.text.split()), said.get(one.name, ""))


def _named(line: str, names: set[str]) -> bool:
    """Whether a line of a comment is about settings."""
    found = _ABOUT.fullmatch(line.strip())
    return found is not None and set(found[1].split(", ")) <= names


def _variables(block: syntax.Block) -> tuple[str, ...]:
    """The param and state statements of a body, those inside `if` and `for` included."""
    found: list[str] = []
    for statement in block.statements:
        if isinstance(statement, syntax.Variable):
            found.append(" ".join(statement.span.text.split()))
        elif isinstance(statement, syntax.If):
            found += _variables(statement.then)
            found += _variables(statement.otherwise) if statement.otherwise else ()
        elif isinstance(statement, syntax.For):
            found += _variables(statement.body)
    return tuple(found)


def _core() -> Iterator[Entry]:
    """The functions that every library file is made of: they have no text of the language."""
    for name, row in CORE.items():
        about, example = CORE_NOTES[name]
        yield Entry(name, "fn", "core", f"fn {row.signature}", f"{about}\n\n{_EXAMPLE}{example}")


def _sources() -> Iterator[Entry]:
    from diffgraph.training.data.sources import SOURCES

    for name, source in SOURCES.items():
        lines = (inspect.getdoc(source) or "").splitlines()
        doc = "\n".join(_EXAMPLE + line if line.startswith("data ") else line for line in lines)
        yield Entry(name, "source", "data", source_signature(name), doc)


def source_signature(name: str) -> str:
    """A data source as it is called: `csv(path, target, split, standardize = false, seed = 0)`."""
    return f"{name}({', '.join(text for _, text in source_settings(name))})"


def source_settings(name: str) -> list[tuple[str, str]]:
    """(setting, as it is written) of a data source, those that every source has included."""
    from diffgraph.training.data.sources import SOURCES

    parameters = [p for p in list(inspect.signature(SOURCES[name]).parameters.values())[1:] if p.name != "call"]
    own = [(p.name, p.name if p.default is p.empty else f"{p.name} = {_written(p.default)}") for p in parameters]
    every = {"split": "split", "standardize": "standardize = false", "seed": "seed = 0"}
    return own + [(name, text) for name, text in every.items() if name not in dict(own)]


def _written(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
