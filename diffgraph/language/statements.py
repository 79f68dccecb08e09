"""Statements: what a body does to its scope and to the program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from diffgraph.diagnostics import Diagnostic, DiffgraphError, Note, Span, error, suggest
from diffgraph.ir.dimension import symbol
from diffgraph.ir.program import Argsort, Reshape
from diffgraph.ir.rename import rename_results
from diffgraph.language import apply, notation, syntax, variables
from diffgraph.language import evaluate as expressions
from diffgraph.language.arithmetic import as_pending, describe, is_tensor, materialize, only_output, show_shape
from diffgraph.language.lexing import MOST_PROBLEMS
from diffgraph.language.reductions import reduce_axes
from diffgraph.language.scans import LoopScope
from diffgraph.language.scopes import FAILED, MISSING, Scope
from diffgraph.language.session import Session
from diffgraph.language.tensors import as_size, counted_range
from diffgraph.language.traversal import walk
from diffgraph.language.values import LayerValue, NetResult, Pending, SizeRange, TensorValue, Undecided
from diffgraph.language.variables import condition, shape_of


class Returned(Exception):
    """A `return` was met."""

    def __init__(self, value: Any):
        self.value = value


class NetScope(Scope):
    """The scope of a net's body: what its ports, outputs, losses and metrics are is recorded by `ports`."""

    def __init__(self, parent: Scope, ports: Any):
        super().__init__(parent)
        self.ports = ports


def run_body(block: syntax.Block, scope: Scope, session: Session, owner: str) -> Any:
    """The value that a body returns."""
    try:
        run_block(block, scope, session)
    except Returned as result:
        return result.value
    last = next((n for s in reversed(block.statements) for n in _binds(s, scope)), "y")
    raise error("DG501", f"`{owner}` returns nothing", block.span, help=f"end it with `return {last}`")


def run_block(block: syntax.Block, scope: Scope, session: Session) -> None:
    """Runs statements in order, and goes on after one that fails, so that independent problems are all found. What a
    failed statement would have bound is unknown; what needs it is passed over in silence."""
    problems: list[Diagnostic] = []
    failed = False
    for statement in block.statements:
        try:
            session.count_step(statement.span)
            _RULES[type(statement)](statement, scope, session)
        except Returned:
            if not problems:
                raise
            raise DiffgraphError(*problems) from None
        except DiffgraphError as failure:
            failed = session.failed = True
            problems += failure.diagnostics
            for name in _binds(statement, scope):
                scope.bind(name, FAILED)
            exhausted = any(d.code == "DG591" for d in failure.diagnostics)
            if block.span.source.is_library or _decides(statement, scope) or exhausted or len(problems) >= MOST_PROBLEMS:
                break
    if failed:
        raise DiffgraphError(*problems)


def _decides(statement: syntax.Statement, scope: Scope) -> bool:
    """Whether what follows in the body of a layer or function makes no sense once this has failed: it was what an
    assert stated, or is what is done where nothing has been returned."""
    if isinstance(statement, syntax.Assert):
        return not isinstance(scope, NetScope)
    if isinstance(statement, syntax.If):
        blocks = [statement.then, *([statement.otherwise] if statement.otherwise else [])]
        return any(isinstance(s, syntax.Return) or _decides(s, scope) for b in blocks for s in b.statements)
    if isinstance(statement, syntax.For):
        return any(isinstance(s, syntax.Return) or _decides(s, scope) for s in statement.body.statements)
    return False


def _binds(statement: syntax.Statement, scope: Scope) -> Iterator[str]:
    """The names that a statement binds, were it to succeed."""
    if isinstance(statement, syntax.Bind):
        yield from statement.names
    elif isinstance(statement, (syntax.Define, syntax.Draw, syntax.Variable)):
        yield statement.name
    elif isinstance(statement, syntax.OutputOf):
        yield from (item.name for item in statement.items if item.name is not None)
    elif isinstance(statement, syntax.Port):
        yield statement.name
        yield from (d.name for d in statement.shape if isinstance(d, syntax.Name) and scope.find(d.name) is None)
    elif isinstance(statement, syntax.If):
        for block in (statement.then, statement.otherwise):
            yield from (name for inner in (block.statements if block else ()) for name in _binds(inner, scope))
    elif isinstance(statement, syntax.For):
        yield from (name for inner in statement.body.statements for name in _binds(inner, scope))


