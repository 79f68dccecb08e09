"""What a word of a text means: where it was bound, and what it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from diffgraph.diagnostics import Source, Span
from diffgraph.language import syntax
from diffgraph.language.blocks import FIELDS
from diffgraph.language.core_functions import CORE
from diffgraph.language.lexing import tokenize
from diffgraph.language.module import Module, standard_library
from diffgraph.language.names import SPECIAL
from diffgraph.language.tables import tables
from diffgraph.language.traversal import walk

#: What has a `name` that it binds for the body it stands in.
_BINDERS = (
    syntax.Setting, syntax.TensorParameter, syntax.Define, syntax.Draw, syntax.Variable, syntax.Port, syntax.For,
    syntax.ScanCarry, syntax.BoundIndex, syntax.Named,
)  # fmt: skip
_DECLARATIONS = (syntax.Function, syntax.Layer, syntax.Net, syntax.NetAlias)


@dataclass(frozen=True)
class Meaning:
    """What the word at `span` is.

    kind: local, setting, declaration, core, special, field, source, file, or instance. node: what binds it, if that is
    text. owner: the declaration that a setting belongs to. call: the place of the whole stage or call that the word
    heads, of the stage that it names, of the path that it is in. path: the file that it stands for."""

    word: str
    span: Span
    kind: str
    node: syntax.Node | None = None
    owner: syntax.Declaration | None = None
    call: Span | None = None
    path: Path | None = None

    @property
    def definition(self) -> Span | None:
        """Where the word is bound: the place of the name itself."""
        return None if self.node is None else name_span(self.node, self.word)


def meaning_at(tree: syntax.File, module: Module | None, offset: int) -> Meaning | None:
    """What the word at an offset means, None where there is none or nothing is known of it."""
    word = word_at(tree.source, offset)
    chain = [n for n in walk(tree) if n.span.start <= word.start < n.span.end] if word is not None else []
    inside = [n for n in walk(tree) if isinstance(n, syntax.Name) and n.span.start <= offset <= n.span.end]
    if inside:
        word = inside[-1].span
        chain = [n for n in walk(tree) if n.span.start <= word.start < n.span.end]
    return None if word is None else _Resolver(tree, module, word, chain).meaning()


def word_at(source: Source, offset: int) -> Span | None:
    """The name, number or text that touches an offset."""
    for token in tokenize(source, tables(), []):
        if token.start <= offset <= token.end and token.kind in ("NAME", "INT", "STRING", "TEMPLATE"):
            return Span(source, token.start, token.end)
    return None


def name_span(node: syntax.Node, name: str) -> Span:
    """The place of a name inside the node that binds it; the whole node where it is not spelled out."""
    source = node.span.source
    for token in tokenize(source, tables(), [], node.span.start, node.span.end):
        if token.text == name and token.kind in ("NAME", "INT", "TEMPLATE"):
            return Span(source, token.start, token.end)
    return node.span


def bindings(declaration: syntax.Node) -> Iterator[tuple[str, syntax.Node]]:
    """Each name that is bound somewhere in a declaration, with what binds it."""
    for node in walk(declaration):
        if isinstance(node, syntax.Bind):
            yield from ((name, node) for name in node.names)
        elif isinstance(node, syntax.ScanOf):
            yield node.index, node
        elif isinstance(node, syntax.GradientRule):
            yield node.cotangent, node
        elif isinstance(node, _BINDERS) and node.name is not None:
            yield node.name, node
        if isinstance(node, (syntax.Port, syntax.TensorParameter)):
            yield from ((size.name, node) for size in node.shape or () if isinstance(size, syntax.Name))


def declared(module: Module | None, name: str) -> syntax.Declaration | None:
    """The declaration that a name of a file stands for: its own, an imported one, or one of the standard library."""
    scope = (module or standard_library()).find(name)
    return scope.declaration(name) if isinstance(scope, Module) else None


def settings_of(declaration: syntax.Declaration | None, module: Module | None) -> tuple[syntax.Setting, ...]:
    """What can be given to a function, layer or net by name; an alias has what its net has."""
    if isinstance(declaration, syntax.Function):
        return declaration.parameters
    if isinstance(declaration, (syntax.Layer, syntax.Net)):
        return declaration.settings
    if isinstance(declaration, syntax.NetAlias):
        return settings_of(declared(module, head_name(declaration.value) or ""), module)
    return ()


def head_name(expression: syntax.Expr) -> str | None:
    """The name that is called: `conv` of `conv(3)`, and of `conv`."""
    if isinstance(expression, syntax.CallOf):
        expression = expression.function
    return expression.name if isinstance(expression, syntax.Name) else None


class _Resolver:
    """Looks one word up. `chain` are the nodes around it, the outermost first."""

    def __init__(self, tree: syntax.File, module: Module | None, word: Span, chain: list[syntax.Node]):
        self.tree = tree
        self.module = module
        self.word = word
        self.name = word.text
        self.chain = chain
        self.top = next((n for n in chain if isinstance(n, syntax.Declaration)), None)

    def meaning(self) -> Meaning | None:
        for node in reversed(self.chain):
            found = self._by_node(node)
            if found is not None:
                return found
        return self._resolved() if self.top is None else None

    def _by_node(self, node: syntax.Node) -> Meaning | None:
        starts = node.span.start == self.word.start
        if isinstance(node, syntax.Name):
            return self._resolved(self._call()) or self._path(node)
        if isinstance(node, syntax.Attribute) and node.name == self.name and not starts:
            return self._attribute(node)
        if isinstance(node, syntax.InstanceName):
            stage = next(n for n in reversed(self.chain) if isinstance(n, syntax.Stage))
            return self._made("instance", node, call=stage.value.span)
        if isinstance(node, syntax.Argument) and node.name == self.name and starts:
            return self._setting()
        if isinstance(node, syntax.Field) and starts:
            return self._made("field", None if node.name in FIELDS else declared(self.module, node.name))
        if isinstance(node, (syntax.Import, syntax.FromImport)):
            return self._imported(node)
        if isinstance(node, (syntax.Train, syntax.Expect)):
            return self._made("declaration", declared(self.module, self.name))
        if isinstance(node, _DECLARATIONS) and node.name == self.name:
            return self._made("declaration", node)
        if isinstance(node, syntax.Block):
            return None
        if any(self.name == name for name, inner in bindings(node) if inner is node):
            return self._made("declaration" if node is self.top else "local", node)
        return None

    def _made(self, kind: str, node: syntax.Node | None, **more) -> Meaning:
        return Meaning(self.name, self.word, kind, node, **more)

    def _call(self) -> Span:
        """The call or stage that the word heads."""
        around = [n for n in self.chain if isinstance(n, syntax.CallOf) and n.function.span.start == self.word.start]
        return around[0].span if around else self.word

    def _resolved(self, call: Span | None = None) -> Meaning | None:
        """What a name means where it is used."""
        name = self.name
        local = self._local()
        if local is not None:
            return self._made("local", local, call=call)
        field = next((n for n in self.chain if isinstance(n, syntax.Field)), None)
        if field is not None and field.name == "data" and name in _sources():
            return self._made("source", None)
        found = declared(self.module, name)
        if found is not None:
            return self._made("declaration", found, call=call)
        if self.module is not None and name in self.module.imported:
            return self._module(self.module.imported[name][0])
        if name in CORE:
            return self._made("core", None, call=call)
        return self._made("special", None) if name in SPECIAL else None

    def _local(self) -> syntax.Node | None:
        """What binds the name in the declaration around: the last one before it, or the first one at all."""
        if self.top is None or isinstance(self.top, syntax.Bind):
            return None
        own = [node for name, node in bindings(self.top) if name == self.name and not self._in_value(node)]
        before = [node for node in own if node.span.start <= self.word.start]
        return before[-1] if before else next(iter(own), None)

    def _in_value(self, node: syntax.Node) -> bool:
        """`x = f(x)`: the second `x` is not what the statement binds."""
        value = getattr(node, "value", None) or getattr(node, "initial", None) or getattr(node, "default", None)
        return value is not None and value.span.start <= self.word.start < value.span.end

    def _attribute(self, node: syntax.Attribute) -> Meaning | None:
        """A name of an imported file, or of an instance: `b.block`, `encoder.weight`."""
        owner = head_name(node.value) if isinstance(node.value, syntax.Name) else None
        if self.module is not None and owner in self.module.imported:
            other, inside = self.module.imported[owner]
            found = declared(other, self.name) if inside is None else None
            return None if found is None else self._made("declaration", found, call=self._call())
        return self._made("instance", self._named(node), call=node.span)

    def _path(self, node: syntax.Name) -> Meaning | None:
        """A name that a path begins with: that of an instance."""
        whole = next((n for n in self.chain if isinstance(n, syntax.Attribute)), None)
        return None if whole is None else self._made("instance", self._named(node), call=whole.span)

    def _named(self, node: syntax.Attribute | syntax.Name) -> syntax.InstanceName | None:
        """Where the instance that a path begins with is given its name."""
        root = node
        while isinstance(root, syntax.Attribute):
            root = root.value
        names = (n for n in walk(self.top or self.tree) if isinstance(n, syntax.InstanceName))
        return next((n for n in names if isinstance(root, syntax.Name) and n.parts[:1] == (root.name,)), None)

    def _setting(self) -> Meaning | None:
        for node in reversed(self.chain):
            if isinstance(node, syntax.CallOf):
                owner = declared(self.module, head_name(node) or "")
            elif isinstance(node, (syntax.Train, syntax.Expect)):
                owner = declared(self.module, node.net)
            else:
                continue
            setting = next((s for s in settings_of(owner, self.module) if s.name == self.name), None)
            return self._made("setting", setting, owner=owner)
        return None

    def _imported(self, node: syntax.Import | syntax.FromImport) -> Meaning | None:
        if self.word.text.startswith('"') or (isinstance(node, syntax.Import) and self.name == node.name):
            return self._made("file", None, path=file_of(node.path, self.module))
        if isinstance(node, syntax.FromImport) and self.name in node.names:
            return self._made("declaration", declared(self.module, self.name))
        return None

    def _module(self, other: Module) -> Meaning:
        return self._made("file", None, path=path_of(other.source, self.module))


def _sources() -> dict:
    from diffgraph.training.data.sources import SOURCES

    return SOURCES


def library_path(name: str) -> Path:
    """The file of `std/vision.net`."""
    from importlib.resources import files

    return Path(str(files("diffgraph"))) / name


def file_of(path: str, module: Module | None) -> Path | None:
    """The file that an import names."""
    if path.startswith("std/"):
        return library_path(path)
    return None if module is None or module.folder is None else module.folder / path


def path_of(source: Source, module: Module | None) -> Path | None:
    """The file of a source, None for the text that is being edited."""
    if module is not None and source is module.source:
        return None
    return library_path(source.name) if source.name.startswith("std/") else Path(source.name)
