"""What is the same in every step of a scan is made once, outside of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from diffgraph.ir.program import Builder, Definition, Input, Scan, Statement
from diffgraph.ir.rename import rename_results, rename_statement


class Invariants:
    """The statements of a scan's body that do not depend on the step.

    `names` is the builder of the enclosing program; what is made outside is appended to `made`. `same`: the tensors of the
    body that are the same in every step.
    """

    def __init__(self, scan: Scan, names: Builder, made: list[Statement]):
        self.scan = scan
        self.names = names
        self.made = made
        self.outer: dict[str, str] = dict(scan.constants)
        self.same = {inner for inner, _ in scan.constants}
        self.same |= {i.tensor.name for i in scan.body.inputs if i.table is not None}
        for statement in scan.body.statements:
            own = isinstance(statement, Definition) and statement.gradient is not None
            if not own and self.same.issuperset(statement.operands):
                self.same.update(t.name for t in statement.results)

    def outside(self, name: str) -> str:
        """The outer tensor that a tensor of `same` is, made with all that it depends on if need be."""
        if name in self.outer:
            return self.outer[name]
        body = self.scan.body
        if (table := next((i for i in body.inputs if i.tensor.name == name), None)) is not None:
            self.outer[name] = declare_table(self.names, table)
            return self.outer[name]
        statement = body.maker[name]
        for operand in statement.operands:
            self.outside(operand)
        fresh = {}
        for tensor in statement.results:
            self.outer[tensor.name] = fresh[tensor.name] = self.names.fresh(tensor.name)
            self.names.tensors[fresh[tensor.name]] = replace(tensor, name=fresh[tensor.name])
        self.made.append(rename_results(rename_statement(statement, self.outer), fresh))
        return self.outer[name]

    def lifted(self, worthwhile: Callable[[Statement], bool]) -> tuple[Scan, list[Statement]]:
        """The scan without those statements that are worth it, their results being constants of it; and these
        statements."""
        body = self.scan.body
        moved = [s for s in body.statements if all(t.name in self.same for t in s.results) and worthwhile(s)]
        names = {t.name: None for s in moved for t in s.results}
        if not names:
            return self.scan, []
        inputs = tuple(Input(body.tensors[name], "free", name) for name in names)
        lifted = replace(
            self.scan,
            constants=(*self.scan.constants, *((name, self.outside(name)) for name in names)),
            body=body.with_(
                inputs=(*body.inputs, *inputs),
                statements=tuple(s for s in body.statements if s.results[0].name not in names),
            ),
        )
        return lifted, moved


def lift_costly(builder: Builder, scan: Scan) -> Scan:
    """Puts before a scan of a builder what is the same in every step and reduces something; gives what the scan is then.
    Its derivative then is summed over the steps first, and not computed in each of them."""
    made: list[Statement] = []
    lifted, moved = Invariants(scan, builder, made).lifted(_reduces)
    if moved:
        place = next(i for i, s in enumerate(builder.statements) if s is scan)
        builder.statements[place : place + 1] = [*made, lifted]
    return lifted


def _reduces(statement: Statement) -> bool:
    return not isinstance(statement, Definition) or not all(t.form.is_pointwise for t in statement.terms)


def declare_table(builder: Builder, given: Input) -> str:
    """The name of a constant in a builder, for one declared in a body."""
    known = next((i for i in builder.inputs if i.table is not None and i.table == given.table), None)
    if known is not None:
        return known.tensor.name
    of = given.tensor
    name = builder.fresh(of.name)
    builder.tensors[name] = replace(of, name=name)
    builder.inputs.append(replace(given, tensor=builder.tensors[name]))
    return name