# ---------------------------------------------------------------- binding


def _bind(node: syntax.Bind, scope: Scope, session: Session) -> None:
    value = expressions.evaluate(node.value, scope, session)
    if len(node.names) == 1:
        scope.bind(node.names[0], settle(_under_its_name(value, node, session), session, node.names[0], node.span))
        return
    for name, item in zip(node.names, unpack(value, node)):
        scope.bind(name, settle(item, session, name, node.span))


def _under_its_name(value: Any, node: syntax.Bind, session: Session) -> Any:
    """`y = reshape(x, ...)`: the view that was just made is called `y`, as a definition would be."""
    builder = session.builder
    made = builder.statements[-1] if builder.statements else None
    is_call = isinstance(node.value, syntax.CallOf) and isinstance(node.value.function, syntax.Name)
    if not is_call or node.value.function.name not in ("reshape", "argsort"):
        return value
    if (
        not isinstance(made, (Reshape, Argsort))
        or not isinstance(value, TensorValue)
        or made.tensor is not value.tensor
    ):
        return value
    builder.forget(made.tensor.name)
    name = builder.fresh(session.hint(node.names[0]))
    builder.statements[-1] = renamed = rename_results(made, {made.tensor.name: name})
    builder.tensors[name] = renamed.tensor
    return TensorValue(renamed.tensor, value.span)


def unpack(value: Any, node: syntax.Bind) -> list:
    """The values of `a, b = value`."""
    value = only_output(value)
    values = list(value) if isinstance(value, (tuple, list, range)) else None
    if values is None or len(values) != len(node.names):
        if values is None:
            text = f"{len(node.names)} names are bound to {describe(value)}, which is one value"
            raise error("DG502", text, node.span, help=f"bind it to one name: {node.names[0]} = ...")
        raise error("DG502", f"{len(node.names)} names are bound to {len(values)} values", node.span)
    return values


def settle(value: Any, session: Session, hint: str, span: Span) -> Any:
    """A value under a name: pending expressions become tensors, once."""
    if isinstance(value, Pending):
        return materialize(value, session, session.hint(hint), span)
    if isinstance(value, tuple):
        return tuple(settle(v, session, hint, span) for v in value)
    if isinstance(value, list):
        return [settle(v, session, hint, span) for v in value]
    return value


def _define(node: syntax.Define, scope: Scope, session: Session) -> None:
    scope.bind(node.name, notation.define(node.name, node.indices, node.value, node.span, scope, session))


# ---------------------------------------------------------------- control


def _if(node: syntax.If, scope: Scope, session: Session) -> None:
    if condition(node.condition, scope, session):
        run_block(node.then, scope, session)
    elif node.otherwise is not None:
        run_block(node.otherwise, scope, session)


#: A loop of fewer rounds is not weighed before it is run.
MANY_ROUNDS = 100


def _for(node: syntax.For, scope: Scope, session: Session) -> None:
    values = only_output(expressions.evaluate(node.values, scope, session))
    if isinstance(values, SizeRange):
        for end in (values.start, values.stop):
            expressions.whole(end, node.values.span)
    if isinstance(values, Pending):
        values = counted_range(values) or values
    if not isinstance(values, (list, range, tuple)):
        shown = node.values.span.text
        help = f"run over its places: for {node.name} in 0..{shown}.shape[0]" if is_tensor(values) else None
        raise error("DG509", f"`for` runs over a list or a range, not over {describe(values)}", node.values.span, help=help)
    outer = scope.values.get(node.name)
    had = node.name in scope.values
    if len(values) >= MANY_ROUNDS:
        session.expect_steps(node.span, len(values) * (1 + session.scale.weight(node.body, scope)))
    for value in values:
        session.count_step(node.span)
        scope.bind(node.name, value)
        session.loop_variables.append(node.name)
        try:
            run_block(node.body, scope, session)
        finally:
            session.loop_variables.pop()
    if had:
        scope.bind(node.name, outer)
    else:
        scope.values.pop(node.name, None)


