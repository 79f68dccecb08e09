"""`diffgraph verify`: every pass and target against the interpreter."""

from __future__ import annotations

from pathlib import Path

import click

from diffgraph.cli.options import Common, model_options


@click.command(name="verify")
@click.argument("file", type=click.Path(path_type=Path))
@model_options
def command(file: Path, common: Common) -> int:
    """Run FILE's net and its gradients through every pass and on the cpu in float64, and compare with the interpreter.
    `--target reference` leaves the cpu out."""
    from diffgraph.inspect.verification import verify_net

    net = common.load(file, precision="f64", seed=common.seed or 0)
    steps = verify_net(net)
    failed = [s for s in steps if not s.ok]
    common.emit([s.as_json() for s in steps])
    for step in steps if not common.as_json else ():
        if not common.quiet or not step.ok:
            click.echo(f"{'ok  ' if step.ok else 'FAIL'} {step.name:14} largest difference {step.error:.1e}{step.where}")
    if not common.as_json:
        agree = "every step agrees with the interpreter"
        click.echo(agree if not failed else f"`{failed[0].name}` changed the meaning")
    return 1 if failed else 0
