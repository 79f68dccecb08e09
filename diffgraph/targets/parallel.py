"""Compiling many kernels at once: this process works, and so do others, each on the next kernel of one list.

A worker (`python -m MODULE`, which calls `serve`) reads jobs as lines of JSON and answers each with a line that holds the
number of bytes, then the code. A negative number: that many bytes of an error message. Who has started one keeps it for
the next list: it has loaded the compiler, and knows what kernels have in common.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict

from diffgraph.diagnostics import CompilerBug

#: Starting a worker takes as long as compiling this many kernels.
WORTH_A_WORKER = 10

#: Seconds after which a worker that nobody asks ends, and gives its memory back.
PATIENCE = 20.0

#: The workers of this process that have nothing to do, by their module.
_resting: dict[str, list[subprocess.Popen]] = {}
_resting_lock = threading.Lock()


def compile_all(
    jobs: Sequence, here: Callable[[object], bytes], worker: str, done: Callable[[object, bytes], None]
) -> None:
    """Compiles jobs, dataclasses that JSON can hold, and gives each with its code to `done`, in any order, one at a time.
    here(job): what compiles one in this process; worker: the module of those that help."""
    queue = list(reversed(jobs))
    lock = threading.Lock()
    helpers = helpers_for(len(jobs), worker)
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


def helpers_for(jobs: int, worker: str) -> int:
    """How many workers that many jobs are worth: those that rest cost nothing."""
    with _resting_lock:
        resting = _resting.get(worker, [])
        for process in [p for p in resting if p.poll() is not None]:
            resting.remove(process)
            _end(process)
        wanted = max(jobs // WORTH_A_WORKER, min(jobs - 1, len(resting)))
    return min(wanted, (os.cpu_count() or 1) - 1)


def _with_worker(work: Callable[[Callable[[object], bytes]], None], worker: str) -> None:
    """Does work with a process of its own, one that rests or a new one."""
    try:
        process = _rested(worker) or _started(worker)
    except OSError:
        return
    gone = False

    def ask(job) -> bytes:
        nonlocal gone
        try:
            return _ask(process, worker, job)
        except OSError:
            gone = True
            raise

    work(ask)
    if gone:
        _end(process)
    else:
        with _resting_lock:
            _resting.setdefault(worker, []).append(process)


def _rested(worker: str) -> subprocess.Popen | None:
    """A worker of this module that has nothing to do."""
    with _resting_lock:
        return _resting[worker].pop() if _resting.get(worker) else None


def _started(worker: str) -> subprocess.Popen:
    """A new worker. It is in a group of its own: who interrupts a run does not mean those that rest."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-m", worker]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, process_group=0
    )


def _end(process: subprocess.Popen) -> None:
    with suppress(OSError), process:
        process.stdin.close()


@atexit.register
def _end_all() -> None:
    for process in [p for processes in _resting.values() for p in processes]:
        _end(process)
    _resting.clear()


def _forget_those_of_the_parent() -> None:
    """A process made by fork does not speak into the pipes of the one that it comes from."""
    global _resting_lock
    _resting_lock = threading.Lock()
    for process in [p for processes in _resting.values() for p in processes]:
        process.returncode = 0
        process.stdin.close()
        process.stdout.close()
    _resting.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_those_of_the_parent)


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
    """What a worker does, until the input ends or nothing comes. compile_one: the code of a job, given as its fields."""
    answers = sys.stdout.buffer
    while line := _next_line():
        try:
            code = compile_one(json.loads(line))
            answers.write(b"%d\n" % len(code) + code)
        except Exception:
            message = traceback.format_exc().encode()
            answers.write(b"-%d\n" % len(message) + message)
        answers.flush()
    # Nothing is left to be put away; whoever waits for the end shall not wait for Python's.
    os._exit(0)


def _next_line() -> bytes:
    """A line of the input, nothing at its end; whoever waits too long for one ends."""
    patience = threading.Timer(PATIENCE, os._exit, (0,))
    patience.daemon = True
    patience.start()
    try:
        return sys.stdin.buffer.readline()
    finally:
        patience.cancel()
