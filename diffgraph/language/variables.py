"""Draws, parameters, states and their updates."""

from __future__ import annotations

from typing import Any

from diffgraph.diagnostics import DiffgraphError, Note, Span, error, suggest
from diffgraph.ir.expression import Call, Const, Expr, Extent, Index, Read
from diffgraph.ir.program import Output
from diffgraph.ir.simplify import call
from diffgraph.language import apply, notation, paths, sizes, syntax
from diffgraph.language import evaluate as expressions
from diffgraph.language.arithmetic import (
    as_pending,
    binary,
    broadcast_shapes,
    constant_expr,
    describe,
    is_tensor,
    materialize,
    only_output,
    show_shape,
)
from diffgraph.language.budget import STEPS_OF_VARIABLE
from diffgraph.language.instances import given_name
from diffgraph.language.network import Variable
from diffgraph.language.numbers import open_question
from diffgraph.language.scopes import Scope
from diffgraph.language.session import Session
from diffgraph.language.tensors import as_size, filled
from diffgraph.language.values import BuiltinFunction, FunctionValue, Indexed, Pending, TensorValue, Undecided


def shape_of(nodes, scope: Scope, session: Session) -> tuple:
    """A declared shape; lists are spliced in."""
    shape: list = []
    for node in nodes:
        value = only_output(expressions.evaluate(node, scope, session))
        items = value if isinstance(value, (list, range, tuple)) else [value]
        shape += [as_size(i, session, node.span) for i in items]
    return tuple(shape)


def condition(node: syntax.Expr, scope: Scope, session: Session) -> bool:
    value = only_output(expressions.evaluate(node, scope, session))
    if is_tensor(value) or isinstance(value, Indexed):
        raise error(
            "DG508", "a condition on values is not known when compiling", node.span,
            help="write where(condition, a, b), or `a if condition else b`",
        )  # fmt: skip
    if isinstance(value, Undecided):
        raise open_question(value, node.span)
    if isinstance(value, (bool, int, float)):
        return bool(value)
    raise error("DG322", f"{describe(value)} is neither true nor false", node.span)


# ---------------------------------------------------------------- draws


def draw(node: syntax.Draw, scope: Scope, session: Session) -> None:
    shape = shape_of(node.shape, scope, session)
    path = f"{session.frame.path}.{node.name}" if session.frame.path else node.name
    noise = uniform_noise(_own(path, session), shape, session, node.span, session.run_scalar("step"))
    value = _distributed(node.distribution, noise, scope, session, node.span)
    scope.bind(node.name, materialize(_spread(value, shape, session, node.span), session, session.hint(node.name)))


def _own(path: str, session: Session) -> str:
    """The path of this draw alone: a name that is drawn again (in a loop, in a shared layer) is another draw."""
    times = session.draws.get(path, 0) + 1
    session.drawn(path, times)
    return path if times == 1 else f"{path}~{times}"


def uniform_noise(path: str, shape, session: Session, span: Span, step: TensorValue | None) -> TensorValue:
    """Numbers evenly spread over [0, 1), each a function of (seed, step, path, scan iteration, element)."""
    session.count_step(span, STEPS_OF_VARIABLE)
    site = session.site(path)
    place: Expr = Const(0)
    operands = [session.run_scalar("seed").tensor]
    if step is not None:
        operands.append(step.tensor)
    for t, length in session.iteration if step is not None else ():
        operands.append(t)
        place = call("add", call("mul", place, _extent(length)), Read(len(operands) - 1, (), None))
    for axis, size in enumerate(shape):
        place = call("add", call("mul", place, _extent(size)), Index(axis))
    when = Const(0) if step is None else Read(1, (), None)
    body = Call("random", (Read(0, (), None), when, Const(site), place))
    noise = Pending(tuple(shape), "float", body, tuple(operands), None, span)
    return materialize(noise, session, session.hint("noise"), span)


def _extent(size) -> Expr:
    return Const(size) if isinstance(size, int) else Extent(size)


