"""`diffgraph import`: a net of an ONNX model, or the weights of another program for a net."""

from __future__ import annotations

from pathlib import Path

import click

from diffgraph.cli.options import emit, output_options, read_sizes
from diffgraph.diagnostics import error

#: What the names of files that hold weights alone end in.
WEIGHTS = (".safetensors", ".npz", ".pt", ".pth", ".bin")


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path),
              help="The net's file, FILE with .net by default; of weights MODEL with .safetensors.")  # fmt: skip
@click.option("--net", metavar="NAME", help="Which net the weights are for, where MODEL has several.")
@click.option("--size", "sizes", multiple=True, metavar="NAME=N", help="Fixes a symbolic size of the model.")
@output_options
def command(
    file: Path, model: Path | None, output: Path | None, net: str | None, sizes: tuple[str, ...], as_json: bool, quiet: bool
) -> int:
    """Make a net of the ONNX model FILE: its text, its weights beside it, and tables that the text names. Or make
    checkpoints of weights (.safetensors, .npz, .pt) that fit the net in the file MODEL: diffgraph import weights.pt
    model.net."""
    if file.suffix in WEIGHTS:
        made = _weights(file, model, output, net)
    else:
        made = _net(file, output or file.with_suffix(".net"), read_sizes(sizes))
    said = f"{made.get('net') or file}: {made['parameters']:,} parameters in {made['weights']}"
    emit(made, None if quiet else said, as_json)
    return 0


def _net(file: Path, output: Path, sizes: dict[str, int]) -> dict:
    import numpy as np

    from diffgraph.diagnostics import Source
    from diffgraph.interop import safetensors
    from diffgraph.interop.onnx.importing import import_onnx
    from diffgraph.language.formatter import format_file
    from diffgraph.language.names import taken_everywhere

    if output.suffix != ".net":
        raise error("DG954", f"a net's file ends in .net, not in `{output.suffix}`", help=str(output.with_suffix(".net")))
    found = import_onnx(file, taken_everywhere(), sizes)
    text = format_file(Source(str(output), f"# From {file.name}.\n{found.text}"))
    safetensors.write_or_fail(output, text.encode())
    weights = output.with_suffix(".safetensors")
    safetensors.write(weights, found.weights, {"format": "diffgraph"})
    for name, table in found.tables.items():
        np.save(output.parent / name, table)
    count = int(sum(a.size for a in found.weights.values()))
    return {"net": str(output), "weights": str(weights), "parameters": count, "tables": sorted(found.tables)}


def _weights(file: Path, model: Path | None, output: Path | None, net: str | None) -> dict:
    from diffgraph.compiler import load

    if model is None:
        raise error("DG954", f"{file} holds weights only", help=f"name the net that they are for: {file} model.net")
    output = output or model.with_suffix(".safetensors")
    fitting = load(model, net)
    fitting.load(file)
    fitting.save(output)
    count = int(sum(a.size for a in fitting.parameters.values()))
    return {"net": None, "weights": str(output), "parameters": count, "tables": []}
