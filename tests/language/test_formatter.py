"""`fmt`: the text that is expected, and what holds for every text: the same tree, the same comments, a layout that
formats to itself."""

import random
from pathlib import Path

import pytest
from scrambled import random_file, scramble, words_of

from diffgraph.cli import run
from diffgraph.diagnostics import DiffgraphError, Source
from diffgraph.language.dump import dump
from diffgraph.language.formatter import format_file
from diffgraph.language.lexing import tokenize
from diffgraph.language.parser import parse, read_source
from diffgraph.language.tables import tables

ROOT = Path(__file__).parents[2]
SHIPPED = sorted([*(ROOT / "diffgraph" / "std").rglob("*.net"), *(ROOT / "examples").glob("*.net")])


def layout(text: str) -> str:
    return format_file(Source("text.net", text))


def comments(text: str) -> list[str]:
    """The comments of a text, without the spaces at both ends of what they say."""
    found = tokenize(Source("text.net", text), tables(), [])
    return [token.text[1:].strip() for token in found if token.kind == "COMMENT"]


def assert_laid_out(text: str) -> None:
    source = Source("text.net", text)
    result = format_file(source)
    assert dump(parse(Source("text.net", result))) == dump(parse(source))
    assert comments(result) == comments(text)
    assert layout(result) == result
    assert not any(line != line.rstrip() for line in result.splitlines())


# ---------------------------------------------------------------- texts

EXPECTED = {
    "spaces": (
        "net  n( k=10,width = 3 ){input x [N,1 , 28]; target y[N]:int<k\nz=-x^-2+a[1 : -1,...,:]*(-3)%f( x,y )}\n",
        """\
net n(k = 10, width = 3) {
    input  x[N, 1, 28]
    target y[N]: int < k
    z = -x^-2 + a[1:-1, ..., :] * (-3) % f(x, y)
}
""",
    ),
    "blocks": (
        "layer f(a)(x[...,D])\t{ return x,y }\nfn g(x){\nif x>0{return x}\nelse if x<0{ return -x } else "
        "{\nreturn 0 } }",
        """\
layer f(a)(x[..., D]) { return x, y }

fn g(x) {
    if x > 0 { return x } else if x < 0 { return -x } else {
        return 0
    }
}
""",
    ),
    "columns of a net": (
        "net n {\ninput x[N]\n target y[N]\noutput x\nloss x\n  metric x\nparam w[2]~normal(0,1)if bias }",
        """\
net n {
    input  x[N]
    target y[N]
    output x
    loss   x
    metric x
    param w[2] ~ normal(0, 1) if bias
}
""",
    ),
    "columns of a train block": (
        'train a.b(k=3) as t{\ndata csv("f.csv")\nbatch 4\naugment image->flip\noptimizer sgd(lr=1)for"*.bias"\n'
        "stop_early( patience=5 )}",
        """\
train a.b(k = 3) as t {
    data      csv("f.csv")
    batch     4
    augment   image -> flip
    optimizer sgd(lr = 1) for "*.bias"
    stop_early(patience = 5)
}
""",
    ),
    "a pipe of several lines": (
        "net n {\ny = image  ->  conv(6)\n           -> tanh\n -> linear(10)\n    z = (image\n  -> tanh)\n"
        "y = image -> conv(6)\n    -> tanh\n          -> tanh }",
        """\
net n {
    y = image -> conv(6)
              -> tanh
              -> linear(10)
    z = (image
         -> tanh)
    y = image -> conv(6)
        -> tanh
        -> tanh
}
""",
    ),
    "brackets of several lines": (
        "a = f(\n  1,\n 2,\n)\na = f(\n  1,\n 2,)\na = f(\n  1,\n 2\n)\nb = f(1,\n   2, 3)\nc = [\n[1, 2],\n[3, 4]]\n",
        """\
a = f(
    1,
    2,
)

a = f(
    1,
    2)

a = f(
    1,
    2
)

b = f(1,
      2, 3)

c = [
    [1, 2],
    [3, 4]]
""",
    ),
    "comments": (
        "#one\n\n\n\n#two\nnet n {   # three\n\n#four\nx = f(1, # five\n2)\n# six\n\n}\n# seven\n\n\n",
        """\
# one

# two
net n {  # three
    # four
    x = f(1,  # five
          2)
    # six
}
# seven
""",
    ),
    "comments at the ends of lines": (
        "train n {\nbatch 6400     # one\n               # goes on\n  # of its own\nepochs 5\n"
        "steps 7        # two\n\nseed 1         # three\n}\n",
        """\
train n {
    batch     6400  # one
                    # goes on
    # of its own
    epochs    5
    steps     7     # two

    seed      1  # three
}
""",
    ),
    "what was lined up stays so": (
        "net n {\n  a   = 1  # one\n  bcd = 23 # two\n  e = 4\n}\n",
        """\
net n {
    a   = 1   # one
    bcd = 23  # two
    e = 4
}
""",
    ),
    "words where they are names": (
        "a = step . to+f( from=2 , if_ = x.else )\nb = x -> conv ( 1 )as layer{i+1} [ k ]\n",
        """\
a = step.to + f(from = 2, if_ = x.else)
b = x -> conv(1) as layer{i+1}[k]
""",
    ),
    "a semicolon that is needed": (
        "expect n { gradients ok # so\n;-x==y\nz.or;w }\n",
        """\
expect n {
    gradients ok;  # so
    -x == y
    z.or;
    w
}
""",
    ),
    "empty lines": (
        "\n\n\na = 1\n\n\n\nb = 2\nfn f(x) {\n\n\nreturn x\n\n\n}\nc = 3\n",
        """\
a = 1

b = 2

fn f(x) {
    return x
}

c = 3
""",
    ),
    "scan": (
        "fn f(x)=scan t in 0 .. T step 2 from h=zeros([ N ]),v=1 checkpoint 16{\nnext h=h+v;yield h,v}",
        """\
fn f(x) = scan t in 0..T step 2 from h = zeros([N]), v = 1 checkpoint 16 {
    next h = h + v
    yield h, v
}
""",
    ),
    "own gradient": (
        "fn f(x)=sign( x )with gradient( dy )=dy\nfn g(x){\nreturn x}\nwith gradient(dy){\nreturn dy}",
        """\
fn f(x) = sign(x) with gradient(dy) = dy

fn g(x) {
    return x
} with gradient(dy) {
    return dy
}
""",
    ),
    "nothing": ("\n\n  \n", ""),
    "only a comment": ("   #x\n", "# x\n"),
}


