"""What an `expect` block claims, and whether it holds.

A claim is an expression of the language over facts: numbers of the compiled program, shapes, values of outputs on given
inputs, results of training. This module reads the claim; whoever runs programs supplies the facts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np

from diffgraph.diagnostics import Diagnostic, DiffgraphError, Note, Span, error, suggest
from diffgraph.ir.dimension import Dimension, symbol
from diffgraph.ir.interpret import interpret, needed
from diffgraph.ir.program import Output, Tensor
from diffgraph.language import evaluate as expressions
from diffgraph.language import syntax
from diffgraph.language.arithmetic import CLOSE, constant_expr, describe, is_tensor, materialize, only_output
from diffgraph.language.calls import counted, enumerated
from diffgraph.language.computing import computing
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import Module
from diffgraph.language.network import Network
from diffgraph.language.rewriting import dotted, rewrite
from diffgraph.language.scopes import Scope
from diffgraph.language.session import Session
from diffgraph.language.values import BuiltinFunction, FunctionValue, LayerValue, TensorValue, Undecided

#: Numbers of the compiled program that a claim may name.
NUMBERS = ("parameters", "macs", "peak_memory", "kernels")

COMPARISONS: dict[str, Callable] = {
    "==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
}  # fmt: skip


class Facts(Protocol):
    """What a claim may ask of a net. Each is computed when it is asked for."""

    def number(self, name: str) -> int:
        """`parameters`, `macs`, `peak_memory` (bytes) or `kernels`."""

    def output(self, name: str, given: dict[str, np.ndarray], trained: bool = False) -> np.ndarray | float:
        """An output, loss or metric on given inputs (and targets), at the seed's initial parameters or after training."""

    def initial(self, path: str) -> np.ndarray:
        """The initial value of a parameter or state."""

    def trained(self, name: str) -> np.ndarray | float:
        """After training with the net's first `train` block: a loss, a metric (on held-out data where there is any),
        or a parameter by path."""

    def gradients(self) -> str | None:
        """What is wrong with a derivative; None where all agree with finite differences."""

    def fused(self, paths: list[str]) -> bool:
        """Whether some instances are computed by one kernel."""


@dataclass(frozen=True)
class Verdict:
    """Whether a claim holds. `measured` is what was found, as text: `accuracy is 0.953`."""

    text: str
    holds: bool
    measured: str
    span: Span


def judge(claim: syntax.Claim, module: Module, network: Network, facts: Facts) -> Verdict:
    """Whether a claim holds. DiffgraphError where it means nothing (an unknown name)."""
    text = " ".join(claim.span.text.split())
    if claim.kind == "gradients":
        problem = facts.gradients()
        return Verdict(text, problem is None, problem or "every derivative agrees", claim.span)
    with computing(module) as session:
        holds, measured = _Judgement(claim, module, network, facts, session).result()
    return Verdict(text, holds, measured, claim.span)


def claimed_network(block: syntax.Expect, module: Module) -> Network:
    """The net that an expect block is about, with the block's settings, in inference mode."""
    with computing(module) as session:
        positional, keywords = expressions.arguments_of(block.arguments, module, session)
    return elaborate(module, block.net, keywords, positional=tuple(positional))


def check_claim(claim: syntax.Claim, module: Module, network: Network) -> None:
    """Refuses names that a claim cannot mean, before anything is run."""
    if claim.value is None:
        return
    known = set(_names(network, claim.kind))
    paths = known | {i.path for i in network.instances} | {p for name in known for p in _starts(name)}
    problems = []
    with computing(module) as session:
        for node, is_called in _references(claim.value):
            name = dotted(node)
            if any(start in paths for start in (name, *_starts(name))):
                continue
            found = expressions.lookup(name.split(".")[0], module, session, node.span)
            if found is None or not is_called and isinstance(found, (FunctionValue, BuiltinFunction, LayerValue)):
                problems.append(_unknown(name, claim.kind, known, network, node.span))
    if problems:
        raise DiffgraphError(*problems)


