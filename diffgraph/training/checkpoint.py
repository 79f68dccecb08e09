"""What a run keeps in a file: the weights as anyone reads them, and beside them what resuming needs.

Arrays: parameters and states by path, as they are evaluated (averaged, where the run averages). Under `resume:`
whatever else changes: optimizer states, the weights before averaging, the losses of the epoch under way. Metadata:
where the run is, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

import numpy as np

from diffgraph.diagnostics import error
from diffgraph.training.weights import fit

#: Names that begin so are not weights of the net.
RESUME = "resume:"

#: Names that begin so are neither weights nor states: what the steps remember, the losses of the epoch under way.
MEMORY = f"{RESUME}memory:"

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Position:
    """Where a run is.

    epoch: the one under way, from 0. batch: how many of its batches are done. step: how many steps were made in all.
    best: the lowest evaluated loss so far, at epoch `best_epoch`. Beside it, what the order of the samples depends on:
    a run with other values is not the same run.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int = 0
    seed: int = 0
    samples: int = 0
    batch_size: int = 0


def is_resume_name(name: str) -> bool:
    """Whether an array of a checkpoint is there for resuming only."""
    return name.startswith(RESUME)


def pack(weights: Arrays, storage: Arrays, memory: Arrays, position: Position) -> tuple[dict, dict[str, str]]:
    """(arrays, metadata) of a checkpoint. weights: as evaluated. storage: every parameter and state. memory: what else
    the run needs to go on."""
    arrays = dict(weights)
    for name, array in storage.items():
        if name not in weights or not np.shares_memory(weights[name], array):
            arrays[RESUME + name] = array
    arrays.update((MEMORY + name, np.asarray(array)) for name, array in memory.items())
    return arrays, {"format": "diffgraph", "position": json.dumps(asdict(position))}


def unpack(arrays: Arrays, metadata: Mapping[str, str], storage: Arrays, what: str) -> tuple[dict, dict, Position]:
    """(values for all of `storage`, memory, position) of a checkpoint.

    Errors: a file without what resuming needs, or one that does not fit.
    """
    if "position" not in metadata:
        raise error(
            "DG745",
            f"{what} holds weights only: a run cannot go on from it",
            help="resume from last.safetensors of a run",
        )
    stored = {n: a for n, a in arrays.items() if not is_resume_name(n)}
    stored |= {n.removeprefix(RESUME): a for n, a in arrays.items() if is_resume_name(n) and not n.startswith(MEMORY)}
    memory = {n.removeprefix(MEMORY): a for n, a in arrays.items() if n.startswith(MEMORY)}
    return fit(stored, storage, what), memory, _position(metadata["position"])


def _position(text: str) -> Position:
    known = {f.name for f in fields(Position)}
    try:
        return Position(**{k: v for k, v in json.loads(text).items() if k in known})
    except (ValueError, AttributeError, TypeError) as problem:
        raise error("DG745", f"the place where the run stopped cannot be read: {problem}") from None


def check_same_run(found: Position, now: Position, what: str) -> None:
    """Refuses to go on where the order of the samples would be another one."""
    for name, label in (("seed", "seed"), ("samples", "number of samples"), ("batch_size", "batch")):
        before, after = getattr(found, name), getattr(now, name)
        if before != after:
            raise error(
                "DG746",
                f"{what} is of a run whose {label} was {before}, not {after}: it would not go on where it stopped",
                help=f"give the same {label}, or start anew with its weights",
            )
