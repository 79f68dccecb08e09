"""How long the middle takes on a deep network: `python -m benchmarks.middle [blocks]`.

500 blocks of conv, batchnorm and relu: elaborated, differentiated, and through all passes. The goal is 2 s for the last
two together on a quiet machine.
"""

from __future__ import annotations

import sys
import time

from diffgraph.inspect.stages import gradient_program
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text
from diffgraph.passes.pipeline import stages

TEXT = """
net deep(blocks = 500) {
    input  x[N, 8, 16, 16]
    h = x
    for i in 0..blocks { h = h -> conv(8, 3, pad = 1, bias = false) -> batchnorm -> relu }
    output h
    loss mean(h^2)
}"""


def main(blocks: int = 500) -> None:
    """Prints seconds of each stage."""
    module = load_text(TEXT)
    start = time.perf_counter()
    network = elaborate(module, settings={"blocks": blocks}, training=True)
    elaborated = time.perf_counter()
    program = gradient_program(network)
    differentiated = time.perf_counter()
    done = stages(program)
    end = time.perf_counter()
    forms = {t.form for s in done[-1].program.statements for t in getattr(s, "terms", ())}
    print(f"elaborate      {elaborated - start:6.2f} s   {len(network.program.statements)} definitions")
    print(f"differentiate  {differentiated - elaborated:6.2f} s   {len(program.statements)} definitions")
    print(f"passes         {end - differentiated:6.2f} s   {len(done[-1].program.statements)} definitions")
    print(f"distinct forms {len(forms)}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
