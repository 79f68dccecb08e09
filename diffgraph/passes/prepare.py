"""What depends on parameters, states and constants only is computed once, not in every run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from diffgraph.ir.dimension import product, symbols
from diffgraph.ir.expression import Expr, Extent, Read
from diffgraph.ir.form import Form
from diffgraph.ir.program import Argsort, Builder, Commit, Definition, Input, Program, Scan, Statement, Tensor
from diffgraph.passes.cost import cost, nodes, usual
from diffgraph.passes.dce import dce
from diffgraph.passes.fuse import CHEAP, is_free
from diffgraph.passes.report import Report

#: The role of an input that another program has computed before.
PREPARED = "prepared"

#: Roles of inputs that stay what they are between runs.
STEADY = ("parameter", "state", "constant", PREPARED)

#: What is cheap to compute is not kept if it is so many times as large as what it is computed from.
MOST_GROWTH = 2


@dataclass(frozen=True)
class Split:
    """A program in two. `preparation` commits to inputs of the role `prepared` what `rest` reads through inputs of the
    same path; it must have run since a parameter or state was changed that it reads."""

    preparation: Program
    rest: Program


def split_prepared(program: Program, report: Report) -> Split | None:
    """Takes out of a program what does not depend on the inputs of a run, nor on what the program itself changes. None
    where nothing is gained.

    Kept in the rest is what saves nothing: views, numbers, and what is cheap to make of something smaller.

    Before:
        input x[N, 3]
        param v[3] = 1
        s[i]    = 1 / sqrt(v[i] + 1)
        y[n, i] = x[n, i] * s[i]
        output y

    The rest:
        input x[N, 3]
        input s[3]
        y[n, i] = x[n, i] * s[i]
        output y
    """
    steady = _steady_statements(program)
    chosen = _chosen(program, steady)
    if not chosen:
        return None
    for name, statement in chosen.items():
        report.did(f"{name} is prepared: it does not depend on the inputs of a run", statement.provenance)
    return Split(_preparation(program, steady, chosen), _rest(program, chosen))


def steady_tensors(program: Program) -> frozenset[str]:
    """The tensors that are the same in every run, as long as nobody changes a parameter or a state."""
    changed = {c.state for c in program.commits}
    given = {i.tensor.name for i in program.inputs if i.role in STEADY and i.tensor.name not in changed}
    return frozenset(given.union(t.name for s in _steady_statements(program) for t in s.results))


def _steady_statements(program: Program) -> list[Statement]:
    """The statements whose results are the same in every run, as long as nobody changes a parameter or a state."""
    changed = {c.state for c in program.commits}
    given = [i for i in program.inputs if i.role in STEADY and i.tensor.name not in changed]
    steady = {i.tensor.name for i in given}
    # What sizes are can be told from shapes; a symbol that is an axis of its own is told in any case.
    sizes = {str(size) for i in given for size in i.tensor.shape}
    found: list[Statement] = []
    for statement in program.statements:
        if steady.issuperset(statement.operands) and symbols_of(statement) <= sizes and _is_closed(statement):
            found.append(statement)
            steady.update(t.name for t in statement.results)
    return found


def _is_closed(statement: Statement) -> bool:
    """The operands of the statement are all that it reads."""
    return not isinstance(statement, Definition) or statement.gradient is None


def symbols_of(statement: Statement) -> frozenset[str]:
    """Every symbol that the results of a statement depend on."""
    found = {s for t in statement.results for size in t.shape for s in symbols(size)}
    if isinstance(statement, Definition):
        found = found.union(*(_form_symbols(t.form) for t in statement.terms))
    elif isinstance(statement, Scan):
        inner = [symbols_of(s) for s in statement.body.statements]
        inner += [frozenset(symbols(size)) for i in statement.body.inputs for size in i.tensor.shape]
        found = found.union(symbols(statement.length), *inner)
    return frozenset(found)


@cache
def _form_symbols(form: Form) -> frozenset[str]:
    sizes = [*form.domain, *form.shape]
    stack: list[Expr] = [form.body, *form.write]
    seen: set[Expr] = set()
    while stack:
        e = stack.pop()
        if e not in seen:
            seen.add(e)
            stack.extend(e.children)
            if type(e) is Extent:
                sizes.append(e.size)
    return frozenset(s for size in sizes for s in symbols(size))


def _chosen(program: Program, steady: list[Statement]) -> dict[str, Statement]:
    """The tensors that are prepared, with the statements that make them: what the rest wants, and is worth it."""
    inside = set(map(id, steady))
    wanted = set(program.roots)
    found: dict[str, Statement] = {}
    for statement in reversed(program.statements):
        if not any(t.name in wanted for t in statement.results):
            continue
        if id(statement) in inside and is_worthwhile(statement, program.tensors):
            found.update((t.name, statement) for t in statement.results if t.name in wanted)
        else:
            wanted.update(statement.operands)
    return dict(reversed(found.items()))


def is_worthwhile(statement: Statement, tensors: dict[str, Tensor]) -> bool:
    """Whether reading the results of a statement is better than computing them again."""
    match statement:
        case Definition(tensor, terms):
            size = product(usual(s) for s in tensor.shape)
            largest = max((product(usual(s) for s in tensors[o].shape) for o in statement.operands), default=0)
            if size <= MOST_GROWTH * largest and terms[0].operands:
                return True
            free = all(t.form.is_pointwise and is_free(t.form) for t in terms)
            return not free and _work(statement) > CHEAP * size
        case Argsort() | Scan():
            return True
    return False


def _work(definition: Definition) -> int:
    """The arithmetic and the reads of a definition."""
    total = 0
    for term in definition.terms:
        form = term.form
        reads = sum(type(e) is Read for e in nodes(form.body))
        total += (cost(form.body) + reads + bool(form.reduced)) * product(usual(s) for s in form.domain)
    return total


def _path(name: str) -> str:
    """The path of a prepared tensor: none that a user can write."""
    return f"({name})"


def _rest(program: Program, chosen: dict[str, Statement]) -> Program:
    """The program that is given what was chosen."""
    made = set(map(id, chosen.values()))
    given = tuple(Input(program.tensors[n], PREPARED, _path(n)) for n in chosen)
    statements = tuple(s for s in program.statements if id(s) not in made)
    rest = dce(program.with_(inputs=program.inputs + given, statements=statements), Report())
    read = {name for s in rest.statements for name in s.operands} | set(rest.roots) | {c.state for c in rest.commits}
    return rest.with_(inputs=tuple(i for i in rest.inputs if i.tensor.name in read or _is_interface(i)))


def _is_interface(given: Input) -> bool:
    """The input is given for each run, or may alone tell a size."""
    return given.role not in STEADY or any(symbols(size) for size in given.tensor.shape)


def _preparation(program: Program, steady: list[Statement], chosen: dict[str, Statement]) -> Program:
    """The program that commits what was chosen."""
    builder = Builder(program)
    read = {name for s in steady for name in s.operands}
    builder.inputs = [i for i in program.inputs if i.tensor.name in read]
    commits = []
    for name in chosen:
        target = replace(program.tensors[name], name=builder.fresh(f"{name}_prepared"))
        builder.tensors[target.name] = target
        builder.inputs.append(Input(target, PREPARED, _path(name)))
        commits.append(Commit(target.name, name))
    made = Program(tuple(builder.inputs), tuple(steady), (), tuple(commits))
    made = dce(made, Report())
    needed = {name for s in made.statements for name in s.operands} | set(made.roots) | {c.state for c in commits}
    return made.with_(inputs=tuple(i for i in made.inputs if i.tensor.name in needed))
