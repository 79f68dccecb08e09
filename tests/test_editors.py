"""What an editor is told about a text: hover, completion, definitions, symbols, and the server that carries them."""

import asyncio
import sys
from pathlib import Path

import pytest

from diffgraph.diagnostics import Source
from diffgraph.editors.analysis import analyse
from diffgraph.editors.completion import completions
from diffgraph.editors.fields import FIELD_NOTES, NAME_NOTES
from diffgraph.editors.hover import hover
from diffgraph.editors.outline import outline
from diffgraph.editors.positions import offset_of, place_of
from diffgraph.editors.words import meaning_at
from diffgraph.language.blocks import FIELDS
from diffgraph.language.names import SPECIAL

TEXT = """\
import "blocks.net" as b
from "std/vision.net" import fire

width = 8

# Doubled, and halved again.
fn twice(v, by = 2) = v * by / by

layer block(units, slope = 0.1)(x[N, D]) {
    param weight[units, D] ~ he_uniform
    y[n, u] = sum[d](weight[u, d] * x[n, d])
    for i in 0..2 { y = y -> linear(units) as inner[i] }
    return leaky_relu(y, slope)
}

net small(classes = 3) {
    input  image[N, 4]
    target label[N]: int < classes
    h = image -> block(width, slope = 0.2) as first -> tanh
    h = h -> b.head(classes)
    penalty = sum(first.weight^2)
    output "{classes} classes" == "3 classes"
    output p = softmax(h)
    loss cross_entropy(h, label) + 1e-4 * penalty
}

train small(classes = 3) as quick {
    data      spiral(n = 50, split = 0.1)
    batch     16
    optimizer adam(lr = 1e-2)
    clip_norm 1.0
}
"""
TEXT = TEXT.replace('    output "{classes} classes" == "3 classes"\n', '    assert classes == 3, "{classes} classes"\n')

BLOCKS = "layer head(k)(x[N, D]) { return x -> linear(k) }\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("editor")
    (path / "blocks.net").write_text(BLOCKS)
    return path


@pytest.fixture(scope="module")
def analysis(folder):
    found = analyse(TEXT, folder / "model.net")
    assert found.problems == () and len(found.networks) == 1
    return found


def at(words: str, text: str = TEXT) -> int:
    """The offset of `|` in words that stand in a text without it."""
    before, _, after = words.partition("|")
    assert text.count(before + after) >= 1, words
    return text.index(before + after) + len(before)


# ---------------------------------------------------------------- hover


@pytest.mark.parametrize(
    "words, expected",
    [
        ("-> bl|ock(width", ["layer block(units, slope = 0.1)(x[N, D])", "`first` gives `[N, 8]` with `weight[8, 4]"]),
        (
            "-> lin|ear(units)",
            ["layer linear(units, bias = true)", "- `first.inner.0` gives `[N, 8]` with `weight[8, 8], bias[8]`"],
        ),
        ("tw|ice(v, by", ["fn twice(v, by = 2)", "Doubled, and halved again."]),
        ("as fir|st", ["`first` gives `[N, 8]`"]),
        ("first.wei|ght", ["- `first.weight[8, 4]`"]),
        ("(weight[|u, d]", ["u"]),
        ("sum[d](wei|ght", ["param weight[units, D] ~ he_uniform", "- `weight[8, 4]`"]),
        ("h = |h -> b.head", ["- `h[N, 8]`"]),
        ("softmax(|h)", ["- `h[N, 3]`"]),
        ("im|age -> block", ["input  image[N, 4]", "- `image[N, 4]`"]),
        ("(width, sl|ope = 0.2)", ["slope = 0.1", "a setting of `block`"]),
        ("b.he|ad(classes)", ["layer head(k)(x[N, D])"]),
        ("sp|iral(n = 50", ["spiral(", "data spiral"]),
        ("bat|ch     16", ["samples in a step"]),
        ("clip|_norm 1.0", ["fn clip_norm(gradients, most)"]),
        ("sof|tmax(h)", ["fn softmax(x, axis = -1)"]),
        ("quick {\n    da|ta", ["where samples come from"]),
        ('"{cla|sses} classes"', ["classes = 3"]),
    ],
)
def test_hover(analysis, words, expected):
    found = hover(analysis, at(words))
    assert found is not None
    for text in expected:
        assert text in found.text


def test_hover_says_nothing_of_what_it_does_not_know(analysis):
    assert hover(analysis, at("width = |8")) is None
    assert hover(analyse("net n {"), 1) is None


def test_every_field_and_every_special_name_has_a_note():
    assert FIELD_NOTES.keys() == FIELDS.keys()
    assert NAME_NOTES.keys() == set(SPECIAL)


