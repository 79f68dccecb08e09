"""What applying a layer added to a program, written down without names, so that it can be added again under others.

Names are relative: a tensor is the k-th that was named, or the k-th that was given, or (a run scalar, a table) has one
name in the whole program; a path is what follows that of the instance; a draw is known by its path. Two templates are
equal where two applications did the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from diffgraph.diagnostics import Span
from diffgraph.ir.expression import Call, Const, Expr
from diffgraph.ir.form import Form
from diffgraph.ir.program import (
    Argsort,
    Check,
    Definition,
    Input,
    Origin,
    Output,
    Reshape,
    Statement,
    Tensor,
    Term,
)
from diffgraph.language.builders import NamedBuilder
from diffgraph.language.network import Instance, Variable
from diffgraph.language.paths import site_of
from diffgraph.language.session import Extent, FrameNaming, Session
from diffgraph.language.values import TensorValue


class Unfit(Exception):
    """What was added cannot be written down without names."""


#: A tensor: the k-th that was named (k), the k-th that was given (-1 - k), or the name of one of the whole program.
Ref = int | str

#: The path of an instance or variable, after that of the instance that the template is of.
Suffix = str


@dataclass(frozen=True)
class Named:
    """A name that was given to a tensor: made of a hint, which follows the path where `inside`. A name that was taken
    back has no shape."""

    inside: bool
    hint: str
    shape: tuple | None
    kind: str = "float"
    bound: Any = None


@dataclass(frozen=True)
class Made:
    """A statement. `parts` are (form, suffix of the draw in it or None, operands) of a definition, or (operand,
    descending) of an argsort, or (operand,) of a view; `provenance` is the place in the template's list."""

    type: type
    result: int
    parts: tuple
    provenance: int


@dataclass(frozen=True)
class Part:
    """What was added to the program, or to that of initial values. In `names`, an int takes back the name of that
    number."""

    names: tuple[Named | int, ...]
    inputs: tuple[tuple[int, str, Suffix, Span | None], ...]
    statements: tuple[Made, ...]
    outputs: tuple[tuple[Suffix, Ref], ...]

    def add(self, builder: NamedBuilder, path: str, given: Sequence[Tensor], provenances: Sequence) -> list[Tensor]:
        """Adds it under the path; gives the tensors that were named, in order."""
        made: list[Tensor] = []
        for named in self.names:
            if type(named) is int:
                builder.forget(made[named].name)
                continue
            name = builder.fresh(path + named.hint if named.inside else named.hint)
            builder.tensors[name] = tensor = Tensor(name, named.shape or (), named.kind, named.bound)
            made.append(tensor)
        for number, role, suffix, span in self.inputs:
            builder.inputs.append(Input(made[number], role, path + suffix, None, span))
        names = [t.name for t in made] + [t.name for t in reversed(given)]  # -1 - k is the k-th given one
        for statement in self.statements:
            builder.statements.append(_statement(statement, path, made, names, provenances[statement.provenance]))
        for suffix, ref in self.outputs:
            builder.outputs.append(Output(path + suffix, ref if type(ref) is str else names[ref]))
        return made


def _statement(of: Made, path: str, made: Sequence[Tensor], names: Sequence[str], provenance) -> Statement:
    result = made[of.result]
    if of.type is not Definition:
        operand, *rest = of.parts
        return of.type(result, operand if type(operand) is str else names[operand], *rest, provenance)
    terms = []
    for form, draw, operands in of.parts:
        if draw is not None:
            form = _with_site(form, site_of(path + draw))
        terms.append(Term(form, tuple([o if type(o) is str else names[o] for o in operands]), provenance))
    return Definition(result, tuple(terms))


