"""The before/after examples in the docstrings of passes, as programs."""

import re
import textwrap
from dataclasses import replace

from diffgraph.autodiff.sequences import axis_of_steps, read_by_step
from diffgraph.ir.program import Definition, Program, Reshape, Scan
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text
from diffgraph.passes.canonicalize import canonicalize
from diffgraph.passes.report import Report


def program_of(text: str) -> Program:
    """The program of a net with these statements, in inference."""
    indented = textwrap.indent(textwrap.dedent(text), "    ")
    return elaborate(load_text(f"net example {{\n{indented}\n}}")).program


def examples(step) -> list[Program]:
    """The program before and the program after, from the docstring of a pass."""
    parts = re.split(r"^\s*(?:Before|After|The rest)[^\n]*:\n", step.__doc__, flags=re.MULTILINE)[1:]
    return [program_of(p) for p in parts]


def signature(program: Program) -> tuple:
    """What a program computes and how, but for names and the order of independent statements."""
    return _signature(canonicalize(program, Report()), {})


def _by_row(scan: Scan) -> Scan:
    """What is read at the number of the step is a row that the step is given. (The outputs of a body repeat what is carried
    and yielded, and are not there before `dce`.)"""
    for inner, outer in scan.constants:
        if axis_of_steps(scan, inner) == 0:
            scan = read_by_step(scan, inner, outer, 0)
    return replace(scan, body=scan.body.with_(outputs=()))


def _signature(program: Program, given: dict[str, object]) -> tuple:
    """The signature of a canonical program; `given` says what the free inputs of a body are."""
    known: dict[str, object] = {i.tensor.name: ("input", i.path) for i in program.inputs} | given
    for statement in program.statements:
        if isinstance(statement, Definition):
            terms = sorted((t.form.digest, tuple(known[o] for o in t.operands)) for t in statement.terms)
            made = "definition", tuple(terms)
        elif isinstance(statement, Scan):
            statement = _by_row(statement)
            outer = {inner: known[name] for inner, name in (*statement.sequences, *statement.constants)}
            carried = {c.inner: (number, known[c.initial]) for number, c in enumerate(statement.carries)}
            made = "scan", _signature(statement.body, {statement.index: "index"} | carried | outer)
        else:
            assert isinstance(statement, Reshape), statement
            made = "reshape", str(statement.tensor.shape), known[statement.operand]
        known.update((t.name, (made, number)) for number, t in enumerate(statement.results))
    terms = sum(len(getattr(s, "terms", ())) for s in program.statements)
    outputs = tuple(known[o.tensor] if given else (o.name, known[o.tensor]) for o in program.outputs)
    return len(program.statements), terms, outputs
