"""`diffgraph predict`: the outputs of a net for files."""

from __future__ import annotations

import json
from pathlib import Path

import click

from diffgraph.cli.options import model_options, read_assignments, say_tuned, trained_as, tune_option


@click.command(name="predict")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--weights", type=click.Path(path_type=Path), help="A checkpoint or other weights.")
@click.option("--train", "block", metavar="NAME", help="The train block whose settings the net has.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the outputs to this .npz file.")
@tune_option
@model_options
def command(file, inputs, weights, block, output, net_name, assignments, target, precision, fast, tune, threads, seed, as_json,
quiet,
            **_) -> int:  # fmt: skip
    """Outputs of FILE's net for INPUTS: PNG images, or one .npz, .npy or .csv file. FILE may be what `diffgraph
    compile` has made, which has its weights with it."""
    from diffgraph.artifact import is_artifact, load_artifact
    from diffgraph.compiler import Net
    from diffgraph.language.module import load_module
    from diffgraph.training.data.reading import read_inputs

    if is_artifact(file):
        net = load_artifact(file, target, threads, tune)
        given = read_inputs(inputs, net)
    else:
        module = load_module(file)
        net_name, settings, block = trained_as(weights, module, net_name, read_assignments(assignments), block)
        net = Net(module, net_name, settings, block, target, precision, seed, threads, fast=fast, tune=tune)
        given = read_inputs(inputs, net)
        if weights is None:
            raise click.UsageError("--weights FILE says which weights the net has")
        net.load(weights)
    found = net(**given)
    if not quiet:
        say_tuned(net)
    if output is not None:
        _write(output, found)
        if not quiet:
            click.echo(f"wrote {', '.join(found)} to {output}")
        return 0
    if as_json:
        click.echo(json.dumps({name: array.tolist() for name, array in found.items()}))
        return 0
    names = [str(p) for p in inputs] if len(inputs) > 1 else None
    for name, array in found.items():
        click.echo(_shown(name, array, names))
    return 0


def _write(path: Path, arrays: dict) -> None:
    import io

    import numpy as np

    from diffgraph.interop.safetensors import write_atomically

    content = io.BytesIO()
    np.savez(content, **arrays)
    write_atomically(path, content.getvalue())


def _shown(name: str, array, files) -> str:
    """A row for each sample; for scores of classes also the likeliest class."""
    import numpy as np

    rows = array.reshape(len(array), -1) if array.ndim else array.reshape(1, 1)
    lines = [f"{name} {list(array.shape)}"]
    for k, row in enumerate(rows[:100]):
        numbers = np.array2string(row, precision=4, suppress_small=True, threshold=16, max_line_width=100)
        best = f"   class {int(row.argmax())}" if array.ndim == 2 and array.shape[1] > 1 else ""
        lines.append(f"  {files[k] if files else k}: {numbers}{best}")
    if len(rows) > 100:
        lines.append(f"  ... {len(rows) - 100} more; -o FILE.npz keeps all")
    return "\n".join(lines)
