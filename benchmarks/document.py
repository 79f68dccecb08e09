"""The results of a JSON file as a page: `python -m benchmarks.document FILE.json > docs/benchmarks.md`.

Ratios, and parts of the machine's limit: times of one machine say little about another.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.report import limit_of

#: How it is measured, and how to use it.
METHOD = Path(__file__).with_name("method.md")


def page(found: Mapping[str, Any]) -> str:
    """The page of some results."""
    machine, versions = found["machine"], found["versions"]
    names = ", ".join(f"{name} {version}" for name, version in versions.items())
    about = (
        f"## Results\n\n{machine['date']}, {machine['processor']}, {machine['threads']} threads: "
        f"{machine['flops'] / 1e9:.0f} GFLOP/s, {machine['bandwidth'] / 1e9:.0f} GB/s. {names}.\n\n"
        "The ratio is the time of the fastest rival over ours: above 1, ours is faster."
    )
    steps = [row for row in found["workloads"] if row["kind"] != "start"]
    parts = [METHOD.read_text(), about, *_steps(steps, machine), *_memory(steps)]
    parts += [_start(row) for row in found["workloads"] if row["kind"] == "start"]
    return "\n".join(parts) + "\n"


def _steps(rows, machine: Mapping[str, Any]) -> Iterator[str]:
    yield "\n| Workload | Fastest rival | Ratio | Must | Aim | Part of the limit | Limit |\n" + "|---" * 7 + "|"
    for row in rows:
        limit, ours = limit_of(row, machine), row["sides"][0]["seconds"]
        part = f"{limit['seconds'] / ours:.0%}" if ours else ""
        for goal in row.get("goals", ()):
            cells = [row["title"], goal["fastest"], f"**{goal['ratio']:.2f}**", str(goal["must"]), str(goal["aim"])]
            yield "| " + " | ".join([*cells, part, limit["by"]]) + " |"


def _memory(rows) -> Iterator[str]:
    rows = [row for row in rows if len(row.get("memory", ())) > 1]
    if not rows:
        return
    yield (
        "\nPeak memory over that of the loaded libraries (weights, optimizer state, everything between):\n\n"
        "| Workload | Ours, MiB | PyTorch's, MiB | Ratio |\n|---|---|---|---|"
    )
    for row in rows:
        ours, theirs = (used["working"] / 2**20 for used in list(row["memory"].values())[:2])
        yield f"| {row['title']} | {ours:.1f} | {theirs:.1f} | {ours / theirs:.2f} |"


def _start(row: Mapping[str, Any]) -> str:
    lines = [f"\n{row['title']}, seconds:\n", "| | Nothing compiled before | Again |", "|---|---|---|"]
    lines += [f"| {name} | {s['cold']:.1f} | {s['second']:.2f} |" for name, s in row["starts"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(page(json.loads(Path(sys.argv[1]).read_text())), end="")