def _unknown(name: str, kind: str, known: set[str], network: Network, span: Span) -> Diagnostic:
    """A name that a claim cannot mean: a misspelt one, or one of another kind."""
    if kind == "trains":
        measured = [r.name for r in (*network.losses, *network.metrics)]
        paths = "parameters by their paths"
        help = suggest(name, known) or f"training measures {enumerated([*measured, paths])}"
        return Diagnostic("DG641", f"training measures no `{name}`", span, (), help)
    instances = [i.path for i in network.instances]
    likely = [*known, *instances, *(f"{n}.shape" for n in known)]
    help = suggest(name, likely) or f"a claim names {', '.join(NUMBERS)}, outputs and parameters"
    return Diagnostic("DG641", f"`{name}` is not known here", span, (), help)


def _starts(path: str) -> Iterator[str]:
    """The paths of what is around something: `a` and `a.b` for `a.b.c`."""
    return (path[:k] for k, c in enumerate(path) if c == ".")


def _names(network: Network, kind: str) -> Iterator[str]:
    """What a claim can name beside the names of the file."""
    for variable in (*network.parameters, *network.states):
        yield variable.path
    for result in (*network.losses, *network.metrics):
        yield result.name
    yield from (output.name for output in network.outputs)
    if kind == "holds":
        yield from NUMBERS
        yield "fused"
        for port in (*network.inputs, *network.targets):
            yield port.name
    yield from network.settings
    yield from network.symbols


def _references(node: Any, is_called: bool = False) -> Iterator[tuple[syntax.Expr, bool]]:
    """The names and chains of attributes in an expression, outermost only, and whether each has to do with a call: it
    is what is called, or an argument."""
    if dotted(node) is not None:
        yield node, is_called
        return
    for f in fields(node):
        value = getattr(node, f.name)
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, syntax.Node):
                yield from _references(item, isinstance(node, (syntax.CallOf, syntax.Argument)))


