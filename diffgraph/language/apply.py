"""Applying functions, layers, nets and compositions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from diffgraph.diagnostics import DiffgraphError, Note, Span, error
from diffgraph.language import evaluate as expressions
from diffgraph.language import library, statements, syntax
from diffgraph.language.alike import apply_alike
from diffgraph.language.arithmetic import describe, is_tensor, materialize, only_output, show_shape
from diffgraph.language.budget import STEPS_OF_CALL
from diffgraph.language.calls import counted, given_twice, head_of, refuse_unknown
from diffgraph.language.core_functions import CORE, call_core
from diffgraph.language.instances import path_for, record, settings_text
from diffgraph.language.limits import limits
from diffgraph.language.own_gradient import with_own_gradient
from diffgraph.language.scopes import Scope
from diffgraph.language.session import Frame, Session
from diffgraph.language.tensors import as_size
from diffgraph.language.values import (
    BuiltinFunction,
    Composition,
    FrozenLayer,
    FunctionValue,
    Indexed,
    Keywords,
    LayerValue,
    Pending,
    SharedLayer,
    TensorValue,
)

# ---------------------------------------------------------------- functions


def call_function(function: FunctionValue, positional: list, keywords: dict, session: Session, span: Span) -> Any:
    """The value of a `fn`; called with keywords only while required arguments are missing, a partial application."""
    declaration = function.declaration
    given = {**dict(function.given), **keywords}
    names = [p.name for p in declaration.parameters]
    refuse_unknown(declaration.name, "argument", keywords, names, span)
    open_names = [n for n in names if n not in dict(function.given)]
    if len(positional) > len(open_names):
        raise error(
            "DG231", f"`{declaration.name}` takes {counted(len(open_names), 'argument')}, not {len(positional)}", span,
            Note("it is declared here", head_of(declaration)),
            help=f"its arguments are {', '.join(open_names)}" if open_names else None,
        )  # fmt: skip
    for name, value in zip(open_names, positional):
        if name in keywords:
            raise given_twice(declaration.name, name, names, keywords, span)
        given[name] = value
    missing = [p.name for p in declaration.parameters if p.name not in given and p.default is None]
    if missing and not positional:
        return FunctionValue(declaration, function.scope, tuple(given.items()))
    if missing:
        raise error(
            "DG233", f"`{declaration.name}` wants `{missing[0]}`", span, Note("it is declared here", head_of(declaration)),
            help=f"give it: `{declaration.name}(..., {missing[0]} = ...)`",
        )  # fmt: skip
    with _calling(declaration, session, span):
        return made_at(span, _run_function(declaration, given, function.scope, session, span))


def _run_function(declaration: syntax.Function, given: dict, outer: Scope, session: Session, span: Span) -> Any:
    scope = Scope(outer)
    for parameter in declaration.parameters:
        value = given[parameter.name] if parameter.name in given else None
        if parameter.name not in given:
            value = expressions.evaluate(parameter.default, scope, session)
        if isinstance(value, Pending):
            value = materialize(value, session, session.hint(parameter.name), span)
        scope.bind(parameter.name, value)
    if declaration.gradient is not None:
        return with_own_gradient(declaration, scope, session, span)
    return statements.run_body(declaration.body, scope, session, declaration.name)


@contextmanager
def _calling(declaration: syntax.Function, session: Session, span: Span) -> Iterator[None]:
    """Refuses nesting without end. Cycles of names have been refused before; functions given to themselves end here."""
    if len(session.calls) >= limits().nesting:
        raise error("DG590", f"calls are nested deeper than {limits().nesting}", span)
    session.count_step(span, STEPS_OF_CALL)
    session.calls.append(declaration)
    session.deepest = max(session.deepest[0], len(session.calls)), session.deepest[1]
    try:
        yield
    except DiffgraphError as problem:
        # A stage of an arrow is an instance, which says itself where it was applied.
        raise problem if session.frame.type == declaration.name else _called(problem, declaration, span) from None
    finally:
        session.calls.pop()


def _called(problem: DiffgraphError, declaration: syntax.Function, span: Span) -> DiffgraphError:
    """The error with a note of the call, where that is not what it is about."""
    note = Note(f"in {declaration.name}, called here", span)
    seen = [d.seen_from(span) for d in problem.diagnostics]
    return type(problem)(*(d if d.span == span else replace(d, notes=(*d.notes, note)) for d in seen))


def call_builtin(function: BuiltinFunction, positional: list, keywords: dict, session: Session, span: Span) -> Any:
    """The value of a core function, or a partial application."""
    if function.name not in CORE:
        help = f"call it by itself: `{function.name}(...)`"
        raise error("DG227", f"`{function.name}` is no function of values", span, help=help)
    spans = keywords.spans if isinstance(keywords, Keywords) else None
    keywords = Keywords({**dict(function.given), **keywords}, spans)
    result = call_core(CORE[function.name], positional, keywords, session, span)
    return BuiltinFunction(function.name, tuple(keywords.items())) if result is None else result


# ---------------------------------------------------------------- layers


def with_settings(layer: LayerValue, positional: list, keywords: dict, span: Span) -> LayerValue:
    """A layer with (more of) its settings."""
    settings = layer.declaration.settings
    names = [s.name for s in settings]
    refuse_unknown(layer.name, "setting", keywords, names, span)
    given = dict(layer.settings)
    open_names = [n for n in names if n not in given]
    if len(positional) > len(open_names):
        if any(is_tensor(v) for v in positional):
            help = f"tensors come by an arrow: `x -> {layer.name}{'(...)' if names else ''}`"
        else:
            help = f"its settings are {', '.join(names)}" if names else "it has no settings: leave the parentheses out"
        raise error(
            "DG231",
            f"`{layer.name}` takes {counted(len(names), 'setting')}, not {len(positional) + len(given)}",
            span,
            Note("it is declared here", head_of(layer.declaration)),
            help=help,
        )
    for name, value in zip(open_names, positional):
        given[name] = value
    for name, value in keywords.items():
        if name in dict(zip(open_names, positional)):
            raise given_twice(layer.name, name, names, keywords, span)
        given[name] = value
    return LayerValue(layer.declaration, layer.scope, tuple(given.items()))


def settings_scope(layer: LayerValue, session: Session, span: Span) -> Scope:
    """A scope with every setting of a layer; defaults may use the settings before them."""
    scope = Scope(layer.scope)
    given = dict(layer.settings)
    for setting in layer.declaration.settings:
        if setting.name in given:
            value = given[setting.name]
        elif setting.default is not None:
            value = expressions.evaluate(setting.default, scope, session)
        else:
            before = "..., " if given else ""
            raise error(
                "DG233", f"`{layer.name}` wants the setting `{setting.name}`", span,
                Note("it is declared here", head_of(layer.declaration)),
                help=f"give it: `{layer.name}({before}{setting.name} = ...)`",
            )  # fmt: skip
        if isinstance(value, Pending):
            value = materialize(value, session, setting.name, span)
        scope.bind(setting.name, value)
    return scope


def apply_layer(layer: LayerValue, values: tuple, session: Session, span: Span) -> Any:
    """What a layer gives for its tensors, inside the frame that is open for it."""
    declaration = layer.declaration
    with _calling(declaration, session, span):
        scope = settings_scope(layer, session, span)
        if isinstance(declaration, syntax.Net):
            return statements.run_nested_net(layer, scope, values, session, span)
        _bind_tensors(declaration, scope, values, session, span)
        return made_at(span, statements.run_body(declaration.body, scope, session, declaration.name))


def made_at(call: Span, value: Any) -> Any:
    """A value that was made inside the standard library, as made by the call that the user wrote."""
    if isinstance(value, tuple):
        return tuple(made_at(call, v) for v in value)
    if not isinstance(value, (TensorValue, Pending)) or call.source.is_library:
        return value
    if value.span is not None and not value.span.source.is_library:
        return value
    return replace(value, span=call)


def _bind_tensors(declaration: syntax.Layer, scope: Scope, values: tuple, session: Session, span: Span) -> None:
    tensors = declaration.tensors
    if len(values) > len(tensors):
        raise error(
            "DG520", f"`{declaration.name}` takes {counted(len(tensors), 'tensor')}, not {len(values)}", span,
            Note("it is declared here", head_of(declaration)),
            help=f"pass {'it alone' if len(tensors) == 1 else _tuple_of(tensors)}",
        )  # fmt: skip
    for k, parameter in enumerate(tensors):
        if k < len(values):
            value = only_output(values[k])
        elif parameter.default is not None:
            value = expressions.evaluate(parameter.default, scope, session)
        else:
            raise error(
                "DG521", f"`{declaration.name}` wants the tensor `{parameter.name}`", span,
                Note("it is declared here", head_of(declaration)),
                help=f"pass all of them: `{_tuple_of(tensors)} -> {declaration.name}`",
            )  # fmt: skip
        if k < len(values) and not is_tensor(value):
            value = materialize(value, session, session.hint(parameter.name), span)
        if isinstance(value, Pending):
            value = materialize(value, session, session.hint(parameter.name), span)
        if parameter.shape is not None and isinstance(value, TensorValue):
            bind_shape(parameter, value, scope, session, span, declaration.name)
        scope.bind(parameter.name, value)


def _tuple_of(tensors) -> str:
    return f"({', '.join(t.name for t in tensors if t.default is None)})"


def bind_shape(parameter, value: TensorValue, scope: Scope, session: Session, span: Span, owner: str) -> None:
    """Checks a tensor against a declared shape and binds the names in it that are not yet bound."""
    declared, shape = parameter.shape, value.shape
    rest = next((k for k, d in enumerate(declared) if isinstance(d, syntax.Ellipsis)), None)
    fixed = len(declared) - (rest is not None)
    if len(shape) < fixed or rest is None and len(shape) != fixed:
        wanted = "[" + ", ".join(d.span.text for d in declared) + "]"
        raise error(
            "DG522",
            f"`{owner}` takes `{parameter.name}{wanted}`, and this is {describe(value)}",
            span,
            Note("the shape is declared here", parameter.span),
            *([Note("the tensor was made here", value.span)] if value.span else ()),
            help=_rank_repair(len(shape), fixed),
        )
    pairs = list(zip(declared, shape))
    if rest is not None:
        tail = fixed - rest
        pairs = [*zip(declared[:rest], shape), *zip(declared[rest + 1 :], shape[len(shape) - tail :])]
    for node, size in pairs:
        _bind_size(node, size, parameter, value, scope, session, span, owner)


def _rank_repair(rank: int, wanted: int) -> str:
    if rank > wanted > 1:
        joining = library.mending("too many axes")
        joined = joining if wanted == 2 else f"{joining}({wanted - 1})"
        return f"join the last {rank - wanted + 1} axes first: x -> {joined}"
    return "give it a tensor of another rank" if rank > wanted else "add axes first: reshape(x, [...])"


def _bind_size(node, size, parameter, value, scope: Scope, session: Session, span, owner) -> None:
    if isinstance(node, syntax.Name) and node.name not in scope.values:
        scope.bind(node.name, size)
        return
    known = as_size(only_output(expressions.evaluate(node, scope, session)), session, node.span)

    def problem():
        text = node.span.text
        wanted = f"{known}" if text == str(known) else f"`{text}`, which is {known},"
        axis = list(value.shape).index(size)
        return error(
            "DG523",
            f"`{owner}` wants {wanted} on axis {axis} of `{parameter.name}`, and the tensor"
            f" {show_shape(value.shape)} has {size}",
            span,
            Note("the shape is declared here", parameter.span),
            *([Note(f"this is {show_shape(value.shape)}", value.span)] if value.span else ()),
            *_bound_before(node, parameter, session),
            help=_setting_repair(node, size, span, session),
        )

    session.require_equal(known, size, problem, span)


def _setting_repair(node, size, span: Span, session: Session) -> str | None:
    """Where the size is a setting of what is applied: the setting that fits."""
    declaration = session.calls[-1] if session.calls else None
    settings = [s.name for s in getattr(declaration, "settings", ())]
    if not isinstance(size, int) or not isinstance(node, syntax.Name) or node.name not in settings:
        return None
    name, opened, _ = span.text.partition("(")
    return f"give the setting: {name}({'..., ' if opened else ''}{node.name} = {size})"


def _bound_before(node, parameter, session: Session) -> tuple[Note, ...]:
    """Where the name of a size was bound: in a tensor before, whose declared shape has it."""
    declaration = session.calls[-1] if session.calls else None
    for earlier in getattr(declaration, "tensors", ()):
        if earlier is parameter:
            break
        if isinstance(node, syntax.Name) and any(
            isinstance(d, syntax.Name) and d.name == node.name for d in earlier.shape or ()
        ):
            return (Note(f"`{node.name}` is bound here first", earlier.span),)
    return ()


# ---------------------------------------------------------------- stages of a pipe


def apply_stage(value: Any, node: syntax.Expr, name, stage: syntax.Stage, scope: Scope, session: Session) -> Any:
    """`value -> node as name`. A tuple passes several tensors."""
    values = value if isinstance(value, tuple) else (value,)
    if isinstance(node, syntax.CallOf):
        function = expressions.evaluate(node.function, scope, session)
        if isinstance(function, (FunctionValue, BuiltinFunction)) and not _makes_layer(function):
            positional, keywords = expressions.arguments_of(node.arguments, scope, session)
            return _function_stage(function, [*values, *positional], keywords, node, name, session, scope)
    target = expressions.evaluate(node, scope, session)
    if isinstance(target, (FunctionValue, BuiltinFunction)):
        return _function_stage(target, list(values), {}, node, name, session, scope)
    return apply_value(target, values, node, name, scope, session)


def _makes_layer(function) -> bool:
    return isinstance(function, BuiltinFunction) and function.name in ("shared", "frozen")


def _function_stage(function, positional: list, keywords: dict, node, name, session: Session, scope: Scope) -> Any:
    if any(isinstance(v, Indexed) for v in positional):
        return _call(function, positional, keywords, node.span, session)
    path = path_for(name, function.name, node, scope, session)

    def evaluate() -> Any:
        result = _call(function, positional, keywords, node.span, session)
        return materialize(result, session, path, node.span) if isinstance(result, Pending) else result

    with session.inside(Frame(path, function.name, node.span, frozen=session.frame.frozen)):
        arguments = (*positional, *(item for pair in keywords.items() for item in pair))
        result = apply_alike(session, function, arguments, path, node.span, evaluate)
    record(path, function.name, "function", node.span, positional, result, session)
    return result


def _call(function, positional, keywords, span, session: Session) -> Any:
    if isinstance(function, BuiltinFunction):
        return call_builtin(function, positional, keywords, session, span)
    return call_function(function, positional, keywords, session, span)


def apply_value(target: Any, values: tuple, node, name, scope: Scope, session: Session) -> Any:
    """Applies a layer, net, composition, shared or frozen layer as an instance."""
    if isinstance(target, Composition):
        return _apply_composition(target, values, node, name, scope, session)
    frozen = False
    shared = None
    while isinstance(target, (SharedLayer, FrozenLayer)):
        frozen = frozen or isinstance(target, FrozenLayer)
        shared = target if isinstance(target, SharedLayer) and shared is None else shared
        target = target.layer
    if isinstance(target, Composition):
        return _apply_wrapped(target, values, node, name, scope, session, frozen, shared)
    if isinstance(target, (FunctionValue, BuiltinFunction)):
        return _function_stage(target, list(values), {}, node, name, session, scope)
    if not isinstance(target, LayerValue):
        help = "what follows an arrow is a layer or a function"
        raise error("DG524", f"{describe(target)} cannot be applied to a tensor", node.span, help=help)
    path, reuse = _instance(name, target.name, node, scope, session, shared)
    frame = Frame(path, target.name, node.span, frozen=frozen or session.frame.frozen, reuse=reuse)

    def evaluate() -> Any:
        result = apply_layer(target, values, session, node.span)
        if isinstance(result, Pending):
            return materialize(result, session, path, node.span, result.span)
        return result

    with session.inside(frame):
        result = apply_alike(session, target, values, path, node.span, evaluate)
    kind = "net" if isinstance(target.declaration, syntax.Net) else "layer"
    record(path, target.name, kind, node.span, values, result, session, settings_text(target))
    return result


def _instance(name, type_name: str, node, scope, session: Session, shared) -> tuple[str, bool]:
    """(path, whether its parameters are there already)."""
    session.outside += shared is not None
    first = None if shared is None else session.shared.get(shared)
    if first is not None:
        if name is not None:
            path_for(name, type_name, node, scope, session)
        return first.path, True
    path = path_for(name, type_name, node, scope, session)
    if shared is not None:
        session.shared[shared] = Frame(path, type_name, node.span)
    return path, session.frame.reuse


def _apply_composition(target: Composition, values, node, name, scope, session: Session) -> Any:
    """Stages one after the other; named, they are a group with a level of its own."""
    if name is None:
        return _run_stages(target, values, session)
    path = path_for(name, "group", node, scope, session)
    frame = Frame(path, "group", node.span, frozen=session.frame.frozen, reuse=session.frame.reuse)
    with session.inside(frame):
        result = _run_stages(target, values, session)
    record(path, "group", "group", node.span, values, result, session)
    return result


def _apply_wrapped(target: Composition, values, node, name, scope, session, frozen: bool, shared) -> Any:
    """A shared or frozen composition: a group of its own where it has a name, else its stages stand in the layer
    around."""
    session.outside += shared is not None
    first = None if shared is None else session.shared.get(shared)
    if name is None if first is None else first.type == "":
        if name is not None:
            path_for(name, "group", node, scope, session)
        return _apply_in_place(target, values, node, session, frozen, shared, first)
    path, reuse = _instance(name, "group", node, scope, session, shared)
    frame = Frame(path, "group", node.span, frozen=frozen or session.frame.frozen, reuse=reuse)
    with session.inside(frame):
        result = _run_stages(target, values, session)
    record(path, "group", "group", node.span, values, result, session)
    return result


def _apply_in_place(
    target: Composition, values, node, session: Session, frozen: bool, shared, first: Frame | None
) -> Any:
    """Runs stages as part of the open instance; when shared ones come again, they find their first names."""
    around = session.frame
    frame = Frame(around.path, "", node.span, around.calls, around.names, frozen or around.frozen, around.reuse)
    if first is not None:
        frame = replace(frame, path=first.path, calls=dict(first.calls), names=first.names, reuse=True)
    elif shared is not None:
        session.shared[shared] = replace(frame, calls=dict(around.calls))
    with session.inside(frame):
        return _run_stages(target, values, session)


def _run_stages(target: Composition, values: tuple, session: Session) -> Any:
    value: Any = values if len(values) > 1 else values[0]
    for stage, name in target.stages:
        value = apply_stage(value, stage, name, stage, target.scope, session)
    return value
