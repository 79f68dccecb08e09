"""Expressions: a syntax tree and a scope give a value."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from diffgraph.diagnostics import DiffgraphError, Note, Span, error, suggest
from diffgraph.ir.dimension import Dimension, product
from diffgraph.language import apply, instances, notation, numbers, syntax
from diffgraph.language.arithmetic import (
    as_pending,
    binary,
    choose,
    describe,
    is_number,
    is_tensor,
    materialize,
    nearly_equal,
    only_output,
    scalar_in_notation,
    unary,
)
from diffgraph.language.core_functions import CORE
from diffgraph.language.meant import meant
from diffgraph.language.pipes import evaluate_pipe
from diffgraph.language.reductions import matmul
from diffgraph.language.scans import evaluate_scan
from diffgraph.language.scopes import FAILED, Scope, Unavailable
from diffgraph.language.session import Session
from diffgraph.language.slicing import WHOLE, counted_by, take
from diffgraph.language.tensors import filled
from diffgraph.language.values import (
    BuiltinFunction,
    FrozenLayer,
    FunctionValue,
    Indexed,
    Keywords,
    LayerValue,
    NetResult,
    Pending,
    SharedLayer,
    SizeRange,
    TensorValue,
)


def evaluate(node: syntax.Expr, scope: Scope, session: Session) -> Any:
    """The value of an expression."""
    return _RULES[type(node)](node, scope, session)


# ---------------------------------------------------------------- literals and names


def _string(node: syntax.String, scope, session) -> str:
    parts = [p if isinstance(p, str) else show(evaluate(p, scope, session)) for p in node.parts]
    return numbers.joined(parts, node.span)


def show(value: Any) -> str:
    """A value inside a string."""
    value = only_output(value)
    return numbers.shown(list(value) if isinstance(value, range) else value, _show_item)


def _show_item(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Fraction):
        return f"{float(value):g}"
    if isinstance(value, (int, float, str, Dimension)):
        return str(value)
    return describe(value)


def _name(node: syntax.Name, scope: Scope, session: Session) -> Any:
    found = lookup(node.name, scope, session, node.span)
    if found is not None:
        return found
    path = instances.under_path(node.name, session)
    if path is not None:
        return path
    hint = meant(node.name, [*scope.names(), *CORE, "training", "step", "total_steps", "parameters"])
    if notation.open_around(scope) is not None and len(node.name) == 1:
        hint = f"an index is bound on the left, `y[..., {node.name}] =`, or by a reduction, `sum[{node.name}](...)`"
    raise error("DG201", f"`{node.name}` is not known here", node.span, help=hint)


def lookup(name: str, scope: Scope, session: Session, span: Span | None) -> Any:
    """The value of a name, or None where it has none."""
    holder = scope.find(name)
    if holder is not None:
        value = holder.get(name)
        if value is FAILED:
            raise DiffgraphError()  # It has been reported why.
        if isinstance(value, Unavailable):
            raise error("DG227", f"`{name}` {value.reason}", span)
        return value
    special = _SPECIAL.get(name)
    if special is not None:
        return special(session)
    return BuiltinFunction(name) if name in CORE or name in ("grad", "shared", "frozen") else None


_SPECIAL = {
    "pi": lambda session: math.pi,
    "inf": lambda session: math.inf,
    "training": lambda session: session.in_training(),
    "step": lambda session: session.run_scalar("step"),
    "total_steps": lambda session: session.run_scalar("total_steps"),
    "parameters": lambda session: instances.trained_parameters(session),
}


# ---------------------------------------------------------------- operators


def _binary(node: syntax.Binary, scope, session) -> Any:
    left = evaluate(node.left, scope, session)
    if node.op in ("and", "or") and isinstance(left, bool):
        if left is (node.op == "or"):
            return left
        right = evaluate(node.right, scope, session)
        return right if isinstance(right, bool) else binary(node.op, left, right, session, node.span)
    right = evaluate(node.right, scope, session)
    left, right = notation.beside(left, scope), notation.beside(right, scope)
    for value, other, side in ((left, right, node.left), (right, left, node.right)):
        if isinstance(other, Indexed) and is_tensor(value):
            scalar_in_notation(value, side.span)
    if node.op == "@":
        return matmul(left, right, session, node.span)
    if node.op == "~=":
        return nearly_equal(left, right, session, node.span)
    return binary(node.op, left, right, session, node.span)


def _unary(node: syntax.Unary, scope, session) -> Any:
    value = evaluate(node.operand, scope, session)
    return unary(node.op, notation.beside(value, scope), session, node.span)


def _ternary(node: syntax.Ternary, scope, session) -> Any:
    condition = only_output(evaluate(node.condition, scope, session))
    if is_number(condition):
        return evaluate(node.then if condition else node.otherwise, scope, session)
    values = [condition, evaluate(node.then, scope, session), evaluate(node.otherwise, scope, session)]
    values = [notation.beside(v, scope) for v in values]
    return choose(*values, session, node.span)


#: Numbers of a range, which takes no memory of its own.
MOST_NUMBERS = 1_000_000


def _range(node: syntax.RangeOf, scope, session) -> range | SizeRange:
    start, stop = (only_output(evaluate(n, scope, session)) for n in (node.start, node.stop))
    step = 1 if node.step is None else whole(evaluate(node.step, scope, session), node.step.span)
    if step == 0:
        raise error("DG221", "a range cannot count by 0", node.span)
    if isinstance(start, Dimension) or isinstance(stop, Dimension):
        start, stop = (v if isinstance(v, Dimension) else whole(v, n.span)
                       for v, n in ((start, node.start), (stop, node.stop)))  # fmt: skip
        return SizeRange(start, stop, step)
    start, stop = whole(start, node.start.span), whole(stop, node.stop.span)
    result = range(start, stop, step)
    if abs(stop - start) // abs(step) > MOST_NUMBERS:
        raise error("DG594", f"the range holds more than {MOST_NUMBERS:,} numbers", node.span)
    return result


def whole(value: Any, span: Span) -> int:
    """An end of a range."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise error("DG222", f"a range runs between ints known when compiling, not {describe(value)}", span)
    return value


