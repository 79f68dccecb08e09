"""Problems that only follow from another one, which is reported: they are left out."""

from __future__ import annotations

from collections.abc import Sequence

from diffgraph.diagnostics import Diagnostic


def without_follow_ups(problems: Sequence[Diagnostic]) -> list[Diagnostic]:
    """The problems of a text in its order, without what would vanish when an earlier one is mended."""
    kept: list[Diagnostic] = []
    reserved: set[str] = set()
    without_brace = {(p.span.source, p.span.line) for p in problems if p.code == "DG132"}
    body: Diagnostic | None = None
    for problem in problems:
        span = problem.span
        if body is not None and not _is_below(problem, body):
            body = None
        if problem.code == "DG110" and span.text in reserved:
            continue  # `state = x` is reported; `output state` reads what it would have bound.
        if problem.code == "DG110" and (span.source, span.line) in without_brace:
            continue  # The block has no `{`, which is reported.
        if body is not None and problem.code in ("DG142", "DG145"):
            continue  # `def f(x):` is reported; the lines of its body are taken for declarations.
        if problem.code == "DG111":
            reserved.add(span.text)
        elif problem.code == "DG153" and span.text == ":":
            body = problem
        kept.append(problem)
    return kept


def _is_below(problem: Diagnostic, head: Diagnostic) -> bool:
    """Whether a problem is on one of the indented lines that follow the line of another."""
    source, first, last = head.span.source, head.span.line, problem.span.line
    indent = _indent(source.line(first))
    lines = (source.line(k) for k in range(first + 1, last + 1))
    return all(not line.strip() or _indent(line) > indent for line in lines)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
