"""Checking a file: everything that can be known before data is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from diffgraph.diagnostics import Diagnostic, DiffgraphError, error
from diffgraph.ir.dimension import product
from diffgraph.language.module import Module
from diffgraph.language.network import Network


#: So many times what one net may take all nets and blocks of a file may take together.
MOST_IN_ONE_FILE = 6


@dataclass(frozen=True)
class FileReport:
    """What checking found: problems, and facts about the nets that are right (sizes, requirements)."""

    path: Path
    problems: tuple[Diagnostic, ...]
    facts: tuple[str, ...]

    @property
    def failed(self) -> bool:
        return any(p.severity == "error" for p in self.problems)

    def as_json(self) -> dict:
        problems = [p.as_json() for p in self.problems]
        return {"file": str(self.path), "ok": not self.failed, "problems": problems, "facts": list(self.facts)}


@dataclass(frozen=True)
class Checked:
    """A program that was checked: its module (None where it cannot be read), the networks of its nets that are right,
    in training mode, and the problems."""

    module: Module | None
    networks: tuple[Network, ...]
    problems: tuple[Diagnostic, ...]


def check_file(path: Path, net: str | None = None, settings: Callable[[Module], dict] | None = None) -> FileReport:
    """Parses and elaborates a file: each net in training and in inference mode, each train and expect block. settings:
    of the net, by the file."""
    from diffgraph.language.module import load_module

    checked = _check(lambda: load_module(path), net, settings)
    facts = tuple(fact for network in checked.networks for fact in _facts(network))
    return FileReport(path, checked.problems, facts)


def check_text(text: str, name: str, folder: Path | None) -> Checked:
    """The same for a text; without a folder it reads no files."""
    from diffgraph.language.module import load_text

    return _check(lambda: load_text(text, name, folder), None, None)


def _check(load: Callable[[], Module], net: str | None, settings: Callable[[Module], dict] | None) -> Checked:
    found = _Findings()
    module = found.attempt(load)
    if module is None:
        return Checked(None, (), found.unique())
    given = found.attempt(settings, module) if settings is not None else None
    networks = tuple(_check_nets(module, net, given, found))
    found.attempt(_check_blocks, module, found)
    return Checked(module, networks, found.unique())


class _Findings:
    """Problems collected from steps that may each fail."""

    def __init__(self):
        self.problems: list[Diagnostic] = []

    def attempt(self, step, *arguments, **keywords):
        """The result of a step, or None when it failed; its problems are kept."""
        try:
            return step(*arguments, **keywords)
        except DiffgraphError as failure:
            self.problems += failure.diagnostics
            return None

    def unique(self) -> tuple[Diagnostic, ...]:
        """Each problem once: both modes of a net usually find the same ones."""
        seen = {}
        for problem in self.problems:
            key = (problem.code, problem.message, problem.span and (problem.span.start, problem.span.source.name))
            seen.setdefault(key, problem)
        return tuple(sorted(seen.values(), key=lambda p: p.span.start if p.span else -1))


def _check_nets(module: Module, net: str | None, settings: dict | None, found: _Findings) -> Iterator[Network]:
    from diffgraph.language.elaborate import elaborate

    from diffgraph.language.blocks import setting_names

    for name in [net] if net else _nets(module):
        own_names = setting_names(module, name) if settings else ()
        given = {k: v for k, v in (settings or {}).items() if k in own_names}
        if _is_too_much(module):
            found.attempt(_refuse_rest, module)
            return
        before = len(found.problems)
        network = found.attempt(elaborate, module, name, given, training=True)
        own = found.problems[before:]
        if own:
            from diffgraph.inspect.repairs import with_repairs

            found.problems[before:] = with_repairs(own, module, name, given)
        found.attempt(elaborate, module, name, given, training=False)
        if network is not None:
            yield network


def _nets(module: Module) -> list[str]:
    """The nets to look at: those of the standard library are right, unless a file has no others."""
    own = [n for n in module.nets if n in module.declarations or not module.imported[n][0].source.is_library]
    return own or module.nets


def _is_too_much(module: Module) -> bool:
    from diffgraph.language.limits import limits
    from diffgraph.language.budget import STEPS_OF_ELABORATION

    count = len(module.nets) + len(module.trains) + len(module.expects)
    return count * STEPS_OF_ELABORATION > limits().nodes or module.steps > MOST_IN_ONE_FILE * limits().nodes


def _refuse_rest(module: Module) -> None:
    """Each net and block is elaborated by itself, within the limits: of many, the rest is not."""
    from diffgraph.language.limits import limits, raise_by

    most = MOST_IN_ONE_FILE * limits().nodes
    text = f"{module.source.name} has too many nets and blocks, or they take more than {most:,} steps together"
    raise error("DG591", text, help=raise_by("nodes"))


def _facts(network: Network) -> Iterator[str]:
    count = product(()) * 0
    for variable in network.parameters:
        count = count + product(variable.tensor.shape)
    shown = f"{count:,}" if isinstance(count, int) else str(count)
    yield f"{network.name}: {shown} parameter{'' if count == 1 else 's'}"
    yield from (f"{network.name}: {requirement}" for requirement in network.requirements)


def _check_blocks(module, found: _Findings) -> None:
    """Each train block with the step it means, and each claim with the names it uses."""
    from diffgraph.language.blocks import train_block
    from diffgraph.language.claims import check_claim, claimed_network
    from diffgraph.language.step import loss_network, training_network
    from diffgraph.training.data.sources import check_call

    for block in module.trains:
        if _is_too_much(module):
            _refuse_rest(module)
        plan = found.attempt(train_block, module, block.net, block.name or block.net)
        if plan is not None:
            if plan.data is not None:
                found.attempt(check_call, plan.data)
            found.attempt(training_network if plan.lbfgs is None else loss_network, plan)
    for block in module.expects:
        if _is_too_much(module):
            _refuse_rest(module)
        network = found.attempt(claimed_network, block, module)
        for claim in block.claims if network is not None else ():
            found.attempt(check_claim, claim, module, network)