def _list(node: syntax.ListOf, scope, session) -> list:
    return numbers.limited([evaluate(i, scope, session) for i in node.items], node.span)


def _tuple(node: syntax.TupleOf, scope, session) -> tuple:
    return tuple(evaluate(i, scope, session) for i in node.items)


# ---------------------------------------------------------------- subscripts and attributes


def _subscript(node: syntax.Subscript, scope: Scope, session: Session) -> Any:
    opened = session.notations[-1] if session.notations else None
    guard = None
    if opened is not None:
        guard, opened.otherwise = opened.otherwise, None
    value = only_output(evaluate(node.value, scope, session))
    parts = [_subscript_value(s, scope, session) for s in node.subscripts]
    if opened is not None:
        opened.otherwise = guard
    by_index = any(isinstance(p, Indexed) for p in parts)
    rest = next((k for k, p in enumerate(parts) if p is Ellipsis), None)
    if isinstance(value, (list, range, str, tuple)) and not by_index and not any(is_tensor(p) for p in parts):
        return _list_item(value, parts, session, node)
    if isinstance(value, (list, range)):
        value = as_pending(value, session, node.span)
    if not is_tensor(value):
        raise error("DG223", f"{describe(value)} has no elements", node.span)
    if by_index or _is_element(value, parts, rest, scope):
        if any(isinstance(p, tuple) for p in parts):
            help = "bind an index in its place: `sum[k](x[n, k])` for a sum along the axis"
            raise error("DG418", "a slice `:` has no element; it cannot stand beside indices", node.span, help=help)
        tensor = materialize(value, session, "value", node.span)
        places = [s.span for s in node.subscripts if not isinstance(s, syntax.Ellipsis)]
        return opened.read(tensor, [p for p in parts if p is not Ellipsis], node.span, rest, places)
    return _slice(as_pending(value, session, node.span), parts, rest, session, node.span)


