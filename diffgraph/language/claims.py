"""What an `expect` block claims, and whether it holds.

A claim is an expression of the language over facts: numbers of the compiled program, shapes, values of outputs on given
inputs, results of training. This module reads the claim; whoever runs programs supplies the facts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np

from diffgraph.diagnostics import Diagnostic, DiffgraphError, Span, error, suggest
from diffgraph.ir.dimension import Dimension, symbol
from diffgraph.language import evaluate as expressions
from diffgraph.language import syntax
from diffgraph.language.arithmetic import constant_expr, describe, is_tensor, only_output
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

#: What `~=` allows where the claim does not say: a part of the right side.
CLOSE = 1e-5

COMPARISONS: dict[str, Callable] = {
    "==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
}  # fmt: skip


class Facts(Protocol):
    """What a claim may ask of a net. Each is computed when it is asked for."""

    def number(self, name: str) -> int:
        """`parameters`, `macs`, `peak_memory` (bytes) or `kernels`."""

    def output(self, name: str, inputs: list[np.ndarray]) -> np.ndarray:
        """An output on given inputs, in order, at the seed's initial parameters."""

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
        help = suggest(name, known) or f"training measures {', '.join(measured)}, and parameters by their paths"
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
    if kind == "holds":
        yield from (output.name for output in network.outputs)
        yield from NUMBERS
        yield "fused"
        for port in (*network.inputs, *network.targets):
            yield port.name
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
    """One claim against the facts."""

    def __init__(self, claim: syntax.Claim, module: Module, network: Network, facts: Facts, session: Session):
        self.claim = claim
        self.network = network
        self.facts = facts
        self.session = session
        self.scope = Scope(module)
        self.variables = {v.path: v for v in (*network.parameters, *network.states)}
        self.found: Mapping[str, Any] = {}
        for name in network.symbols:
            self.scope.bind(name, symbol(name))

    def result(self) -> tuple[bool, str]:
        """(whether it holds, what was measured)"""
        node = self.claim.value
        while isinstance(node, syntax.Paren):
            node = node.inside
        if not isinstance(node, syntax.Binary) or node.op not in (*COMPARISONS, "~="):
            value = self._value(node)
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
        """The value of one side, made of numbers, texts, sizes, and lists and arrays of numbers."""
        value = only_output(expressions.evaluate(rewrite(node, self._fact), self.scope, self.session))
        if isinstance(value, Undecided):
            raise error("DG640", f"whether {value} cannot be said", node.span)
        if isinstance(value, TensorValue) and (path := self._path_of(value)) is not None:
            return self.facts.initial(path)
        if isinstance(value, TensorValue) and not self.network.inputs and (name := self._output_of(value)) is not None:
            return _listed(self.facts.output(name, []))
        if is_tensor(value):
            raise error("DG642", "a claim about values needs inputs", node.span, help="name its inputs: y([[0, 1]])")
        return value

    def _path_of(self, value: TensorValue) -> str | None:
        return next((p for p, v in self.variables.items() if v.tensor is value.tensor), None)

    def _output_of(self, value: TensorValue) -> str | None:
        return next((o.name for o in self.network.outputs if o.tensor == value.tensor.name), None)

    def _fact(self, node: syntax.Expr) -> syntax.Expr | None:
        """What stands for a part of the claim: a name of the fact, bound in the scope; None where it is no fact."""
        if isinstance(node, syntax.CallOf) and isinstance(node.function, syntax.Name):
            name = node.function.name
            if name == "fused":
                return self._bound(node, self.facts.fused([dotted(a.value) or "" for a in node.arguments]))
            if any(o.name == name for o in self.network.outputs):
                inputs = [np.asarray(self._value(a.value), dtype=float) for a in node.arguments]
                return self._bound(node, _listed(self.facts.output(name, inputs)))
        path = dotted(node)
        if path is None:
            return None
        found = self._trained(path) if self.claim.kind == "trains" else self._named(path)
        return None if found is None else self._bound(node, found)

    def _trained(self, name: str) -> Any:
        known = {r.name for r in (*self.network.losses, *self.network.metrics)} | self.variables.keys()
        return _listed(self.facts.trained(name)) if name in known else None

    def _named(self, name: str) -> Any:
        if name in self.variables:
            return TensorValue(self.variables[name].tensor)
        for port in (*self.network.inputs, *self.network.targets):
            if port.name == name:
                return TensorValue(port.tensor)
        for result in (*self.network.outputs, *self.network.losses, *self.network.metrics):
            if result.name == name:
                return TensorValue(self.network.program.tensors[result.tensor])
        return self.facts.number(name) if name in NUMBERS else None

    def _bound(self, node: syntax.Expr, value: Any) -> syntax.Name:
        name = f"fact~{len(self.scope.values)}"
        self.scope.bind(name, value)
        return syntax.Name(node.span, name)


def _listed(value: Any) -> Any:
    """An array as nested lists of numbers, which is what the language computes with."""
    return np.asarray(value).tolist()


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
    return bool(np.all(COMPARISONS[op](a, b)))


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