class _Judgement:
    """One claim against the facts.

    A fact that is an array is an input of a small program, which is computed by the interpreter when its elements are
    asked for: a shape alone computes nothing."""

    def __init__(self, claim: syntax.Claim, module: Module, network: Network, facts: Facts, session: Session):
        self.claim = claim
        self.network = network
        self.facts = facts
        self.session = session
        self.trained = claim.kind == "trains"
        self.scope = Scope(module)
        self.variables = {v.path: v for v in (*network.parameters, *network.states)}
        #: What gives the elements of an input, by the name of its tensor.
        self.arrays: dict[str, Callable[[], np.ndarray]] = {}
        for name, value in network.settings.items():
            self.scope.bind(name, value)
        for name in network.symbols:
            self.scope.bind(name, symbol(name))

    def result(self) -> tuple[bool, str]:
        """(whether it holds, what was measured)"""
        node = self.claim.value
        while isinstance(node, syntax.Paren):
            node = node.inside
        if not isinstance(node, syntax.Binary) or node.op not in (*COMPARISONS, "~="):
            value = self._value(node)
            if isinstance(value, np.ndarray) and value.dtype == bool:
                value = bool(value.all())
            if self.claim.within is not None or not isinstance(value, bool):
                raise error("DG640", "this is no comparison", node.span, help="parameters == 61706, for example")
            return value, "it is" if value else "it is not"
        left, right = self._value(node.left), self._value(node.right)
        within = None if self.claim.within is None else self._value(self.claim.within)
        if within is not None and node.op not in ("~=", "=="):
            raise error("DG640", f"`within` goes with `~=`, not with `{node.op}`", self.claim.within.span)
        holds = _compare(node.op, left, right, within, node)
        return holds, f"{' '.join(node.left.span.text.split())} is {_shown(left)}"

    def _value(self, node: syntax.Expr) -> Any:
        """The value of one side: a number, a text, a size, a list of those, or an array."""
        value = only_output(expressions.evaluate(rewrite(node, self._fact), self.scope, self.session))
        if isinstance(value, Undecided):
            raise error("DG640", f"whether {value} cannot be said", node.span)
        return self._computed(value, node) if _has_tensor(value) else value

    def _computed(self, value: Any, node: syntax.Expr) -> np.ndarray:
        tensor = materialize(value, self.session, "claim", node.span).tensor
        self.session.builder.outputs = [Output("claim", tensor.name)]
        program = self.session.builder.program()
        read = {tensor.name, *(name for s in needed(program, [tensor.name]) for name in s.operands)}
        given = {name: supply() for name, supply in self.arrays.items() if name in read}
        return interpret(program, given, keep=[tensor.name])[tensor.name]

    def _fact(self, node: syntax.Expr) -> syntax.Expr | None:
        """What stands for a part of the claim: a name of the fact, bound in the scope; None where it is no fact."""
        if isinstance(node, syntax.CallOf) and isinstance(node.function, syntax.Name):
            name = node.function.name
            if name == "fused":
                return self._bound(node, self.facts.fused([dotted(a.value) or "" for a in node.arguments]))
            if self._is_applied(name, node):
                return self._bound(node, self._applied(name, node))
            given = tuple(replace(a, value=rewrite(a.value, self._fact)) for a in node.arguments)
            return replace(node, arguments=given)
        path = dotted(node)
        found = None if path is None else self._named(path, node)
        return None if found is None else self._bound(node, found)

    def _is_applied(self, name: str, node: syntax.CallOf) -> bool:
        """Whether a call means a result of the net; a metric that is called like a function does not: `accuracy(a, b)`."""
        if any(o.name == name for o in self.network.outputs):
            return True
        measured = any(r.name == name for r in (*self.network.losses, *self.network.metrics))
        return measured and expressions.lookup(name, self.scope, self.session, node.span) is None

    def _applied(self, name: str, node: syntax.CallOf) -> Any:
        """`y([[0, 1]])`: an output on inputs, in order or by name; of a loss or metric, on inputs and targets."""
        network = self.network
        of_output = any(o.name == name for o in network.outputs)
        ports = network.inputs if of_output else (*network.inputs, *network.targets)
        names = [p.name for p in ports]
        given: dict[str, np.ndarray] = {}
        for place, argument in enumerate(node.arguments):
            port = argument.name or (names[place] if place < len(names) else None)
            if port not in names or port in given:
                raise self._wrong_inputs(name, names, node)
            given[port] = _array(self._value(argument.value), argument.value)
        if given.keys() != set(names):
            raise self._wrong_inputs(name, names, node)
        try:
            return self._array(self.facts.output(name, {n: given[n] for n in names}, self.trained), node)
        except DiffgraphError as problem:
            notes = (Note("the values are given here", node.span),)
            raise DiffgraphError(*(replace(d, notes=d.notes + notes) for d in problem.diagnostics)) from None

    def _wrong_inputs(self, name: str, names: list[str], node: syntax.CallOf) -> DiffgraphError:
        kind = "input" if any(o.name == name for o in self.network.outputs) else "value"
        text = f"`{name}` takes {counted(len(names), kind)}, not {len(node.arguments)}"
        if len(names) == len(node.arguments):
            text = f"`{name}` takes {counted(len(names), kind)}, each once"
        return error("DG645", text, node.span, help=f"write {name}({', '.join(names)})")

    def _named(self, name: str, node: syntax.Expr) -> Any:
        """What a name or path stands for by itself; None where it is no fact."""
        network, facts = self.network, self.facts
        measured = {r.name: r for r in (*network.losses, *network.metrics)}
        if self.trained and name in measured:
            return self._array(facts.trained(name), node)
        if name in self.variables:
            path = name
            supply = (lambda: facts.trained(path)) if self.trained else (lambda: facts.initial(path))
            return self._lent(self.variables[name].tensor, supply)
        outputs = {o.name: o for o in network.outputs}
        for port in (*network.inputs, *network.targets):
            if port.name == name:
                return self._lent(port.tensor, lambda: self._refused(name, node))
        if name in outputs or name in measured:
            tensor = network.program.tensors[(outputs.get(name) or measured[name]).tensor]
            alone = not network.inputs and (name in outputs or not network.targets)
            supply = (lambda: facts.output(name, {}, self.trained)) if alone else (lambda: self._refused(name, node))
            return self._lent(tensor, supply)
        return facts.number(name) if name in NUMBERS and not self.trained else None

    def _refused(self, name: str, node: syntax.Expr) -> np.ndarray:
        outputs = {o.name for o in self.network.outputs}
        ports = self.network.inputs if name in outputs else (*self.network.inputs, *self.network.targets)
        is_port = any(p.name == name for p in (*self.network.inputs, *self.network.targets))
        called = f"{'y' if is_port else name}({', '.join(p.name for p in ports)})"
        help = f"give it some: {called}, with numbers in the place of each"
        raise error("DG642", f"`{name}` has no value without inputs", node.span, help=help)

    def _array(self, found: Any, node: syntax.Expr) -> Any:
        """What was measured: a number as it is, an array as a tensor whose shape is known."""
        array = np.asarray(found)
        if not array.shape:
            return array.item()
        return self._lent(Tensor("measured", array.shape, _kind(array)), lambda: array)

    def _lent(self, like: Tensor, supply: Callable[[], np.ndarray]) -> TensorValue:
        """A tensor of the program of the claim, of the shape and kind of another."""
        tensor = self.session.builder.input(like.name, like.shape, "input", kind=like.kind, bound=like.bound)
        self.arrays[tensor.name] = supply
        return TensorValue(tensor)

    def _bound(self, node: syntax.Expr, value: Any) -> syntax.Name:
        name = f"fact~{len(self.scope.values)}"
        self.scope.bind(name, value)
        return syntax.Name(node.span, name)