def _is_element(value: Any, parts: list, rest: int | None, scope: Scope) -> bool:
    """Whether subscripts without an index of their own name an element: in index notation, `x[0, 1]` and `x[...]` do.
    """
    if notation.open_around(scope) is None or any(isinstance(p, tuple) for p in parts):
        return False
    return rest is not None or len(parts) == len(value.shape)


def _subscript_value(node: syntax.Expr, scope, session) -> Any:
    if isinstance(node, syntax.Slice):
        return tuple(None if e is None else evaluate(e, scope, session) for e in (node.start, node.stop, node.step))
    if isinstance(node, syntax.Ellipsis):
        return Ellipsis
    return only_output(evaluate(node, scope, session))


def _list_item(value: Any, parts: list, session: Session, node: syntax.Subscript) -> Any:
    """An item of a list, of the lists inside it, or of the tensors inside these; a slice of each of them."""
    if not parts:
        return value
    if is_tensor(value):
        return _slice(as_pending(value, session, node.span), parts, None, session, node.span)
    part, *rest = parts
    if isinstance(value, tuple) and rest:
        help = f"unpack them: `{', '.join('abcdefgh'[: len(value)])} = ...`"
        raise error("DG224", f"these are {len(value)} values, not one of several axes", node.span, help=help)
    if isinstance(part, tuple):
        for end in part:
            if end is not None and (isinstance(end, bool) or not isinstance(end, int)):
                raise error("DG224", f"{describe(end)} is not a place in {describe(value)}", node.span)
        if not isinstance(value, (list, range, str, tuple)):
            raise error("DG223", f"{describe(value)} has no elements", node.span)
        value = value[part[0] : part[1] : counted_by(part[2], node.span)]
        value = list(value) if isinstance(value, range) else value
        return [_list_item(v, rest, session, node) for v in value] if rest else value
    if isinstance(part, bool) or not isinstance(part, int) or not isinstance(value, (list, range, str, tuple)):
        raise error("DG224", f"{describe(part)} is not a place in {describe(value)}", node.span)
    if not -len(value) <= part < len(value):
        raise error(
            "DG225", f"there is no place {part} in a list of {len(value)}", node.span,
            help=f"its places are 0 to {len(value) - 1}, or -1 to -{len(value)} from behind" if value else None,
        )  # fmt: skip
    return _list_item(value[part], rest, session, node)


def _slice(value: Pending, parts: list, rest: int | None, session, span) -> Pending:
    rank = len(value.shape)
    if rest is not None:
        parts = [*parts[:rest], *[WHOLE] * (rank - len(parts) + 1), *parts[rest + 1 :]]
    if len(parts) > rank:
        raise error("DG411", f"{describe(value)} has {rank} axes and is read with {len(parts)} subscripts", span)
    parts = [*parts, *[WHOLE] * (rank - len(parts))]
    return take(value, parts, session, span)


