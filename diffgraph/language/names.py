"""Names that mean nothing, also in layers and functions that no net uses.

Elaboration checks what it reaches, with everything known. This reads the rest of a file without running it, so it
claims only what is wrong in every use: a name that is bound nowhere, a setting that a layer does not have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from diffgraph.diagnostics import Diagnostic, Span
from diffgraph.language import syntax
from diffgraph.language.calls import unknown_keyword
from diffgraph.language.core_functions import CORE
from diffgraph.language.cycles import bound_names
from diffgraph.language.lexing import MOST_PROBLEMS
from diffgraph.language.meant import meant
from diffgraph.language.scopes import Scope
from diffgraph.language.traversal import walk
from diffgraph.language.words import READABLE, REDUCTIONS, RESERVED

#: What is known everywhere beside the names of files and the functions of the core.
SPECIAL = ("pi", "inf", "training", "step", "total_steps", "parameters", "grad", "shared", "frozen")

#: The automatic name of an instance, `conv1`, which is a path.
_AUTOMATIC = re.compile(r"[^\W\d]\w*\d")


def taken_everywhere() -> frozenset[str]:
    """Every name that means something in any program."""
    from diffgraph.language.module import standard_library

    return frozenset({*standard_library().declarations, *CORE, *SPECIAL, *RESERVED, *REDUCTIONS, *READABLE})


def unknown_names(module) -> list[Diagnostic]:
    """A problem for each name in the layers, functions and nets of a file that is bound nowhere."""
    problems: list[Diagnostic] = []
    for declaration in module.declarations.values():
        if isinstance(declaration, (syntax.Function, syntax.Layer, syntax.Net)):
            problems += islice(_problems(declaration, module), MOST_PROBLEMS - len(problems))
    return problems


def _problems(declaration: syntax.Declaration, module: Scope) -> Iterator[Diagnostic]:
    own = {*bound_names(declaration), *_sizes(declaration), *_instances(declaration)}
    paths = {id(_root(node)) for node in walk(declaration) if isinstance(node, syntax.Attribute)}
    paths |= {id(node.scope) for node in walk(declaration) if isinstance(node, syntax.Loss)}
    known: list[str] = []
    for node in walk(declaration):
        if isinstance(node, syntax.Name) and id(node) not in paths and not _is_known(node.name, own, module):
            known = known or [*own, *module.names(), *CORE, *SPECIAL]
            yield Diagnostic("DG201", f"`{node.name}` is not known here", node.span, (), meant(node.name, known))
        elif isinstance(node, syntax.CallOf) and isinstance(node.function, syntax.Name):
            if node.function.name not in own:
                yield from _wrong_keywords(node, module)


def _is_known(name: str, own: set[str], module: Scope) -> bool:
    known = name in own or name in CORE or name in SPECIAL or module.find(name) is not None
    return known or _AUTOMATIC.fullmatch(name) is not None


def _wrong_keywords(call: syntax.CallOf, module: Scope) -> Iterator[Diagnostic]:
    """Keywords that the function or layer that is called does not have."""
    holder = module.find(call.function.name)
    called = None if holder is None else holder.declarations.get(call.function.name)
    if isinstance(called, syntax.Function):
        word, names = "argument", [p.name for p in called.parameters]
    elif isinstance(called, (syntax.Layer, syntax.Net)):
        word, names = "setting", [s.name for s in called.settings]
    else:
        return
    for argument in call.arguments:
        if argument.name is not None and argument.name not in names:
            start = argument.span.start
            span = Span(argument.span.source, start, start + len(argument.name))
            yield unknown_keyword(call.function.name, word, argument.name, names, span)


def _sizes(declaration: syntax.Node) -> Iterator[str]:
    """The names that signatures and ports bind to sizes."""
    for node in walk(declaration):
        if isinstance(node, (syntax.TensorParameter, syntax.Port)):
            yield from (size.name for size in node.shape or () if isinstance(size, syntax.Name))


def _instances(declaration: syntax.Node) -> Iterator[str]:
    """The names that instances are given: they are paths."""
    for node in walk(declaration):
        if isinstance(node, syntax.InstanceName):
            yield "".join(p for p in node.parts if isinstance(p, str))


def _root(node: syntax.Expr) -> syntax.Expr:
    while isinstance(node, syntax.Attribute):
        node = node.value
    return node
