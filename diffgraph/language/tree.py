"""From the rules of the grammar to the syntax tree: statements, declarations, files."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from diffgraph.diagnostics import Span, suggest
from diffgraph.language import syntax
from diffgraph.language.expressions import ExpressionBuilder, shortened
from diffgraph.language.lexing import Token
from diffgraph.language.syntax import Expr
from diffgraph.language.traversal import walk
from diffgraph.language.words import REDUCTIONS

_ELEMENT_KINDS = ("int", "float", "bool")

#: Fields of a train block that stand in it once.
_GIVEN_ONCE = frozenset("data batch epochs steps clip_norm stop_early average seed".split())


class TreeBuilder(ExpressionBuilder):
    """Builds a whole file."""

    # ------------------------------------------------------------ statements

    def block(self, span: Span, *statements: syntax.Statement) -> syntax.Block:
        return syntax.Block(span, statements)

    def port(self, span: Span, role: Token, name: Token, shape, type: syntax.ElementType | None) -> syntax.Port:
        return syntax.Port(span, role.text, self.bound(name), self._shape(shape), type)

    def element_type(self, span: Span, kind: Token, bound: Expr | None) -> syntax.ElementType:
        if kind.text not in _ELEMENT_KINDS:
            hint = suggest(kind.text, _ELEMENT_KINDS) or "it is `int`, `float` or `bool`"
            self.problem("DG117", f"`{kind.text}` is no type of elements", self.token_span(kind), hint)
        return syntax.ElementType(span, kind.text, bound)

    def output(self, span: Span, *items: syntax.Named) -> syntax.OutputOf:
        return syntax.OutputOf(span, items)

    def loss(self, span: Span, item: syntax.Named, scope: Expr | None) -> syntax.Loss:
        return syntax.Loss(span, item, scope)

    def metric(self, span: Span, item: syntax.Named) -> syntax.Metric:
        return syntax.Metric(span, item)

    def named(self, span: Span, name: Token, value: Expr) -> syntax.Named:
        return syntax.Named(span, self.bound(name), value)

    def unnamed(self, span: Span, value: Expr) -> syntax.Named:
        return syntax.Named(span, None, value)

    def variable(self, span: Span, role, name, shape, sign, value, condition=None, *rest) -> syntax.Variable:
        if isinstance(condition, Token):
            condition = rest[0]
        called = None
        if isinstance(value, syntax.Pipe) and len(value.stages) == 1:
            value, called = value.stages[0].value, value.stages[0].name
        shape = self._shape(shape)
        return syntax.Variable(span, role.text, self.bound(name), shape, sign.text == "~", value, called, condition)

    def _shape(self, subscripts: list[Expr] | None) -> tuple[Expr, ...]:
        for extent in subscripts or ():
            if isinstance(extent, syntax.Slice):
                self.problem("DG118", "a shape has no slices", extent.span)
        return tuple(subscripts or ())

    def assignment(self, span: Span, *parts) -> syntax.Bind | syntax.Define:
        *places, values = parts
        value = values[0]
        if len(values) > 1:
            value = syntax.TupleOf(values[0].span.to(values[-1].span), tuple(values))
        if len(places) == 1 and isinstance(places[0], syntax.Subscript):
            return self._definition(span, places[0], value)
        if len(places) == 1 and len(values) > 1:
            self.problem(
                "DG119", "one name cannot hold several values", value.span, f"write `({shortened(value.span.text)})`"
            )
        names = tuple(self._bound_name(place) for place in places)
        return syntax.Bind(span, names, value)

    def _bound_name(self, place: Expr) -> str:
        if isinstance(place, syntax.Name):
            self.check_bindable(place.name, place.span)
            return place.name
        self.problem("DG120", f"`{shortened(place.span.text)}` cannot be bound: only a name can", place.span)
        return "_"

    def _definition(self, span: Span, place: syntax.Subscript, value: Expr) -> syntax.Define:
        name = self._bound_name(place.value)
        return syntax.Define(span, name, self._written(place.subscripts), value)

    def _written(self, subscripts: tuple[Expr, ...]) -> tuple[syntax.BoundIndex, ...]:
        return tuple(self._written_index(index) for index in subscripts)

    def _written_index(self, index: Expr) -> syntax.BoundIndex:
        if isinstance(index, syntax.Number) and isinstance(index.value, int):
            return syntax.BoundIndex(index.span, str(index.value), None)
        return self.bound_index(index)

    def draw(self, span: Span, place: Expr, distribution: Expr) -> syntax.Draw:
        if isinstance(place, syntax.Subscript):
            return syntax.Draw(span, self._bound_name(place.value), self._shape(list(place.subscripts)), distribution)
        return syntax.Draw(span, self._bound_name(place), (), distribution)

    def update(self, span: Span, place: Expr, value: Expr) -> syntax.Update:
        if isinstance(place, syntax.Subscript):
            return syntax.Update(span, place.value, self._written(place.subscripts), value)
        return syntax.Update(span, place, None, value)

    def expressions(self, span: Span, *values: Expr) -> list[Expr]:
        return list(values)

    def return_(self, span: Span, values: list[Expr]) -> syntax.Return:
        return syntax.Return(span, tuple(values))

    def yield_(self, span: Span, values: list[Expr]) -> syntax.YieldOf:
        return syntax.YieldOf(span, tuple(values))

    def next_(self, span: Span, name: Token, value: Expr) -> syntax.Next:
        return syntax.Next(span, self.bound(name), value)

    def assert_(self, span: Span, condition: Expr, message: Expr | None) -> syntax.Assert:
        return syntax.Assert(span, condition, message)

    def if_(self, span: Span, condition: Expr, then: syntax.Block, otherwise) -> syntax.If:
        if isinstance(otherwise, syntax.If):
            otherwise = syntax.Block(otherwise.span, (otherwise,))
        return syntax.If(span, condition, then, otherwise)

    def for_(self, span: Span, name: Token, values: Expr, body: syntax.Block) -> syntax.For:
        return syntax.For(span, self.bound(name), values, body)

    # ------------------------------------------------------------ declarations

    def file(self, span: Span, *declarations: syntax.Declaration) -> syntax.File:
        whole = Span(self.source, 0, len(self.source.text))
        return syntax.File(whole, self.source, declarations)

    def function(self, span: Span, name, parameters, result, gradient) -> syntax.Function:
        body = _body(result)
        for made in (node for node in walk(body) if isinstance(node, syntax.Variable)):
            help = f"make a layer of it: `layer {name.text}()({', '.join(p.name for p in parameters)}) {{`"
            self.problem("DG124", f"a function is pure: it makes no {'parameter' if made.role == 'param' else made.role}", made.span, help)
        return syntax.Function(span, self.bound(name), parameters, body, gradient, self._doc(span))

    def gradient(self, span: Span, cotangent: Token, result) -> syntax.GradientRule:
        return syntax.GradientRule(span, self.bound(cotangent), _body(result))

    def layer(self, span: Span, kind, name, settings, tensors, body) -> syntax.Layer:
        self.check_unique((*settings, *tensors), "declared")
        return syntax.Layer(span, kind.text, self.bound(name), settings, tensors, body, self._doc(span))

    def net(self, span: Span, name: Token, settings, body: syntax.Block) -> syntax.Net:
        return syntax.Net(span, self.bound(name), settings or (), body, self._doc(span))

    def net_alias(self, span: Span, name: Token, value: Expr) -> syntax.NetAlias:
        return syntax.NetAlias(span, self.bound(name), value, self._doc(span))

    def settings(self, span: Span, *settings: syntax.Setting) -> tuple[syntax.Setting, ...]:
        self.check_unique(settings, "declared")
        return settings

    def setting(self, span: Span, name: Token, default: Expr | None) -> syntax.Setting:
        # `normal(mean = 0, std = 1)`: a setting may have the name of a reduction, and hides its plain function.
        return syntax.Setting(span, name.text if name.text in REDUCTIONS else self.bound(name), default)

    def tensors(self, span: Span, *tensors: syntax.TensorParameter) -> tuple[syntax.TensorParameter, ...]:
        self.check_unique(tensors, "declared")
        return tensors

    def tensor(self, span: Span, name: Token, shape, default: Expr | None) -> syntax.TensorParameter:
        return syntax.TensorParameter(span, self.bound(name), None if shape is None else self._shape(shape), default)

    def net_name(self, span: Span, *names: Token) -> str:
        return ".".join(name.text for name in names)

    def train(self, span: Span, net: str, arguments, name: Token | None, fields) -> syntax.Train:
        self.check_arguments(arguments or [])
        return syntax.Train(span, net, tuple(arguments or ()), self.bound(name) if name else None, fields)

    def fields(self, span: Span, *fields: syntax.Field) -> tuple[syntax.Field, ...]:
        self.check_unique([field for field in fields if field.name in _GIVEN_ONCE], "given")
        return fields

    def field(self, span: Span, name: Token, values: list[Expr], scope: list[Expr] | None) -> syntax.Field:
        return syntax.Field(span, name.text, _one_or_tuple(values), _one_or_tuple(scope) if scope else None)

    def field_alone(self, span: Span, name: Token) -> syntax.Field:
        return self.field_call(span, name)

    def field_call(self, span: Span, name: Token, *arguments: syntax.Argument) -> syntax.Field:
        self.check_arguments(list(arguments))
        function = syntax.Name(self.token_span(name), name.text)
        return syntax.Field(span, name.text, syntax.CallOf(span, function, arguments), None)

    def expect(self, span: Span, net: str, arguments, claims) -> syntax.Expect:
        self.check_arguments(arguments or [])
        return syntax.Expect(span, net, tuple(arguments or ()), claims)

    def claims(self, span: Span, *claims: syntax.Claim) -> tuple[syntax.Claim, ...]:
        return claims

    def holds(self, span: Span, value: Expr, within: Expr | None) -> syntax.Claim:
        return syntax.Claim(span, "holds", value, within)

    def gradients(self, span: Span) -> syntax.Claim:
        return syntax.Claim(span, "gradients", None, None)

    def trains(self, span: Span, value: Expr, within: Expr | None) -> syntax.Claim:
        return syntax.Claim(span, "trains", value, within)

    def import_file(self, span: Span, path: Token, name: Token | None) -> syntax.Import:
        file = self._path(path)
        if name is not None:
            return syntax.Import(span, file, self.bound(name))
        stem = PurePosixPath(file).stem
        if not re.fullmatch(r"[^\W\d]\w*", stem):
            self.problem("DG121", f"`{stem}` cannot be a name", self.token_span(path), "give it one: `import ... as b`")
        return syntax.Import(span, file, stem)

    def import_names(self, span: Span, path: Token, *names: Token) -> syntax.FromImport:
        return syntax.FromImport(span, self._path(path), tuple(name.text for name in names))

    def _path(self, token: Token) -> str:
        parts = self.string_parts(token)
        if len(parts) == 1 and isinstance(parts[0], str):
            return parts[0]
        self.problem("DG122", "the name of a file is a plain text", self.token_span(token))
        return "_"

    def _doc(self, span: Span) -> str:
        """The comment lines directly above a declaration."""
        lines: list[str] = []
        if self.source.line(span.line)[: span.column - 1].strip():
            return ""  # What stands above belongs to what else is on the line.
        above = span.line - 1
        while above > 0 and (text := self.source.line(above).strip()).startswith("#"):
            lines.append(text.lstrip("#").strip())
            above -= 1
        return "\n".join(reversed(lines))


def _body(result: syntax.Block | list[Expr]) -> syntax.Block:
    """What a function gives: a block, or the values behind `=`."""
    if isinstance(result, syntax.Block):
        return result
    span = result[0].span.to(result[-1].span)
    return syntax.Block(span, (syntax.Return(span, tuple(result)),))


def _one_or_tuple(values: list[Expr]) -> Expr:
    if len(values) == 1:
        return values[0]
    return syntax.TupleOf(values[0].span.to(values[-1].span), tuple(values))