def _assert(node: syntax.Assert, scope: Scope, session: Session) -> None:
    value = only_output(expressions.evaluate(node.condition, scope, session))
    if is_tensor(value):
        every = reduce_axes("all", value, None, False, session, node.span) if value.shape else value
        tensor = materialize(every, session, "holds", node.span)
        session.check(tensor, _message(node, scope, session), node.span)
    elif isinstance(value, Undecided):
        _require(value, node, scope, session)
    elif not value:
        notes = _tensors_in(node, scope)
        raise error("DG500", _message(node, scope, session), node.condition.span, *notes)


def _tensors_in(node: syntax.Assert, scope: Scope) -> list[Note]:
    """Where the tensors were made that an assertion is about, with their shapes."""
    named = {n.name: n for n in walk(node) if isinstance(n, syntax.Name)}
    notes = []
    for name in named:
        value = only_output(scope.find(name).get(name)) if scope.find(name) is not None else None
        if is_tensor(value) and value.span is not None:
            notes.append(Note(f"this is {show_shape(value.shape)}", value.span))
    return notes


def _require(value: Undecided, node: syntax.Assert, scope: Scope, session: Session) -> None:
    """What symbols leave open becomes a requirement; of the batch, which may have any size, it is checked at a call."""
    for open_condition in value.conditions:
        one = Undecided((open_condition,))
        if session.depends_on_batch(*open_condition[1:]):
            holds = materialize(as_pending(one, session, node.span), session, "holds", node.span)
            session.check(holds, _message(node, scope, session), node.span)
        else:
            session.require(one, node.span)


def _message(node: syntax.Assert, scope: Scope, session: Session) -> str:
    if node.message is None:
        return f"the assertion `{node.condition.span.text}` does not hold"
    return expressions.show(expressions.evaluate(node.message, scope, session))


def _return(node: syntax.Return, scope: Scope, session: Session) -> None:
    values = tuple(expressions.evaluate(v, scope, session) for v in node.values)
    raise Returned(values if len(values) > 1 else values[0])


def _loop(scope: Scope, span: Span, word: str) -> LoopScope:
    current: Scope | None = scope
    while current is not None and not isinstance(current, LoopScope):
        current = current.parent
    if current is None:
        raise error("DG554", f"`{word}` belongs inside a scan", span, help="in a `for` loop bind the name again: h = ...")
    return current


def _next(node: syntax.Next, scope: Scope, session: Session) -> None:
    loop = _loop(scope, node.span, "next")
    if node.name not in loop.carries:
        help = suggest(node.name, loop.carries) or f"it carries {', '.join(loop.carries)}"
        raise error("DG555", f"`{node.name}` is not carried by the scan", node.span, help=help)
    value = expressions.evaluate(node.value, scope, session)
    loop.nexts[node.name] = settle(value, session, f"next_{node.name}", node.span)


def _yield(node: syntax.YieldOf, scope: Scope, session: Session) -> None:
    loop = _loop(scope, node.span, "yield")
    if loop.yields is not None:
        raise error("DG556", "a scan yields once in a step", node.span, help="yield several values: yield a, b")
    values = [expressions.evaluate(v, scope, session) for v in node.values]
    loop.yields = tuple(settle(v, session, "yielded", node.span) for v in values)


# ---------------------------------------------------------------- nets


def _ports(scope: Scope, node, word: str):
    current: Scope | None = scope
    while current is not None:
        if isinstance(current, NetScope):
            return current.ports
        current = current.parent
    help = "return what it needs, and write it in the net"
    raise error("DG511", f"`{word}` belongs inside a net, not inside a layer", node.span, help=help)


def _port(node: syntax.Port, scope: Scope, session: Session) -> None:
    _ports(scope, node, node.role).port(node, scope, session)


def declared_shape(node: syntax.Port, scope: Scope, session: Session) -> tuple:
    """The shape of a port: a bare name that is not bound becomes a symbol (or the size it was given)."""
    shape: list = []
    for part in node.shape:
        if isinstance(part, syntax.Name) and scope.find(part.name) is None:
            given = session.sizes_given.get(part.name)
            scope.bind(part.name, symbol(part.name) if given is None else given)
        shape += shape_of([part], scope, session)
    return tuple(shape)


