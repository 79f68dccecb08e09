"""The interpreter of PTX: what it computes, and the mistakes that it finds."""

import numpy as np
import pytest

from diffgraph.targets.cuda.ptx.launch import Divergence, Launch
from diffgraph.targets.cuda.ptx.memory import Memory, MemoryFault, Race
from diffgraph.targets.cuda.ptx.parse import UnknownPtx, parse

HEAD = """
.visible .entry kernel(.param .u64 out, .param .u64 in)
{
    .reg .pred %p<4>; .reg .f32 %f<16>; .reg .b32 %r<16>; .reg .b64 %rd<16>;
    .shared .align 16 .b8 buffer[512];
    ld.param.u64 %rd1, [out]; ld.param.u64 %rd2, [in];
    mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x;
    mad.lo.s32 %r4, %r2, %r3, %r1;
    mul.wide.s32 %rd3, %r4, 4; add.s64 %rd4, %rd1, %rd3; add.s64 %rd5, %rd2, %rd3;
    shl.b32 %r5, %r1, 2; mov.u32 %r6, buffer; add.s32 %r7, %r6, %r5;
"""


def run(body, values, threads=64, blocks=1, outputs=None):
    """What a kernel writes: a float32 for each thread, unless said otherwise."""
    memory = Memory(1 << 22)
    count = threads * blocks if outputs is None else outputs
    given = memory.allocate(values.nbytes)
    memory.write(given, values)
    out = memory.allocate(4 * count)
    Launch(parse(f"{HEAD}{body} ret; }}"), memory, (blocks,), (threads,), (out, given))
    return memory.read(out, np.float32, (count,))


@pytest.fixture
def values(rng):
    return rng.standard_normal(64).astype(np.float32)


def test_arithmetic(values):
    body = "ld.global.f32 %f1, [%rd5]; fma.rn.f32 %f2, %f1, %f1, 0f3F800000; st.global.f32 [%rd4], %f2;"
    np.testing.assert_array_equal(run(body, values), (values.astype(np.float64) ** 2 + 1).astype(np.float32))


def test_branches_part_and_meet_again(values):
    body = """ld.global.f32 %f1, [%rd5]; setp.lt.f32 %p1, %f1, 0f00000000; @%p1 bra LESS;
        add.f32 %f1, %f1, 0f3F800000; bra.uni DONE;
        LESS: neg.f32 %f1, %f1;
        DONE: st.global.f32 [%rd4], %f1;"""
    np.testing.assert_array_equal(run(body, values), np.where(values < 0, -values, values + np.float32(1)))


def test_shuffles(values):
    body = """ld.global.f32 %f1, [%rd5]; mov.b32 %r8, %f1; shfl.sync.bfly.b32 %r9|%p1, %r8, 1, 31, -1;
        mov.b32 %f2, %r9; st.global.f32 [%rd4], %f2;"""
    np.testing.assert_array_equal(run(body, values), values.reshape(-1, 2)[:, ::-1].reshape(-1))


NEIGHBOUR = """ld.global.f32 %f1, [%rd5]; st.shared.f32 [%r7], %f1; {barrier}
    xor.b32 %r8, %r5, 252; add.s32 %r8, %r6, %r8; ld.shared.f32 %f2, [%r8]; st.global.f32 [%rd4], %f2;"""


def test_shared_memory_with_a_barrier(values):
    np.testing.assert_array_equal(run(NEIGHBOUR.format(barrier="bar.sync 0;"), values), values[::-1])


def test_a_missing_barrier_is_a_race(values):
    with pytest.raises(Race):
        run(NEIGHBOUR.format(barrier=""), values)


def test_two_blocks_that_write_one_place(values):
    with pytest.raises(Race):
        run("cvt.u64.u32 %rd6, %r5; add.s64 %rd6, %rd1, %rd6; st.global.f32 [%rd6], 0f3F800000;", values, blocks=2)


def test_out_of_bounds(values):
    with pytest.raises(MemoryFault, match="out of bounds"):
        run("ld.global.f32 %f1, [%rd5+4]; st.global.f32 [%rd4], %f1;", values)


def test_out_of_alignment(values):
    with pytest.raises(MemoryFault, match="not aligned"):
        run("ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd2+4]; st.global.f32 [%rd4], %f1;", values)


def test_a_barrier_that_not_all_reach(values):
    body = "setp.lt.s32 %p1, %r1, 8; @%p1 bra OVER; bar.sync 0; OVER: bar.sync 0; st.global.f32 [%rd4], 0f00000000;"
    with pytest.raises(Divergence):
        run(body, values)


def test_a_shuffle_that_not_all_reach(values):
    body = """setp.lt.s32 %p1, %r1, 8; @%p1 bra OVER; shfl.sync.bfly.b32 %r9|%p2, %r1, 1, 31, -1;
        OVER: st.global.f32 [%rd4], 0f00000000;"""
    with pytest.raises(Divergence):
        run(body, values)


COPY = "cp.async.ca.shared.global [%r7], [%rd5], 4; cp.async.commit_group; {wait} ld.shared.f32 %f1, [%r7]; st.global.f32 [%rd4], %f1;"


def test_copies_arrive_when_they_are_waited_for(values):
    np.testing.assert_array_equal(run(COPY.format(wait="cp.async.wait_group 0;"), values), values)


