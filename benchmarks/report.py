"""What is printed and written of the measurements."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.workloads import Workload
from diffgraph.inspect.turns import Result, held


def machine(threads: int, locks: Sequence[Path] = ()) -> dict[str, Any]:
    """What the machine is, and what so many threads of it can do at most."""
    from diffgraph.runtime.limits import measure

    with held(locks):
        limits = measure(threads)
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "processor": name,
        "system": platform.platform(),
        "threads": threads,
        "flops": limits.flops,
        "bandwidth": limits.bandwidth,
        "date": datetime.date.today().isoformat(),
    }


def heading(machine: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """The first lines."""
    limit = f"{machine['flops'] / 1e9:.0f} GFLOP/s, {machine['bandwidth'] / 1e9:.0f} GB/s"
    names = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{machine['processor']}, {machine['threads']} threads: {limit}\n{names}\n"


def row(
    work: Workload, results: Sequence[Result], used: Mapping[str, Mapping[str, int]], machine: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything about a workload as plain values."""
    from benchmarks.sides.ours import cost

    macs, moved = cost(work)
    found: dict[str, Any] = {"name": work.name, "title": work.title, "kind": work.kind, "macs": macs, "bytes": moved}
    found["limit"] = limit_of(found, machine)
    found["sides"] = [
        {"name": r.name, "seconds": r.median if r.seconds else None, "rounds": r.seconds, "agrees": r.agrees}
        | {"dirty": r.dirty, "error": r.error}
        for r in results
    ]
    found["memory"] = dict(used)
    ours = found["sides"][0]
    if ours["seconds"] is None:
        return found
    found["part of limit"] = found["limit"]["seconds"] / ours["seconds"]
    found["goals"] = [
        {"rival": goal.rival, "must": goal.must, "aim": goal.aim, **reached}
        for goal in work.goals
        if (reached := _fastest(found["sides"][1:], goal.rival, ours["seconds"]))
    ]
    return found


def limit_of(row: Mapping[str, Any], machine: Mapping[str, Any]) -> dict[str, Any]:
    """The least seconds that the machine needs for a workload, and by what it is limited."""
    arithmetic, memory = 2 * row["macs"] / machine["flops"], row["bytes"] / machine["bandwidth"]
    return {"seconds": max(arithmetic, memory), "by": "arithmetic" if arithmetic > memory else "memory"}


def _fastest(sides: Sequence[Mapping[str, Any]], beginning: str, ours: float) -> dict[str, Any]:
    """The fastest rival whose name begins so, and its time over ours."""
    there = [s for s in sides if s["seconds"] and s["name"].startswith(beginning) and s["agrees"] is not False]
    if not there:
        return {}
    best = min(there, key=lambda s: s["seconds"])
    return {"fastest": best["name"], "ratio": best["seconds"] / ours}


def text(row: Mapping[str, Any]) -> str:
    """A workload for people."""
    if row["kind"] == "start":
        return _start_text(row)
    lines = [f"{row['title']}   ({row['name']})"]
    ours = row["sides"][0]
    for side in row["sides"]:
        if side["error"]:
            lines.append(f"  {side['name']:42} failed: {side['error'].splitlines()[0][:120]}")
            continue
        ratio = f"{side['seconds'] / ours['seconds']:8.2f}x" if ours["seconds"] else ""
        notes = "" if side["agrees"] is not False else "  DIFFERENT NUMBERS"
        notes += f"  ({side['dirty']} rounds disturbed)" if side["dirty"] else ""
        lines.append(f"  {side['name']:42} {duration(side['seconds'])} {ratio}{notes}")
    if "part of limit" in row:
        limit = row["limit"]
        lines.append(
            f"  {row['part of limit']:.0%} of the limit of {limit['by']}, {duration(limit['seconds']).strip()}"
        )
    for goal in row.get("goals", ()):
        mark = (
            "aim reached" if goal["ratio"] >= goal["aim"] else "reached" if goal["ratio"] >= goal["must"] else "MISSED"
        )
        wanted = f"must {goal['must']}, aim {goal['aim']}"
        lines.append(f"  {goal['ratio']:.2f}x the fastest, {goal['fastest']} ({wanted}): {mark}")
    for name, used in row.get("memory", {}).items():
        lines.append(
            f"  {name:42} {used['working'] / 2**20:9.1f} MiB working memory, {used['peak'] / 2**20:.0f} MiB peak"
        )
    return "\n".join(lines) + "\n"


def _start_text(row: Mapping[str, Any]) -> str:
    lines = [f"{row['title']}   ({row['name']})"]
    for name, seconds in row["starts"].items():
        times = ", ".join(f"{which} {value:.2f} s" for which, value in seconds.items())
        lines.append(f"  {name:42} {times}")
    for goal in row["goals"]:
        lines.append(f"  {goal['rival']}: must {goal['must']} s, aim {goal['aim']} s")
    return "\n".join(lines) + "\n"


def duration(seconds: float) -> str:
    """A time with a fitting unit."""
    for unit, factor in (("s ", 1), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1 or unit == "us":
            return f"{seconds * factor:9.2f} {unit}"
    return ""


def write(
    path: Path, machine: Mapping[str, Any], versions: Mapping[str, str], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Writes the results as JSON; those of workloads that were not measured now stay."""
    about = dict(machine)
    kept: list[Mapping[str, Any]] = []
    if path.exists():
        before = json.loads(path.read_text())
        now = {r["name"] for r in rows}
        kept = [r for r in before["workloads"] if r["name"] not in now]
        if all(before["machine"].get(key) == about[key] for key in ("processor", "threads")):
            # Others may have been at work while the limits were measured: the highest that was seen counts.
            about |= {key: max(about[key], before["machine"][key]) for key in ("flops", "bandwidth")}
    found = {"machine": about, "versions": dict(versions), "workloads": [*kept, *rows]}
    path.write_text(json.dumps(found, indent=1) + "\n")