def _distributed(node: syntax.Expr, noise: TensorValue, scope: Scope, session: Session, span: Span) -> Any:
    """A distribution is a function of noise: its name, or a call without that first argument."""
    positional: list = []
    keywords: dict = {}
    function = None
    if isinstance(node, syntax.CallOf):
        function = expressions.evaluate(node.function, scope, session)
        positional, keywords = expressions.arguments_of(node.arguments, scope, session)
    else:
        function = expressions.evaluate(node, scope, session)
    if isinstance(function, BuiltinFunction):
        return apply.call_builtin(function, [noise, *positional], keywords, session, span)
    if not isinstance(function, FunctionValue):
        raise error("DG503", f"{describe(function)} is not a distribution", node.span, help="normal(0, 1), for example")
    return apply.call_function(function, [noise, *positional], keywords, session, span)


def _spread(value: Any, shape, session: Session, span: Span) -> Pending:
    """A value over a declared shape: numbers are repeated, what has another shape is refused."""
    pending = as_pending(value, session, span)
    if pending.shape == tuple(shape):
        return pending

    def problem():
        return error(
            "DG504", f"{show_shape(pending.shape)} does not fill the declared shape {show_shape(shape)}", span,
            *([Note(f"this is {show_shape(pending.shape)}", pending.span)] if pending.span else ()),
        )  # fmt: skip

    if len(pending.shape) > len(shape):
        raise problem()
    for own, size in zip(pending.shape[::-1], tuple(shape)[::-1]):
        if own != 1:
            session.require_equal(own, size, problem, span)
    broadcast_shapes([pending.shape, tuple(shape)], session, span)
    return as_pending(binary("+", pending, _zero(pending.kind, shape, session, span), session, span), session, span)


def _zero(kind: str, shape, session, span):
    return filled(list(shape), 0.0 if kind == "float" else 0, session, span)


# ---------------------------------------------------------------- parameters and states


def variable(node: syntax.Variable, scope: Scope, session: Session) -> None:
    own = node.name if node.called is None else given_name(node.called, scope, session)
    path = f"{session.frame.path}.{own}" if session.frame.path else own
    shape = shape_of(node.shape, scope, session)
    there = node.condition is None or condition(node.condition, scope, session)
    if not there:
        constant = 0.0 if node.drawn else expressions.evaluate(node.value, scope, session)
        scope.bind(node.name, _constant(constant, shape, session, node.span))
        return
    if path in session.variables:
        scope.bind(node.name, _again(node, path, shape, session))
    else:
        scope.bind(node.name, _new_variable(node, path, shape, scope, session))
    scope.bind(f"&{node.name}", path)


def _constant(value: Any, shape, session: Session, span) -> Any:
    expression = constant_expr(value)
    if expression is not None:
        return filled(list(shape), float(value), session, span)
    return _spread(value, shape, session, span)


def _again(node: syntax.Variable, path: str, shape, session: Session) -> TensorValue:
    if not any(f.reuse for f in session.frames):
        first = Note("the first one", session.variables[path].span)
        help = "give one another name"
        if session.loop_variables and session.variables[path].span == node.span:
            help = f"each turn of the loop makes one: name it after its value, `as {node.name}_{{{session.loop_variables[-1]}}}`"
        raise error("DG526", f"two parameters are called `{path}`", node.span, first, help=help)
    known = session.variables[path].tensor
    if known.shape != shape:
        text = f"the shared `{path}` is {show_shape(known.shape)}, and is wanted as {show_shape(shape)} here"
        first = next((i.span for i in session.instances if i.path == path.rpartition(".")[0] and i.span), None)
        notes = [Note(f"its first use made it {show_shape(known.shape)}", first)] if first is not None else []
        raise error("DG527", text, node.span, *notes, help="what is shared keeps the shape of its first use")
    return session.by_path[path]


