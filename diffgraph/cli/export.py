"""`diffgraph export`: a net as an ONNX model, or its weights, for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from diffgraph.cli.options import Common, model_options, read_sizes
from diffgraph.diagnostics import error

WEIGHTS = (".safetensors", ".npz")


@click.command(name="export")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path),
              help="An .onnx file: the net. A .safetensors or .npz file: its weights.")  # fmt: skip
@click.option(
    "--output-of", "outputs", multiple=True, metavar="NAME", help="Which outputs of the net; all of them by default."
)
@click.option("--size", "sizes", multiple=True, metavar="NAME=N", help="Fixes a size that the net leaves open.")
@model_options
def command(file: Path, output: Path, outputs: tuple[str, ...], sizes: tuple[str, ...], common: Common) -> int:
    """Write FILE's net for other programs: as an ONNX model with its weights, the batch and open sizes symbolic; or the
    parameters and states alone, checked against the net, without what only resuming needs."""
    if output.suffix not in (".onnx", *WEIGHTS):
        raise error("DG954", f"nothing is exported as `{output.suffix}`",
                    help="write to an .onnx, .safetensors or .npz file")  # fmt: skip
    net = common.load(file, sizes=read_sizes(sizes))
    if output.suffix == ".onnx":
        made = _write_model(net, outputs, output)
    else:
        net.save(output)
        made = {"arrays": len(net.storage)}
    said = ", ".join(f"{count} {what}" for what, count in made.items())
    common.emit({"net": net.declared.name, "file": str(output), **made}, None if common.quiet else f"{output}: {said}")
    return 0


def _write_model(net, outputs: tuple[str, ...], output: Path) -> dict[str, int]:
    from diffgraph.interop import safetensors
    from diffgraph.interop.onnx.exporting import onnx_model

    names = [o.name for o in net.network().outputs]
    for name in outputs:
        if name not in names:
            raise error("DG956", f"the net has no output `{name}`", help=f"its outputs: {', '.join(names) or 'none'}")
    if not names:
        raise error("DG956", "the net has no output to be exported", help="declare one: output y = ...")
    model = onnx_model(net.forward(outputs or names), net.storage, net.declared.name, net.precision)
    safetensors.write_or_fail(output, model.SerializeToString())
    return {"nodes": len(model.graph.node), "constants": len(model.graph.initializer)}

