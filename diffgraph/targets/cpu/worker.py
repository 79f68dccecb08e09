"""A process that compiles kernels for another: `python -m diffgraph.targets.cpu.worker`. See `targets/parallel`."""

from __future__ import annotations

from diffgraph.targets.cpu.compile import Job, compile_job
from diffgraph.targets.parallel import serve

if __name__ == "__main__":
    serve(lambda fields: compile_job(Job(**fields)))
