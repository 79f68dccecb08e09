"""`scan`: a loop of the compiled program, elaborated once into a body of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffgraph.diagnostics import DiffgraphError, Note, Span, error
from diffgraph.ir.program import Carry, Input, Scan, Tensor, Yield
from diffgraph.language import sizes, syntax
from diffgraph.language.arithmetic import (
    as_pending,
    binary,
    broadcast_shapes,
    define,
    describe,
    is_tensor,
    materialize,
    only_output,
    show_shape,
)
from diffgraph.language.budget import STEPS_OF_SCAN
from diffgraph.language.builders import ScanBuilder
from diffgraph.language.numbers import is_exact
from diffgraph.language.reductions import reduce_axes
from diffgraph.language.scopes import Scope
from diffgraph.language.session import Session
from diffgraph.language.tensors import filled
from diffgraph.language.values import Pending, SizeRange, TensorValue


class LoopScope(Scope):
    """The scope of a scan's body: `next` and `yield` are recorded here."""

    def __init__(self, parent: Scope, carries: dict[str, TensorValue]):
        super().__init__(parent)
        self.carries = carries
        self.nexts: dict[str, TensorValue] = {}
        self.yields: tuple | None = None
        self.checks: list[tuple[TensorValue, str, Span | None]] = []


def evaluate_scan(node: syntax.ScanOf, scope: Scope, session: Session) -> Any:
    """What was yielded, stacked (a tuple for several); without `yield` the final carry (a tuple for several).

    A carry that starts as whole numbers of the text (`0`, `[0, 0]`) is a float, since it will be computed with; where
    that fails, it is the int that it says. An int carry that starts within a bound (`argmax`, `int < k`) has it inside
    if its next value keeps it.
    """
    from diffgraph.language import evaluate as expressions

    steps = _steps(node, scope, session)
    values = {c.name: expressions.evaluate(c.initial, scope, session) for c in node.carries}
    written = {name for name, value in values.items() if _is_written_whole(value)}
    restore = session.snapshot() if written else None
    try:
        return _with_starts(node, steps, values, written, scope, session)
    except DiffgraphError as problem:
        if not written or session.repeated >= MOST_REPEATED or not ABOUT_KINDS & {d.code for d in problem.diagnostics}:
            raise
        floats: set[str] = set()
        while written - floats:
            again(session, restore)
            try:
                return _with_starts(node, steps, values, floats, scope, session)
            except _BecomesFloat as other:
                if other.name not in written - floats:
                    break
                floats = floats | {other.name}
            except DiffgraphError:
                break
        raise problem from None


#: What is wrong where a float stands for an int: a place, or the kind of what comes next.
ABOUT_KINDS = frozenset({"DG354", "DG412", "DG552"})

#: How many bodies of one elaboration may be read again as that of an int: loops in one another double it.
MOST_REPEATED = 20


class _BecomesFloat(DiffgraphError):
    """A carry starts as an int, and its next value is a float."""

    def __init__(self, name: str, problem: DiffgraphError):
        super().__init__(*problem.diagnostics)
        self.name = name


def again(session: Session, restore: Callable[[], None]) -> None:
    """Takes back what has been elaborated since, except for the work that it took."""
    steps, work, repeated = session.steps, session.work, session.repeated
    restore()
    session.steps, session.work, session.repeated = steps, work, repeated + 1


def _is_written_whole(value: Any) -> bool:
    """Whether a start is made of ints that the text says: a number, or a list of such."""
    if isinstance(value, list):
        return bool(value) and all(_is_written_whole(v) for v in value)
    return isinstance(value, int) and not isinstance(value, bool)


def _with_starts(node: syntax.ScanOf, steps: tuple, values: dict, floats: set, scope: Scope, session: Session) -> Any:
    """The scan from the given values, some of them as floats."""
    initial = {}
    for carry in node.carries:
        pending = as_pending(values[carry.name], session, carry.span)
        if carry.name in floats:
            pending = as_pending(binary("*", 1.0, pending, session, carry.span), session, carry.span)
        initial[carry.name] = materialize(pending, session, session.hint(carry.name), carry.span)
    bounds = {name: v.tensor.bound for name, v in initial.items()}
    while True:
        before = session.snapshot() if any(bounds.values()) else None
        made = _elaborated(node, *steps, initial, bounds, scope, session)
        wider = {name: b for name, b in bounds.items() if b is not None and not _keeps(made[0], name, b)}
        if not wider:
            return _scan(node, steps[1], initial, bounds, *made, scope, session)
        # A carry starts within its bound and leaves it: once more, with the bound of its next value or without one.
        again(session, before)
        for name, bound in wider.items():
            after = made[0].nexts[name].tensor.bound
            once = bound == initial[name].tensor.bound
            bounds[name] = after if once and after is not None and sizes.at_least(after, bound) else None


def _keeps(loop: LoopScope, name: str, bound) -> bool:
    """Whether the next value of an int carry is within the bound of its value before."""
    after = loop.nexts[name].tensor.bound
    return after is not None and sizes.at_least(bound, after) is True


