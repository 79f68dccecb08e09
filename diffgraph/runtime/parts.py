"""Parts of a program as programs of their own: what is measured alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass

from diffgraph.ir.program import Definition, Input, Output, Program, Reshape, Scan, Statement, Tensor
from diffgraph.kernels.loops import Kernel
from diffgraph.kernels.schedule import schedule
from diffgraph.kernels.steps import Launch, Repeat, Step
from diffgraph.kernels.tiles import Machine
from diffgraph.passes.prepare import STEADY


@dataclass(frozen=True)
class Part:
    """The statements of a kernel, their operands as inputs, and the kernel that they make in their program."""

    program: Program
    kernel: Kernel

    @property
    def about(self) -> str:
        """What it computes, for people: the layers, or else the tensors."""
        paths = dict.fromkeys(o.path for o in self.kernel.provenance if o.path)
        phases = dict.fromkeys(o.phase for o in self.kernel.provenance if o.phase != "forward")
        return ", ".join([*(paths or self.kernel.results), *phases])


def around(definition: Definition, program: Program) -> Program:
    """A definition as a program. What does not change between runs is a parameter; all else is an input."""
    known = {i.tensor.name: i for i in program.inputs}
    inputs = [
        Input(program.tensors[name], "parameter" if name in known and known[name].role in STEADY else "input", name)
        for name in definition.operands
    ]
    return Program(tuple(inputs), (definition,), (Output(definition.tensor.name, definition.tensor.name),))


def kernel_parts(program: Program, machine: Machine) -> list[Part]:
    """A part for each kernel of a program, alike ones once; without those that need what is no tensor in memory."""
    planned = schedule(program, machine)
    made = dict(_statements(program))
    launches = list(_launches(planned.steps))
    there = {name for launch in launches for name in launch.members}
    there |= {name for name, s in made.items() if not isinstance(s, Definition)}
    there |= planned.tensors.keys() - made.keys()
    found: dict[str, Part] = {}
    for launch in launches:
        statements = [made[name] for name in launch.members if name in made]
        if launch.kernel.digest in found or not statements or not all(isinstance(s, Definition) for s in statements):
            continue
        part = _part(statements, launch, planned, made, there)
        if part is not None:
            found[launch.kernel.digest] = Part(part, launch.kernel)
    return list(found.values())


def _launches(steps: Iterable[Step]) -> Iterator[Launch]:
    for step in steps:
        if isinstance(step, Launch):
            yield step
        elif isinstance(step, Repeat):
            yield from _launches(step.steps)


def _statements(program: Program, prefix: str = "") -> Iterator[tuple[str, Statement]]:
    """Each statement by the names of its results in a schedule, with those inside of loops."""
    for statement in program.statements:
        for tensor in statement.results:
            yield prefix + tensor.name, statement
        if isinstance(statement, Scan):
            yield from _statements(statement.body, f"{prefix}{statement.results[0].name}.")


def _part(statements, launch: Launch, planned, made: Mapping[str, Statement], there: Set[str]) -> Program | None:
    """Definitions of a kernel as a program, under their names without prefix."""
    first = launch.members[0]
    prefix = first[: len(first) - len(statements[0].results[0].name)]
    own = {s.results[0].name for s in statements}
    ordered: list[Statement] = []
    inputs: dict[str, Tensor] = {}
    for statement in statements:
        for operand in statement.operands:
            name = prefix + operand
            view = made.get(name)
            if isinstance(view, Reshape) and view.operand in own and operand not in own:
                own.add(operand)
                ordered.append(view)
            if operand in own:
                continue
            if name not in there:
                return None
            tensor = planned.tensors[name]
            inputs[operand] = Tensor(operand, tensor.shape, tensor.kind, tensor.bound)
        ordered.append(statement)
    kept = [n for n in own if planned.memory[prefix + n] in launch.kernel.results and not isinstance(made[prefix + n], Reshape)]
    given = [Input(t, "input", t.name, planned.tables.get(prefix + t.name)) for t in inputs.values()]
    return Program(tuple(given), tuple(ordered), tuple(Output(n, n) for n in sorted(kept)))
