"""Workers that compile for a process: they stay for the next list, and nobody waits for one that is gone."""

import os
from dataclasses import dataclass

import pytest

from diffgraph.diagnostics import CompilerBug
from diffgraph.targets import parallel

WORKER = """
import os
from diffgraph.targets.parallel import serve

def compiled(fields):
    if fields["text"] == "wrong":
        raise ValueError("this text is wrong")
    return str(os.getpid()).encode()

if __name__ == "__main__":
    serve(compiled)
"""


@dataclass(frozen=True)
class Job:
    text: str


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """The name of a module whose workers answer with the number of their process."""
    name = f"worker_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(WORKER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(parallel.os, "cpu_count", lambda: 2)
    yield name
    for process in parallel._resting.pop(name, ()):
        parallel._end(process)


def by_others(worker, text="right", count=40):
    """Which processes beside this one compiled a list of jobs; it may be that this one is never fast enough to do any."""
    found = []
    parallel.compile_all([Job(text)] * count, here, worker, lambda job, code: found.append(int(code)))
    assert len(found) == count
    return set(found) - {os.getpid()}


def here(job):
    """Takes its time, so that others get jobs, too."""
    parallel.threading.Event().wait(0.02)
    return str(os.getpid()).encode()


def test_a_worker_stays_until_it_is_gone(worker):
    first = by_others(worker)
    assert len(first) == 1 and by_others(worker, count=6) == first
    (process,) = parallel._resting[worker]
    process.kill()
    process.wait()
    assert by_others(worker, count=6) == set() and not parallel._resting[worker]
    process = parallel._started(worker)
    parallel._resting[worker].append(process)
    process.poll = lambda: None  # nobody has noticed yet
    process.kill()
    assert by_others(worker, count=6) == set() and not parallel._resting[worker]


def test_a_process_made_by_fork_has_no_workers(worker):
    by_others(worker)
    child = os.fork() if hasattr(os, "fork") else pytest.skip("no fork here")
    if not child:
        os._exit(len(parallel._resting))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(parallel._resting[worker]) == 1 and by_others(worker, count=6)


def test_mistakes_of_workers_are_told(worker):
    with pytest.raises(CompilerBug, match="this text is wrong"):
        by_others(worker, "wrong")
