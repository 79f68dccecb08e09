"""Every block of the documentation that is marked `net` is a whole file that checks."""

import re
from pathlib import Path

import pytest

from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

BLOCKS = [
    pytest.param(block.group(1), id=f"{page.name}:{page.read_text()[: block.start()].count(chr(10)) + 1}")
    for page in PAGES
    for block in re.finditer(r"^```net\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
]


@pytest.mark.parametrize("text", BLOCKS)
def test_block_checks(text):
    module = load_text(text)
    for net in module.nets:
        for training in (False, True):
            elaborate(module, net=net, training=training)


def test_the_tour_is_there():
    assert len(BLOCKS) > 10
