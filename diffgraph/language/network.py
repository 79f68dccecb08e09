"""What elaboration gives: the layer graph of a net, and the program it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diffgraph.diagnostics import Span
from diffgraph.ir.program import Program, Tensor


@dataclass(frozen=True)
class Instance:
    """One application of a layer, function or net: what a person inspects.

    `inputs` and `outputs` are names of tensors of the network's program; `kind` is layer, function, net or group."""

    path: str
    type: str
    kind: str
    span: Span | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    settings: str = ""

    @property
    def parent(self) -> str:
        return self.path.rpartition(".")[0]


@dataclass(frozen=True)
class Variable:
    """A parameter or a state: `tensor` is the program's input for it."""

    path: str
    tensor: Tensor
    trained: bool
    span: Span | None = None


@dataclass(frozen=True)
class Port:
    """An input or a target of a net."""

    name: str
    tensor: Tensor
    span: Span | None = None


@dataclass(frozen=True)
class Result:
    """An output or a metric: `tensor` of the network's program."""

    name: str
    tensor: str
    span: Span | None = None


@dataclass(frozen=True)
class LossTerm:
    """A loss, a scalar tensor. `scope` names the parameters it reaches, None for all."""

    name: str
    tensor: str
    scope: str | None = None
    span: Span | None = None


@dataclass(frozen=True)
class Network:
    """A net with its settings, elaborated in one mode.

    program: its inputs are the ports, parameters, states and run scalars; its outputs are the net's outputs, losses and
    metrics by name. initial: a program with the run input `seed` whose outputs, by path, are the initial values of all
    parameters and states. batch: the symbol that stays symbolic when compiled. requirements: equalities of sizes that must
    hold when symbols get values.
    """

    name: str
    training: bool
    settings: Mapping[str, Any]
    program: Program
    initial: Program
    instances: tuple[Instance, ...]
    parameters: tuple[Variable, ...]
    states: tuple[Variable, ...]
    inputs: tuple[Port, ...]
    targets: tuple[Port, ...]
    outputs: tuple[Result, ...]
    losses: tuple[LossTerm, ...]
    metrics: tuple[Result, ...]
    batch: str | None
    requirements: tuple[str, ...] = ()
    symbols: tuple[str, ...] = field(default=())
