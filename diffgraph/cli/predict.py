"""`diffgraph predict`: the outputs of a net for files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from diffgraph.cli.options import Common, model_options
from diffgraph.diagnostics import error

#: More rows than this are counted instead of shown.
MOST_ROWS = 100


@click.command(name="predict")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path),
              help="Write the outputs to this file: .npz, or .npy or .csv for one output.")  # fmt: skip
@model_options
def command(file: Path, inputs: tuple[Path, ...], output: Path | None, common: Common) -> int:
    """Outputs of FILE's net for INPUTS: images, or .npz, .npy or .csv files, several of them one after the other. FILE may
    be what `diffgraph compile` has made, which has its weights with it."""
    from diffgraph.artifact import is_artifact, load_artifact
    from diffgraph.training.data.reading import read_inputs

    if is_artifact(file):
        net = load_artifact(file, common.target if "target" in common.given else None, common.threads, common.tune)
        if common.weights is not None:
            net.load(common.weights)
    else:
        net = common.load(file)
        if net.room():
            common.need_weights()
    found = net(**read_inputs(inputs, net))
    common.say_tuned(net)
    if output is not None:
        _write(output, found)
        shapes = {name: list(array.shape) for name, array in found.items()}
        said = None if common.quiet else f"wrote {', '.join(found)} to {output}"
        common.emit({"file": str(output), "outputs": shapes}, said)
        return 0
    names = [str(p) for p in inputs] if len(inputs) > 1 else None
    text = "\n".join(_shown(name, array, names) for name, array in found.items())
    common.emit({name: array.tolist() for name, array in found.items()}, text)
    return 0


def _write(path: Path, arrays: Mapping) -> None:
    import io

    import numpy as np

    from diffgraph.interop.safetensors import write_or_fail

    one = next(iter(arrays.values())) if len(arrays) == 1 else None
    content = io.BytesIO()
    if path.suffix == ".npz":
        np.savez(content, **arrays)
    elif path.suffix not in (".npy", ".csv"):
        raise error("DG772", f"{path}: outputs are not written as `{path.suffix}`", help="use .npz, .npy or .csv")
    elif one is None:
        raise error("DG772", f"{path} holds one output, and there are {', '.join(arrays)}", help="write an .npz file")
    elif path.suffix == ".npy":
        np.save(content, one)
    else:
        np.savetxt(content, one.reshape(len(one), -1) if one.ndim else one.reshape(1, 1), "%.9g", ",")
    write_or_fail(path, content.getvalue())


def _shown(name: str, array, files: Sequence[str] | None) -> str:
    """A row for each sample; for scores of classes also the likeliest class."""
    import numpy as np

    rows = array.reshape(len(array), -1) if array.ndim else array.reshape(1, 1)
    files = files if files is not None and len(files) == len(rows) else None
    lines = [f"{name} {list(array.shape)}"]
    for k, row in enumerate(rows[:MOST_ROWS]):
        numbers = np.array2string(row, precision=4, suppress_small=True, threshold=16, max_line_width=100)
        best = f"   class {int(row.argmax())}" if array.ndim == 2 and array.shape[1] > 1 else ""
        lines.append(f"  {files[k] if files else k}: {numbers}{best}")
    if len(rows) > MOST_ROWS:
        lines.append(f"  ... {len(rows) - MOST_ROWS} more; -o FILE.npz keeps all")
    return "\n".join(lines)
