"""`diffgraph eval`: losses and metrics of given weights."""

from __future__ import annotations

from pathlib import Path

import click

from diffgraph.cli.options import Common, model_options


@click.command(name="eval")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--on", type=click.Choice(["test", "train"]), default="test", show_default=True)
@model_options
def command(file: Path, on: str, common: Common) -> int:
    """Losses and metrics of FILE's net with given weights on the held-out data; a confusion matrix for classes. `--set
    data=...` names other data than those of the train block."""
    from diffgraph.training.assembly import dataset_of, fill_net
    from diffgraph.training.evaluation import class_confusion

    common.need_weights()
    net = common.load(file)
    plan = net.plan(**common.split(net.module)[1])
    train, test = fill_net(net, dataset_of(plan, None, None, net, net.folder))
    held_out = on == "test" and test is not None
    columns = test if held_out else train
    numbers = net.evaluate(columns)
    table = class_confusion(net, columns)
    common.say_tuned(net)
    plain = None if table is None else table.tolist()
    common.emit({"on": "test" if held_out else "train", **numbers, "confusion": plain})
    if not common.as_json:
        click.echo(f"on the {'held-out' if held_out else 'training'} data:")
        for name, value in numbers.items():
            click.echo(f"  {name} {value:.6g}")
        if table is not None and not common.quiet:
            click.echo("\n" + _matrix(table))
    return 0


def _matrix(table) -> str:
    """Rows are the classes, columns what they were taken for."""
    width = max(len(str(table.max())), len(str(len(table)))) + 1
    head = "class".rjust(6) + "".join(f"{k:>{width}}" for k in range(len(table)))
    rows = [f"{k:>6}" + "".join(f"{v:>{width}}" for v in row) for k, row in enumerate(table)]
    return "\n".join(["what each class (row) was taken for (column):", head, *rows])