@dataclass(frozen=True)
class Template:
    """Everything that an application added. `height` is how deep calls and frames were nested in it."""

    main: Part
    initial: Part
    provenances: tuple[tuple[tuple[Suffix, Span | None, str], ...], ...]
    variables: tuple[tuple[int, Suffix, bool, Span | None], ...]
    updates: tuple[tuple[Suffix, Ref, Span | None], ...]
    instances: tuple[tuple, ...]
    draws: tuple[tuple[Suffix, int], ...]
    checks: tuple[tuple[Ref, str, Span | None], ...]
    naming: tuple[tuple[Suffix, FrameNaming], ...]
    steps: int
    height: tuple[int, int]
    result: Any

    def is_numbered_alike(self, session: Session, path: str) -> bool:
        """Whether the instances under a path have no numbers yet, or those of the template."""
        frames = session.naming.frames
        return all(frames.get(path + suffix) in (None, numbers) for suffix, numbers in self.naming)

    def repeat(self, session: Session, path: str, given: Sequence[Tensor], arguments: Sequence[Any]) -> Any:
        """Adds everything under another path, for other tensors; gives the result."""
        session.count_repeated(self.steps, self.height)
        provenances = [tuple([Origin(path + s, span, phase) for s, span, phase in p]) for p in self.provenances]
        made = self.main.add(session.main, path, given, provenances)
        self.initial.add(session.initial, path, (), provenances)
        self._add_variables(session, path, made)

        def tensor(ref: Ref) -> Tensor:
            return session.main.tensors[ref] if type(ref) is str else made[ref] if ref >= 0 else given[-1 - ref]

        for suffix, ref, span in self.updates:
            session.updated(path + suffix, TensorValue(tensor(ref), span))
        for suffix, type_name, kind, span, inputs, outputs, settings in self.instances:
            ends = [tuple([tensor(r).name for r in refs]) for refs in (inputs, outputs)]
            session.instances.append(Instance(path + suffix, type_name, kind, span, *ends, settings))
        for suffix, times in self.draws:
            session.drawn(path + suffix, times)
        for ref, message, span in self.checks:
            session.main.checks.append(Check(tensor(ref).name, message, span))
        for suffix, numbers in self.naming:
            session.naming.frames[path + suffix] = numbers.copy()

        def value(of: tuple) -> TensorValue:
            number, ref, span = of
            return TensorValue(tensor(ref), span) if number is None else arguments[number]

        return tuple(map(value, self.result[1])) if self.result[0] else value(self.result[1])

    def _add_variables(self, session: Session, path: str, made: Sequence[Tensor]) -> None:
        for number, suffix, trained, span in self.variables:
            own = path + suffix
            session.variables[own] = Variable(own, made[number], trained, span)
            session.by_path[own] = TensorValue(made[number], span)


# ---------------------------------------------------------------- writing it down


def written(
    session: Session, path: str, given: Sequence[Tensor], arguments: Sequence[Any], before: Extent, after: Extent,
    height: tuple[int, int], result: Any,
) -> Template:  # fmt: skip
    """The template of an application that added what lies between two extents of the session. `Unfit` where there is
    none."""
    if before.outside != after.outside or before.last is not before.last_of(session):
        raise Unfit
    return _Writer(session, path, given, arguments, before, after).template(height, result)


