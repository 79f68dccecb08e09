"""`diffgraph export`: the weights of a checkpoint, for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from diffgraph.cli.options import model_options, read_assignments
from diffgraph.diagnostics import error


@click.command(name="export")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--weights", required=True, type=click.Path(path_type=Path), help="A checkpoint or other weights.")
@click.option("--train", "block", metavar="NAME", help="The train block whose settings the net has.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="A .safetensors or .npz file.")
@model_options
def command(file, weights, block, output, net_name, assignments, target, precision, threads, seed, quiet, **_) -> int:
    """Write the parameters and states of FILE's net, checked against the net, without what only resuming needs."""
    import io

    import numpy as np

    from diffgraph.compiler import Net
    from diffgraph.interop import safetensors
    from diffgraph.language.module import load_module

    if output.suffix not in (".safetensors", ".npz"):
        raise error("DG954", f"nothing is exported as `{output.suffix}`", help="write to a .safetensors or .npz file")
    net = Net(load_module(file), net_name, read_assignments(assignments), block, target, precision, seed, threads)
    net.load(weights)
    if output.suffix == ".safetensors":
        net.save(output)
    else:
        content = io.BytesIO()
        np.savez(content, **net.storage)
        safetensors.write_atomically(output, content.getvalue())
    if not quiet:
        click.echo(f"{output}: {len(net.storage)} arrays")
    return 0