def test_copies_that_nobody_waits_for_are_not_there(values):
    assert np.isnan(run(COPY.format(wait=""), values)).all()


def test_what_nothing_has_written_is_not_a_number(values):
    assert np.isnan(run("ld.shared.f32 %f1, [%r7]; st.global.f32 [%rd4], %f1;", values)).all()


@pytest.mark.parametrize("kind, depth", [("tf32", 8), ("bf16", 16)])
def test_fragments_of_matrix_units(kind, depth, rng):
    """The layout of the PTX manual, section `mma`: A by rows, B by columns, eight groups of four lanes."""
    a, b = rng.integers(-8, 8, (16, depth)).astype(np.float32), rng.integers(-8, 8, (depth, 8)).astype(np.float32)
    words = np.zeros((32, 6), np.uint32)
    for lane in range(32):
        group, place = lane // 4, lane % 4
        for n in range(4):
            row, half = group + 8 * (n & 1), n >> 1
            words[lane, n] = word(a[row], kind, place, half)
        for n in range(2):
            words[lane, 4 + n] = word(b[:, group], kind, place, n)
    loads = "".join(f"ld.global.u32 %r{8 + n}, [%rd7+{4 * n}];" for n in range(6))
    body = f"""mul.wide.s32 %rd6, %r1, 24; add.s64 %rd7, %rd2, %rd6; {loads}
        mma.sync.aligned.m16n8k{depth}.row.col.f32.{kind}.{kind}.f32 {{%f1,%f2,%f3,%f4}}, {{%r8,%r9,%r10,%r11}},
            {{%r12,%r13}}, {{0f00000000,0f00000000,0f00000000,0f00000000}};
        mul.wide.s32 %rd6, %r1, 16; add.s64 %rd8, %rd1, %rd6; st.global.v4.f32 [%rd8], {{%f1,%f2,%f3,%f4}};"""
    found = run(body, words.view(np.float32), threads=32, outputs=128).reshape(32, 4)
    product = a @ b
    for lane in range(32):
        for n in range(4):
            assert found[lane, n] == product[lane // 4 + 8 * (n >> 1), 2 * (lane % 4) + (n & 1)]


def word(line, kind, place, half):
    """The bits of one word of a fragment: one element, or two of 16 bits."""
    if kind == "tf32":
        return line[place + 4 * half : place + 4 * half + 1].view(np.uint32)[0]
    low, high = (int(line[2 * place + 8 * half + n : 2 * place + 8 * half + n + 1].view(np.uint32)[0]) >> 16 for n in (0, 1))
    return low | high << 16


def test_what_it_does_not_know_it_says():
    with pytest.raises(UnknownPtx, match="wgmma"):
        run("wgmma.fence.sync.aligned;", np.zeros(64, np.float32))


def test_a_barrier_for_some_of_the_threads(values):
    body = """ld.global.f32 %f1, [%rd5]; setp.ge.s32 %p1, %r1, 32; @%p1 bra OVER;
        st.shared.f32 [%r7], %f1; bar.sync 1, 32; OVER: bar.sync 0; {more}
        xor.b32 %r8, %r5, 124; add.s32 %r8, %r6, %r8; @%p1 bra END; ld.shared.f32 %f2, [%r8]; st.global.f32 [%rd4], %f2; END:"""
    found = run(body.format(more=""), values)
    np.testing.assert_array_equal(found[:32], values[:32][::-1])
    with pytest.raises(Divergence, match="different numbers"):
        run(body.format(more="@%p1 bra LAST; bar.sync 1, 32; LAST: @!%p1 bra NEXT; bar.sync 1, 64; NEXT:").replace(
            "bar.sync 1, 32; LAST", "bar.sync 1, 48; LAST"), values)


WAIT = """setp.ne.s32 %p1, %r2, 0; @%p1 bra WAITS; ld.global.f32 %f1, [%rd2]; st.global.f32 [%rd1], %f1; bar.sync 0;
    setp.ne.s32 %p2, %r1, 0; @%p2 bra END; atom.add.{release}gpu.global.u32 %r9, [%rd1+256], 1; bra.uni END;
    WAITS: nanosleep.u32 20; ld.{acquire}global.u32 %r9, [%rd1+256]; setp.eq.s32 %p3, %r9, -1; @%p3 bra WAITS; bar.sync 0;
    setp.ne.s32 %p2, %r1, 0; @%p2 bra END; ld.global.f32 %f2, [%rd1]; st.global.f32 [%rd1+128], %f2; END:"""


def test_a_block_that_waits_for_another(values):
    """What a release lets others know is ordered; what is only seen is a race; who never comes is not waited for."""
    kernel = WAIT.replace("ld.global.f32 %f1", "setp.ne.s32 %p2, %r1, 0; @%p2 bra DONE; ld.global.f32 %f1").replace(
        "[%rd1], %f1; bar", "[%rd1], %f1; DONE: bar")
    found = run(kernel.format(release="release.", acquire="acquire.gpu."), values, threads=32, blocks=2, outputs=96)
    assert found[32] == values[0]
    with pytest.raises(Race):
        run(kernel.format(release="", acquire="acquire.gpu."), values, threads=32, blocks=2, outputs=96)
    with pytest.raises(Divergence, match="never come"):
        run(kernel.format(release="release.", acquire="acquire.gpu.").replace("1; bra.uni END", "0; bra.uni END"), values,
            threads=32, blocks=2, outputs=96)
