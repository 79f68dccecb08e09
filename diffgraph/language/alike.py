"""A layer that is applied again is not evaluated again.

A deep network applies one layer, with the same settings, to tensors of the same shapes many times. What a body does
depends on those, on the mode, and on nothing else; so what its first two applications added to the program, if it was
the same but for names, is written down as a template, and the third adds the same under its own names, without reading
the body. Nothing is lost: provenance, instances and their numbers, and initial values are those that evaluation gives.

Where a body looks beyond its own frame (at a path, at all parameters, at a shared layer), or makes what a template cannot
hold (a scan, a derivative of one's own), it is evaluated each time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from diffgraph.diagnostics import Span
from diffgraph.ir.dimension import Dimension
from diffgraph.ir.program import Tensor
from diffgraph.language.budget import STEPS_FOR_ONE_REPEATED
from diffgraph.language.limits import limits
from diffgraph.language.module import Module
from diffgraph.language.session import Session
from diffgraph.language.template import Template, Unfit, written
from diffgraph.language.values import BuiltinFunction, FunctionValue, LayerValue, Pending, TensorValue

#: After so many applications of which no two were alike, a layer is evaluated without being watched.
MOST_ATTEMPTS = 4


@dataclass
class Known:
    """What is known of applications that should be alike: the last one that was evaluated, or the template."""

    last: Any = None
    template: Template | None = None
    attempts: int = 0


def apply_alike(
    session: Session, target: Any, arguments: Sequence[Any], path: str, span: Span, evaluate: Callable[[], Any]
) -> Any:
    """What `evaluate()` gives, which applies a layer or function to its arguments inside the instance that is open."""
    if not _can_repeat(session):
        return evaluate()
    tensors: list[Tensor] = []
    try:
        key = (
            _fingerprint(target, tensors), tuple(_argument(a, tensors) for a in arguments), _place(span), session.phase,
            session.training, any(f.frozen for f in session.frames),
        )  # fmt: skip
    except Unfit:
        return evaluate()
    known = session.alike.setdefault(key, Known())
    if known.template is not None:
        result = _repeated(known.template, session, path, tensors, arguments, span)
        if result is not None:
            return result
    if known.attempts >= MOST_ATTEMPTS:
        return evaluate()
    before = session.extent()
    deepest, session.deepest = session.deepest, session.depth
    result = evaluate()
    height = (session.deepest[0] - session.depth[0], session.deepest[1] - session.depth[1])
    session.deepest = max(deepest[0], session.deepest[0]), max(deepest[1], session.deepest[1])
    known.attempts += 1
    last, known.last = known.last, (path, tensors, arguments, before, session.extent(), height, result)
    if last is not None and known.template is None:
        first, second = _template(session, last), _template(session, known.last)
        if first is not None and first == second:
            known.template, known.last = second, None
    return result


def _can_repeat(session: Session) -> bool:
    """Whether what is evaluated goes into the program itself, and its instance is new and like any other."""
    return (
        session.builder is session.main
        and not (session.notations or session.loops or session.iteration or session.freeze)
        and not session.frame.reuse
        and not session.failed
    )


def _template(session: Session, application: tuple) -> Template | None:
    try:
        return written(session, *application)
    except Unfit:
        return None


def _repeated(template: Template, session: Session, path: str, tensors, arguments, span: Span) -> Any:
    """The result of an application under another path, or None where the template does not hold: at a limit, whose
    error evaluation gives, or where the instances inside have other numbers."""
    calls, frames = session.depth
    if (
        len(session.instances) + len(template.instances) >= limits().nodes
        or len(session.main.statements) + len(template.main.statements) >= limits().nodes
        or session.steps + template.steps // STEPS_FOR_ONE_REPEATED + 2 >= limits().nodes
        or calls + template.height[0] >= limits().nesting
        or frames + template.height[1] >= 4 * limits().nesting
        or not template.is_numbered_alike(session, path)
    ):
        return None
    return template.repeat(session, path, tensors, arguments)


# ---------------------------------------------------------------- what makes two applications alike


def _argument(value: Any, tensors: list[Tensor]) -> Any:
    """An argument without the names of its tensors, which join `tensors`."""
    if isinstance(value, Pending):
        operands = tuple(_shape(t, tensors) for t in value.operands)
        return "pending", value.shape, value.kind, value.body, value.bound, operands, _place(value.span)
    return _fingerprint(value, tensors)


def _shape(tensor: Tensor, tensors: list[Tensor]) -> tuple:
    """What a body sees of a tensor, and which of the tensors before it is the same."""
    names = [t.name for t in tensors]
    tensors.append(tensor)
    same = names.index(tensor.name) if tensor.name in names else len(names)
    return tensor.shape, tensor.kind, tensor.bound, same


def _place(span: Span | None) -> tuple | None:
    return None if span is None else (span.start, span.end, id(span.source))


def _fingerprint(value: Any, tensors: list[Tensor]) -> Any:
    """What values that mean the same have in common. `Unfit` where that cannot be told: for compositions, whose text is
    read in a scope that changes."""
    if value is None or isinstance(value, (bool, int, str)):
        return type(value), value
    if isinstance(value, float):
        return float, value.hex()
    if isinstance(value, (Fraction, Dimension, range)):
        return type(value), value
    if isinstance(value, TensorValue):
        return "tensor", _shape(value.tensor, tensors), _place(value.span)
    if isinstance(value, (list, tuple)):
        return type(value), tuple(_fingerprint(v, tensors) for v in value)
    if isinstance(value, BuiltinFunction):
        return value.name, _fingerprints(value.given, tensors)
    if isinstance(value, FunctionValue) and isinstance(value.scope, Module):
        return id(value.declaration), id(value.scope), _fingerprints(value.given, tensors)
    if isinstance(value, LayerValue) and isinstance(value.scope, Module):
        return id(value.declaration), id(value.scope), _fingerprints(value.settings, tensors)
    raise Unfit


def _fingerprints(named, tensors: list[Tensor]) -> tuple:
    return tuple((name, _fingerprint(value, tensors)) for name, value in named)
