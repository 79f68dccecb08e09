"""What an elaboration may take: it is counted, and what would be too much is refused, before it is made."""

from __future__ import annotations

from math import prod

from diffgraph.diagnostics import Span, error
from diffgraph.language.limits import limits, raise_by

#: Elements of a tensor that a program only passes through, and points of a loop; the machine that runs it may be another.
MOST_ELEMENTS = 2**40
MOST_POINTS = 2**50

#: What counts as more than one step of elaboration, in proportion to the time it takes: about 10 us a step, so that what is
#: too much is refused within a second.
STEPS_OF_CALL = 2
STEPS_OF_INSTANCE = 3
STEPS_OF_DEFINITION = 3
STEPS_OF_VARIABLE = 6
STEPS_OF_NOTATION = 6
STEPS_OF_SLICE = 3
STEPS_OF_JOIN = 4
STEPS_OF_SCAN = 40
STEPS_OF_ELABORATION = 200
STEPS_FOR_ONE_REPEATED = 6


class Budget:
    """Counts the work and the memory of one elaboration. `steps` are what it took; `work` what it would have taken without
    repeating anything from a template."""

    def __init__(self):
        self.steps = 0
        self.work = 0
        self.bytes = 0

    def count_step(self, span: Span | None, steps: int = 1) -> None:
        """Counts a statement, a round of a loop, or as much other work."""
        self.steps += steps
        self.work += steps
        self.expect_steps(span, 0)

    def expect_steps(self, span: Span | None, steps: int) -> None:
        """Refuses work that would take so many steps more, before it is begun."""
        if self.steps + steps > limits().nodes:
            text = f"elaboration takes more than {limits().nodes:,} steps of loops, calls and layers"
            raise error("DG591", text, span, help=raise_by("nodes"))

    def refuse_enormous(self, shape, span: Span | None) -> None:
        """Refuses tensors that no machine holds, before anything is made for them."""
        known = prod(s for s in shape if isinstance(s, int))
        if known > MOST_ELEMENTS:
            raise error("DG598", f"a tensor of {known:,} elements is more than the {MOST_ELEMENTS:,} allowed", span)

    def refuse_endless(self, domain, span: Span | None) -> None:
        """Refuses loops over more points than a machine gets through."""
        known = prod(s for s in domain if isinstance(s, int))
        if known > MOST_POINTS:
            raise error("DG598", f"a loop over {known:,} points is more than the {MOST_POINTS:,} allowed", span)

    def refuse_long_scan(self, span: Span | None) -> None:
        """Refuses scans of too many steps, those of the scans around them counted."""
        steps = prod(length for _, length in self.iteration if isinstance(length, int))
        if steps > limits().steps:
            text = f"the scan takes {steps:,} steps, more than the {limits().steps:,} allowed"
            raise error("DG598", text, span, help=raise_by("steps"))

    def count_bytes(self, shape, what: str, span: Span | None) -> None:
        """Counts the memory of something that is made when the program is loaded; refuses what is more than allowed."""
        self.bytes += 4 * prod(s for s in shape if isinstance(s, int))
        if self.bytes > limits().bytes:
            text = f"with {what} the program has more than {limits().bytes:,} bytes of parameters, states and constants"
            raise error("DG596", text, span, help=raise_by("bytes"))

    def count_definitions(self, span: Span | None) -> None:
        """Counts a definition; refuses programs that grow without end."""
        self.count_step(span, STEPS_OF_DEFINITION)
        if len(self.builder.statements) > limits().nodes:
            text = f"the program has more than {limits().nodes:,} definitions"
            raise error("DG592", text, span, help=raise_by("nodes"))
