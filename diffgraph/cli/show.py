"""`diffgraph show`: the network, and every stage of the compiler."""

from __future__ import annotations

import json
from pathlib import Path

import click

from diffgraph.cli.options import model_options, read_assignments
from diffgraph.diagnostics import error

_DRAWN = ("svg", "html", "dot")


@click.command(name="show")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--stage", default="layers", show_default=True, metavar="STAGE",
              help="layers, forward, gradient, optimized, kernels, source or memory.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(["text", "json", *_DRAWN]), default="text", show_default=True)
@click.option("--layer", metavar="PATH", help="Only this layer, and what is inside it.")
@click.option("--depth", type=click.IntRange(1), default=1, show_default=True, help="How far boxes are open.")
@click.option("--diff", is_flag=True, help="What the last pass changed.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write here instead of printing.")
@model_options
def command(
    file, stage, form, layer, depth, diff, output, net_name, assignments, target, precision, fast, as_json, quiet, **_
) -> int:
    """Show the network of FILE: layer, output shape, parameters, multiply-adds; or a stage of the compiler.

    `--format svg` is a picture, `--format html` a page whose boxes open."""
    form = "json" if as_json else form
    text = _shown(file, stage, form, layer, depth, diff, net_name, read_assignments(assignments), target, precision, fast)
    if output is None:
        click.echo(text.removesuffix("\n"))
        return 0
    output.write_text(text if text.endswith("\n") else f"{text}\n", encoding="utf-8")
    if not quiet:
        click.echo(f"written: {output}")
    return 0


def _shown(file, stage, form, layer, depth, diff, net_name, settings, target, precision, fast) -> str:
    from diffgraph.inspect import stages
    from diffgraph.language.elaborate import elaborate
    from diffgraph.language.module import load_module

    module = load_module(file)
    if diff:
        return stages.last_change(module, net_name, settings, target, fast)
    if form in _DRAWN:
        if stage != "layers":
            raise error("DG923", f"the stage `{stage}` has no picture", help="leave out --stage, or --format text")
        from diffgraph.inspect.drawing import draw

        return draw(elaborate(module, net_name, settings, training=True), form, layer, depth, precision)
    if form == "json" and stage == "layers":
        return json.dumps(stages.layers_json(elaborate(module, net_name, settings), precision, layer), indent=2)
    text = stages.stage_text(module, stage, net_name, settings, layer, target, precision, fast=fast)
    return text if form == "text" else json.dumps({"stage": stage, "text": text}, indent=2)