def _kind(array: np.ndarray) -> str:
    return {"b": "bool", "i": "int", "u": "int"}.get(array.dtype.kind, "float")


def _has_tensor(value: Any) -> bool:
    """Whether a value is a tensor, or holds one."""
    if isinstance(value, (list, tuple)):
        return any(_has_tensor(v) for v in value)
    return is_tensor(value)


def _compare(op: str, left: Any, right: Any, within: Any, node: syntax.Binary) -> bool:
    """Whether a comparison holds, element by element; sizes compare as polynomials."""
    if op in ("==", "!=") and within is None and (_has_sizes(left) or _has_sizes(right) or isinstance(left, str)):
        return (_as_list(left) == _as_list(right)) is (op == "==")
    a, b = _array(left, node.left), _array(right, node.right)
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise error("DG643", f"{list(a.shape)} cannot be compared with {list(b.shape)}", node.span) from None
    if op == "~=" or within is not None:
        allowed = CLOSE * np.abs(b) if within is None else _array(within, node)
        return bool(np.all(np.abs(a - b) <= allowed))
    if op in ("==", "!="):
        a, b = _as_float32(a), _as_float32(b)
    return bool(np.all(COMPARISONS[op](a, b)))


def _as_float32(values: np.ndarray) -> np.ndarray:
    """Numbers that are not whole as float32 holds them, so that a parameter of 9.81 equals 9.81."""
    return np.where(values == np.round(values), values, values.astype(np.float32))


def _has_sizes(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_has_sizes(v) for v in value)
    return isinstance(value, Dimension)


def _as_list(value: Any) -> Any:
    return [_as_list(v) for v in value] if isinstance(value, (list, tuple, range)) else value


def _array(value: Any, node: syntax.Expr) -> np.ndarray:
    try:
        return np.asarray(_as_list(value), dtype=float)
    except (TypeError, ValueError):
        raise error("DG643", f"{describe(value)} is not a number", node.span) from None


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray) or isinstance(value, (list, tuple)) and not _has_sizes(value):
        return np.array2string(np.asarray(value), precision=6, threshold=20)
    if isinstance(value, float):
        return f"{value:.6g}"
    return expressions.show(value) if constant_expr(value) is not None else str(value)
