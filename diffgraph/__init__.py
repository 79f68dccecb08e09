"""diffgraph: a network is a formula, and everything that can be written is differentiable and compiled.

    import diffgraph as dg

    net = dg.load("lenet.net")
    net.train()
    net(image=x)["probability"]

Nothing heavy is loaded before it is needed.
"""

from __future__ import annotations

from importlib import import_module

from diffgraph.diagnostics import CompilerBug, Diagnostic, DiffgraphError, RunFailed

__all__ = ["CompilerBug", "Diagnostic", "DiffgraphError", "Net", "RunFailed", "load", "load_artifact", "loads", "set_limits"]

#: Name -> the module that is loaded when it is first asked for.
_LATER = {
    "Net": "diffgraph.compiler",
    "load": "diffgraph.compiler",
    "loads": "diffgraph.compiler",
    "load_artifact": "diffgraph.artifact",
    "set_limits": "diffgraph.language.limits",
}


def __getattr__(name: str):
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'diffgraph' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
