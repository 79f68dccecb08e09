"""`diffgraph show`: the network, and every stage of the compiler."""

from __future__ import annotations

from pathlib import Path

import click

from diffgraph.cli.options import Common, model_options, write_text


@click.command(name="show")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--stage", default="layers", show_default=True, metavar="STAGE",
              help="layers, forward, gradient, optimized, kernels, source or memory.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(["text", "json", "dot", "svg", "html"]), default="text",
              show_default=True)  # fmt: skip
@click.option("--layer", metavar="PATH", help="Only this layer, and what is inside it.")
@click.option("--depth", type=click.IntRange(1), default=1, show_default=True, help="How far boxes are open.")
@click.option("--diff", is_flag=True,
              help="What the last pass changed; with --stage, what was changed on the way to that stage.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write here instead of printing.")
@model_options
def command(
    file: Path, stage: str, form: str, layer: str | None, depth: int, diff: bool, output: Path | None, common: Common
) -> int:
    """Show the network of FILE: layer, output shape, parameters, multiply-adds; or a stage of the compiler.

    `--format svg` is a picture, `--format html` a page whose boxes open."""
    form = "json" if common.as_json else form
    text = common.load(file).show(stage, layer, form, depth, diff)
    if output is None:
        click.echo(text.removesuffix("\n"))
        return 0
    write_text(output, text)
    if not common.quiet and not common.as_json:
        click.echo(f"written: {output}")
    return 0
