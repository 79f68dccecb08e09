"""The catalogue of the standard library: one entry for each declaration, made of its own text and comment."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from diffgraph.diagnostics import Source
from diffgraph.language import syntax
from diffgraph.language.parser import parse


@dataclass(frozen=True)
class Entry:
    """A declaration of the standard library. `kind` is fn, layer or optimizer; `theme` is the file's name."""

    name: str
    kind: str
    theme: str
    signature: str
    doc: str
    parameters: tuple[str, ...]
    definition: str

    @property
    def summary(self) -> str:
        """The first line of its comment."""
        return self.doc.strip().splitlines()[0].strip() if self.doc.strip() else ""

    def text(self) -> str:
        """The whole entry as a person reads it."""
        parts = [self.signature, "", self.doc.rstrip()]
        if self.parameters:
            parts += ["", "Parameters and states:", *(f"  {p}" for p in self.parameters)]
        parts += ["", "Its definition:", "", self.definition]
        return "\n".join(parts)

    def as_json(self) -> dict:
        return {
            "name": self.name,
            "kind": self.kind,
            "theme": self.theme,
            "signature": self.signature,
            "summary": self.summary,
            "doc": self.doc,
            "parameters": list(self.parameters),
            "definition": self.definition,
        }


def catalogue() -> dict[str, Entry]:
    """Every layer, function and optimizer of the standard library by name, grouped by theme."""
    entries: dict[str, Entry] = {}
    folder = files("diffgraph") / "std"
    for path in sorted((p for p in folder.iterdir() if p.name.endswith(".net")), key=lambda p: p.name):
        theme = path.name.removesuffix(".net")
        for declaration in parse(Source(f"std/{path.name}", path.read_text(encoding="utf-8"))).declarations:
            if isinstance(declaration, (syntax.Function, syntax.Layer)):
                entries[declaration.name] = entry_of(declaration, theme)
    return entries


def entry_of(declaration: syntax.Function | syntax.Layer | syntax.Net, theme: str = "") -> Entry:
    """The entry of a function, layer, optimizer or net."""
    text = declaration.span.text
    body = declaration.body.span.start - declaration.span.start
    kind = {syntax.Function: "fn", syntax.Net: "net"}.get(type(declaration)) or declaration.kind
    signature = " ".join(text[:body].split()).rstrip("=").rstrip()
    return Entry(declaration.name, kind, theme, signature, declaration.doc, _variables(declaration.body), text)


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