def _attribute(node: syntax.Attribute, scope: Scope, session: Session) -> Any:
    dotted = _dotted(node)
    root = _root(node)
    if dotted is not None and scope.find(root.name) is None:
        found = instances.under_path(dotted, session)
        if found is not None:
            return found
        if session.failed:
            raise DiffgraphError()  # The layer that would have made it may be the one that failed.
        # `nn.Linear`, `F.relu`: a library that is not there.
        help = suggest(dotted, session.by_path) or meant(node.name, [*scope.names(), *CORE])
        raise error("DG202", f"nothing here is called `{dotted}`", node.span, help=help)
    if dotted is not None:
        # A parameter of an instance that has the name of a tensor or of a layer: h = x -> f as h; h.linear1.weight.
        path = f"{session.frame.path}.{dotted}" if session.frame.path else dotted
        if path in session.variables:
            return session.by_path[path]
    value = evaluate(node.value, scope, session)
    if isinstance(value, NetResult) and node.name in value.outputs:
        return value.outputs[node.name]
    if isinstance(value, NetResult):
        found = instances.under_path(f"{value.path}.{node.name}", session, absolute=True)
        if found is not None:
            return found
    value = only_output(value)
    if isinstance(value, Scope):
        if value.knows(node.name):
            return value.get(node.name)
        names = sorted(value.own_names())
        help = suggest(node.name, names) or f"it has {', '.join(names) or 'no names'}"
        raise error("DG201", f"`{value.source.name}` has no `{node.name}`", node.span, help=help)
    if isinstance(value, Indexed):
        raise error("DG403", "a single element has no shape", node.span)
    if node.name in ("shape", "size") and (is_tensor(value) or isinstance(value, (list, range))):
        shape = as_pending(value, session, node.span).shape
        return list(shape) if node.name == "shape" else product(shape)
    found = dotted and instances.under_path(dotted, session)
    if found:
        return found
    known = [*value.outputs] if isinstance(value, NetResult) else ["shape", "size"]
    help = suggest(node.name, known) or (f"it has {' and '.join(known)}" if is_tensor(value) else None)
    if is_tensor(value) and node.name in _ATTRIBUTES_ELSEWHERE:
        help = f"write {_ATTRIBUTES_ELSEWHERE[node.name].format(node.value.span.text)}"
    raise error("DG226", f"{describe(value)} has no `{node.name}`", node.span, help=help)


#: What other libraries have as attributes of an array, and what is written here.
_ATTRIBUTES_ELSEWHERE = {
    "T": "transpose({0})",
    "mT": "transpose({0})",
    "ndim": "len({0}.shape)",
    "rank": "len({0}.shape)",
    "grad": "grad(loss, {0})",
    "data": "stop_gradient({0})",
}


def _root(node: syntax.Expr) -> syntax.Expr:
    while isinstance(node, syntax.Attribute):
        node = node.value
    return node


def _dotted(node: syntax.Expr) -> str | None:
    if isinstance(node, syntax.Name):
        return node.name
    if isinstance(node, syntax.Attribute):
        before = _dotted(node.value)
        return None if before is None else f"{before}.{node.name}"
    return None


# ---------------------------------------------------------------- calls


def _call(node: syntax.CallOf, scope: Scope, session: Session) -> Any:
    function = evaluate(node.function, scope, session)
    positional, keywords = arguments_of(node.arguments, scope, session)
    return call_value(function, positional, keywords, node, scope, session)


def arguments_of(arguments, scope: Scope, session: Session) -> tuple[list, Keywords]:
    """Evaluated arguments: positional ones, keywords."""
    positional: list = []
    keywords = Keywords()
    for argument in arguments:
        value = evaluate(argument.value, scope, session)
        if argument.name is None:
            positional.append(value)
        else:
            keywords[argument.name] = value
            start = argument.span.start
            keywords.spans[argument.name] = Span(argument.span.source, start, start + len(argument.name))
    if any(isinstance(v, Indexed) for v in (*positional, *keywords.values())):
        positional = [notation.beside(v, scope) for v in positional]
        keywords = Keywords({k: notation.beside(v, scope) for k, v in keywords.items()}, keywords.spans)
    return positional, keywords


def call_value(function: Any, positional: list, keywords: dict, node: syntax.CallOf, scope, session) -> Any:
    """A call: of a function it gives its value, of a layer the layer with settings."""
    if isinstance(function, BuiltinFunction):
        if function.name == "grad":
            return _grad(positional, node, session)
        if function.name in ("shared", "frozen"):
            if len(positional) != 1 or keywords:
                help = f"write `{function.name}(linear(32))`"
                raise error("DG231", f"`{function.name}` takes one layer, and nothing else", node.span, help=help)
            (layer,) = positional
            return SharedLayer(layer, scope) if function.name == "shared" else FrozenLayer(layer)
        return apply.call_builtin(function, positional, keywords, session, node.span)
    if isinstance(function, FunctionValue):
        return apply.call_function(function, positional, keywords, session, node.span)
    if isinstance(function, LayerValue):
        if isinstance(node.function, syntax.CallOf) and any(is_tensor(only_output(v)) for v in positional):
            given = ", ".join(a.value.span.text for a in node.arguments)
            help = f"tensors come by an arrow: `{f'({given})' if len(node.arguments) > 1 else given} -> {node.function.span.text}`"
            raise error("DG231", f"`{function.name}` is given tensors as settings", node.span, help=help)
        return apply.with_settings(function, positional, keywords, node.span)
    help = f"did you mean `{node.function.span.text} * (...)`?" if is_number(function) or is_tensor(function) else None
    raise error("DG227", f"{describe(function)} cannot be called", node.function.span, help=help)


