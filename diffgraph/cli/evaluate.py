"""`diffgraph eval`: losses and metrics of given weights."""

from __future__ import annotations

import json
from pathlib import Path

import click

from diffgraph.cli.options import model_options, read_assignments, say_tuned, trained_as, tune_option


@click.command(name="eval")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--weights", required=True, type=click.Path(path_type=Path), help="A checkpoint or other weights.")
@click.option("--train", "block", metavar="NAME", help="The train block whose data are used.")
@click.option("--on", type=click.Choice(["test", "train"]), default="test", show_default=True)
@tune_option
@model_options
def command(
    file, weights, block, on, net_name, assignments, target, precision, fast, tune, threads, seed, as_json, quiet, **_
) -> int:
    """Losses and metrics of FILE's net with given weights on the held-out data; a confusion matrix for classes."""
    from diffgraph.compiler import Net
    from diffgraph.language.module import load_module
    from diffgraph.training.assembly import dataset_of, fill_net
    from diffgraph.training.evaluation import class_confusion

    module = load_module(file)
    net_name, settings, block = trained_as(weights, module, net_name, read_assignments(assignments), block)
    net = Net(module, net_name, settings, block, target, precision, seed, threads, fast=fast, tune=tune)
    plan = net.plan()
    dataset = dataset_of(plan, None, None, net, net.folder)
    train, test = fill_net(net, dataset)
    net.load(weights)
    held_out = on == "test" and test is not None
    columns = test if held_out else train
    numbers = net.evaluate(columns)
    table = class_confusion(net, columns)
    if not quiet:
        say_tuned(net)
    if as_json:
        plain = None if table is None else table.tolist()
        click.echo(json.dumps({"on": "test" if held_out else "train", **numbers, "confusion": plain}))
        return 0
    click.echo(f"on the {'held-out' if held_out else 'training'} data:")
    for name, value in numbers.items():
        click.echo(f"  {name} {value:.6g}")
    if table is not None and not quiet:
        click.echo("\n" + _matrix(table))
    return 0


def _matrix(table) -> str:
    """Rows are the classes, columns what they were taken for."""
    width = max(len(str(table.max())), len(str(len(table)))) + 1
    head = "class".rjust(6) + "".join(f"{k:>{width}}" for k in range(len(table)))
    rows = [f"{k:>6}" + "".join(f"{v:>{width}}" for v in row) for k, row in enumerate(table)]
    return "\n".join(["what each class (row) was taken for (column):", head, *rows])
