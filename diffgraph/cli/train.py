"""`diffgraph train`: runs the train block of a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from diffgraph.cli.options import model_options, read_assignments, say_tuned, tune_option

#: Fields of the train block that have an option of their own.
FIELDS = ("epochs", "steps", "batch", "optimizer")


@click.command(name="train")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--train", "block", metavar="NAME", help="Which train block, where the file has several.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The run's directory; runs/NAME by default.")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint of the run's directory.")
@click.option("--weights", type=click.Path(path_type=Path), help="Start from these weights.")
@click.option("--epochs", type=click.IntRange(1), help="Instead of the block's.")
@click.option("--steps", type=click.IntRange(1), help="Instead of the block's epochs or steps.")
@click.option("--batch", type=click.IntRange(1), help="Instead of the block's.")
@click.option("--optimizer", metavar="TEXT", help='Instead of the block\'s: "adam(lr = 1e-3)".')
@click.option("--memory", metavar="AMOUNT", help="Fit a step into this much memory, by computing again: 2GiB.")
@tune_option
@model_options
def command(file, block, output, resume, weights, memory, net_name, assignments, target, precision, fast, tune, threads, seed, as_json, quiet,
            **fields) -> int:  # fmt: skip
    """Run the `train` block of FILE. `--set` reaches settings of the net and fields of the block."""
    from diffgraph.compiler import Net
    from diffgraph.language.blocks import find_block
    from diffgraph.language.module import load_module
    from diffgraph.training.progress import progress_for

    module = load_module(file)
    first = find_block(module, net_name)
    if block is None and first is not None and first.arguments:
        net_name, block = first.net, first.name or first.net
    settings, overrides = _split(read_assignments(assignments), module, net_name, block)
    overrides |= {name: value for name, value in fields.items() if value is not None}
    if seed is not None:
        overrides["seed"] = seed
    net = Net(module, net_name, settings, block, target, precision, seed, threads, memory=memory, fast=fast, tune=tune)
    plan = net.plan(**overrides)
    if weights is not None:
        net.load(weights)
    directory = output or _free_directory(plan.name, resume)
    progress = progress_for(sys.stderr, quiet or as_json)
    history = net.train(directory=directory, resume=resume, progress=progress, **overrides)
    if not quiet:
        say_tuned(net)
    if as_json:
        click.echo(json.dumps({"run": str(directory), "ended": history.ended, "final": dict(history.final)}))
    elif not quiet:
        numbers = ", ".join(f"{name} {value:.6g}" for name, value in history.final.items())
        click.echo(f"{plan.name}: {numbers}   ({history.ended}; kept in {directory})")
    return 0


def _free_directory(name: str, resume: bool) -> Path:
    """runs/NAME, or runs/NAME-2, ... where that is taken; to resume, the newest of them."""
    first = Path("runs") / name
    number = 1
    while (first if number == 1 else first.with_name(f"{name}-{number}")).exists():
        number += 1
    number -= resume and number > 1
    return first if number == 1 else first.with_name(f"{name}-{number}")


def _split(assignments: dict[str, str], module, net: str | None, block: str | None) -> tuple[dict, dict]:
    """(settings of the net, fields of the train block): a setting that the net declares is one, all else is a field."""
    from diffgraph.language.blocks import train_block
    from diffgraph.language.computing import computing
    from diffgraph.language.elaborate import net_value

    name = net or train_block(module, None, block).net
    with computing(module):
        known = {s.name for s in net_value(module, name).declaration.settings}
    return (
        {k: v for k, v in assignments.items() if k in known},
        {k: v for k, v in assignments.items() if k not in known},
    )