def _grad(arguments: list, node: syntax.CallOf, session: Session) -> Any:
    """`grad(e, x)`: the derivative of sum(e) by a named tensor."""
    from diffgraph.autodiff.differentiate import gradients

    if len(arguments) != 2:
        raise error("DG231", f"`grad` takes an expression and a tensor, not {len(arguments)} arguments", node.span,
                    help="write `grad(e, x)` for the derivative of sum(e) by x")  # fmt: skip
    of = materialize(arguments[0], session, "value", node.span)
    by = only_output(arguments[1])
    if not isinstance(by, TensorValue):
        place = node.arguments[1].span
        shown = describe(by) if not is_tensor(by) else f"`{place.text}` has none of its own"
        raise error("DG228", f"`grad` differentiates by a tensor that has a name, and {shown}", place,
                    help="bind it first, compute the expression from it, and give its name")  # fmt: skip
    if by.kind != "float":
        raise error(
            "DG235", f"`{node.arguments[1].span.text}` holds {by.kind}s, which have no derivative", node.arguments[1].span,
            *([Note("it was made here", by.span)] if by.span else ()),
            help="differentiate by a float tensor; an int only chooses places",
        )  # fmt: skip
    session.at(node.span)
    names = [session.operand(t.tensor, node.span) for t in (of, by)]
    session.count_step(node.span, _weight_of_derivative(session.builder.statements, names[0]))
    found = gradients(session.builder, [(names[0], None)], [names[1]])[names[1]]
    if found is None:
        return filled(list(by.shape), 0.0, session, node.span)
    return TensorValue(session.builder.tensors[found], node.span)


def _weight_of_derivative(statements: list, name: str) -> int:
    """How many steps it takes to differentiate a tensor: a derivative has several terms for each that it goes through,
    and several operations for each of a long formula; of towers of derivatives each is that much larger."""
    from diffgraph.autodiff.reach import behind

    terms = [t for s in behind(statements, [name])[0] for t in getattr(s, "terms", ())]
    formulas = {t.form.body for t in terms}
    return 12 * len(terms) + 3 * sum(max(0, f.nodes - 8) for f in formulas) + len(statements) // 16


def _scan(node: syntax.ScanOf, scope: Scope, session: Session) -> Any:
    return evaluate_scan(node, scope, session)


def _misplaced(node, scope, session):
    raise error("DG229", "this belongs inside brackets", node.span)


_RULES = {
    syntax.Number: lambda node, scope, session: node.value,
    syntax.Boolean: lambda node, scope, session: node.value,
    syntax.String: _string,
    syntax.Name: _name,
    syntax.ListOf: _list,
    syntax.TupleOf: _tuple,
    syntax.Paren: lambda node, scope, session: evaluate(node.inside, scope, session),
    syntax.Guarded: lambda node, scope, session: notation.guarded(node, scope, session),
    syntax.Unary: _unary,
    syntax.Binary: _binary,
    syntax.RangeOf: _range,
    syntax.Ternary: _ternary,
    syntax.CallOf: _call,
    syntax.Slice: _misplaced,
    syntax.Ellipsis: _misplaced,
    syntax.Subscript: _subscript,
    syntax.Attribute: _attribute,
    syntax.Reduction: lambda node, scope, session: notation.reduction(node, scope, session),
    syntax.Pipe: evaluate_pipe,
    syntax.ScanOf: _scan,
}
