"""Numba's door to LLVM: functions of kernels that write their own code."""

from __future__ import annotations

from numba.cuda import extending

#: A function of types that gives (signature, code).
intrinsic = extending.intrinsic

#: The same, and types of ints that are written out in the call hold their value.
literal_intrinsic = extending._intrinsic(target="cuda", prefer_literal=True)
