"""What is said of the fields of a train block, of data sources, and of the names that are known everywhere."""

from __future__ import annotations

import inspect

from diffgraph.inspect.catalogue import source_signature

#: Field of a train block -> how it is written, and what it does.
FIELD_NOTES = {
    "data": '`data SOURCE`: where samples come from: `digits`, `csv("f.csv")`, `function(...)`, ...',
    "augment": "`augment image -> random_shift(2) -> random_flip`: changes a column of each batch in training.",
    "batch": "`batch 64`: samples in a step. 32 where nothing is said and the net has a batch.",
    "epochs": "`epochs 20`: how often the data is gone through. Or: `steps`.",
    "steps": "`steps 5000`: how many steps are made. Or: `epochs`.",
    "optimizer": "`optimizer adam(lr = 1e-3) for \"*.bias\"`: several are each for the paths they name, the unnamed "
    "one for the rest.",
    "freeze": "`freeze \"layer1\"`: what training leaves alone.",
    "stop_early": "`stop_early(patience = 5, least = 0)`: ends training when the held-out loss no longer falls.",
    "average": "`average ema(0.999)`: an average of the weights over the steps, which evaluation uses.",
    "seed": "`seed 0`: of initial values, draws and the order of samples.",
}  # fmt: skip

#: Names that are known everywhere and no functions of a table.
NAME_NOTES = {
    "pi": "`pi` = 3.14159...",
    "inf": "`inf`: infinity",
    "training": "`training`: whether the net is elaborated for training, known when compiling.",
    "step": "`step`: the number of the training step, from 1, known when running.",
    "total_steps": "`total_steps`: how many steps the run has.",
    "parameters": "`parameters`: every trained parameter of the net made so far, for regularizers.",
    "grad": "`grad(e, x)`: the derivative of `sum(e)` by the tensor `x`, itself differentiable.",
    "shared": "`shared(layer)`: one set of parameters, made at the first use, for every use.",
    "frozen": "`frozen(layer)`: parameters and states that training leaves alone; `training` is false inside.",
}


def source_note(name: str) -> str:
    """The signature of a data source, and what its docstring says."""
    from diffgraph.training.data.sources import SOURCES

    return f"```net\n{source_signature(name)}\n```\n\n{inspect.getdoc(SOURCES[name])}"