def _elaborated(
    node: syntax.ScanOf, start, length, step: int, initial: dict[str, TensorValue], bounds: dict, scope, session: Session
) -> tuple[LoopScope, Tensor, ScanBuilder, dict]:
    """(the scope with what is next and yielded, the step, the body, what states were before)."""
    from diffgraph.language import statements

    session.count_step(node.span, STEPS_OF_SCAN + len(session.builder.statements) // 16)
    body = ScanBuilder(session.builder)
    updates_before = dict(session.by_path)
    with session.building(body):
        t = body.free("t", (), "int", length)
        inner = {
            name: TensorValue(body.free(session.hint(name), v.shape, v.kind, bounds[name]), v.span)
            for name, v in initial.items()
        }
        loop = LoopScope(scope, inner)
        for name, value in inner.items():
            loop.bind(name, value)
        loop.bind(node.index, _index_value(t, start, step, session, node))
        session.iteration.append((t, length))
        session.refuse_long_scan(node.span)
        session.loops.append(loop.checks)
        try:
            statements.run_block(node.body, loop, session)
        finally:
            session.iteration.pop()
            session.loops.pop()
        _finish_carries(loop, session, node)
        _settle_yields(loop, session, node)
    return loop, t, body, updates_before


def _steps(node: syntax.ScanOf, scope, session) -> tuple[int, Any, int]:
    """(first value of the index, number of steps, step) of `a..b` or `a..b step c`; the number may be symbolic."""
    from diffgraph.language import evaluate as expressions

    where = node.range
    while isinstance(where, syntax.Paren):
        where = where.inside
    if not isinstance(where, syntax.RangeOf):
        value = expressions.evaluate(where, scope, session)
        if isinstance(value, range):
            return value.start, len(value), value.step
        if not isinstance(value, SizeRange):
            shown = " ".join(where.span.text.split())
            help = f"run over its places: scan {node.index} in 0..len({shown}), and read {shown}[{node.index}]"
            raise error("DG550", f"a scan runs over a range, not over {describe(value)}", where.span, help=help)
        start, stop, step = value.start, value.stop, value.step
    else:
        start, stop = (only_output(expressions.evaluate(e, scope, session)) for e in (where.start, where.stop))
        step = 1 if where.step is None else expressions.evaluate(where.step, scope, session)
    if not is_exact(start) or not is_exact(stop) or not isinstance(step, int) or step == 0:
        raise _no_range(next((v for v in (start, stop) if not is_exact(v)), step), where.span)
    start, stop = (session.whole(v, lambda v=v: _no_range(v, where.span), where.span) for v in (start, stop))
    if isinstance(start, int) and isinstance(stop, int):
        return start, len(range(start, stop, step)), step
    span = sizes.add(stop, sizes.multiply(start, -1))
    if step < 0:
        span, count = sizes.multiply(span, -1), -step
    else:
        count = step
    return start, sizes.floor_of(sizes.add(span, count - 1), count), step


def _no_range(wrong: Any, span: Span) -> DiffgraphError:
    text = f"a scan runs over sizes that are known when compiling, not over {describe(wrong)}"
    help = "run to the longest, and choose by the index: where(t < steps, next, h)" if is_tensor(wrong) else None
    return error("DG550", text, span, help=help)


def _index_value(t: Tensor, start, step: int, session: Session, node) -> Any:
    value: Any = TensorValue(t, node.span)
    if step != 1:
        value = binary("*", value, step, session, node.span)
    return value if start == 0 else binary("+", value, start, session, node.span)


def _finish_carries(loop: LoopScope, session: Session, node) -> None:
    """Every carry has a next value of its own shape and kind, made inside the body."""
    for carry in node.carries:
        inner = loop.carries[carry.name]
        value = loop.nexts.get(carry.name, inner)
        pending = as_pending(value, session, carry.span)
        if pending.shape != inner.shape:
            _refuse_another_shape(carry.name, pending, inner, carry.span)
            broadcast_shapes([pending.shape, inner.shape], session, carry.span)
            pending = as_pending(
                binary("+", pending, filled(list(inner.shape), 0.0, session, carry.span), session, carry.span),
                session,
                carry.span,
            )
        if pending.kind != inner.kind:
            raise _another_kind(carry, pending, inner)
        loop.nexts[carry.name] = _inside(pending, session, f"next_{carry.name}", carry.span)


def _another_kind(carry: syntax.Carry, following: Pending, inner: TensorValue) -> DiffgraphError:
    text = f"`next {carry.name}` is {following.kind}, but `{carry.name}` starts as {inner.kind}"
    notes = [Note(f"the next value, of {following.kind}s, was made here", following.span)] if following.span else []
    if following.kind != "float":
        return error("DG552", text, carry.span, *notes, help=f"start it as what it becomes, of {following.kind}s")
    help = f"start it as a float: `{carry.name} = float({' '.join(carry.initial.span.text.split())})`"
    return _BecomesFloat(carry.name, error("DG552", text, carry.span, *notes, help=help))


def _refuse_another_shape(name: str, following: Pending, inner: TensorValue, span: Span) -> None:
    """What is carried keeps its shape; a next value may be broadcast to it."""
    own, wanted = following.shape, inner.shape
    fits = len(own) <= len(wanted) and all(
        a == 1 or sizes.equal(a, b) is not False for a, b in zip(own[::-1], wanted[::-1])
    )
    if not fits:
        raise error(
            "DG551",
            f"`next {name}` is {show_shape(own)}, but `{name}` starts as {show_shape(wanted)}",
            span,
            *([Note("the next value was made here", following.span)] if following.span else ()),
            help=f"what is carried keeps its shape: start `{name}` as {show_shape(own)}, or make the next one"
            f" {show_shape(wanted)}",
        )


def _settle_yields(loop: LoopScope, session: Session, node) -> None:
    if loop.yields is not None:
        loop.yields = tuple(_inside(v, session, "yielded", node.span) for v in loop.yields)
    loop.checks = [(_inside(holds, session, "holds", span), text, span) for holds, text, span in loop.checks]


def _inside(value: Any, session: Session, hint: str, span) -> TensorValue:
    """A tensor that the body itself defines."""
    pending = as_pending(value, session, span)
    result = materialize(pending, session, hint, span)
    made = {t.name for s in session.builder.statements for t in s.results}
    return result if result.tensor.name in made else TensorValue(define(session, hint, pending, span), span)


def _scan(
    node, length, initial, bounds, loop: LoopScope, t: Tensor, body: ScanBuilder, before, scope, session: Session
) -> Any:
    from diffgraph.language import evaluate as expressions

    builder = session.builder
    carries = []
    for carry in node.carries:
        value = initial[carry.name]
        end = session.hint(f"{carry.name}_end")
        final = Tensor(builder.fresh(end), value.shape, value.kind, bounds[carry.name])
        name = session.operand(value.tensor, carry.span)
        nexts = loop.nexts[carry.name].tensor.name
        carries.append(Carry(loop.carries[carry.name].tensor.name, name, nexts, final))
        builder.tensors[final.name] = final
    states = _carried_states(body, before, session, builder)
    carries += [c for c, _ in states]
    yields = [_stacked(value.tensor, "path", length, session) for value in loop.yields or ()]
    checks = [_stacked(holds.tensor, "holds", length, session) for holds, _, _ in loop.checks]
    own = {t.name, *(c.inner for c in carries)}
    constants = tuple((i.tensor.name, i.tensor.name) for i in body.inputs if i.tensor.name not in own)
    checkpoint = None
    if node.checkpoint is not None:
        checkpoint = expressions.evaluate(node.checkpoint, scope, session)
        if isinstance(checkpoint, bool) or not isinstance(checkpoint, int) or checkpoint < 1:
            raise error("DG553", "checkpoint wants a positive int", node.checkpoint.span)
    session.at(node.span)
    made = Scan(
        length, t.name, tuple(carries), (), constants, (*yields, *checks), body.program(), False, checkpoint,
        (builder.origin,),
    )  # fmt: skip
    builder.append(made)
    for check, (_, text, span) in zip(checks, loop.checks):
        every = reduce_axes("all", TensorValue(check.stacked, span), None, False, session, span)
        session.check(materialize(every, session, "holds", span), text, span)
    for carry, path in states:
        session.by_path[path] = TensorValue(carry.final, node.span)
        session.updates[path] = carry.final.name
    if yields:
        values = tuple(TensorValue(y.stacked, node.span) for y in yields)
    else:
        values = tuple(TensorValue(c.final, node.span) for c in carries[: len(node.carries)])
    return values if len(values) > 1 else values[0]


def _stacked(made: Tensor, hint: str, length, session: Session) -> Yield:
    """A tensor of the body, stacked over the steps."""
    builder = session.builder
    stacked = Tensor(builder.fresh(session.hint(hint)), (length, *made.shape), made.kind, made.bound)
    builder.tensors[stacked.name] = stacked
    return Yield(made.name, stacked)


def _carried_states(body: ScanBuilder, before: dict, session: Session, builder) -> list[tuple[Carry, str]]:
    """States that the body updates are carried from step to step: what it captured of them becomes a carry."""
    found = []
    for path, value in list(session.by_path.items()):
        earlier = before.get(path, session.variables[path] if path in session.variables else None)
        start = earlier.tensor
        if not isinstance(value, TensorValue) or value.tensor is start or value.tensor.name not in body.tensors:
            continue
        if start.name not in body.tensors:
            body.inputs.append(Input(start, "free", start.name))
        final = Tensor(builder.fresh(f"{start.name}_end"), start.shape, start.kind)
        builder.tensors[final.name] = final
        found.append((Carry(start.name, session.operand(start), value.tensor.name, final), path))
    return found
