"""Files: their names, what they import, and the standard library behind them all."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from diffgraph.diagnostics import Diagnostic, DiffgraphError, Note, Source, Span, error, nearest, suggest
from diffgraph.language import library, syntax
from diffgraph.language.cycles import cycles
from diffgraph.language.lexing import MOST_PROBLEMS
from diffgraph.language.names import unknown_names
from diffgraph.language.parser import parse, read_source
from diffgraph.language.scopes import Scope
from diffgraph.language.values import FunctionValue, LayerValue

#: How deep files may import one another, and how many a program may have.
MOST_IMPORTS = 64
MOST_FILES = 1_000


#: The function of tables that lie in files.
_READS_FILES = re.compile(r"\bconstant\b")


class Module(Scope):
    """The names of a file. Declarations may stand in any order; constants are computed when they are first asked for.
    """

    def __init__(self, source: Source, folder: Path | None, parent: Scope | None):
        super().__init__(parent)
        self.source = source
        self.folder = folder
        self.declarations: dict[str, syntax.Declaration] | library.Declarations = {}
        self.imported: dict[str, tuple[Module, str | None]] = {}
        self.nets: list[str] = []
        self.trains: list[syntax.Train] = []
        self.expects: list[syntax.Expect] = []
        self.problems: tuple[Diagnostic, ...] = ()
        self.elaborated: dict[tuple, Any] = {}
        self.steps = 0  # what the elaborations of its nets have taken so far

    @property
    def texts(self) -> tuple[tuple[str, Source], ...] | None:
        """Everything that a net of this file is made of, beside the standard library: the names under which files know one
        another, and their texts. None where it may also read files that are no texts."""
        found: dict[int, Module] = {}
        names: list[tuple[str, Source]] = []
        waiting = [("", self)]
        while waiting:
            name, module = waiting.pop()
            names.append((name, module.source))
            if id(module) not in found and not module.source.is_library:
                found[id(module)] = module
                waiting += [(f"{own} {inside}", of) for own, (of, inside) in module.imported.items()]
        return None if any(_READS_FILES.search(m.source.text) for m in found.values()) else tuple(names)

    # ------------------------------------------------------------ names

    def knows(self, name: str) -> bool:
        return name in self.values or name in self.declarations or name in self.imported

    def own_names(self) -> Iterator[str]:
        yield from self.values
        yield from self.declarations
        yield from self.imported

    def declaration(self, name: str) -> syntax.Declaration | None:
        """What a top-level name was declared as, here or in the file that it was brought from."""
        module, inside = self.imported.get(name, (self, name))
        if inside is None:
            return None
        return self.declarations.get(inside) if module is self else module.declaration(inside)

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
            if isinstance(declaration, syntax.NetAlias) and not _is_net(value):
                help = "a net is made of another net: `net small = resnet(depth = 2)`"
                raise error("DG513", f"`{name}` would not be a net", declaration.value.span, help=help)
            known[self, name] = value
        return known[self, name]

    def current_session(self):
        """The elaboration that is under way."""
        return CURRENT[-1]


def _is_net(value: Any) -> bool:
    return isinstance(value, LayerValue) and isinstance(value.declaration, syntax.Net)


#: The elaborations that are under way, innermost last: what constants of files are computed in.
CURRENT: list[Any] = []

#: How deep the evaluator may call itself. Deeper ones than Python's usual thousand are no danger to a stack of Python
#: frames.
MOST_FRAMES = 12_000


@contextmanager
def under_way(session: Any) -> Iterator[Any]:
    """Makes an elaboration the current one. What is nested too deeply is an error like any other."""
    usual = sys.getrecursionlimit()
    collecting = gc.isenabled()
    CURRENT.append(session)
    sys.setrecursionlimit(max(usual, MOST_FRAMES))
    gc.disable()  # Nearly all that is made is kept: looking for what is not took a quarter of the time.
    try:
        yield session
    except RecursionError:
        raise error("DG590", "the program is nested too deeply", help="write long chains as loops") from None
    finally:
        sys.setrecursionlimit(usual)
        CURRENT.pop()
        if collecting:
            gc.enable()


# ---------------------------------------------------------------- loading


def load_module(path: str | Path) -> Module:
    """Reads a file with all it imports. DiffgraphError with every problem of its syntax and its names."""
    path = Path(path)
    source = named_source(path)
    file = path.resolve()
    return _Files(file.parent, path.parent).load(source, file)


def named_source(path: Path) -> Source:
    """The text of a file that a person has named."""
    try:
        return read_source(path)
    except OSError as problem:
        raise unreadable(str(path), path, problem) from None


def load_text(text: str, name: str = "<text>", folder: str | Path | None = None) -> Module:
    """The same from a string; without a folder the program reads no files."""
    if folder is None:
        return _Files(None).load(Source(name, text), None)
    base = Path(folder).resolve()
    return _Files(base).load(Source(name, text), base / name)


def unreadable(shown: str, path: Path, problem: OSError, span: Span | None = None) -> DiffgraphError:
    """The error of a file that cannot be read; one that is not there may be misspelt."""
    if not isinstance(problem, FileNotFoundError):
        return error("DG206", f"`{shown}` cannot be read: {problem.strerror}", span)
    try:
        there = sorted(p.name for p in path.parent.iterdir() if p.suffix == path.suffix)
    except OSError:
        return error("DG206", f"there is no file `{shown}`, nor its folder", span)
    meant = nearest(path.name, there)
    start = shown[: len(shown) - len(path.name)]
    help = f"did you mean `{start}{meant}`?" if meant else None
    return error("DG206", f"there is no file `{shown}`", span, help=help)


@lru_cache(maxsize=1)
def standard_library() -> Module:
    """What is in scope everywhere: the files of the standard library that are not in a folder, as one module."""
    return _outlined(Module(Source("std", ""), None, None), library.in_scope())


@lru_cache(maxsize=None)
def _library_file(path: str) -> Module | None:
    source = library.source(path)
    return None if source is None else _outlined(Module(source, None, standard_library()), (source,))


def _outlined(module: Module, sources: Iterable[Source]) -> Module:
    """A module of the standard library, whose declarations are parsed when they are used."""
    module.declarations = declarations = library.Declarations()
    for source in sources:
        for place in library.places(source):
            if place.word in ("from", "import"):
                declaration = library.read(place)
                _bring(module, declaration, _from_library(declaration.path, declaration.span))
            elif place.word not in ("train", "expect"):
                declarations.add(place)
                module.nets += [place.name] if place.word == "net" else []
    return module


class _Files:
    """The files of one program, which stay inside its folder. Each is read once, however often it is imported."""

    def __init__(self, folder: Path | None, shown: Path | None = None):
        """`shown` is the folder as the user named it, for messages."""
        self.folder = folder
        self.shown = shown or folder
        self.modules: dict[Path, Module] = {}
        self.open: list[Path] = []

    def load(self, source: Source, file: Path | None) -> Module:
        """The module of a text; `file` is where it lies, which its imports are relative to."""
        module = Module(source, self.folder, standard_library())
        if file is not None:
            self.open.append(file)
        self.declare(module, parse(source), file)
        module.problems = tuple(unknown_names(module))
        if file is not None:
            self.modules[self.open.pop()] = module
        return module

    def declare(self, module: Module, tree: syntax.File, file: Path | None) -> None:
        """Adds the declarations of a text to a module."""
        problems: list[Diagnostic] = []
        for declaration in tree.declarations:
            try:
                if isinstance(declaration, (syntax.Import, syntax.FromImport)):
                    _bring(module, declaration, self._imported(declaration, file))
                else:
                    _declare(module, declaration)
            except DiffgraphError as failure:
                problems += failure.diagnostics
                if len(problems) >= MOST_PROBLEMS:
                    raise DiffgraphError(*problems) from None
        homeless = (b for b in (*module.trains, *module.expects) if not _has_net(module, b))
        problems += islice((_no_net(module, b) for b in homeless), MOST_PROBLEMS)
        problems += cycles(module.declarations)
        if problems:
            raise DiffgraphError(*problems)

    def _imported(self, declaration: syntax.Import | syntax.FromImport, file: Path | None) -> Module:
        path, span = declaration.path, declaration.span
        if path.startswith("std/"):
            return _from_library(path, span)
        from diffgraph.language.program_files import inside_folder

        place = path if file is None or path.startswith("/") else str(file.parent / path)
        found = inside_folder(place, self.folder, span, path)
        if found in self.modules:
            return self.modules[found]
        if found in self.open:
            chain = " -> ".join(p.name for p in (*self.open[self.open.index(found) :], found))
            raise error("DG514", f"files import one another: {chain}", span,
                        help="put what both need into a file of its own")  # fmt: skip
        if len(self.open) > MOST_IMPORTS or len(self.modules) > MOST_FILES:
            raise error("DG597", f"files import one another more than {MOST_IMPORTS} deep", span)
        try:
            source = read_source(found)
        except OSError as problem:
            raise unreadable(path, found, problem, span) from None
        return self.load(Source(str(self.shown / found.relative_to(self.folder)), source.text), found)


def _from_library(path: str, span: Span) -> Module:
    found = _library_file(path)
    if found is None:
        known = library.paths()
        help = suggest(path, known) or f"it has {', '.join(known)}"
        raise error("DG206", f"the standard library has no `{path}`", span, help=help)
    return found


def _bring(module: Module, declaration: syntax.Import | syntax.FromImport, other: Module) -> None:
    """The names that an import brings."""
    if isinstance(declaration, syntax.Import):
        _new_name(module, declaration.name, declaration)
        module.imported[declaration.name] = (other, None)
        return
    for name in declaration.names:
        if name not in other.declarations and name not in other.imported:
            names = sorted(other.own_names())
            help = suggest(name, names) or f"it has {', '.join(names) or 'no names'}"
            raise error("DG204", f"`{declaration.path}` has no `{name}`", _word(name, declaration), help=help)
        _new_name(module, name, declaration)
        module.imported[name] = (other, name)
        if name in other.nets:
            module.nets.append(name)


def _word(name: str, node: syntax.Node) -> Span:
    """Where a name stands in a declaration: the last time, since a file may be called like what it holds."""
    found = list(re.finditer(rf"\b{re.escape(name)}\b", node.span.text))
    start = node.span.start + (found[-1].start() if found else 0)
    return Span(node.span.source, start, start + len(name)) if found else node.span


def _declare(module: Module, declaration: syntax.Declaration) -> None:
    if isinstance(declaration, syntax.Train):
        module.trains.append(declaration)
        return
    if isinstance(declaration, syntax.Expect):
        module.expects.append(declaration)
        return
    for name in declaration.names if isinstance(declaration, syntax.Bind) else (declaration.name,):
        _new_name(module, name, declaration)
        module.declarations[name] = declaration
        if isinstance(declaration, (syntax.Net, syntax.NetAlias)):
            module.nets.append(name)


def _new_name(module: Module, name: str, declaration) -> None:
    if name in module.declarations:
        first = Note("it is declared first here", _first_word(name, module.declarations[name].span))
        raise error("DG205", f"`{name}` is declared twice", _first_word(name, declaration.span), first,
                    help="give one of them another name")  # fmt: skip
    if name in module.imported:
        is_import = isinstance(declaration, (syntax.Import, syntax.FromImport))
        text = "imported twice" if is_import else "imported and declared"
        help = "import one of them `as` another name" if isinstance(declaration, syntax.Import) else "rename one of them"
        raise error("DG205", f"`{name}` is {text}", _first_word(name, declaration.span), help=help)


def _first_word(name: str, span: Span) -> Span:
    found = re.search(rf"\b{re.escape(name)}\b", span.text)
    start = span.start + (found.start() if found else 0)
    return Span(span.source, start, start + len(name)) if found else span


def _has_net(module: Module, block: syntax.Train | syntax.Expect) -> bool:
    return module.knows(block.net.split(".")[0])


def _no_net(module: Module, block: syntax.Train | syntax.Expect) -> Diagnostic:
    kind = "train" if isinstance(block, syntax.Train) else "expect"
    names = list(module.nets)
    help = suggest(block.net, names) or (f"the file has {', '.join(names)}" if names else "declare it: net model { ... }")
    place = _first_word(block.net, block.span)
    return Diagnostic("DG203", f"there is no net `{block.net}` for this {kind} block", place, (), help)
