"""`diffgraph show`: the network, and every stage of the compiler."""

from __future__ import annotations

import json
from pathlib import Path

import click

from diffgraph.cli.options import model_options, read_assignments
from diffgraph.diagnostics import error


@click.command(name="show")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--stage", default="layers", show_default=True, metavar="STAGE",
              help="layers, forward, gradient, optimized, kernels, source or memory.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(["text", "json", "dot"]), default="text", show_default=True)
@click.option("--layer", metavar="PATH", help="Only this layer, and what is inside it.")
@click.option("--diff", is_flag=True, help="What the last pass changed.")
@model_options
def command(file, stage, form, layer, diff, net_name, assignments, target, precision, as_json, **_) -> int:
    """Show the network of FILE: layer, output shape, parameters, multiply-adds; or a stage of the compiler."""
    from diffgraph.inspect import stages
    from diffgraph.language.elaborate import elaborate
    from diffgraph.language.module import load_module

    module = load_module(file)
    settings = read_assignments(assignments)
    if diff:
        click.echo(stages.last_change(module, net_name, settings))
        return 0
    form = "json" if as_json else form
    if form == "text":
        click.echo(stages.stage_text(module, stage, net_name, settings, layer, target, precision))
        return 0
    if form == "dot" and stage != "layers":
        raise error("DG923", f"the stage `{stage}` has no graph of layers", help="leave out --stage, or --format text")
    if stage == "layers":
        network = elaborate(module, net_name, settings)
        dot = form == "dot"
        click.echo(stages.layers_dot(network) if dot else json.dumps(stages.layers_json(network, precision), indent=2))
        return 0
    text = stages.stage_text(module, stage, net_name, settings, layer, target, precision)
    click.echo(json.dumps({"stage": stage, "text": text}, indent=2))
    return 0
