"""Files: their names, what they import, and the standard library behind them all."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from diffgraph.diagnostics import Diagnostic, DiffgraphError, Note, Source, error, suggest
from diffgraph.language import syntax
from diffgraph.language.cycles import cycles
from diffgraph.language.parser import parse, read_source
from diffgraph.language.scopes import Scope
from diffgraph.language.values import FunctionValue, LayerValue

#: How deep files may import one another.
MOST_IMPORTS = 64


class Module(Scope):
    """The names of a file. Declarations may stand in any order; constants are computed when they are first asked for."""

    def __init__(self, source: Source, folder: Path | None, parent: Scope | None):
        super().__init__(parent)
        self.source = source
        self.folder = folder
        self.declarations: dict[str, syntax.Declaration] = {}
        self.imported: dict[str, tuple[Module, str | None]] = {}
        self.nets: dict[str, syntax.Net | syntax.NetAlias] = {}
        self.trains: list[syntax.Train] = []
        self.expects: list[syntax.Expect] = []
        self.session: Any = None

    # ------------------------------------------------------------ names

    def knows(self, name: str) -> bool:
        return name in self.values or name in self.declarations or name in self.imported

    def own_names(self) -> Iterator[str]:
        yield from self.values
        yield from self.declarations
        yield from self.imported

    def get(self, name: str) -> Any:
        """The value of a top-level name."""
        if name in self.values:
            return self.values[name]
        if name in self.imported:
            module, inside = self.imported[name]
            return module if inside is None else module.get(inside)
        declaration = self.declarations[name]
        if isinstance(declaration, syntax.Function):
            return FunctionValue(declaration, self)
        if isinstance(declaration, (syntax.Layer, syntax.Net)):
            return LayerValue(declaration, self)
        return self._computed(name, declaration)

    def _computed(self, name: str, declaration: syntax.NetAlias | syntax.Bind) -> Any:
        from diffgraph.language.evaluate import evaluate
        from diffgraph.language.statements import unpack

        session = self.current_session()
        known = session.constants
        if (self, name) not in known:
            value = evaluate(declaration.value, self, session)
            if isinstance(declaration, syntax.Bind) and len(declaration.names) > 1:
                value = unpack(value, declaration)[declaration.names.index(name)]
            if isinstance(declaration, syntax.NetAlias) and not isinstance(value, LayerValue):
                raise error("DG513", f"`{name}` is not a net", declaration.value.span)
            known[self, name] = value
        return known[self, name]

    def current_session(self):
        """The elaboration that is under way."""
        return CURRENT[-1]


#: The elaborations that are under way, innermost last: what constants of files are computed in.
CURRENT: list[Any] = []


# ---------------------------------------------------------------- loading


def load_module(path: str | Path) -> Module:
    """Reads a file with all it imports. DiffgraphError with every problem of its syntax."""
    path = Path(path)
    return _load(read_source(path), path.resolve().parent, ())


def load_text(text: str, name: str = "<text>", folder: str | Path | None = None) -> Module:
    """The same from a string; without a folder the program reads no files."""
    return _load(Source(name, text), None if folder is None else Path(folder), ())


@lru_cache(maxsize=1)
def standard_library() -> Module:
    """All files of the standard library as one module."""
    folder = files("diffgraph") / "std"
    library = Module(Source("std", ""), None, None)
    for entry in sorted((e for e in folder.iterdir() if e.name.endswith(".net")), key=lambda e: e.name):
        if entry.name in NOT_IN_SCOPE:
            continue
        tree = parse(Source(f"std/{entry.name}", entry.read_text(encoding="utf-8")))
        _declare(library, tree, ())
    return library


#: Files of the standard library whose names are brought into scope by `from "std/..." import` only.
NOT_IN_SCOPE = frozenset({"vision.net"})


def _load(source: Source, folder: Path | None, chain: tuple) -> Module:
    module = Module(source, folder, standard_library())
    _declare(module, parse(source), chain)
    return module


def _declare(module: Module, tree: syntax.File, chain: tuple) -> None:
    problems: list[Diagnostic] = []
    for declaration in tree.declarations:
        try:
            _declare_one(module, declaration, chain)
        except DiffgraphError as failure:
            problems += failure.diagnostics
    for block in (*module.trains, *module.expects):
        if not module.knows(block.net.split(".")[0]):
            hint = suggest(block.net, module.nets)
            kind = "train" if isinstance(block, syntax.Train) else "expect"
            problems.append(
                Diagnostic("DG203", f"there is no net `{block.net}` for this {kind} block", block.span, (), hint)
            )
    problems += cycles(module.declarations)
    if problems:
        raise DiffgraphError(*problems)


def _declare_one(module: Module, declaration: syntax.Declaration, chain: tuple) -> None:
    if isinstance(declaration, syntax.Train):
        module.trains.append(declaration)
    elif isinstance(declaration, syntax.Expect):
        module.expects.append(declaration)
    elif isinstance(declaration, syntax.Import):
        _new_name(module, declaration.name, declaration)
        module.imported[declaration.name] = (_imported(module, declaration, chain), None)
    elif isinstance(declaration, syntax.FromImport):
        other = _imported(module, declaration, chain)
        for name in declaration.names:
            if name not in other.declarations and name not in other.imported:
                raise error(
                    "DG204", f"`{declaration.path}` has no `{name}`", declaration.span,
                    help=suggest(name, other.own_names()),
                )  # fmt: skip
            _new_name(module, name, declaration)
            module.imported[name] = (other, name)
            if isinstance(other.declarations.get(name), (syntax.Net, syntax.NetAlias)):
                module.nets[name] = other.declarations[name]
    else:
        names = declaration.names if isinstance(declaration, syntax.Bind) else (declaration.name,)
        for name in names:
            _new_name(module, name, declaration)
            module.declarations[name] = declaration
            if isinstance(declaration, (syntax.Net, syntax.NetAlias)):
                module.nets[name] = declaration


def _new_name(module: Module, name: str, declaration) -> None:
    if name in module.declarations:
        first = Note("it is declared first here", module.declarations[name].span)
        raise error("DG205", f"`{name}` is declared twice", declaration.span, first)
    if name in module.imported:
        raise error("DG205", f"`{name}` is declared twice", declaration.span)


def _imported(module: Module, declaration, chain: tuple) -> Module:
    path = declaration.path
    if len(chain) > MOST_IMPORTS:
        raise error("DG597", f"files import one another more than {MOST_IMPORTS} deep", declaration.span)
    if path.startswith("std/"):
        return _from_library(path, declaration, chain)
    from diffgraph.language.tensors import inside_folder

    file = inside_folder(path, module.folder, declaration.span)
    if str(file) in chain:
        raise error("DG514", f"`{path}` imports itself", declaration.span)
    try:
        source = read_source(file)
    except OSError as problem:
        raise error("DG206", f"`{path}` cannot be read: {problem.strerror}", declaration.span) from None
    # Files of a program stay inside the directory of the program, also from a sub-directory.
    return _load(source, module.folder, (*chain, str(file)))


@lru_cache(maxsize=None)
def _library_file(path: str) -> Module | None:
    name = path.removeprefix("std/")
    entry = files("diffgraph") / "std" / name
    if "/" in name or ".." in name or not name.endswith(".net") or not entry.is_file():
        return None
    return _load(Source(path, entry.read_text(encoding="utf-8")), None, ())


def _from_library(path: str, declaration, chain: tuple) -> Module:
    found = _library_file(path)
    if found is None:
        known = [f"std/{e.name}" for e in (files("diffgraph") / "std").iterdir()]
        raise error("DG206", f"the standard library has no `{path}`", declaration.span, help=suggest(path, known))
    return found
