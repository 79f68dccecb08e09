"""The whole way of a program, on one screen.

    text -> module -> network (layers, program) -> gradients -> passes -> executable
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from diffgraph.diagnostics import error
from diffgraph.ir.program import Builder, Output, Program
from diffgraph.language.elaborate import elaborate
from diffgraph.language.limits import limits
from diffgraph.language.module import Module
from diffgraph.language.network import Network
from diffgraph.passes.choices import FILTERING
from diffgraph.passes.select import select
from diffgraph.runtime import values
from diffgraph.runtime.amounts import bytes_of_text
from diffgraph.runtime.executable import Executable, build, refuse_unknown
from diffgraph.runtime.kept import LARGE, kept
from diffgraph.runtime.measured import choices_for, is_tunable
from diffgraph.runtime.variants import BySamples, is_many
from diffgraph.training.initial import initial_values

if TYPE_CHECKING:
    from diffgraph.runtime.tune import Tuning


class Compiler:
    """From a module to executables, for one net with its settings. Every stage is made once and kept.

    sizes: values of the symbols other than the batch; the shapes of the first arrays decide them.
    """

    def __init__(
        self, module: Module, net: str | None, settings: Mapping[str, Any], target: str, precision: str, threads,
        positional: tuple = (), memory: str | int | None = None, fast: bool = False, tune: bool = False,
    ):  # fmt: skip
        refuse_unknown(target, precision)
        self.positional = positional
        self.fast = fast
        self.tune = tune and is_tunable(target)
        #: What has tuned programs, if something was.
        self.tuning: Tuning | None = None
        self.memory = None if memory is None else bytes_of_text(memory)
        self.module = module
        self.net = net
        self.settings = dict(settings)
        self.target = target
        self.precision = precision
        self.threads = threads
        self.sizes: dict[str, int] = {}
        self._made: dict[tuple, Any] = {}

    def network(self, training: bool = False) -> Network:
        """The layer graph and its program, in one mode."""
        return self._once(("network", training), lambda: self._elaborated(training))

    def _elaborated(self, training: bool) -> Network:
        arguments = (self.net, self.settings, training, self.sizes, self.positional)

        def make() -> Network:
            return elaborate(self.module, *arguments)

        texts = self.module.texts
        if texts is None:
            return make()
        is_large = lambda network: len(network.program.statements) >= LARGE  # noqa: E731
        return kept().recall("network", (texts, limits(), *arguments), make, is_large)

    @cached_property
    def declared(self) -> Network:
        """The net as it is written, symbols other than the batch open: what arrays are compared with."""
        if not self.sizes:
            return self.network()
        return elaborate(self.module, self.net, self.settings, False, {}, self.positional)

    def forward(self, outputs: Sequence[str], training: bool = False) -> Program:
        """The program of some outputs, losses or metrics."""
        return select(self.network(training).program, outputs)

    def gradient(self, wrt: Sequence[str], training: bool = True) -> Program:
        """The program that gives the losses, and by path the gradient of their sum by parameters and inputs.

        A loss with a scope reaches the parameters under it only. Paths that no loss depends on get no output.
        """
        from diffgraph.autodiff.differentiate import gradients

        network = self.network(training)
        builder = Builder(select(network.program, [term.name for term in network.losses]))
        tensors = {i.path: i.tensor.name for i in network.program.inputs}
        groups: dict[tuple[str, ...], list[str]] = {}
        for path in wrt:
            reached = tuple(t.tensor for t in network.losses if t.scope is None or _is_under(path, t.scope))
            groups.setdefault(reached, []).append(path)
        for losses, paths in groups.items():
            there = [p for p in paths if tensors[p] in builder.tensors]
            found = gradients(builder, [(loss, None) for loss in losses], [tensors[p] for p in there]) if losses else {}
            builder.outputs += [Output(p, found[tensors[p]]) for p in there if found.get(tensors[p])]
        return builder.program()

    def executable(
        self, program: Program, sizes: Mapping[str, int] | None = None, prepare: bool = True,
        usual: Mapping[str, int] | None = None,
    ) -> Executable:  # fmt: skip
        """The program after the passes, as something that runs. The reference target runs it as it is. Where memory is
        limited, a step for these sizes (the batch among them) fits into it, or an error says by how much it does not.
        prepare: see `build`. usual: the sizes that it is tuned for, if it is; by default the same."""
        self.tuned(program, {**(sizes or {}), **(usual or {})}, prepare)
        make = partial(build, target=self.target, precision=self.precision, threads=self.threads, prepare=prepare)
        few, many = self.variants(program)
        if few is not many and not sizes:
            return BySamples(few, many, self.network().batch, self.precision, make)
        optimized = many if few is not many and is_many(sizes.get(self.network().batch)) else few
        if self.memory is not None and sizes is not None and self.target != "reference":
            from diffgraph.runtime.fit import fit

            optimized = fit(optimized, {**self.sizes, **sizes}, self.memory, self.precision)
        return make(optimized)

    def tuned(self, program: Program, sizes: Mapping[str, int], prepare: bool) -> None:
        """Measures, if it shall, what the cost model is not sure of in a program, for all that is compiled later to go by."""
        if not self.tune:
            return
        from diffgraph.runtime.tune import Tuning

        self.tuning = self.tuning or Tuning.on_this_machine(self.precision, self.threads)
        self.tuning.program(program, {**self.sizes, **sizes}, self.fast, prepare, self.network().batch)

    def optimized(self, program: Program) -> Program:
        """The program after the passes of the target, for a few samples."""
        return self.variants(program)[0]

    def variants(self, program: Program) -> tuple[Program, Program]:
        """The program after the passes of the target, for a few samples and for many; often the same."""
        if self.target == "reference":
            return program, program

        def make() -> tuple[Program, Program]:
            from diffgraph.passes.pipeline import variants

            return variants(program, self.target, self.fast, choices)

        choices = choices_for(self.target, self.precision).only((FILTERING,))
        of = (program, self.target, self.fast, choices)
        return kept().recall("passes", of, make, lambda made: len(program.statements) >= LARGE)

    def initial(self, seed: int) -> dict[str, np.ndarray]:
        """The initial values of parameters and states by path, in the program's precision."""
        self.room()
        return initial_values(self.network(True).initial, seed, self.precision)

    def room(self) -> dict[str, np.ndarray]:
        """For each parameter and state by path an array of its shape and type that takes no memory and holds nothing."""
        network = self.network(True)
        found = {}
        for variable in (*network.parameters, *network.states):
            for size in variable.tensor.shape:
                if not isinstance(size, int):
                    text = f"`{variable.path}` depends on `{size}`, which is not known before the net has seen data"
                    raise error("DG765", text, variable.span, help="run the net on arrays first, or declare the size")
            zero = np.zeros((), values.DTYPES[self.precision][variable.tensor.kind])
            found[variable.path] = np.broadcast_to(zero, variable.tensor.shape)
        return found

    def fix(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Fixes the symbols other than the batch by the shapes of arrays; what was made for other sizes is dropped."""
        network = self.declared
        if not set(network.symbols) - {network.batch}:
            return
        given = {i.path: i for i in network.program.inputs}
        found = values.solve([(given[name], np.shape(a)) for name, a in arrays.items() if name in given])
        found.pop(network.batch, None)
        self.set_sizes({**self.sizes, **found})

    def set_sizes(self, sizes: Mapping[str, int]) -> None:
        """Fixes symbols to sizes."""
        if dict(sizes) != self.sizes:
            self.sizes = dict(sizes)
            self._made.clear()

    def _once(self, key: tuple, make):
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


def _is_under(path: str, scope: str) -> bool:
    return path == scope or path.startswith(f"{scope}.")
