"""What instructions compute from registers alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffgraph.targets.cuda.ptx.parse import DTYPES, Instruction

_WIDER = {np.uint32: np.uint64, np.int32: np.int64, np.uint16: np.uint32, np.int16: np.int32}


def bf16_to_float(x: np.ndarray) -> np.ndarray:
    """bfloat16 bits as float32."""
    return (x.astype(np.uint32) << 16).view(np.float32)


def float_to_bf16(x: np.ndarray) -> np.ndarray:
    """float32 rounded to the nearest bfloat16 (ties to even), as bits."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + ((bits >> 16) & 1) + 0x7FFF) >> 16
    return np.where(np.isnan(x), 0x7FFF, rounded).astype(np.uint16)


def float_to_tf32(x: np.ndarray) -> np.ndarray:
    """float32 rounded to the nearest tf32 (ties away), as bits."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return np.where(np.isfinite(x), (bits + 0x1000) & 0xFFFFE000, bits).astype(np.uint32)


def type_of(instruction: Instruction):
    """NumPy's type of the last type that the name of an instruction holds."""
    return next((DTYPES[w] for w in reversed(instruction.name) if w in DTYPES), None)


def _apply(function: Callable, result=None, given=None, last=None):
    """An instruction that sets operand 0 to a function of the others, all of the instruction's type unless said otherwise."""

    def make(launch, instruction: Instruction):
        own = type_of(instruction)
        kinds = [given or own] * (len(instruction.operands) - 1)
        if last is not None:
            kinds[-1] = last
        readers = [launch.reader(o, k) for o, k in zip(instruction.operands[1:], kinds)]
        write = launch.writer(instruction.operands[0], result or own)
        return lambda lanes: write(lanes, function(*(r(lanes) for r in readers)))

    return make


def _saturated(function: Callable):
    """Floats, with `.sat` as a value between 0 and 1."""

    def make(launch, instruction: Instruction):
        if "sat" not in instruction.name:
            return _apply(function)(launch, instruction)
        return _apply(lambda *args: np.clip(np.nan_to_num(function(*args), nan=0.0), 0, 1))(launch, instruction)

    return make


def _fused(a, b, c):
    """a * b + c, rounded once (in float64, the product of two float32 is exact)."""
    wide = np.float64 if a.dtype == np.float32 else a.dtype
    return (a.astype(wide) * b.astype(wide) + c.astype(wide)).astype(a.dtype)


def _fma(launch, instruction):
    mode = next((w for w in instruction.name if w in ("rm", "rp", "rz")), None)
    if mode is None:
        return _saturated(_fused)(launch, instruction)
    return _apply(lambda a, b, c: _directed(a.astype(np.float64) * b + c, mode))(launch, instruction)


def _directed(exact: np.ndarray, mode: str) -> np.ndarray:
    """float64 rounded to float32 downwards, upwards or towards zero."""
    near = exact.astype(np.float32)
    low = np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near)
    high = np.where(near < exact, np.nextafter(near, np.float32(np.inf)), near)
    return {"rm": low, "rp": high, "rz": np.where(exact < 0, high, low)}[mode].astype(np.float32)


def _mul(launch, instruction):
    own = type_of(instruction)
    if "wide" in instruction.name:
        wide = _WIDER[own]
        return _apply(lambda a, b: a.astype(wide) * b.astype(wide), wide)(launch, instruction)
    if "hi" in instruction.name:
        return _apply(_high_half)(launch, instruction)
    return _saturated(lambda a, b: a * b)(launch, instruction)


def _mad(launch, instruction):
    own = type_of(instruction)
    if "wide" in instruction.name:
        wide = _WIDER[own]
        return _apply(lambda a, b, c: a.astype(wide) * b.astype(wide) + c, wide, own, wide)(launch, instruction)
    if "hi" in instruction.name:
        return _apply(lambda a, b, c: _high_half(a, b) + c)(launch, instruction)
    return _apply(lambda a, b, c: a * b + c)(launch, instruction)


def _high_half(a, b):
    bits = 8 * a.dtype.itemsize
    if bits == 32:
        wide = np.int64 if a.dtype.kind == "i" else np.uint64
        return ((a.astype(wide) * b.astype(wide)) >> wide(32)).astype(a.dtype)
    products = [(int(x) * int(y)) >> 64 for x, y in zip(*np.broadcast_arrays(a, b))]
    return np.array([p & (2**64 - 1) for p in products], np.uint64).view(a.dtype)