# ---------------------------------------------------------------- definitions


@pytest.mark.parametrize(
    "words, expected",
    [
        ("-> bl|ock(width", "layer >block<(units"),
        ("block(wid|th, slope", ">width< = 8"),
        ("slope = 0.2|) as", None),
        ("(width, sl|ope = 0.2)", "(units, >slope< = 0.1)"),
        ("(y, slo|pe)", "(units, >slope< = 0.1)"),
        ("(wei|ght[u, d]", "param >weight<[units, D]"),
        ("h = |h -> b.head", "    >h< = image -> block"),
        ("softmax(|h)", "    >h< = h -> b.head"),
        ("fir|st.weight", "as >first< -> tanh"),
        ("train sma|ll(classes", "net >small<(classes"),
        ("train small(cla|sses = 3)", "net small(>classes< = 3)"),
        ("v * b|y / by", "fn twice(v, >by< = 2)"),
    ],
)
def test_definition(analysis, words, expected):
    meaning = meaning_at(analysis.tree, analysis.module, at(words))
    if expected is None:
        assert meaning is None
        return
    place = meaning.definition
    before, _, rest = expected.partition(">")
    name, _, after = rest.partition("<")
    assert place.start == TEXT.index(before + name + after) + len(before)
    assert place.text == name


def test_definitions_in_other_files(analysis, folder):
    tree, module = analysis.tree, analysis.module
    head = meaning_at(tree, module, at("b.he|ad(classes)")).definition
    assert Path(head.source.name) == folder / "blocks.net" and (head.line, head.text) == (1, "head")
    assert meaning_at(tree, module, at("-> lin|ear(units)")).definition.source.name == "std/layers.net"
    assert meaning_at(tree, module, at("import fi|re")).definition.source.name == "std/vision/plain.net"
    assert meaning_at(tree, module, at('"blo|cks.net"')).path == folder / "blocks.net"
    assert meaning_at(tree, module, at("-> |b.head(classes)")).path == folder / "blocks.net"
    assert meaning_at(tree, module, at('"std/vis|ion.net"')).path.is_file()


# ---------------------------------------------------------------- completion


@pytest.mark.parametrize(
    "written, expected, absent",
    [
        ("net n(k = 1) { input x[N, 4]\n h = x -> lin|", ["linear", "conv", "twice", "block"], ["digits"]),
        ("net n { input x[N, 4]\n h = x -> conv(|", ["channels", "kernel", "stride"], []),
        ("net n { input x[N, 4]\n h = x -> block(3, |", ["slope"], []),
        ("net n { input x[N, 4]\n h = b.|", ["head"], ["conv"]),
        ("net n { input x[N, 4]\n h = x.|", ["shape", "size"], ["conv"]),
        ("net n {\n    |", ["input", "output", "param", "for"], ["batch"]),
        ("layer f()(x) {\n    |", ["param", "return"], ["output"]),
        ("train small {\n    |", ["data", "batch", "optimizer", "clip_norm"], ["conv"]),
        ("train small {\n    data |", ["digits", "spiral", "csv"], []),
        ("train small {\n    data spiral(|", ["n", "split", "seed"], []),
        ("train small {\n    batch 3\n    optimizer ad|", ["adam", "sgd", "lbfgs"], []),
        ("train small {\n    optimizer adam(|", ["lr", "beta1"], []),
        ("expect small {\n    |", ["gradients ok", "trains to"], ["batch"]),
        ("train |", ["small"], ["conv"]),
        ("|", ["net", "layer", "train"], []),
        ('import "|', ["std/vision.net", "blocks.net"], ["conv"]),
        ("fn f(value) {\n    other = value\n    return val|", ["value", "other", "concat", "pi"], []),
    ],
)
def test_completion(analysis, written, expected, absent):
    before, _, after = written.partition("|")
    text = f"{TEXT}{before}{after}"
    offset = len(TEXT) + len(before)
    labels = {p.label: p for p in completions(text, offset, analysis.module, None)}
    if written.startswith("fn f(value)"):
        whole = analyse(f"{TEXT}{before.replace('val', 'value', 0)}ue\n}}\n")
        labels = {p.label: p for p in completions(text, offset, analysis.module, whole.tree)}
    assert set(expected) <= labels.keys()
    assert not set(absent) & labels.keys()


def test_completion_shows_signatures(analysis):
    found = {p.label: p for p in completions(TEXT, at("h = image -> bl|ock"), analysis.module, analysis.tree)}
    assert found["conv"].detail.startswith("layer conv(channels, kernel, stride = 1")
    assert "convolution" in found["conv"].about
    assert found["concat"].detail == "concat(..., axis = 0)"
    assert found["image"].detail == "input image[N, 4]"


