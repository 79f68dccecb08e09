"""What the declarations of a file use, and the refusal of those that use themselves.

Elaboration expands every call, so a function or layer that calls itself would never end. Layers that are given to one
another as settings (`residual(residual(f))`) make no cycle: only names in the text count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from diffgraph.diagnostics import Diagnostic, Note
from diffgraph.language import syntax
from diffgraph.language.traversal import walk


def cycles(declarations: Mapping[str, syntax.Declaration]) -> list[Diagnostic]:
    """A problem for each cycle among top-level names, at the declaration that closes it."""
    uses = {name: _uses(declaration, declarations) for name, declaration in declarations.items()}
    problems: list[Diagnostic] = []
    done: set[str] = set()
    for name in declarations:
        if name not in done:
            _follow(name, uses, declarations, done, problems)
    return problems


def _follow(start: str, uses, declarations, done: set[str], problems: list[Diagnostic]) -> None:
    """Depth-first from a name, without recursion: a long chain of declarations is no cycle."""
    chain = [start]
    open_uses = [iter(uses[start])]
    while chain:
        name = next(open_uses[-1], None)
        if name is None:
            done.add(chain.pop())
            open_uses.pop()
        elif name in chain:
            cycle = [*chain[chain.index(name) :], name]
            problems.append(_problem(cycle, uses, declarations))
        elif name not in done:
            chain.append(name)
            open_uses.append(iter(uses[name]))


def _problem(cycle: list[str], uses, declarations) -> Diagnostic:
    place = uses[cycle[-2]][cycle[-1]]
    notes = tuple(Note(f"`{name}` is declared here", declarations[name].span) for name in dict.fromkeys(cycle))
    return Diagnostic(
        "DG510", f"`{cycle[0]}` uses itself: {' -> '.join(cycle)}", place, notes,
        "write a loop: `for` when compiling, `scan` when running",
    )  # fmt: skip


def _uses(declaration: syntax.Node, declarations) -> dict[str, object]:
    """The top-level names that a declaration uses, each with the place of its first use. Names that it binds are its
    own."""
    own = set(bound_names(declaration))
    found: dict[str, object] = {}
    for node in walk(declaration):
        if isinstance(node, syntax.Name) and node.name in declarations and node.name not in own:
            found.setdefault(node.name, node.span)
    return found


def bound_names(declaration: syntax.Node) -> Iterator[str]:
    """Every name that a layer, function or net binds somewhere in its text."""
    if isinstance(declaration, syntax.Bind):
        return
    for node in walk(declaration):
        if isinstance(node, syntax.Bind):
            yield from node.names
        elif isinstance(node, syntax.ScanOf):
            yield node.index
        elif isinstance(node, syntax.GradientRule):
            yield node.cotangent
        elif isinstance(node, _NAMED) and node is not declaration and node.name is not None:
            yield node.name


#: What binds a name for the body that it stands in.
_NAMED = (
    syntax.Setting, syntax.TensorParameter, syntax.Define, syntax.Draw, syntax.Variable, syntax.Port, syntax.For,
    syntax.ScanCarry, syntax.BoundIndex, syntax.Named,
)  # fmt: skip
