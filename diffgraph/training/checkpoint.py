"""What a run keeps in a file: the weights as anyone reads them, and beside them what resuming needs."""

from __future__ import annotations

#: Names that begin so are not weights of the net: optimizer states, weights before averaging, what a search remembers.
RESUME = "resume:"


def is_resume_name(name: str) -> bool:
    """Whether an array of a checkpoint is there for resuming only."""
    return name.startswith(RESUME)
