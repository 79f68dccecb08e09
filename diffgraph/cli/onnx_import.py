"""`diffgraph import`: a net from an ONNX model."""

from __future__ import annotations

import json
from pathlib import Path

import click

from diffgraph.cli.options import read_sizes
from diffgraph.diagnostics import error


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The net's file; FILE with .net by default.")
@click.option("--size", "sizes", multiple=True, metavar="NAME=N", help="Fixes a symbolic size of the model.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(file: Path, output: Path | None, sizes: tuple[str, ...], as_json: bool) -> int:
    """Make a net of the ONNX model FILE: its text, its weights beside it, and tables that the text names."""
    import numpy as np

    from diffgraph.diagnostics import Source
    from diffgraph.interop import safetensors
    from diffgraph.interop.onnx.importing import import_onnx
    from diffgraph.language.formatter import format_file
    from diffgraph.language.names import taken_everywhere

    output = output or file.with_suffix(".net")
    if output.suffix != ".net":
        raise error("DG954", f"a net's file ends in .net, not in `{output.suffix}`",
        help=str(output.with_suffix(".net")))
    found = import_onnx(file, taken_everywhere(), read_sizes(sizes))
    text = format_file(Source(str(output), f"# From {file.name}.\n{found.text}"))
    output.parent.mkdir(parents=True, exist_ok=True)
    safetensors.write_atomically(output, text.encode())
    weights = output.with_suffix(".safetensors")
    safetensors.write(weights, found.weights, {"format": "diffgraph"})
    for name, table in found.tables.items():
        np.save(output.parent / name, table)
    count = int(sum(a.size for a in found.weights.values()))
    made = {"net": str(output), "weights": str(weights), "parameters": count, "tables": sorted(found.tables)}
    click.echo(json.dumps(made) if as_json else f"{output}: {count:,} parameters in {weights}")
    return 0
