"""The language server: what `diffgraph lsp` speaks with an editor. The only door to pygls.

Every feature is a function of a text (`hover`, `completion`, `words`, `outline`); here its result is put into the terms
of the protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer
from pygls.uris import from_fs_path, to_fs_path

from diffgraph.diagnostics import Diagnostic, DiffgraphError, Note, Source, Span
from diffgraph.editors.analysis import Analysis, analyse, read_tree
from diffgraph.editors.completion import Proposal, completions
from diffgraph.editors.hover import hover
from diffgraph.editors.outline import Entry, outline
from diffgraph.editors.positions import offset_of, place_of, range_of
from diffgraph.editors.words import library_path, meaning_at
from diffgraph.language.formatter import format_file

#: Seconds without a change after which a text is checked.
PAUSE = 0.25

_COMPLETIONS = {
    "keyword": lsp.CompletionItemKind.Keyword,
    "function": lsp.CompletionItemKind.Function,
    "layer": lsp.CompletionItemKind.Class,
    "optimizer": lsp.CompletionItemKind.Class,
    "net": lsp.CompletionItemKind.Module,
    "name": lsp.CompletionItemKind.Variable,
    "setting": lsp.CompletionItemKind.Property,
    "field": lsp.CompletionItemKind.Field,
    "source": lsp.CompletionItemKind.Constructor,
    "attribute": lsp.CompletionItemKind.Property,
    "file": lsp.CompletionItemKind.File,
}

_SYMBOLS = {
    "fn": lsp.SymbolKind.Function,
    "layer": lsp.SymbolKind.Class,
    "optimizer": lsp.SymbolKind.Class,
    "net": lsp.SymbolKind.Module,
    "constant": lsp.SymbolKind.Constant,
    "import": lsp.SymbolKind.Package,
    "train": lsp.SymbolKind.Event,
    "expect": lsp.SymbolKind.Event,
    "input": lsp.SymbolKind.Interface,
    "target": lsp.SymbolKind.Interface,
    "param": lsp.SymbolKind.Variable,
    "state": lsp.SymbolKind.Variable,
}

_SEVERITIES = {"error": lsp.DiagnosticSeverity.Error, "warning": lsp.DiagnosticSeverity.Warning}


class NetServer(LanguageServer):
    """The server, with what it knows of each open text."""

    def __init__(self):
        super().__init__("diffgraph", _version())
        self.analyses: dict[str, Analysis] = {}
        #: Of the last text that could be read as a whole: names for completion while the present one is half written.
        self.known: dict[str, Analysis] = {}
        self.waiting: dict[str, asyncio.Task] = {}
        self.reported: dict[str, set[str]] = {}
        # One thread: an elaboration is not to run beside another.
        self.worker = ThreadPoolExecutor(1, "diffgraph")

    @property
    def encoding(self) -> str:
        return str(getattr(self.workspace.position_encoding, "value", self.workspace.position_encoding))

    def text(self, uri: str) -> str:
        return self.workspace.get_text_document(uri).source

    def analysis(self, uri: str) -> Analysis:
        """The analysis of the present text."""
        text = self.text(uri)
        if uri not in self.analyses or self.analyses[uri].source.text != text:
            self.keep(uri, self.worker.submit(analyse, text, _path(uri)).result())
        return self.analyses[uri]

    def keep(self, uri: str, analysis: Analysis) -> None:
        self.analyses[uri] = analysis
        if analysis.module is not None or uri not in self.known:
            self.known[uri] = analysis

    def check_soon(self, uri: str, pause: float = PAUSE) -> None:
        """Checks a text when it has not changed for a while."""
        if uri in self.waiting:
            self.waiting[uri].cancel()
        self.waiting[uri] = asyncio.get_running_loop().create_task(self._check(uri, pause))

    async def _check(self, uri: str, pause: float) -> None:
        await asyncio.sleep(pause)
        text = self.text(uri)
        found = await asyncio.get_running_loop().run_in_executor(self.worker, analyse, text, _path(uri))
        if self.text(uri) == text:
            self.keep(uri, found)
            self.publish(uri, found)

    def publish(self, uri: str, analysis: Analysis) -> None:
        """Sends the problems of a text, each to the file that it is in; of files that have none left, that."""
        by_file: dict[str, list[lsp.Diagnostic]] = {uri: []}
        for problem in analysis.problems:
            place = _own_place(problem, analysis.source)
            by_file.setdefault(self.uri_of(place, uri), []).append(self.diagnostic(problem, place, uri))
        for file in {*by_file, *self.reported.get(uri, ())}:
            found = lsp.PublishDiagnosticsParams(file, by_file.get(file, []))
            self.text_document_publish_diagnostics(found)
        self.reported[uri] = set(by_file) - {uri}

    def close(self, uri: str) -> None:
        for file in {uri, *self.reported.pop(uri, ())}:
            self.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(file, []))
        if uri in self.waiting:
            self.waiting.pop(uri).cancel()
        self.analyses.pop(uri, None)
        self.known.pop(uri, None)

    # ------------------------------------------------------------ in terms of the protocol

    def diagnostic(self, problem: Diagnostic, place: Span | None, uri: str) -> lsp.Diagnostic:
        """A problem with its repair and what has no place in the message, and the notes that have one beside it."""
        notes = list(problem.notes)
        if problem.span is not None and place is not None and place is not problem.span:
            notes.insert(0, Note("it is found here", problem.span))
        lines = [problem.message, *(n.message for n in notes if n.span is None)]
        lines += [f"help: {problem.help}"] if problem.help else []
        related = [
            lsp.DiagnosticRelatedInformation(self.location(note.span, uri), note.message)
            for note in notes
            if note.span is not None and note.span is not place
        ]
        where = self.range(place) if place is not None else _range((0, 0), (0, 0))
        severity = _SEVERITIES.get(problem.severity, lsp.DiagnosticSeverity.Information)
        return lsp.Diagnostic(
            where, "\n".join(lines), severity, problem.code, source="diffgraph", related_information=related
        )

    def uri_of(self, span: Span | None, uri: str) -> str:
        """Where the text of a span is; `uri` is that of the text that is being edited."""
        name = "" if span is None else span.source.name
        if name.startswith("std/"):
            return from_fs_path(str(library_path(name)))
        path = Path(name)
        return from_fs_path(name) if path.is_absolute() else uri

    def location(self, span: Span, uri: str) -> lsp.Location:
        return lsp.Location(self.uri_of(span, uri), self.range(span))

    def range(self, span: Span) -> lsp.Range:
        return _range(*range_of(span, self.encoding))

    def offset(self, source: Source, position: lsp.Position) -> int:
        return offset_of(source, position.line, position.character, self.encoding)


def _version() -> str:
    try:
        return version("diffgraph")
    except PackageNotFoundError:
        return "0"  # A checkout that is not installed.


def _own_place(problem: Diagnostic, source: Source) -> Span | None:
    """Where a problem is shown: a note that is in this very text rather than a place in the standard library."""
    if problem.span is None or not problem.span.source.name.startswith("std/"):
        return problem.span
    own = [note.span for note in problem.notes if note.span is not None and note.span.source is source]
    return own[0] if own else problem.span


def _path(uri: str) -> Path | None:
    found = to_fs_path(uri)
    return Path(found) if found and uri.startswith("file:") else None


def _range(start: tuple[int, int], end: tuple[int, int]) -> lsp.Range:
    return lsp.Range(lsp.Position(*start), lsp.Position(*end))


# ---------------------------------------------------------------- features


def _opened(server: NetServer, params: lsp.DidOpenTextDocumentParams) -> None:
    server.check_soon(params.text_document.uri, 0)


def _changed(server: NetServer, params: lsp.DidChangeTextDocumentParams) -> None:
    server.check_soon(params.text_document.uri)


def _saved(server: NetServer, params: lsp.DidSaveTextDocumentParams) -> None:
    """What is saved may be imported by others that are open."""
    for uri in list(server.analyses):
        server.check_soon(uri, 0)


def _closed(server: NetServer, params: lsp.DidCloseTextDocumentParams) -> None:
    server.close(params.text_document.uri)


def _hover(server: NetServer, params: lsp.HoverParams) -> lsp.Hover | None:
    analysis = server.analysis(params.text_document.uri)
    found = hover(analysis, server.offset(analysis.source, params.position))
    if found is None:
        return None
    return lsp.Hover(lsp.MarkupContent(lsp.MarkupKind.Markdown, found.text), server.range(found.span))


def _completion(server: NetServer, params: lsp.CompletionParams) -> lsp.CompletionList:
    uri = params.text_document.uri
    source = Source("", server.text(uri))
    known = server.known.get(uri)
    if known is None:
        known = server.analysis(uri)
    tree = read_tree(source.text) or known.tree
    found = completions(source.text, server.offset(source, params.position), known.module, tree)
    return lsp.CompletionList(False, [_item(proposal, rank) for rank, proposal in enumerate(found)])


def _item(proposal: Proposal, rank: int) -> lsp.CompletionItem:
    about = lsp.MarkupContent(lsp.MarkupKind.Markdown, proposal.about) if proposal.about else None
    return lsp.CompletionItem(
        proposal.label, kind=_COMPLETIONS[proposal.kind], detail=proposal.detail or None, documentation=about,
        sort_text=f"{rank:04}", insert_text=proposal.insert or None,
    )  # fmt: skip


def _definition(server: NetServer, params: lsp.DefinitionParams) -> lsp.Location | None:
    uri = params.text_document.uri
    analysis = server.analysis(uri)
    if analysis.tree is None:
        return None
    meaning = meaning_at(analysis.tree, analysis.module, server.offset(analysis.source, params.position))
    if meaning is None:
        return None
    if meaning.path is not None and meaning.path.is_file():
        return lsp.Location(from_fs_path(str(meaning.path)), _range((0, 0), (0, 0)))
    return None if meaning.definition is None else server.location(meaning.definition, uri)


def _symbols(server: NetServer, params: lsp.DocumentSymbolParams) -> list[lsp.DocumentSymbol]:
    tree = server.analysis(params.text_document.uri).tree
    return [] if tree is None else _document_symbols(server, outline(tree))


def _document_symbols(server: NetServer, entries: Iterable[Entry]) -> list[lsp.DocumentSymbol]:
    return [
        lsp.DocumentSymbol(
            entry.name, _SYMBOLS.get(entry.kind, lsp.SymbolKind.Field), server.range(entry.span),
            server.range(entry.name_place), entry.kind, children=_document_symbols(server, entry.inside),
        )
        for entry in entries
    ]  # fmt: skip


def _formatting(server: NetServer, params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit]:
    source = Source("", server.text(params.text_document.uri))
    try:
        text = format_file(source)
    except DiffgraphError:
        return []  # The problems have been published.
    if text == source.text:
        return []
    return [lsp.TextEdit(_range((0, 0), place_of(source, len(source.text), server.encoding)), text)]


_FEATURES = {
    lsp.TEXT_DOCUMENT_DID_OPEN: _opened,
    lsp.TEXT_DOCUMENT_DID_CHANGE: _changed,
    lsp.TEXT_DOCUMENT_DID_SAVE: _saved,
    lsp.TEXT_DOCUMENT_DID_CLOSE: _closed,
    lsp.TEXT_DOCUMENT_HOVER: _hover,
    lsp.TEXT_DOCUMENT_DEFINITION: _definition,
    lsp.TEXT_DOCUMENT_DOCUMENT_SYMBOL: _symbols,
    lsp.TEXT_DOCUMENT_FORMATTING: _formatting,
}


def make_server() -> NetServer:
    """A server that has not been started: `make_server().start_io()`."""
    server = NetServer()
    for name, function in _FEATURES.items():
        server.feature(name)(function)
    options = lsp.CompletionOptions(trigger_characters=[".", "(", '"', " "])
    server.feature(lsp.TEXT_DOCUMENT_COMPLETION, options)(_completion)
    return server
