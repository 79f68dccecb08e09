"""`diffgraph new`: a model file to start from."""

from __future__ import annotations

import re
from pathlib import Path

import click

from diffgraph.diagnostics import error

TEMPLATE = """\
# {name}: train it with `diffgraph train {file}`, look at it with `diffgraph show {file}`.
net {name}(hidden = 64, classes = 10) {{
    input  image[N, 1, 8, 8]
    target label[N]: int < classes

    logits = image
        -> flatten
        -> linear(hidden) -> relu
        -> linear(classes)

    output probability = softmax(logits)
    loss   cross_entropy(logits, label)
    metric accuracy(logits, label)
}}

train {name} {{
    data      digits(size = 8)
    batch     32
    epochs    20
    optimizer adamw(lr = cosine(3e-3, warmup = 40), weight_decay = 0.01)
    seed      0
}}

expect {name} {{
    gradients ok
    trains to accuracy > 0.95
}}
"""


@click.command(name="new")
@click.argument("name")
def command(name: str) -> int:
    """Write NAME.net: a small network that trains at once, to be changed into yours."""
    path = Path(name if name.endswith(".net") else f"{name}.net")
    identifier = re.sub(r"\W", "_", path.stem)
    if not identifier or identifier[0].isdigit():
        raise error("DG902", f"`{path.stem}` cannot name a net", help="start with a letter: `diffgraph new my_model`")
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(TEMPLATE.format(name=identifier, file=path))
    except FileExistsError:
        raise error("DG903", f"{path} exists already", help="choose another name, or remove the file first") from None
    click.echo(f"wrote {path}; now: diffgraph train {path}")
    return 0
