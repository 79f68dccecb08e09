"""`diffgraph verify`: every pass and target against the interpreter."""

from __future__ import annotations

import json
from pathlib import Path

import click

from diffgraph.cli.options import model_options, read_assignments


@click.command(name="verify")
@click.argument("file", type=click.Path(path_type=Path))
@model_options
def command(file, net_name, assignments, fast, threads, seed, as_json, quiet, **_) -> int:
    """Run FILE's net and its gradients through every pass and on the cpu in float64, and compare with the interpreter."""
    from diffgraph.compiler import load
    from diffgraph.inspect.verification import verify_net

    options = {"precision": "f64", "seed": seed or 0, "threads": threads, "fast": fast}
    steps = verify_net(load(file, net_name, read_assignments(assignments), **options))
    failed = [s for s in steps if not s.ok]
    if as_json:
        click.echo(json.dumps([s.as_json() for s in steps], indent=2))
    else:
        for step in steps:
            if not quiet or not step.ok:
                click.echo(
                    f"{'ok  ' if step.ok else 'FAIL'} {step.name:14} largest difference {step.error:.1e}{step.where}"
                )
        click.echo(
            "every step agrees with the interpreter" if not failed else f"`{failed[0].name}` changed the meaning"
        )
    return 1 if failed else 0
