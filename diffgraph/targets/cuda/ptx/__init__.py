"""PTX executed with NumPy: what a generated kernel computes, on a machine without a GPU.

All threads of all blocks of a launch run as the lanes of arrays; where they part, groups of lanes go on by themselves and
meet again at the lowest instruction. Beside the values it finds what a GPU does not tell: accesses out of bounds or out of
alignment, reads of memory that nothing has written, races between barriers, collectives that not all lanes of a warp
reach, barriers that not all threads reach, and copies that are read before they have been waited for.

It knows the instructions that this target's kernels use, takes no account of time, and gives the approximate functions
(`ex2.approx` and the like) correctly rounded.
"""
