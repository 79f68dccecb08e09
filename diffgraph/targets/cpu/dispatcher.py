"""The one native call: what runs a plan (see `rows.py`), alone or as a team of threads.

The threads of a team go through the plan together. Between rows they wait for each other by counting arrivals in one word,
which costs some 50 ns where every thread has a core of its own. While a plan runs, floats too small to be normal are 0:
what vanishes (a gradient over a thousand steps, the square of one in an optimizer) would take a hundred times as long.
"""

from __future__ import annotations

from numba import njit
from numba.core import types
from numba.core.typing import signature

from diffgraph.targets.cpu.native import (
    atomic_add,
    atomic_load,
    call_kernel,
    clock,
    copy_bytes,
    flush_subnormals,
    give_way,
    relax,
    restore_floats,
    words_at,
)
from diffgraph.targets.cpu.rows import (
    ADDRESSES,
    APART,
    ARRIVED,
    BARRIER,
    BEGIN,
    CALL,
    COPY,
    COUNT,
    COUNT_OF_ROWS,
    COUNTERS,
    END,
    JOB,
    LEVELS,
    LINK,
    MAILBOX,
    MOVE,
    PATIENCE,
    PLACE,
    PLAN,
    PUT,
    SLEEPY,
    SWAP,
    THREADS,
    TICK,
    WAIT,
    WIDTH,
)


