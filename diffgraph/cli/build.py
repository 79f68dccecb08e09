"""`diffgraph compile`: an artifact that runs without the model text."""

from __future__ import annotations

import time
from pathlib import Path

import click

from diffgraph.cli.options import Common, model_options
from diffgraph.diagnostics import error


@click.command(name="compile")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The artifact's directory.")
@click.option("--stage", metavar="STAGE", help="Print a stage of the compilation instead: forward, optimized, source.")
@model_options
def command(file: Path, output: Path | None, stage: str | None, common: Common) -> int:
    """Compile FILE's net for inference into a directory: the optimized program, its weights and its kernels."""
    from diffgraph.artifact import inference_stage, write_artifact

    if (output is None) == (stage is None):
        raise error("DG907", "compile writes an artifact or prints a stage", help="give -o DIRECTORY, or --stage source")
    start = time.perf_counter()
    net = common.load(file)
    if stage is not None:
        text = inference_stage(net, stage)
        common.emit({"net": net.declared.name, "stage": stage, "text": text}, text)
        return 0
    facts = write_artifact(net, output) | {"directory": str(output), "seconds": round(time.perf_counter() - start, 3)}
    common.say_tuned(net)
    said = (
        f"{facts['net']}: {facts['definitions']} definitions in {facts['kernels']} kernels, {facts['parameters']:,}"
        f" parameters, {net.precision}, {net.target}; {facts['seconds']:.2f} s\n"
        f"kept in {output}; run it: diffgraph predict {output} INPUT"
    )
    common.emit(facts, None if common.quiet else said)
    return 0