class _Writer:
    """Takes the names out of what an application added."""

    def __init__(self, session: Session, path: str, given, arguments, before: Extent, after: Extent):
        self.session, self.path, self.arguments = session, path, arguments
        self.before, self.after = before, after
        self.provenances: dict[tuple, int] = {}
        self.given = {t.name: -1 - k for k, t in reversed(list(enumerate(given)))}
        if self.given.keys() & session.main.whole:
            raise Unfit
        self.numbers: dict[str, int] = {}

    def template(self, height: tuple[int, int], result: Any) -> Template:
        session, before, after = self.session, self.before, self.after
        initial = self._part(session.initial, before.initial, after.initial, {})
        main = self._part(session.main, before.main, after.main, self.given)
        variables = tuple(
            (number, suffix, session.variables[self.path + suffix].trained, session.variables[self.path + suffix].span)
            for number, _, suffix, _ in main.inputs
        )
        paths = dict.fromkeys(session.updates_log[before.updates : after.updates])
        drawn = dict.fromkeys(session.draws_log[before.draws : after.draws])
        instances = session.instances[before.instances : after.instances]
        return Template(
            main,
            initial,
            tuple(self.provenances),
            variables,
            tuple((self._suffix(p), *self._value(session.by_path[p])[1:]) for p in paths),
            tuple(map(self._instance, instances)),
            tuple((self._suffix(p), session.draws[p]) for p in drawn),
            tuple((self._ref(c.tensor), c.message, c.span) for c in session.main.checks[before.checks : after.checks]),
            tuple(self._naming(dict.fromkeys([self.path, *(i.path for i in instances)]))),
            after.steps - before.steps,
            height,
            (True, tuple(map(self._value, result))) if isinstance(result, tuple) else (False, self._value(result)),
        )

    # ------------------------------------------------------------ names

    def _suffix(self, path: str) -> Suffix:
        if path != self.path and not path.startswith(f"{self.path}."):
            raise Unfit
        return path[len(self.path) :]

    def _ref(self, name: str) -> Ref:
        return self._named(name, self.numbers, self.given, self.session.main)

    @staticmethod
    def _named(name: str, numbers, given, builder: NamedBuilder) -> Ref:
        found = numbers.get(name, given.get(name))
        if found is None and name not in builder.whole:
            raise Unfit
        return name if found is None else found

    def _value(self, value: Any) -> tuple:
        """(number of the argument that it is, or None; its tensor; where it was made)."""
        if not isinstance(value, TensorValue):
            raise Unfit
        number = next((k for k, a in enumerate(self.arguments) if a is value), None)
        return number, self._ref(value.tensor.name), value.span

    def _instance(self, i: Instance) -> tuple:
        ends = [tuple(map(self._ref, names)) for names in (i.inputs, i.outputs)]
        return self._suffix(i.path), i.type, i.kind, i.span, *ends, i.settings

    def _naming(self, paths):
        for path in paths:
            numbers = self.session.naming.frames.get(path)
            if numbers is not None:
                yield self._suffix(path), numbers.copy()

    # ------------------------------------------------------------ statements

    def _part(self, builder: NamedBuilder, before: tuple, after: tuple, given) -> Part:
        statements, inputs, outputs, log = (slice(a, b) for a, b in zip(before, after))
        numbers: dict[str, int] = {}
        names: list[Named | int] = []
        count = 0
        for hint, name in builder.log[log]:
            if name in builder.whole:
                continue
            if hint is None:
                names.append(numbers.pop(name))
                continue
            inside = hint.startswith(self.path)
            names.append(Named(inside, hint[len(self.path) :] if inside else hint, None))
            numbers[name] = count
            count += 1
        self.numbers = numbers
        self._shape(names, numbers, builder)
        return Part(
            tuple(names),
            tuple((numbers[i.tensor.name], i.role, self._suffix(i.path), i.span)
                  for i in builder.inputs[inputs] if i.tensor.name not in builder.whole),
            tuple(self._made(s, numbers, given, builder) for s in builder.statements[statements]),
            tuple((self._suffix(o.name), self._named(o.tensor, numbers, given, builder))
                  for o in builder.outputs[outputs]),
        )  # fmt: skip

    @staticmethod
    def _shape(names: list, numbers: dict[str, int], builder: NamedBuilder) -> None:
        """Gives each name that was kept the shape of its tensor."""
        places = [k for k, named in enumerate(names) if isinstance(named, Named)]
        for name, number in numbers.items():
            k, tensor = places[number], builder.tensors[name]
            names[k] = Named(names[k].inside, names[k].hint, tensor.shape, tensor.kind, tensor.bound)

    def _made(self, s: Statement, numbers, given, builder: NamedBuilder) -> Made:
        def ref(name: str) -> Ref:
            return self._named(name, numbers, given, builder)

        if isinstance(s, Definition) and s.gradient is None:
            parts = tuple((*self._drawn(t.form), tuple(map(ref, t.operands))) for t in s.terms)
            provenance = s.terms[0].provenance
            if any(t.provenance != provenance for t in s.terms):
                raise Unfit
        elif isinstance(s, Reshape):
            parts, provenance = (ref(s.operand),), s.provenance
        elif isinstance(s, Argsort):
            parts, provenance = (ref(s.operand), s.descending), s.provenance
        else:
            raise Unfit
        origins = tuple((self._suffix(o.path), o.span, o.phase) for o in provenance)
        place = self.provenances.setdefault(origins, len(self.provenances))
        return Made(type(s), numbers[s.tensor.name], parts, place)

    def _drawn(self, form: Form) -> tuple[Form, Suffix | None]:
        """A form without the site of its draw, and the path of that."""
        site = _site(form)
        if site is None:
            return form, None
        path = self.session.sites.get(site)
        if path is None:
            raise Unfit
        return _with_site(form, 0), self._suffix(path)


@lru_cache(maxsize=1 << 14)
def _site(form: Form) -> int | None:
    """The site of a form that is a draw and nothing else; None for one that draws nothing."""
    body = form.body
    if type(body) is Call and body.function == "random":
        return body.args[2].value
    if _draws(body):
        raise Unfit
    return None


def _draws(body: Expr) -> bool:
    """Whether there is a draw anywhere inside."""
    return type(body) is Call and body.function == "random" or any(map(_draws, body.children))


def _with_site(form: Form, site: int) -> Form:
    seed, step, _, place = form.body.args
    body = Call("random", (seed, step, Const(site), place))
    return Form(form.domain, form.op, form.write, form.shape, form.operands, body)