@njit(error_model="numpy")
def _share_out(plan, row, addresses, thread, threads):
    """The part of a kernel's units that is a thread's own, in blocks of its grain."""
    share = min(threads, plan[row + 5])
    if thread < share:
        units = plan[row + 4]
        grain = plan[row + 6]
        blocks = (units + grain - 1) // grain
        first = (thread * blocks // share) * grain
        last = min(units, ((thread + 1) * blocks // share) * grain)
        if first < last:
            call_kernel(plan[row + 1], addresses, plan[row + 2], plan[row + 3], first, last, thread)


@njit(error_model="numpy")
def _change(plan, row, addresses):
    """The rows that change addresses and single words."""
    code = plan[row]
    slot = plan[row + 1]
    if code == COPY:
        copy_bytes(addresses[slot], addresses[plan[row + 2]], plan[row + 3])
    elif code == LINK:
        addresses[slot] = addresses[plan[row + 2]] + plan[row + 3]
    elif code == MOVE:
        addresses[slot] = addresses[slot] + plan[row + 2]
    elif code == SWAP:
        kept = addresses[slot]
        addresses[slot] = addresses[plan[row + 2]]
        addresses[plan[row + 2]] = kept
    elif code == PUT:
        words_at(addresses[slot])[0] = plan[row + 2]
    elif code == COUNT:
        cell = words_at(addresses[slot])
        cell[0] = cell[0] + plan[row + 2]
    elif code == TICK:
        words = words_at(slot)
        now = clock()
        cell = plan[row + 2]
        words[cell] = words[cell] + now - words[0]
        words[0] = now


@njit(error_model="numpy")
def _wait(barrier, arrivals):
    """Waits until so many arrivals have been counted, this one included. The count is never set back: who is late in
    looking must not miss it."""
    atomic_add(barrier, 0, 1)
    looks = 0
    while atomic_load(barrier, 0) < arrivals:
        relax()
        looks += 1
        if looks > PATIENCE:
            looks = 0
            give_way()


@njit(error_model="numpy")
def _turn(plan, row, counters, thread):
    """The row that follows the beginning or the end of a loop."""
    level = thread * LEVELS + plan[row + 1]
    if plan[row] == BEGIN:
        counters[level] = plan[row + 2]
        return plan[row + 3] if plan[row + 2] == 0 else row // WIDTH + 1
    counters[level] = counters[level] - 1
    return plan[row + 2] if counters[level] > 0 else row // WIDTH + 1


@njit(error_model="numpy")
def _run_share(plan, at, end, addresses, counters, share, thread):
    """Runs the rows for one share alone, with addresses that are the thread's own."""
    while at < end:
        row = at * WIDTH
        code = plan[row]
        at += 1
        if code == CALL:
            call_kernel(plan[row + 1], addresses, plan[row + 2], plan[row + 3], 0, plan[row + 4], 0)
        elif code == PLACE:
            place = addresses[plan[row + 2]] + plan[row + 3] + share * plan[row + 4] + thread * plan[row + 5]
            addresses[plan[row + 1]] = place
        elif code in (BEGIN, END):
            at = _turn(plan, row, counters, thread)
        elif code != TICK or thread == 0:
            _change(plan, row, addresses)


@njit(error_model="numpy")
def _run_apart(plan, row, addresses, counters, thread, threads):
    """Runs the shares that are a thread's own."""
    shares = plan[row + 1]
    team = min(threads, plan[row + 5])
    if thread >= team:
        return
    words = plan[row + 4]
    own = words_at(plan[row + 3] + 8 * words * thread)
    for word in range(words):
        own[word] = addresses[word]
    first = row // WIDTH + 1
    for share in range(thread * shares // team, (thread + 1) * shares // team):
        if share + 1 < shares:
            _run_share(plan, first, plan[row + 6], own, counters, share, thread)
        else:
            _run_share(plan, plan[row + 6], plan[row + 2], own, counters, share, thread)


@njit(error_model="numpy")
def _run_rows(plan, rows, addresses, counters, barrier, arrived, thread, threads):
    """Runs a plan as one thread of a team. `arrived`: what the barrier has counted before."""
    at = 0
    while at < rows:
        row = at * WIDTH
        code = plan[row]
        at += 1
        if code == CALL:
            _share_out(plan, row, addresses, thread, threads)
        elif code in (BEGIN, END):
            at = _turn(plan, row, counters, thread)
        elif code == APART:
            _run_apart(plan, row, addresses, counters, thread, threads)
            at = plan[row + 2]
        elif thread == 0:
            _change(plan, row, addresses)
        if threads > 1 and plan[row + WAIT] != 0:
            arrived += threads
            _wait(barrier, arrived)


def start(plan, rows, addresses, counters, barrier, threads, mailboxes):
    """Runs a plan with a team, as its thread 0; workers 1, 2, ... find the job in their mailboxes. All are addresses."""
    arrived = atomic_load(words_at(barrier), 0)
    boxes = words_at(mailboxes)
    for worker in range(1, threads):
        box = worker * MAILBOX
        boxes[box + PLAN] = plan
        boxes[box + COUNT_OF_ROWS] = rows
        boxes[box + ADDRESSES] = addresses
        boxes[box + COUNTERS] = counters
        boxes[box + BARRIER] = barrier
        boxes[box + ARRIVED] = arrived
        boxes[box + THREADS] = threads
        atomic_add(boxes, box + JOB, 1)
    table, cells = words_at(addresses), words_at(counters)
    mode = flush_subnormals()
    _run_rows(words_at(plan), rows, table, cells, words_at(barrier), arrived, 0, threads)
    restore_floats(mode)


def serve(mailbox, done, worker):
    """Does the jobs of a worker until none has come for a while. `done` is the number of the last job that it did; gives
    the same at the end. A job ends when the team has waited for all at the last row."""
    box = words_at(mailbox)
    mode = flush_subnormals()
    looks = 0
    while looks < SLEEPY:
        relax()
        looks += 1
        if looks % PATIENCE == 0:
            # On a crowded machine the caller may be waiting for this very core.
            give_way()
        job = atomic_load(box, JOB)
        if job != done:
            done = job
            looks = 0
            plan, rows = words_at(box[PLAN]), box[COUNT_OF_ROWS]
            addresses, counters, barrier = words_at(box[ADDRESSES]), words_at(box[COUNTERS]), words_at(box[BARRIER])
            _run_rows(plan, rows, addresses, counters, barrier, box[ARRIVED], worker, box[THREADS])
    restore_floats(mode)
    return done


_word = types.int64

#: The functions that the runtime calls from Python, with their signatures.
ENTRIES = {
    "start": (start, signature(types.void, *(_word,) * 7)),
    "serve": (serve, signature(_word, _word, _word, _word)),
}