def _divide(a, b):
    if a.dtype.kind == "f":
        return a / b
    safe = np.where(b == 0, b.dtype.type(1), b)
    if a.dtype.kind == "u":
        return np.where(b == 0, ~a.dtype.type(0), a // safe)
    quotient = np.abs(a) // np.abs(safe)
    return np.where((a < 0) != (b < 0), -quotient, quotient).astype(a.dtype)


def _shift(left: bool):
    def shift(a, b):
        bits = 8 * a.dtype.itemsize
        moved = np.minimum(b, bits - 1).astype(a.dtype)
        result = a << moved if left else a >> moved
        signed = not left and a.dtype.kind == "i"
        return np.where(b >= bits, a >> a.dtype.type(bits - 1) if signed else a.dtype.type(0), result).astype(a.dtype)

    return _apply(shift, last=np.uint32)


def _funnel(launch, instruction):
    """shf: 64 bits moved by up to 31 (`wrap`) or 32 (`clamp`) places, half of them kept."""
    left, wraps = "l" in instruction.name, "wrap" in instruction.name

    def shift(low, high, count):
        both = (high.astype(np.uint64) << np.uint64(32)) | low
        count = count.astype(np.uint64) & np.uint64(31) if wraps else np.minimum(count, 32).astype(np.uint64)
        moved = (both << count) >> np.uint64(32) if left else both >> count
        return moved.astype(np.uint32)

    return _apply(shift, np.uint32, np.uint32)(launch, instruction)


_COMPARE = {
    "eq": np.equal, "ne": lambda a, b: (a < b) | (a > b), "lt": np.less,
    "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "lo": np.less, "ls": np.less_equal, "hi": np.greater,
    "hs": np.greater_equal, "equ": lambda a, b: ~((a < b) | (a > b)), "neu": lambda a, b: ~(a == b),
    "ltu": lambda a, b: ~(a >= b), "leu": lambda a, b: ~(a > b), "gtu": lambda a, b: ~(a <= b), "geu": lambda a, b: ~(a < b),
    "nan": lambda a, b: (a != a) | (b != b), "num": lambda a, b: (a == a) & (b == b),
}  # fmt: skip
_JOIN = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}


def _set_predicate(launch, instruction):
    """setp: a comparison, joined to a predicate; a second result is that of the opposite comparison."""
    own, words = type_of(instruction), instruction.name
    first, _, second = instruction.operands[0].partition("|")
    a, b = (launch.reader(o, own) for o in instruction.operands[1:3])
    compare = _COMPARE[words[1]]
    join = next((_JOIN[w] for w in words[2:] if w in _JOIN), None)
    write = launch.writer(first, np.bool_)
    other = launch.writer(second, np.bool_) if second else None
    third = instruction.operands[3] if join else ""
    predicate = launch.reader(third.lstrip("!"), np.bool_) if join else None

    def step(lanes):
        holds = compare(a(lanes), b(lanes))
        fails = ~holds
        if join:
            given = predicate(lanes) != third.startswith("!")
            holds, fails = join(holds, given), join(fails, given)
        write(lanes, holds)
        if other:
            other(lanes, fails)

    return step


def _select(launch, instruction):
    own = type_of(instruction)
    a, b = (launch.reader(o, own) for o in instruction.operands[1:3])
    condition = launch.reader(instruction.operands[3], np.bool_)
    write = launch.writer(instruction.operands[0], own)
    return lambda lanes: write(lanes, np.where(condition(lanes), a(lanes), b(lanes)))


def _insert_field(launch, instruction):
    """bfi: so many low bits of the first put into the second at a place."""
    own = type_of(instruction)
    readers = [launch.reader(o, k) for o, k in zip(instruction.operands[1:], (own, own, np.uint32, np.uint32))]
    write = launch.writer(instruction.operands[0], own)

    def step(lanes):
        value, into, start, count = (r(lanes).astype(np.uint64) for r in readers)
        mask = ((np.uint64(1) << (count & np.uint64(255))) - np.uint64(1)) << (start & np.uint64(255))
        write(lanes, ((value << (start & np.uint64(255))) & mask | into & ~mask).astype(own))

    return step


def _extract_field(value, start, count):
    """bfe, of unsigned numbers."""
    wide = value.astype(np.uint64) >> (start.astype(np.uint64) & np.uint64(255))
    mask = (np.uint64(1) << (count.astype(np.uint64) & np.uint64(255))) - np.uint64(1)
    return (wide & mask).astype(value.dtype)


def _permute(a, b, selector):
    """prmt: four bytes chosen from eight."""
    both = (b.astype(np.uint64) << np.uint64(32)) | a
    result = np.zeros(np.broadcast(a, b, selector).shape, np.uint64)
    for place in range(4):
        choice = (selector.astype(np.uint64) >> np.uint64(4 * place)) & np.uint64(15)
        byte = (both >> ((choice & np.uint64(7)) * np.uint64(8))) & np.uint64(255)
        byte = np.where(choice & np.uint64(8), np.where(byte & np.uint64(128), 255, 0).astype(np.uint64), byte)
        result |= byte << np.uint64(8 * place)
    return result.astype(np.uint32)


def _count_bits(x):
    return np.array([int(v).bit_count() for v in x.reshape(-1)], np.uint32)


def _leading_zeros(x):
    bits = 8 * x.dtype.itemsize
    return np.array([bits - int(v).bit_length() for v in x.reshape(-1)], np.uint32)


