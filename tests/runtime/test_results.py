"""Results belong to the caller: memory is used again only when nobody can see it any more."""

import gc
import threading

import numpy as np
import pytest
from agreement import program_of

from diffgraph.runtime.executable import build
from diffgraph.runtime.results import LARGE, PAGE, Pool, allocate

TEXT = """
    input x[N, 128]
    y[n, i] = 2 * x[n, i]
    z[n, i] = x[n, i] + 1
    output y
    output z
    output same = y
    output given = x"""
DOUBLED = "input x[N, 128]\ny[n, i] = 2 * x[n, i]\noutput y"

ROWS = LARGE // (128 * 4)


@pytest.fixture(scope="module")
def step():
    """Runs a program whose result is twice a number everywhere."""
    executable = build(program_of(DOUBLED), "cpu")
    x = np.zeros((ROWS, 128), np.float32)
    run = executable.stepper({"x": x})

    def at(value: float) -> np.ndarray:
        x[...] = value
        return run()["y"]

    return at


def address(array) -> int:
    return array.__array_interface__["data"][0]


def test_a_result_stays_while_others_are_made(step):
    kept = [step(k) for k in range(5)]
    for k, array in enumerate(kept):
        assert (array == 2 * k).all() and array.flags.writeable


@pytest.mark.parametrize(
    "part",
    [
        lambda y: y[3:5],
        lambda y: y.T[::2],
        lambda y: y.reshape(-1)[7:].view(np.int32),
        memoryview,
        lambda y: np.frombuffer(y, np.float32),
        lambda y: np.asarray(memoryview(y))[1],
        lambda y: [y[k] for k in range(2)][1],
        lambda y: np.lib.stride_tricks.as_strided(y, (2,), (4,)),
        lambda y: next(iter(y)),
        lambda y: np.broadcast_to(y[0], (3, 128)),
    ],
)
def test_what_sees_a_part_of_a_result_keeps_it(step, part):
    seen = part(step(3))
    before = np.array(seen)
    for k in range(4):
        step(k)
    gc.collect()
    step(9)
    np.testing.assert_array_equal(np.array(seen), before)


def test_a_tensor_of_another_library_keeps_it(step):
    torch = pytest.importorskip("torch")
    seen = torch.from_numpy(step(3))[2:4]
    for k in range(4):
        step(k)
    assert bool((seen == 6).all())


def test_memory_is_used_again(step):
    """A loop that drops its results alternates between two places at most."""
    found = set()
    for k in range(10):
        y = step(k)
        found.add(address(y))
    assert len(found) <= 2


def test_no_more_memory_is_kept_than_a_run_needs():
    pool = Pool(LARGE, 1)
    loans = [pool.lend() for _ in range(5)]
    assert len({loan.address for loan in loans}) == 5
    del loans
    gc.collect()
    assert len(pool._free) == 1
    again = [pool.lend() for _ in range(3)]
    assert len({loan.address for loan in again}) == 3


def test_results_in_one_memory_are_apart():
    executable = build(program_of(TEXT), "cpu")
    x = np.ones((ROWS, 128), np.float32)
    found = executable.run({"x": x})
    for name, array in found.items():
        others = {n: a.copy() for n, a in found.items() if n != name}
        array[...] = 77
        for other, before in others.items():
            np.testing.assert_array_equal(found[other], before)
    assert (x == 1).all()


def test_threads_never_share_a_result(step):
    """Results are dropped by one thread while others are made."""
    seen, wrong = [], []
    done = threading.Event()

    def drop():
        while not done.is_set():
            while seen:
                value, array = seen.pop()
                if not (array == value).all():
                    wrong.append(value)

    droppers = [threading.Thread(target=drop) for _ in range(2)]
    for thread in droppers:
        thread.start()
    for k in range(200):
        seen.append((2 * k, step(k)))
    done.set()
    for thread in droppers:
        thread.join()
    assert not wrong


def test_a_result_outlives_what_made_it():
    executable = build(program_of(DOUBLED), "cpu")
    y = executable.run({"x": np.ones((ROWS, 128), np.float32)})["y"]
    del executable
    gc.collect()
    assert (y == 2).all()


@pytest.mark.parametrize("size", [1, 1000, PAGE - 1, PAGE, 3 * PAGE + 5])
def test_allocated_memory_is_aligned_and_large_enough(size):
    memory, start = allocate(size)
    assert memory.nbytes - start >= size
    assert (memory.ctypes.data + start) % (64 if size < PAGE else PAGE) == 0
    memory[start : start + size] = 1
