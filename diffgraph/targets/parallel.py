"""Compiling many kernels at once: this process works, and so do others, each on the next kernel of one list.

A worker (`python -m MODULE`, which calls `serve`) reads jobs as lines of JSON and answers each with a line that holds the
number of bytes, then the code. A negative number: that many bytes of an error message.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict

from diffgraph.diagnostics import CompilerBug

#: Starting a worker takes as long as compiling this many kernels.
WORTH_A_WORKER = 10


def compile_all(
    jobs: Sequence, here: Callable[[object], bytes], worker: str, done: Callable[[object, bytes], None]
) -> None:
    """Compiles jobs, dataclasses that JSON can hold, and gives each with its code to `done`, in any order, one at a time.
    here(job): what compiles one in this process; worker: the module of those that help."""
    queue = list(reversed(jobs))
    lock = threading.Lock()
    helpers = min(len(jobs) // WORTH_A_WORKER, (os.cpu_count() or 1) - 1)
    failures: list[BaseException] = []

    def work(compile_one: Callable[[object], bytes]) -> None:
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

    threads = [threading.Thread(target=_with_worker, args=(work, worker)) for _ in range(helpers)]
    for thread in threads:
        thread.start()
    work(here)
    for thread in threads:
        thread.join()
    work(here)
    if failures:
        raise failures[0]


def _with_worker(work: Callable[[Callable[[object], bytes]], None], worker: str) -> None:
    """Does work with a process of its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", worker], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
    except OSError:
        return
    with process:
        work(lambda job: _ask(process, worker, job))
        try:
            process.stdin.close()
        except OSError:
            pass


def _ask(process: subprocess.Popen, worker: str, job) -> bytes:
    process.stdin.write(json.dumps(asdict(job)).encode() + b"\n")
    process.stdin.flush()
    head = process.stdout.readline()
    if not head:
        raise OSError("the worker ended")
    count = int(head)
    answer = process.stdout.read(abs(count))
    if count < 0:
        raise CompilerBug(worker.removeprefix("diffgraph.").removesuffix(".worker"), answer.decode())
    if len(answer) != count:
        raise OSError("the worker ended")
    return answer


def serve(compile_one: Callable[[dict], bytes]) -> None:
    """What a worker does, until the input ends. compile_one: the code of a job, given as its fields."""
    answers = sys.stdout.buffer
    for line in sys.stdin.buffer:
        try:
            code = compile_one(json.loads(line))
            answers.write(b"%d\n" % len(code) + code)
        except Exception:
            message = traceback.format_exc().encode()
            answers.write(b"-%d\n" % len(message) + message)
        answers.flush()
