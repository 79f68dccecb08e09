"""What `diffgraph compile` leaves: a program that runs without the text it came from.

program.net           the optimized inference program, as legal text of the language
weights.safetensors   its parameters and states
kernels.py            the generated source of its kernels
compile.json          what was compiled, with which options
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from diffgraph.ir.program import Program
from diffgraph.ir.text import show


def write_artifact(net, directory: Path, write: Callable[..., None]) -> dict[str, Any]:
    """Writes the artifact of a `compiler.Net`, its arrays by `write(path, arrays, metadata)`; gives what is in
    `compile.json`."""
    network = net.network()
    executable = net.inference_executable()
    program = net.optimized(net.forward([o.name for o in network.outputs]))
    directory.mkdir(parents=True, exist_ok=True)
    text, names = _as_net(program, network.name)
    (directory / "program.net").write_text(text, encoding="utf-8")
    weights = {names[p]: a for p, a in net.storage.items() if p in names}
    write(directory / "weights.safetensors", weights, {"format": "diffgraph", "net": network.name})
    (directory / "kernels.py").write_text(executable.source(), encoding="utf-8")
    facts = {
        "net": network.name,
        "target": net.target,
        "precision": net.precision,
        "definitions": len(program.statements),
        "kernels": len(executable.kernels),
        "parameters": int(sum(np.size(a) for a in net.parameters.values())),
        "inputs": [p.name for p in network.inputs],
        "outputs": [o.name for o in network.outputs],
    }
    (directory / "compile.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return facts


def _as_net(program: Program, name: str) -> tuple[str, dict[str, str]]:
    """(text, name in the text of each parameter and state by path): variables are declared as such, to be loaded."""
    text = show(program, name)
    names = {i.path: i.tensor.name for i in program.inputs if i.role in ("parameter", "state")}
    lines = []
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        declared = rest.partition("[")[0].split(" ")[0].rstrip(":")
        if word == "input" and declared in names.values():
            shape = rest.partition("#")[0].rstrip()
            line = f"    param {shape} = 0"
        lines.append(line)
    return "\n".join(lines) + "\n", names
