"""A program as `.net` text that a person reads and diffgraph compiles.

    net program {
        input x[N, 784]
        input weight[120, 784]
        input d_y[N, 120]

        # linear1, backward, lenet.net:9
        d_weight[u, d] = sum[n](d_y[n, u] * x[n, d])

        output d_weight
    }

Inputs of every role are `input`s, but for what a commit changes: that is a `state`. Outputs whose names are no names in
`.net` (`conv1.weight`) are spelt with underscores. Tensors keep their names wherever a word of the language allows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from diffgraph.ir import scalar
from diffgraph.ir.definition import NamedTerm, definition_text, elementwise_text
from diffgraph.ir.dimension import Size, symbols
from diffgraph.ir.formula import size_text
from diffgraph.ir.letters import Letters
from diffgraph.ir.program import (
    RESERVED,
    Argsort,
    Definition,
    Input,
    OwnGradient,
    Program,
    Provenance,
    Reshape,
    Scan,
    Statement,
    Tensor,
    Term,
)

INDENT = "    "

#: Functions that printed programs call, which therefore name nothing else in them.
CALLED = frozenset({*scalar.FUNCTIONS, "reshape", "argsort", "last"})


def show(program: Program, name: str = "program") -> str:
    """The program as the text of a net of that name."""
    return _Writer(program).file(program, name)


def shape_text(shape: Iterable[Size]) -> str:
    """`[N, 3]`"""
    return f"[{', '.join(size_text(s).text for s in shape)}]"


class _Writer:
    """Writes one program. `names` maps tensors of the open program or body to their names in the text."""

    def __init__(self, program: Program):
        self.functions: list[str] = []
        self.weights = {i.tensor.name for i in program.inputs if i.role == "parameter"}
        self.symbols = {s for t in program.tensors.values() for size in t.shape for s in symbols(size)}
        self.taken = {*self.symbols, *CALLED, *RESERVED}
        self.batch = next((i.tensor.shape[0] for i in program.inputs if i.role == "input" and i.tensor.shape), None)
        if isinstance(self.batch, int):
            self.batch = None
        self.origin = ""

    # ---------------------------------------------------------------------------------------------- names

    def name(self, wanted: str) -> str:
        """A name of the text that is not taken yet."""
        stem = "".join(c if c.isalnum() or c == "_" else "_" for c in wanted)
        stem = stem if stem[:1].isalpha() or stem[:1] == "_" else f"t_{stem}"
        name, count = stem, 1
        while name in self.taken:
            count += 1
            name = f"{stem}_{count}"
        self.taken.add(name)
        return name

    def letters(self) -> Letters:
        """Index names for a definition."""
        return Letters(self.taken, self.batch)

    def is_weight(self, name: str) -> bool:
        """Whether a tensor is a parameter or, to any order, a gradient of one."""
        while name.startswith("d_"):
            name = name[2:]
        return name in self.weights

    # ---------------------------------------------------------------------------------------------- programs

    def file(self, program: Program, name: str) -> str:
        """The functions with gradients of their own, and the net."""
        names: dict[str, str] = {}
        lines = self._inputs(program, names)
        lines += ["", *self._statements(program.statements, names, self._used(program))]
        ends = [f"assert {names[c.tensor]}, {_quoted(c.message)}" for c in program.checks]
        ends += self._outputs(program, names)
        ends += [f"{names[c.state]} <- {names[c.tensor]}" for c in program.commits]
        if ends:
            lines += ["", *ends]
        body = "\n".join(f"{INDENT}{line}" if line else "" for line in lines)
        return "\n".join([*(f"{f}\n" for f in self.functions), f"net {name} {{", body, "}"]) + "\n"

    def _inputs(self, program: Program, names: dict[str, str]) -> list[str]:
        committed = {c.state for c in program.commits}
        lines = []
        for given in program.inputs:
            tensor = given.tensor
            if given.role == "run" and given.path in ("step", "total_steps"):
                names[tensor.name] = given.path
                continue
            names[tensor.name] = self.name(tensor.name)
            if tensor.name in committed:
                lines.append(f"state {names[tensor.name]}{_brackets(tensor.shape)} = 0")
            else:
                lines.append(self._input(given, names[tensor.name]))
        return lines

    @staticmethod
    def _input(given: Input, name: str) -> str:
        tensor = given.tensor
        kind = "" if tensor.kind == "float" else f": {tensor.kind}"
        bound = f" < {size_text(tensor.bound).text}" if tensor.bound is not None else ""
        role = "" if given.role == "input" else f"    # {given.role}"
        path = f" {given.path}" if role and given.path not in ("", tensor.name) else ""
        return f"input {name}{_brackets(tensor.shape)}{kind}{bound}{role}{path}"

    def _outputs(self, program: Program, names: dict[str, str]) -> list[str]:
        lines = []
        known = {names[o.tensor] for o in program.outputs if names[o.tensor] == o.name}
        for output in program.outputs:
            tensor = names[output.tensor]
            if output.name == tensor:
                lines.append(f"output {tensor}")
            else:
                called = output.name if output.name not in self.taken | known else ""
                called = called if called.isidentifier() else self.name(called or output.name)
                note = "" if called == output.name else f"    # {output.name}"
                self.taken.add(called)
                lines.append(f"output {called} = {tensor}{note}")
        return lines

    @staticmethod
    def _used(program: Program) -> set[str]:
        """Every tensor that something reads."""
        used = set(program.roots)
        for statement in program.statements:
            used.update(statement.operands)
        return used

    # ---------------------------------------------------------------------------------------------- statements

    def _statements(self, statements: Sequence[Statement], names: dict[str, str], used: set[str]) -> list[str]:
        lines: list[str] = []
        # Before any body inside takes a name.
        names |= {t.name: self.name(t.name) for s in statements for t in s.results}
        for statement in statements:
            origin = _origin_text(statement.provenance)
            if origin and origin != self.origin:
                lines += ["", f"# {origin}"] if lines else [f"# {origin}"]
                self.origin = origin
            lines += self._statement(statement, names, used)
        return lines

    def _statement(self, statement: Statement, names: dict[str, str], used: set[str]) -> list[str]:
        match statement:
            case Definition(gradient=None):
                return self._definition(statement, names, names[statement.tensor.name])
            case Definition():
                return self._with_gradient(statement, statement.gradient, names)
            case Reshape(tensor, operand):
                return [f"{names[tensor.name]} = reshape({names[operand]}, {shape_text(tensor.shape)})"]
            case Argsort(tensor, operand, descending):
                how = ", descending = true" if descending else ""
                return [f"{names[tensor.name]} = argsort({names[operand]}{how})"]
            case Scan():
                return self._scan(statement, names, used)
        raise TypeError(f"not a statement: {statement!r}")

    def _definition(self, definition: Definition, names: dict[str, str], name: str) -> list[str]:
        tensor = definition.tensor
        terms = [self._named(t, names) for t in definition.terms]
        return definition_text(name, tensor.kind, self.is_weight(tensor.name), terms, self.letters())

    def _named(self, term: Term, names: dict[str, str]) -> NamedTerm:
        weights = tuple(self.is_weight(o) for o in term.operands)
        return NamedTerm(term.form, tuple(names[o] for o in term.operands), weights)

    # ---------------------------------------------------------------------------------------------- gradients

    def _with_gradient(self, definition: Definition, own: OwnGradient, names: dict[str, str]) -> list[str]:
        """A definition with a derivative of its own is a function of everything that it and its derivative read. The
        function has the name of the tensor, and so has what is made by calling it."""
        own_names = (own.cotangent, definition.tensor.name)
        read = [i.tensor.name for i in own.body.inputs if i.tensor.name not in own_names]
        targets = [target for target, _ in own.gradients]
        arguments = list(dict.fromkeys((*targets, *definition.operands, *read)))
        parameters = ", ".join(names[a] for a in arguments)
        called = names[definition.tensor.name]
        # A function has names of its own.
        outside, self.taken = self.taken, {*self.symbols, *CALLED, *RESERVED, *(names[a] for a in arguments)}
        inner = dict(names)
        inner[own.cotangent] = self.name(own.cotangent)
        backward = self._statements(own.body.statements, inner, self._used(own.body))
        self.origin = ""
        gradients = ", ".join(inner[g] for _, g in own.gradients)
        lines = [*self._value(definition, f"fn {called}({parameters})", names)]
        lines[-1] += f" with gradient({inner[own.cotangent]}) {{"
        given = self._symbols_of([i.tensor for i in own.body.inputs], backward, inner)
        lines += [INDENT + line if line else "" for line in (*given, *backward, f"return {gradients}")]
        self.functions.append("\n".join([*lines, "}"]))
        self.taken = outside
        return [f"{called} = {called}({parameters})"]

    def _value(self, definition: Definition, head: str, names: dict[str, str]) -> list[str]:
        """The function without its gradient."""
        formula = elementwise_text([self._named(t, names) for t in definition.terms])
        if formula is not None:
            return [f"{head} = {formula}"]
        value = self.name(f"{definition.tensor.name}_value")
        body = (*self._definition(definition, names, value), f"return {value}")
        operands = [Tensor(o, f.shape) for t in definition.terms for o, f in zip(t.operands, t.form.operands)]
        given = self._symbols_of(operands, body, names)
        return [f"{head} {{", *(INDENT + line for line in (*given, *body)), "}"]

    @staticmethod
    def _symbols_of(tensors: Iterable[Tensor], lines: Iterable[str], names: dict[str, str]) -> list[str]:
        """Lines that find the sizes which a function's lines mention from the shapes of its arguments."""
        mentioned = {word for line in lines for word in re.findall(r"\w+", line)}
        found: dict[str, str] = {}
        for tensor in tensors:
            for axis, size in enumerate(tensor.shape):
                if str(size) in mentioned and not isinstance(size, int) and tensor.name in names:
                    found.setdefault(str(size), f"{size} = {names[tensor.name]}.shape[{axis}]")
        return list(found.values())

    # ---------------------------------------------------------------------------------------------- scans

    def _scan(self, scan: Scan, names: dict[str, str], used: set[str]) -> list[str]:
        """A scan that yields gives only what it yields, so final carries that are read are yielded too, and their last
        rows taken. One that runs in reverse counts down; its rows are turned round."""
        inner = {i: names[o] for i, o in scan.constants}
        step = inner[scan.index] = self.name(scan.index or "t")
        for carry in scan.carries:
            inner[carry.inner] = self.name(carry.inner)
        finals = [c for c in scan.carries if not scan.yields or c.final.name in used]
        rows, after = self._results(scan, finals, names)
        start = ", ".join(f"{inner[c.inner]} = {names[c.initial]}" for c in scan.carries)
        checkpoint = f" checkpoint {scan.checkpoint}" if scan.checkpoint is not None else ""
        steps = f"0..{size_text(scan.length)}"
        if scan.reverse:
            steps = f"{size_text(scan.length - 1)}..-1 step -1"
        head = f"{', '.join(rows)} = scan {step} in {steps}{f' from {start}' if start else ''}{checkpoint} {{"
        body = []
        for i, outer in scan.sequences:
            inner[i] = self.name(i)
            body.append(self._row(inner[i], names[outer], step, self._tensor(scan.body, i)))
        before, self.origin = self.origin, _origin_text(scan.provenance)
        body += self._statements(scan.body.statements, inner, self._used(scan.body))
        self.origin = before
        body += [f"next {inner[c.inner]} = {inner[c.next]}" for c in scan.carries]
        if scan.yields:
            body.append(f"yield {', '.join([inner[y.inner] for y in scan.yields] + [inner[c.next] for c in finals])}")
        return [head, *(INDENT + line if line else "" for line in body), "}", *after]

    def _results(self, scan: Scan, finals, names: dict[str, str]) -> tuple[list[str], list[str]]:
        """The names that the scan's value is bound to, and the lines that make its results of them."""
        if not scan.yields:
            return [names[c.final.name] for c in finals], []
        rows, after = [], []
        for y in scan.yields:
            result = names[y.stacked.name]
            rows.append(self.name(f"{y.stacked.name}_reversed") if scan.reverse else result)
            if scan.reverse:
                after.append(self._turned(result, rows[-1], y.stacked))
        for carry in finals:
            rows.append(self.name(f"{carry.final.name}_rows"))
            after.append(f"{names[carry.final.name]} = last({rows[-1]})")
        return rows, after

    def _row(self, name: str, outer: str, step: str, tensor: Tensor) -> str:
        letters = self.letters()
        indices = [letters.choose((), s) for s in tensor.shape]
        return f"{name}{_list(indices)} = {outer}{_list([step, *indices])}"

    def _turned(self, name: str, reversed_rows: str, tensor: Tensor) -> str:
        letters = self.letters()
        step, *indices = [letters.choose("t" if k == 0 else "", s) for k, s in enumerate(tensor.shape)]
        last = size_text(tensor.shape[0] - 1)
        bound = f"{step} < {size_text(tensor.shape[0]).text}"
        return f"{name}{_list([bound, *indices])} = {reversed_rows}{_list([f'{last} - {step}', *indices])}"

    @staticmethod
    def _tensor(body: Program, name: str) -> Tensor:
        return body.tensors[name]


def _list(items: Sequence[str]) -> str:
    return f"[{', '.join(items)}]" if items else ""


def _brackets(shape: tuple[Size, ...]) -> str:
    return shape_text(shape) if shape else ""


def _quoted(message: str) -> str:
    escaped = message.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + escaped.replace("{", "{{").replace("}", "}}") + '"'


def _origin_text(provenance: Provenance) -> str:
    """`conv1, forward, lenet.net:7`; of several only the first ones."""
    shown = "; ".join(", ".join(str(p) for p in (o.path, o.phase, o.span) if p) for o in provenance[:3])
    return shown + (f"; and {len(provenance) - 3} more" if len(provenance) > 3 else "")


