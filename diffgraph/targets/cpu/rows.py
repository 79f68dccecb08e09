"""The format of a plan: what the runtime writes and the dispatcher reads.

A plan is a table of rows of `WIDTH` int64 words, run by every thread of a team in step. Rows that are not kernels are run
by thread 0. Where the last word of a row is not zero, the team waits for all before it goes on.

Between APART and the row after it, threads go through the rows alone, once for each of the shares that are theirs, with a
table of addresses of their own (of so many words, at `tables`), which begins as a copy of the common one. The last share
has rows of its own.

    CALL      function, slots, sizes, units, threads, grain     run a kernel, its units shared out
    COPY      target slot, source slot, bytes
    LINK      slot, of slot, offset                             addresses[slot] = addresses[of] + offset
    MOVE      slot, bytes                                       addresses[slot] += bytes
    SWAP      slot, slot                                        the addresses change places
    PUT       slot, value                                       the int64 there = value
    COUNT     slot, value                                       the int64 there += value
    BEGIN     level, count, row after the loop                  a loop
    END       level, first row of the loop
    APART     shares, row after, tables, words, threads, first row for the last share     the rows up to there for each share
    PLACE     slot, of slot, offset, more, more for a thread    addresses[slot] = addresses[of] + offset + share * more + ...
    TICK      words, cell                                       words[cell] += the time since the last tick, of words[0]
"""

CALL, COPY, LINK, MOVE, SWAP, PUT, COUNT, BEGIN, END, TICK, APART, PLACE = range(12)
WIDTH = 8
WAIT = 7

#: Loops may be nested so deep; each thread has as many counters.
LEVELS = 16

#: A waiting thread looks this often before it lets others run; a worker without a job, before it goes to sleep.
PATIENCE = 400
SLEEPY = 10000

#: Words of the mailbox of a worker: the number of the last job, and the arguments of `run_rows`.
JOB, PLAN, COUNT_OF_ROWS, ADDRESSES, COUNTERS, BARRIER, ARRIVED, THREADS = range(8)
MAILBOX = 16
