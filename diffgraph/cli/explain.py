"""`diffgraph explain`: what the compiler did, and what it did not do, and why."""

from __future__ import annotations

import json
from pathlib import Path

import click

from diffgraph.cli.options import model_options, read_assignments


@click.command(name="explain")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--inference", is_flag=True, help="The program that predicts, instead of the one that trains.")
@model_options
def command(file, inference, net_name, assignments, target, precision, fast, as_json, **_) -> int:
    """Explain what was merged, folded and fused in FILE, by source line, and what was not, and why; and what tuning has
    found."""
    from diffgraph.inspect.explain import explanations, text

    found = explanations(file, net_name, read_assignments(assignments), inference, target, fast, precision)
    click.echo(json.dumps([e.as_json() for e in found.explanations], indent=2) if as_json else text(found))
    return 0