def _convert(launch, instruction):
    """cvt between all types, with its modes of rounding."""
    words = instruction.name
    target, source = [w for w in words if w in DTYPES][:2]
    if target == "bf16x2":
        high, low = (launch.reader(o, np.float32) for o in instruction.operands[1:3])
        write = launch.writer(instruction.operands[0], np.uint32)
        return lambda lanes: write(
            lanes, (float_to_bf16(high(lanes)).astype(np.uint32) << 16) | float_to_bf16(low(lanes)).astype(np.uint32)
        )
    special = {"tf32": (float_to_tf32, np.uint32, np.float32), "bf16": (float_to_bf16, np.uint16, np.float32)}
    if target in special:
        return _apply(*special[target])(launch, instruction)
    if source == "bf16":
        return _apply(bf16_to_float, np.float32, np.uint16)(launch, instruction)
    into, given = np.dtype(DTYPES[target]), np.dtype(DTYPES[source])
    return _apply(_conversion(into, given, words), into, given)(launch, instruction)


def _conversion(into: np.dtype, given: np.dtype, words) -> Callable:
    to_whole = {"rzi": np.trunc, "rni": np.rint, "rmi": np.floor, "rpi": np.ceil}
    whole = next((to_whole[w] for w in words if w in to_whole), None)
    if given.kind == "f" and into.kind in "iu":
        least, most = np.iinfo(into).min, np.iinfo(into).max

        def cut(x):
            exact = np.nan_to_num((whole or np.trunc)(x.astype(np.float64)), nan=0.0)
            inside = (exact > float(least)) & (exact < float(most))
            return np.where(inside, np.where(inside, exact, 0).astype(into), np.where(exact > 0, most, least).astype(into))

        return cut
    if given.kind == "f" and whole:
        return lambda x: whole(x).astype(into)
    if "sat" in words and into.kind == "f":
        return lambda x: np.clip(np.nan_to_num(x, nan=0.0), 0, 1).astype(into)
    return lambda x: x.astype(into)


def _rounded(function: Callable) -> Callable:
    """A function computed in float64."""
    return _apply(lambda x: function(x.astype(np.float64)).astype(x.dtype))


def _nan_wins(function: Callable):
    """min and max give the number of two of which one is not; with `.NaN`, NaN."""

    def make(launch, instruction):
        whole = type_of(instruction)(0).dtype.kind != "f"
        strict = "NaN" in instruction.name or whole
        return _apply(function[0] if strict else function[1])(launch, instruction)

    return make


def _test_property(launch, instruction):
    tests = {"infinite": np.isinf, "finite": np.isfinite, "notanumber": np.isnan, "number": lambda x: x == x}
    return _apply(tests[instruction.name[1]], np.bool_)(launch, instruction)


def _logic(word: str, of_bits: Callable, of_predicates: Callable):
    def make(launch, instruction):
        predicate = instruction.name[-1] == "pred"
        return _apply(of_predicates if predicate else of_bits)(launch, instruction)

    return make


#: By the first word of the name.
OPERATIONS = {
    "add": _saturated(lambda a, b: a + b),
    "sub": _saturated(lambda a, b: a - b),
    "mul": _mul,
    "mad": _mad,
    "fma": _fma,
    "div": _apply(_divide),
    "rem": _apply(lambda a, b: np.where(b == 0, a, np.fmod(a, np.where(b == 0, b.dtype.type(1), b)))),
    "min": _nan_wins((np.minimum, np.fmin)),
    "max": _nan_wins((np.maximum, np.fmax)),
    "neg": _apply(lambda a: -a),
    "abs": _apply(np.abs),
    "not": _logic("not", lambda a: ~a, np.logical_not),
    "and": _logic("and", np.bitwise_and, np.logical_and),
    "or": _logic("or", np.bitwise_or, np.logical_or),
    "xor": _logic("xor", np.bitwise_xor, np.logical_xor),
    "shl": _shift(True),
    "shr": _shift(False),
    "shf": _funnel,
    "setp": _set_predicate,
    "selp": _select,
    "bfi": _insert_field,
    "bfe": _apply(_extract_field),
    "prmt": _apply(_permute, np.uint32, np.uint32),
    "popc": _apply(_count_bits, np.uint32),
    "clz": _apply(_leading_zeros, np.uint32),
    "cvt": _convert,
    "copysign": _apply(lambda a, b: np.copysign(b, a)),
    "testp": _test_property,
    "ex2": _rounded(np.exp2),
    "lg2": _rounded(np.log2),
    "rcp": _rounded(lambda x: 1 / x),
    "rsqrt": _rounded(lambda x: 1 / np.sqrt(x)),
    "sqrt": _rounded(np.sqrt),
    "sin": _rounded(np.sin),
    "cos": _rounded(np.cos),
    "tanh": _rounded(np.tanh),
}