def element_type(node: syntax.Port, scope: Scope, session: Session) -> tuple[str, Any]:
    """(kind, bound) of a port."""
    if node.type is None:
        return "float", None
    if node.type.bound is None:
        return node.type.kind, None
    if node.type.kind != "int":
        raise error("DG512", f"only an int has a bound, and this is a {node.type.kind}", node.type.span,
                    help=f"write `int < {node.type.bound.span.text}` for classes, or leave the bound out")  # fmt: skip
    return "int", as_size(expressions.evaluate(node.type.bound, scope, session), session, node.type.bound.span)


def _outputs(node: syntax.OutputOf, scope: Scope, session: Session) -> None:
    for item in node.items:
        _ports(scope, node, "output").output(item, scope, session)


def _loss(node: syntax.Loss, scope: Scope, session: Session) -> None:
    _ports(scope, node, "loss").loss(node, scope, session)


def _metric(node: syntax.Metric, scope: Scope, session: Session) -> None:
    _ports(scope, node, "metric").metric(node.item, scope, session)


def run_nested_net(layer: LayerValue, scope: Scope, values: tuple, session: Session, span: Span) -> NetResult:
    """A net inside a net: its inputs are given, its losses and metrics ignored."""
    ports = NestedPorts(layer, values, span)
    inner = NetScope(scope.parent, ports)
    inner.values.update(scope.values)
    run_block(layer.declaration.body, inner, session)
    if ports.waiting:
        raise error("DG520", f"`{layer.name}` takes fewer tensors than {len(values)}", span)
    return NetResult(ports.outputs, session.frame.path)


class NestedPorts:
    """The ports of a net that is applied inside another."""

    def __init__(self, layer: LayerValue, values: tuple, span: Span):
        self.layer = layer
        self.waiting = list(values)
        self.span = span
        self.outputs: dict[str, Any] = {}

    def port(self, node: syntax.Port, scope: Scope, session: Session) -> None:
        """Inputs take the given tensors in order; targets are not there."""
        if node.role == "target":
            scope.bind(node.name, MISSING)
            return
        if not self.waiting:
            raise error("DG521", f"`{self.layer.name}` wants the input `{node.name}`", self.span)
        value = materialize(self.waiting.pop(0), session, node.name, self.span)
        for part in node.shape:
            if isinstance(part, syntax.Name) and part.name not in scope.values:
                holder = scope.find(part.name)
                if holder is not None:
                    scope.bind(part.name, holder.get(part.name))
        apply.bind_shape(node, value, scope, session, self.span, self.layer.name)
        scope.bind(node.name, value)

    def output(self, item: syntax.Named, scope: Scope, session: Session) -> None:
        value = settle(expressions.evaluate(item.value, scope, session), session, item.name or "output", item.span)
        name = item.name or result_name(item.value, "output")
        if item.name is not None:
            scope.bind(item.name, value)
        self.outputs[name] = value

    def loss(self, node, scope, session) -> None:
        """Ignored: a net inside another gives its outputs only."""

    def metric(self, item, scope, session) -> None:
        """Ignored likewise."""


def result_name(node: syntax.Expr, default: str) -> str:
    """The name of an unnamed output or metric: that of the tensor, or of the function called."""
    if isinstance(node, syntax.Name):
        return node.name
    if isinstance(node, syntax.CallOf) and isinstance(node.function, syntax.Name):
        return node.function.name
    if isinstance(node, syntax.Reduction):
        return node.op
    return default


_RULES = {
    syntax.Bind: _bind,
    syntax.Define: _define,
    syntax.Draw: variables.draw,
    syntax.Update: variables.update,
    syntax.Variable: variables.variable,
    syntax.Port: _port,
    syntax.OutputOf: _outputs,
    syntax.Loss: _loss,
    syntax.Metric: _metric,
    syntax.Return: _return,
    syntax.Next: _next,
    syntax.YieldOf: _yield,
    syntax.Assert: _assert,
    syntax.If: _if,
    syntax.For: _for,
}