# ---------------------------------------------------------------- symbols and positions


def test_outline(analysis):
    found = [(e.name, e.kind, [i.name for i in e.inside]) for e in outline(analysis.tree)]
    assert found == [
        ("b", "import", []),
        ("fire", "import", []),
        ("width", "constant", []),
        ("twice", "fn", []),
        ("block", "layer", ["weight"]),
        ("small", "net", ["image", "label", "p", "cross_entropy(h, label) + 1e-4 * penalty"]),
        ("train quick", "train", ["data", "batch", "optimizer", "clip_norm"]),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_positions(encoding):
    source = Source("t", "a = 1\n# äß😀 x\r\n\nz")
    for offset in range(len(source.text) + 1):
        if source.text[offset - 1 : offset + 1] != "\r\n":
            assert offset_of(source, *place_of(source, offset, encoding), encoding) == offset
    assert place_of(source, source.text.index(" x"), "utf-16") == (1, 6)
    assert offset_of(source, 99, 0) == len(source.text)
    assert offset_of(source, 0, 99) == 5


# ---------------------------------------------------------------- the server


def test_server(folder):
    """A session: a text with two mistakes is opened, looked at, mended, laid out."""
    lsp = pytest.importorskip("lsprotocol.types", reason="the language server needs pygls")
    client = pytest.importorskip("pygls.lsp.client").LanguageClient("test", "1")
    published = {}
    news = asyncio.Event()

    @client.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
    def _(params):
        published[params.uri] = params.diagnostics
        news.set()

    uri = (folder / "model.net").as_uri()
    wrong = TEXT.replace("slope = 0.2)", "slop = 0.2)").replace("h = h -> b.head(classes)", "h = h + zeros([7])")
    document = lsp.TextDocumentIdentifier(uri)

    async def problems():
        await asyncio.wait_for(news.wait(), 60)
        news.clear()
        return published[uri]

    async def session():
        await client.start_io(sys.executable, "-m", "diffgraph", "lsp")
        await client.initialize_async(lsp.InitializeParams(lsp.ClientCapabilities()))
        client.initialized(lsp.InitializedParams())
        client.text_document_did_open(lsp.DidOpenTextDocumentParams(lsp.TextDocumentItem(uri, "net", 1, wrong)))
        found = await problems()
        assert [d.code for d in found][:1] == ["DG230"] and "did you mean `slope`?" in found[0].message
        assert found[0].range.start.line == wrong[: wrong.index("slop =")].count("\n")

        mended = wrong.replace("slop =", "slope =")
        change = lsp.TextDocumentContentChangeWholeDocument(mended)
        identifier = lsp.VersionedTextDocumentIdentifier(2, uri)
        client.text_document_did_change(lsp.DidChangeTextDocumentParams(identifier, [change]))
        (shapes,) = await problems()
        assert "8" in shapes.message and "7" in shapes.message
        assert shapes.range.start.line == mended[: mended.index("h + zeros")].count("\n")

        place = lsp.Position(mended[: mended.index("-> linear")].count("\n"), mended.splitlines()[11].index("linear"))
        seen = await client.text_document_hover_async(lsp.HoverParams(document, place))
        assert "layer linear(units, bias = true)" in seen.contents.value
        where = await client.text_document_definition_async(lsp.DefinitionParams(document, place))
        assert where.uri.endswith("std/layers.net")
        items = (await client.text_document_completion_async(lsp.CompletionParams(document, place))).items
        assert {"conv", "linear", "units"} <= {item.label for item in items}
        symbols = await client.text_document_document_symbol_async(lsp.DocumentSymbolParams(document))
        assert [s.name for s in symbols][-2:] == ["small", "train quick"]

        change = lsp.TextDocumentContentChangeWholeDocument("a=1")
        identifier = lsp.VersionedTextDocumentIdentifier(3, uri)
        client.text_document_did_change(lsp.DidChangeTextDocumentParams(identifier, [change]))
        options = lsp.FormattingOptions(4, True)
        (edit,) = await client.text_document_formatting_async(lsp.DocumentFormattingParams(document, options))
        assert edit.new_text == "a = 1\n"
        assert not await problems()
        await client.shutdown_async(None)
        client.exit(None)
        await client.stop()

    asyncio.run(session())


def test_without_pygls_the_command_says_what_to_install(monkeypatch, capsys):
    from diffgraph.cli import lsp, run

    monkeypatch.setattr(lsp, "find_spec", lambda name: None)
    assert run(["lsp"]) == 2
    assert "pip install 'diffgraph[lsp]'" in capsys.readouterr().err
