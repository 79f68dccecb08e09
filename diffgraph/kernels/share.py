"""The steps of a region (`regions.py`): those of a program for the samples of one share, and what joins the shares."""

from __future__ import annotations

from diffgraph.ir.dimension import product, symbol
from diffgraph.ir.program import Tensor
from diffgraph.ir.resize import Resizer
from diffgraph.kernels.apart import axis_of
from diffgraph.kernels.regions import Region, as_program
from diffgraph.kernels.rows import joined_parts
from diffgraph.kernels.steps import Apart, Step, View


#: What tensors of a share are called after those of all samples, which they are a part of or add to.
_SHARE, _PART = "share", "part"


def name_of_all(name: str) -> str:
    """The name of the tensor of all samples, for one of a share; any other name as it is."""
    first, *rest = name.split(".")
    return ".".join([first, *(piece for piece in rest if piece not in (_SHARE, _PART))])


def region_steps(region: Region, outside) -> list[Step]:
    """The region, and sums over its shares. `outside` is the scheduler of the program that it is a part of."""
    tensors, memory = outside.tensors, outside.memory
    number = sum(name.endswith(".parts") for name in tensors)
    share, shares = (f"{region.batch}_{what}{number or ''}" for what in ("share", "shares"))
    # Where samples come first, those of a share are a tensor by themselves.
    spread = frozenset(n for n, axis in region.views.items() if axis)
    resizer = Resizer({str(region.batch): symbol(share)}, spread, lambda shape: axis_of(shape, region.batch))
    program = resizer.program(as_program(region, outside.of))
    renamed = {n: f"{n}.{_SHARE}" for n in region.views} | {n: f"{n}.{_PART}" for n in region.sums}
    inside = outside.within(renamed, frozenset(region.made))
    known = set(tensors)
    for given in program.inputs:
        if given.tensor.name in region.views:
            inside.declare_tensor(given.tensor)
    steps = inside.steps(program, frozenset(region.results))
    outer = {inside.name(n) for n in (*region.views, *region.sums)}
    own = frozenset(n for n in tensors.keys() - known - outer if memory[n] == n)
    views, sums, joins = [], [], []
    for name, axis in region.views.items():
        shape = outside.of[name].shape
        views.append(View(inside.name(name), outside.name(name), product(shape[axis + 1 :])))
    for name in region.sums:
        whole = outside.declare_tensor(outside.of[name])
        parts = Tensor(f"{name}.parts", (symbol(shares), *whole.shape))
        tensors[parts.name], memory[parts.name] = parts, parts.name
        sums.append((inside.name(name), parts.name))
        joins += outside.joined(whole, joined_parts(parts), program.maker[name].provenance)
    for name in region.made:
        outside.declare_tensor(outside.of[name])
    results = (*(outside.name(n) for n in region.made), *(parts for _, parts in sums))
    return [Apart(region.batch, share, shares, steps, tuple(views), tuple(sums), own, results), *joins]