@pytest.mark.parametrize("given, expected", EXPECTED.values(), ids=EXPECTED)
def test_layout(given, expected):
    assert layout(given) == expected
    assert_laid_out(given)


# ---------------------------------------------------------------- every text


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_files_are_laid_out(path):
    source = read_source(path)
    assert format_file(source) == source.text, f"run: diffgraph fmt {path}"


@pytest.mark.parametrize("path", [p for p in SHIPPED if p.parent.name != "vision"], ids=lambda path: path.name)
def test_scrambled_files(path):
    words = words_of(read_source(path))
    text = scramble(random.Random(path.name), words)
    assert words_of(Source("text.net", text)) == words
    assert_laid_out(text)


@pytest.mark.parametrize("start", range(0, 90, 30))
def test_random_files(start):
    sizes = []
    for seed in range(start, start + 30):
        chance = random.Random(seed)
        text = scramble(chance, random_file(chance))
        assert_laid_out(text)
        sizes.append(len(text))
    assert sum(sizes) > 5_000, "almost all of the random texts were refused"


# ---------------------------------------------------------------- the command


def test_command_changes_files(tmp_path, capsys):
    good, bad = tmp_path / "good.net", tmp_path / "folder" / "bad.net"
    bad.parent.mkdir()
    good.write_text("a = 1\n")
    bad.write_text("a=1")
    assert run(["fmt", "--check", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "-a=1\n+a = 1" in said and "good.net" not in said
    assert bad.read_text() == "a=1"
    assert run(["fmt", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"changed {bad}\n"
    assert bad.read_text() == "a = 1\n"
    assert run(["fmt", "--check", str(good), str(bad)]) == 0


def test_command_goes_on_after_a_file_that_does_not_parse(tmp_path, capsys):
    first, second = tmp_path / "first.net", tmp_path / "second.net"
    first.write_text("a = (")
    second.write_text("a=1")
    assert run(["fmt", str(first), str(second)]) == 2
    assert "first.net:1:5" in capsys.readouterr().err
    assert first.read_text() == "a = ("
    assert second.read_text() == "a = 1\n"


def test_a_text_that_does_not_parse_has_no_layout():
    with pytest.raises(DiffgraphError):
        layout("net {")
