"""`diffgraph train`: runs the train block of a file."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from diffgraph.cli.options import Common, model_options, recorded

#: Fields of the train block that have an option of their own.
FIELDS = ("epochs", "steps", "batch", "optimizer")


@click.command(name="train")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The run's directory; runs/NAME by default.")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint of the run's directory, with its settings.")
@click.option("--epochs", type=click.IntRange(1), help="Instead of the block's.")
@click.option("--steps", type=click.IntRange(1), help="Instead of the block's epochs or steps.")
@click.option("--batch", type=click.IntRange(1), help="Instead of the block's.")
@click.option("--optimizer", metavar="TEXT", help='Instead of the block\'s: "adam(lr = 1e-3)".')
@click.option("--memory", metavar="AMOUNT", help="Fit a step into this much memory, by computing again: 2GiB.")
@model_options
def command(file: Path, output: Path | None, resume: bool, memory: str | None, common: Common, **fields) -> int:
    """Run the `train` block of FILE. `--set` reaches settings of the net and fields of the block; `lr` and the like, and
    `optimizer.lr`, settings of the optimizer."""
    from diffgraph.compiler import Net
    from diffgraph.language.blocks import find_block
    from diffgraph.language.module import load_module
    from diffgraph.training.progress import progress_for

    module = load_module(file)
    directory = output
    before: dict[str, Any] = {}
    first = find_block(module, common.net, common.train)
    if resume:
        directory = output or _free_directory((first and (first.name or first.net)) or file.stem, True)
        before = recorded(directory)
        common = _as_before(common.like(before, module), before)
    common = common.like_first_block(module)
    if common.net is None and common.train is None and module.trains:
        common = replace(common, net=module.trains[0].net)
    settings, overrides = _split(common, module)
    overrides |= {name: value for name, value in fields.items() if value is not None}
    if common.seed is not None:
        overrides["seed"] = common.seed
    overrides = _with_those_before(overrides, before)
    options = {"target": common.target, "precision": common.precision, "seed": common.seed, "threads": common.threads}
    net = Net(module, common.net, settings, common.train, memory=memory, fast=common.fast, tune=common.tune, **options)
    plan = net.plan(**overrides)
    if common.weights is not None:
        net.load(common.weights)
    directory = directory or _free_directory(plan.name, False)
    progress = progress_for(sys.stderr, common.quiet or common.as_json)
    history = net.train(directory=directory, resume=resume, progress=progress, **overrides)
    common.say_tuned(net)
    numbers = ", ".join(f"{name} {value:.6g}" for name, value in history.final.items())
    said = f"{plan.name}: {numbers}   ({history.ended}; kept in {directory})"
    final = history.as_json()["records"][-1]["evaluation"] if len(history) else {}
    common.emit({"run": str(directory), "ended": history.ended, "final": final}, None if common.quiet else said)
    return 0


def _as_before(common: Common, about: dict[str, Any]) -> Common:
    """What else a run that goes on has from its beginning: the seed, the precision, the target."""
    known = {name: about[name] for name in ("seed", "precision", "target") if name in about}
    return replace(common, **{name: value for name, value in known.items() if name not in common.given})


def _with_those_before(overrides: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    """The fields given now, and those that the run was begun with; its length is given as epochs or as steps."""
    before = about.get("fields")
    before = dict(before) if isinstance(before, dict) else {}
    if {"epochs", "steps"} & overrides.keys():
        before = {name: value for name, value in before.items() if name not in ("epochs", "steps")}
    return {**before, **overrides}


def _free_directory(name: str, resume: bool) -> Path:
    """runs/NAME, or runs/NAME-2, ... where that is taken; to resume, the newest of them."""
    first = Path("runs") / name
    number = 1
    while (first if number == 1 else first.with_name(f"{name}-{number}")).exists():
        number += 1
    number -= resume and number > 1
    return first if number == 1 else first.with_name(f"{name}-{number}")


def _split(common: Common, module) -> tuple[dict, dict]:
    """(settings of the net, fields of the train block): a setting that the net declares is one, all else is a field."""
    from diffgraph.language.blocks import setting_names

    known = setting_names(module, common.net, common.train) if common.assignments else ()
    return (
        {k: v for k, v in common.assignments.items() if k in known},
        {k: v for k, v in common.assignments.items() if k not in known},
    )
