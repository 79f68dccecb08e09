"""The facts that `expect` blocks claim: computed, trained or checked when a claim asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np

from diffgraph.diagnostics import CompilerBug, error, suggest
from diffgraph.inspect import summary
from diffgraph.inspect.gradcheck import check_net
from diffgraph.inspect.memory import memory_of, peak_bytes
from diffgraph.language import syntax
from diffgraph.language.blocks import expectations, train_block
from diffgraph.language.claims import Verdict, judge
from diffgraph.language.module import Module

#: Makes a net: (settings, target, precision) -> `compiler.Net`.
MakeNet = Callable[..., Any]


class NetFacts:
    """Facts about one net with its settings; implements `language.claims.Facts`.

    make: gives a new net of these settings with keyword options of `compiler.load` (target, precision).
    """

    def __init__(self, make: MakeNet):
        self.make = make

    @cached_property
    def net(self):
        """The net at its initial parameters."""
        return self.make()

    def number(self, name: str) -> int:
        """`parameters`, `macs`, `peak_memory` (bytes of a step for one sample) or `kernels`."""
        if name in ("parameters", "macs"):
            found = summary.totals(self.net.network())[name]
            if not isinstance(found, int):
                help = "compare it with a formula of the sizes, or give them numbers"
                raise error("DG644", f"`{name}` is {found}, which is not a number before the sizes are known", help=help)
            return found
        # What has no loss has no step.
        training = bool(self.net.network(True).losses)
        executable = self.net.training_executable() if training else self.net.inference_executable()
        if name == "kernels":
            return len(executable.kernels)
        return peak_bytes(memory_of(self.net.network(training), executable))

    def output(self, name: str, given: dict[str, np.ndarray], trained: bool = False) -> Any:
        """An output, or a loss or metric, on given inputs (and targets), at the initial parameters or the trained ones."""
        net = self._after_training[0] if trained else self.net
        ports = {p.name: p for p in (*net.network().inputs, *net.network().targets)}
        arrays = {n: _of_kind(a, ports[n].tensor.kind) for n, a in given.items()}
        outputs = {o.name for o in net.network().outputs}
        return net(**arrays)[name] if name in outputs else net.evaluate(arrays)[name]

    def initial(self, path: str) -> np.ndarray:
        """The initial value of a parameter or state."""
        return self.net.storage[path]

    @cached_property
    def _after_training(self):
        """The net of the first train block, trained: with the settings of that block, where it has any and the claims are
        not about others."""
        net = self.make()
        name = net.network(True).name
        plan = train_block(net.module, name)
        if plan.net == name and (plan.settings or plan.positional):
            net = self.make(train=plan.name)
        return net, net.train()

    def trained(self, name: str) -> Any:
        """A loss, a metric or a parameter after the first train block."""
        net, history = self._after_training
        if name in history.final:
            return history.final[name]
        if name in net.storage:
            return net.storage[name]
        raise CompilerBug("expectations", f"training measured no `{name}`")

    def gradients(self) -> str | None:
        """The worst derivative, where one disagrees with finite differences."""
        wrong = [c for c in check_net(self.make(target="reference", precision="f64")) if not c.ok]
        if not wrong:
            return None
        worst = max(wrong, key=lambda c: c.error)
        return f"the derivative by {worst.path} is {worst.derivative:.6g}, differences give {worst.difference:.6g}"

    def fused(self, paths: list[str]) -> bool:
        """Whether one kernel computes something of each instance."""
        known = [i.path for i in self.net.network().instances]
        for path in paths:
            if path not in known:
                raise error("DG921", f"the net has no layer `{path}`", help=suggest(path, known))
        for kernel in self.net.inference_executable().kernels:
            inside = {o.path for o in kernel.provenance}
            if all(any(p == path or p.startswith(f"{path}.") for p in inside) for path in paths):
                return True
        return False


def _of_kind(values: np.ndarray, kind: str) -> np.ndarray:
    """Numbers of a claim as what a port takes; those that do not fit stay what they are, for the net to refuse."""
    array = values.astype({"float": float, "int": np.int64, "bool": bool}[kind])
    return array if np.array_equal(array, values) else values


def verdicts(module: Module, make: MakeNet, net: str | None = None) -> Iterator[tuple[syntax.Expect, Verdict]]:
    """Judges every claim of a module's expect blocks. `make(block, **options)` makes the net that a block is about."""
    for block in expectations(module, net):
        facts = NetFacts(lambda block=block, **options: make(block, **options))
        for claim in block.claims:
            yield block, judge(claim, module, facts.net.network(), facts)
