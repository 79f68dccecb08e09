"""Dead code: what no output, commit or check needs is not computed."""

from __future__ import annotations

from dataclasses import replace

from diffgraph.ir.program import Definition, Output, Program, Scan, Statement
from diffgraph.passes.report import Report


def dce(program: Program, report: Report) -> Program:
    """Removes statements whose results nothing reads, also inside the bodies of scans. Inputs stay: they are the
    interface.

    Before:
        input x[N, 3]
        unused[n, i] = exp(x[n, i])
        y[n, i]      = 2 * x[n, i]
        output y

    After:
        input x[N, 3]
        y[n, i] = 2 * x[n, i]
        output y
    """
    live = set(program.roots)
    kept: list[Statement] = []
    for statement in reversed(program.statements):
        if not any(t.name in live for t in statement.results):
            continue
        if isinstance(statement, Scan):
            statement = _prune(statement, live, report)
        live.update(statement.operands)
        if isinstance(statement, Definition) and statement.gradient:
            live.update(_read_outside(statement))
        kept.append(statement)
    removed = len(program.statements) - len(kept)
    if removed:
        report.did(f"removed {removed} definition{'s' if removed > 1 else ''} that nothing reads")
    return program.with_(statements=tuple(reversed(kept)))


def _read_outside(definition: Definition) -> set[str]:
    """Tensors of the enclosing program that the body of an own gradient reads."""
    own = definition.gradient
    return {i.tensor.name for i in own.body.inputs if i.role == "free" and i.tensor.name != own.cotangent}


def _prune(scan: Scan, live: set[str], report: Report) -> Scan:
    """A scan without the yields, carries, sequences and constants that nothing needs."""
    yields = tuple(y for y in scan.yields if y.stacked.name in live)
    carries = tuple(c for c in scan.carries if c.final.name in live)
    while True:
        # A carry that nobody reads afterwards still lives if the body of what lives reads it.
        body = dce(_body(scan, carries, yields), report)
        read = {name for s in body.statements for name in s.operands} | set(body.roots)
        needed = tuple(c for c in scan.carries if c in carries or c.inner in read)
        if needed == carries:
            break
        carries = needed
    sequences = tuple((inner, outer) for inner, outer in scan.sequences if inner in read)
    constants = tuple((inner, outer) for inner, outer in scan.constants if inner in read)
    index = scan.index if scan.index in read else ""
    used = {index, *(c.inner for c in carries), *(inner for inner, _ in (*sequences, *constants))}
    body = body.with_(inputs=tuple(i for i in body.inputs if i.role != "free" or i.tensor.name in used))
    return replace(
        scan, index=index, carries=carries, sequences=sequences, constants=constants, yields=yields, body=body
    )


def _body(scan: Scan, carries, yields) -> Program:
    wanted = dict.fromkeys((*(c.next for c in carries), *(y.inner for y in yields)))
    return scan.body.with_(outputs=tuple(Output(name, name) for name in wanted))
