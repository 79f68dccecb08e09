"""Compiling many kernels at once: this process works, and so do others, each on the next kernel of one list."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from diffgraph.diagnostics import CompilerBug
from diffgraph.targets.cpu.compile import compile_kernel

#: Starting a worker takes as long as compiling this many kernels.
WORTH_A_WORKER = 10


@dataclass(frozen=True)
class Job:
    """A kernel to compile: its text, the name of its function, and the file that debuggers shall show."""

    source: str
    name: str
    filename: str


def compile_all(jobs: Sequence[Job], done: Callable[[Job, bytes], None]) -> None:
    """Compiles the jobs and gives each object to `done`, in any order, one at a time."""
    queue = list(reversed(jobs))
    lock = threading.Lock()
    helpers = min(len(jobs) // WORTH_A_WORKER, (os.cpu_count() or 1) - 1)
    failures: list[BaseException] = []

    def work(compile_one: Callable[[Job], bytes]) -> None:
        while not failures:
            with lock:
                if not queue:
                    return
                job = queue.pop()
            try:
                code = compile_one(job)
            except OSError:
                # The worker is gone: whoever is left does its job.
                with lock:
                    queue.append(job)
                return
            except BaseException as problem:
                failures.append(problem)
                return
            with lock:
                done(job, code)

    threads = [threading.Thread(target=_with_worker, args=(work,)) for _ in range(helpers)]
    for thread in threads:
        thread.start()
    work(_compile_here)
    for thread in threads:
        thread.join()
    work(_compile_here)
    if failures:
        raise failures[0]


def _compile_here(job: Job) -> bytes:
    return compile_kernel(job.source, job.name, job.filename)


def _with_worker(work: Callable[[Callable[[Job], bytes]], None]) -> None:
    """Does work with a process of its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-m", "diffgraph.targets.cpu.worker"]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    except OSError:
        return
    with process:
        work(lambda job: _ask(process, job))
        try:
            process.stdin.close()
        except OSError:
            pass


def _ask(process: subprocess.Popen, job: Job) -> bytes:
    message = {"source": job.source, "name": job.name, "filename": job.filename}
    process.stdin.write(json.dumps(message).encode() + b"\n")
    process.stdin.flush()
    head = process.stdout.readline()
    if not head:
        raise OSError("the worker ended")
    count = int(head)
    answer = process.stdout.read(abs(count))
    if count < 0:
        raise CompilerBug("targets.cpu", answer.decode())
    if len(answer) != count:
        raise OSError("the worker ended")
    return answer
