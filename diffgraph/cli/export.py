"""`diffgraph export`: a net as an ONNX model, or its weights, for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from diffgraph.cli.options import model_options, read_assignments, read_sizes, trained_as
from diffgraph.diagnostics import error

WEIGHTS = (".safetensors", ".npz")


@click.command(name="export")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--weights", type=click.Path(path_type=Path), help="A checkpoint or other weights; initial ones without.")
@click.option("--train", "block", metavar="NAME", help="The train block whose settings the net has.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path),
              help="An .onnx file: the net. A .safetensors or .npz file: its weights.")  # fmt: skip
@click.option(
    "--output-of", "outputs", multiple=True, metavar="NAME", help="Which outputs of the net; all of them by default."
)
@click.option("--size", "sizes", multiple=True, metavar="NAME=N", help="Fixes a size that the net leaves open.")
@model_options
def command(
    file, weights, block, output, outputs, sizes, net_name, assignments, target, precision, threads, seed, quiet, **_
) -> int:
    """Write FILE's net for other programs: as an ONNX model with its weights, the batch and open sizes symbolic; or the
    parameters and states alone, checked against the net, without what only resuming needs."""
    from diffgraph.compiler import Net
    from diffgraph.language.module import load_module

    if output.suffix not in (".onnx", *WEIGHTS):
        raise error("DG954", f"nothing is exported as `{output.suffix}`",
                    help="write to an .onnx, .safetensors or .npz file")  # fmt: skip
    if weights is None and output.suffix in WEIGHTS:
        raise error("DG954", "there are no weights to be exported", help="name them: --weights FILE")
    module = load_module(file)
    net_name, settings, block = trained_as(weights, module, net_name, read_assignments(assignments), block)
    net = Net(module, net_name, settings, block, target, precision, seed, threads)
    net.set_sizes(read_sizes(sizes))
    if weights is not None:
        net.load(weights)
    if output.suffix == ".onnx":
        said = _write_model(net, outputs, output)
    else:
        said = _write_weights(net, output)
    if not quiet:
        click.echo(f"{output}: {said}")
    return 0


def _write_model(net, outputs: tuple[str, ...], output: Path) -> str:
    from diffgraph.interop import safetensors
    from diffgraph.interop.onnx.exporting import onnx_model

    names = [o.name for o in net.network().outputs]
    for name in outputs:
        if name not in names:
            raise error("DG956", f"the net has no output `{name}`", help=f"its outputs: {', '.join(names) or 'none'}")
    if not names:
        raise error("DG956", "the net has no output to be exported", help="declare one: output y = ...")
    model = onnx_model(net.forward(outputs or names), net.storage, net.declared.name, net.precision)
    safetensors.write_atomically(output, model.SerializeToString())
    return f"{len(model.graph.node)} nodes, {len(model.graph.initializer)} constants"


def _write_weights(net, output: Path) -> str:
    import io

    import numpy as np

    from diffgraph.interop import safetensors

    if output.suffix == ".safetensors":
        net.save(output)
    else:
        content = io.BytesIO()
        np.savez(content, **net.storage)
        safetensors.write_atomically(output, content.getvalue())
    return f"{len(net.storage)} arrays"