def _new_variable(node: syntax.Variable, path: str, shape, scope: Scope, session: Session) -> TensorValue:
    trained = node.role == "param" and not any(f.frozen for f in session.frames)
    trained = trained and not any(paths.matches(pattern, path) for pattern in session.freeze)
    role = "parameter" if node.role == "param" else "state"
    if session.depends_on_batch(*shape):
        raise error(
            "DG505", f"the {role} `{path}` {show_shape(shape)} depends on the batch, which may have any size", node.span,
            help="give it a shape that the settings and the other sizes decide",
        )  # fmt: skip
    session.count_step(node.span, STEPS_OF_VARIABLE)
    session.count_bytes(shape, f"the {role} `{path}` {show_shape(shape)}", node.span)
    tensor = session.root.input(path, shape, role, path=path, span=node.span)
    session.variables[path] = Variable(path, tensor, trained, node.span)
    value = TensorValue(tensor, node.span)
    session.by_path[path] = value
    _initial(node, path, shape, scope, session)
    return value


def _initial(node: syntax.Variable, path: str, shape, scope: Scope, session: Session) -> None:
    """Adds the initial value to the program of initial values."""
    with session.building(session.initial):
        if node.drawn:
            noise = uniform_noise(path, shape, session, node.span, None)
            value = _distributed(node.value, noise, scope, session, node.span)
        else:
            value = expressions.evaluate(node.value, scope, session)
        pending = _spread(value, shape, session, node.span)
        if pending.kind != "float":
            pending = as_pending(binary("*", 1.0, pending, session, node.span), session, node.span)
        tensor = materialize(pending, session, path, node.span)
        session.initial.outputs.append(Output(path, session.operand(tensor.tensor, node.span)))


def update(node: syntax.Update, scope: Scope, session: Session) -> None:
    path, name = _target(node, scope, session)
    variable = session.variables[path]
    if node.indices is not None:
        value = notation.define(name, node.indices, node.value, node.span, scope, session)
    else:
        value = as_pending(expressions.evaluate(node.value, scope, session), session, node.value.span)
        if not _can_fill(value.shape, variable.tensor.shape):
            raise _keeps_shape(path, variable, value, node.value.span)
        pending = _spread(value, variable.tensor.shape, session, node.span)
        if pending.kind != "float":
            pending = as_pending(binary("*", 1.0, pending, session, node.span), session, node.span)
        value = materialize(pending, session, session.hint(f"{name}_new"), node.span)
    if value.shape != variable.tensor.shape:
        raise _keeps_shape(path, variable, value, node.span)
    session.updated(path, value)
    if path != session.frame.path and not path.startswith(f"{session.frame.path}."):
        session.outside += 1
    holder = scope.find(f"&{name}")
    if holder is not None and holder.get(f"&{name}") == path:
        scope.bind(name, value)
        scope.bind(f"&{name}", path)


def _can_fill(own, shape) -> bool:
    """Whether a value of one shape can be repeated to fill another."""
    pairs = zip(own[::-1], tuple(shape)[::-1])
    return len(own) <= len(shape) and all(a == 1 or sizes.equal(a, b) is not False for a, b in pairs)


def _keeps_shape(path: str, variable: Variable, value: Any, span: Span) -> DiffgraphError:
    shape = show_shape(variable.tensor.shape)
    return error(
        "DG506", f"`{path}` is {shape} and cannot become {show_shape(value.shape)}", span,
        Note(f"it is declared as {shape} here", variable.span),
        help="reduce over the other axes: mean(x, axis = 0)" if len(value.shape) > len(variable.tensor.shape) else None,
    )  # fmt: skip


def _target(node: syntax.Update, scope: Scope, session: Session) -> tuple[str, str]:
    target = node.target
    if isinstance(target, str):
        name = target
    else:
        name = target.name if isinstance(target, syntax.Name) else target.span.text
    holder = scope.find(f"&{name}")
    if holder is not None:
        return holder.get(f"&{name}"), name
    path = f"{session.frame.path}.{name}" if session.frame.path else name
    if path in session.variables:
        return path, name
    if isinstance(target, syntax.Name):
        expressions.lookup(name, scope, session, node.span)  # Nothing more to say of what has failed.
    text = f"`{name}` is neither a state nor a parameter"
    known = [n[1:] for n in scope.values if n.startswith("&")]
    help = suggest(name, known) or f"declare it: `state {name} = 0`; `{name} = ...` binds a name anew"
    raise error("DG507", text, Span(node.span.source, node.span.start, node.span.start + len(name)), help=help)
