"""The order of the samples is a function of (seed, epoch)."""

import numpy as np

from diffgraph.training.order import WORTH_A_THREAD, Orders, batches, batches_per_epoch, epoch_order


def test_each_epoch_is_a_permutation_of_its_own():
    orders = [epoch_order(3, epoch, 50) for epoch in range(4)]
    assert all(sorted(o) == list(range(50)) for o in orders)
    assert len({tuple(o) for o in orders}) == 4
    assert not np.array_equal(epoch_order(3, 0, 50), epoch_order(4, 0, 50))


def test_it_is_the_same_again():
    assert np.array_equal(epoch_order(7, 11, 1000), epoch_order(7, 11, 1000))


def test_orders_made_ahead_are_the_same():
    for samples in (50, WORTH_A_THREAD):
        orders = Orders(5, samples)
        for epoch in (0, 1, 2, 7, 8, 3):
            assert np.array_equal(orders.of(epoch, is_last=epoch == 7), epoch_order(5, epoch, samples))


def test_the_ragged_batch_is_kept():
    order = epoch_order(0, 0, 10)
    blocks = batches(order, 4)
    assert [b.shape for b in blocks] == [(2, 4), (1, 2)]
    assert np.array_equal(np.concatenate([b.ravel() for b in blocks]), order)
    assert batches_per_epoch(10, 4) == 3


def test_batches_that_are_done_are_left_out():
    order = np.arange(10)
    assert [b.tolist() for b in batches(order, 4, 1)] == [[[4, 5, 6, 7]], [[8, 9]]]
    assert [b.tolist() for b in batches(order, 4, 2)] == [[[8, 9]]]
    assert batches(order, 4, 3) == []
