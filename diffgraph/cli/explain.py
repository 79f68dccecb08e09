"""`diffgraph explain`: what the compiler did, and what it did not do, and why."""

from __future__ import annotations

from pathlib import Path

import click

from diffgraph.cli.options import Common, model_options


@click.command(name="explain")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--inference", is_flag=True, help="The program that predicts, instead of the one that trains.")
@model_options
def command(file: Path, inference: bool, common: Common) -> int:
    """Explain what was merged, folded and fused in FILE, by source line, and what was not, and why; and what tuning has
    found."""
    from diffgraph.inspect.explain import explanations, text

    found = explanations(common.load(file), inference)
    common.emit([e.as_json() for e in found.explanations], text(found))
    return 0
