"""`diffgraph compile`: an artifact that runs without the model text."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from diffgraph.cli.options import model_options, read_assignments, say_tuned, trained_as, tune_option
from diffgraph.diagnostics import error


@click.command(name="compile")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The artifact's directory.")
@click.option("--stage", metavar="STAGE", help="Print a stage of the compilation instead: forward, optimized, source.")
@click.option("--weights", type=click.Path(path_type=Path), help="Trained weights; the initial ones by default.")
@click.option("--train", "block", metavar="NAME", help="The train block whose settings the net has.")
@tune_option
@model_options
def command(
    file, output, stage, weights, block, net_name, assignments, target, precision, fast, tune, threads, seed, as_json, quiet, **_
) -> int:
    """Compile FILE's net for inference into a directory: the optimized program, its weights and its kernels."""
    from diffgraph.artifact import inference_stage, write_artifact
    from diffgraph.compiler import Net
    from diffgraph.language.module import load_module

    if (output is None) == (stage is None):
        raise error("DG907", "compile writes an artifact or prints a stage", help="give -o DIRECTORY, or --stage source")
    start = time.perf_counter()
    module = load_module(file)
    net_name, settings, block = trained_as(weights, module, net_name, read_assignments(assignments), block)
    net = Net(module, net_name, settings, block, target, precision, seed, threads, fast=fast, tune=tune)
    if weights is not None:
        net.load(weights)
    if stage is not None:
        click.echo(inference_stage(net, stage))
        return 0
    facts = write_artifact(net, output) | {"seconds": round(time.perf_counter() - start, 3)}
    if not quiet:
        say_tuned(net)
    if as_json:
        click.echo(json.dumps(facts))
    elif not quiet:
        click.echo(
            f"{facts['net']}: {facts['definitions']} definitions in {facts['kernels']} kernels, {facts['parameters']:,}"
            f" parameters, {precision}, {target}; {facts['seconds']:.2f} s\nkept in {output}; run it: diffgraph predict {output} INPUT"
        )
    return 0
