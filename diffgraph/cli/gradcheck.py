"""`diffgraph gradcheck`: every derivative against finite differences in float64."""

from __future__ import annotations

from pathlib import Path

import click

from diffgraph.cli.options import Common, model_options


@click.command(name="gradcheck")
@click.argument("file", type=click.Path(path_type=Path))
@model_options
def command(file: Path, common: Common) -> int:
    """Compare every derivative of FILE with finite differences in float64, at the initial parameters or at --weights.
    The interpreter computes both; `verify` compares targets with it."""
    from diffgraph.inspect.gradcheck import check_net, own_gradients

    net = common.load(file, target="reference", precision="f64", seed=common.seed or 0)
    found = check_net(net)
    common.emit(
        [{"path": c.path, "derivative": c.derivative, "difference": c.difference, "error": c.error, "ok": c.ok}
         for c in found]
    )  # fmt: skip
    if not common.as_json:
        width = max((len(c.path) for c in found), default=0)
        for c in found:
            if not common.quiet or not c.ok:
                mark = "ok  " if c.ok else "FAIL"
                click.echo(f"{mark} {c.path:{width}}  {c.derivative:+.9e}  {c.difference:+.9e}  {c.error:.1e}")
        wrong = sum(not c.ok for c in found)
        own = own_gradients(net.network(True)) if wrong else ()
        if own:
            click.echo(f"differences do not follow the gradients of your own at {', '.join(own)}")
        click.echo(f"{len(found) - wrong} of {len(found)} derivatives agree with finite differences")
    return 0 if all(c.ok for c in found) else 1
