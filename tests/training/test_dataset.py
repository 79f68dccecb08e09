"""Data sets: what is made, split, scaled, refused."""

import struct
import zlib

import numpy as np
import pytest

from diffgraph.diagnostics import DiffgraphError
from diffgraph.training.data import images, made, tables
from diffgraph.training.data.dataset import Dataset, check, hold_out, standardize
from diffgraph.training.data.location import inside
from diffgraph.training.data.pictures import read_image

# ---------------------------------------------------------------- digits


def test_digits_are_the_real_ones():
    data = images.digits(8)
    assert len(data.columns["image"]) + len(data.test["image"]) == 1797
    pixels = np.concatenate([data.columns["image"], data.test["image"]])
    assert pixels.min() == 0 and pixels.max() == 1
    labels = np.concatenate([data.columns["label"], data.test["label"]])
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_digits_hold_out_a_fifth_of_each_class_by_the_seed():
    data = images.digits(8)
    assert np.bincount(data.test["label"]).tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
    again, other = images.digits(8), images.digits(8, seed=1)
    assert np.array_equal(data.test["image"], again.test["image"])
    assert not np.array_equal(data.test["image"], other.test["image"])


def test_resizing_agrees_with_torch():
    torch = pytest.importorskip("torch")
    small = np.random.default_rng(0).uniform(size=(2, 3, 8, 7)).astype(np.float32)
    for height, width in ((28, 28), (5, 9), (8, 7), (1, 1)):
        ours = images.resize(small, height, width)
        theirs = torch.nn.functional.interpolate(torch.tensor(small), (height, width), mode="bilinear")
        assert np.allclose(ours, theirs.numpy(), atol=1e-6)


def test_resizing_a_single_pixel():
    assert np.all(images.resize(np.full((1, 1, 1, 1), 0.25, np.float32), 3, 3) == 0.25)


# ---------------------------------------------------------------- made data


@pytest.mark.parametrize("source", [made.spiral, made.circles, made.xor, made.gauss])
def test_classes_in_the_plane(source):
    data = source(n=300, seed=3)
    assert data.columns["x"].shape == (300, 2) and data.columns["label"].shape == (300,)
    assert set(data.columns["label"]) == {0, 1}
    assert np.array_equal(data.columns["x"], source(n=300, seed=3).columns["x"])
    assert not np.array_equal(data.columns["x"], source(n=300, seed=4).columns["x"])


def test_labels_mean_what_they_say():
    xor = made.xor(n=200).columns
    assert np.array_equal(xor["label"], (np.prod(xor["x"], axis=1) < 0).astype(int))
    circles = made.circles(n=99, noise=0.0, classes=3).columns
    assert np.allclose(np.linalg.norm(circles["x"], axis=1), (circles["label"] + 1) / 3)
    gauss = made.gauss(n=90, noise=0.0, classes=3).columns
    assert len(np.unique(gauss["x"].round(9), axis=0)) == 3
    plane = made.plane(n=50, noise=0.0).columns
    solution = np.linalg.lstsq(np.c_[plane["x"], np.ones(50)], plane["y"], rcond=None)[0]
    assert np.allclose(solution.ravel(), [0.7, -0.4, 0.2])


def test_a_table_needs_rows_of_one_width():
    assert list(made.table([[0, 1], [2, 3]]).columns.values())[1].tolist() == [1, 3]
    for rows in ([[1, 2], [3]], [], [1, 2], [["a"]]):
        with pytest.raises(DiffgraphError, match="DG705"):
            made.table(rows)


# ---------------------------------------------------------------- parts


def test_a_split_keeps_every_row_once_and_classes_in_proportion():
    label = np.repeat([0, 1], [80, 20])
    data = hold_out(Dataset("d", {"x": np.arange(100.0), "label": label}), 0.2, seed=5)
    assert len(data.test["x"]) == 20 and data.test["label"].sum() == 4
    assert sorted([*data.columns["x"], *data.test["x"]]) == list(range(100))
    with pytest.raises(DiffgraphError, match="test set of its own"):
        hold_out(data, 0.2)
    with pytest.raises(DiffgraphError, match="empty"):
        hold_out(Dataset("d", {"x": np.zeros(2)}), 0.1)


def test_scaling_uses_training_rows_only_and_leaves_targets():
    generator = np.random.default_rng(0)
    data = Dataset("d", {"x": generator.normal(5, 3, (100, 2)), "y": generator.normal(5, 3, 100)}, targets=("y",))
    scaled = standardize(hold_out(data, 0.3))
    assert np.allclose(scaled.columns["x"].mean(axis=0), 0) and np.allclose(scaled.columns["x"].std(axis=0), 1)
    assert not np.allclose(scaled.test["x"].mean(axis=0), 0, atol=1e-3)
    assert scaled.columns["y"].mean() > 4
    constant = standardize(Dataset("d", {"x": np.full((4, 1), 7.0), "y": np.zeros(4)}))
    assert constant.columns["x"].tolist() == [[0.0]] * 4


def test_a_value_that_is_not_a_number_is_named():
    values = np.zeros((5, 3))
    values[3, 1] = np.nan
    values[4, 0] = np.inf
    with pytest.raises(DiffgraphError, match=r"column `x` holds nan at \[3, 1\], and 1 more"):
        check(Dataset("d", {"x": values}))
    with pytest.raises(DiffgraphError, match="held out"):
        check(Dataset("d", {"x": np.zeros(3)}, {"x": np.full(2, np.inf)}))


def test_large_finite_values_are_numbers():
    check(Dataset("d", {"x": np.full(100, 1e308)}))


# ---------------------------------------------------------------- files


def test_csv_with_classes(tmp_path):
    path = tmp_path / "iris.csv"
    path.write_text("species,length,width\nsetosa,5.1,3\nvirginica,6,2.5\nsetosa,4.9,3\n")
    data = tables.read_csv(path, "species", None, ",")
    assert list(data.columns) == ["length", "width", "species"] and data.targets == ("species",)
    assert data.columns["species"].tolist() == [0, 1, 0] and data.classes["species"] == ("setosa", "virginica")
    assert data.columns["length"].tolist() == [5.1, 6, 4.9]


def test_csv_classes_of_which_some_are_numbers(tmp_path):
    path = tmp_path / "cards.csv"
    path.write_text("card,worth\nJ,11\n10,10\nQ,12\n9,9\nK,13\n")
    data = tables.read_csv(path, None, None, ",")
    assert data.classes["card"] == ("10", "9", "J", "K", "Q") and data.columns["card"].tolist() == [2, 0, 4, 1, 3]


def test_csv_without_header(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("1;2\n3;4\n")
    assert list(tables.read_csv(path, 2, None, ";").columns) == ["column 1", "column 2"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("a,b\n1,2\n,4\n", "row 3, column `a` holds nothing"),
        ("a,b\n1,2\n3,NaN\n", "row 3, column `b` holds `NaN`"),
        ("a,b\n1,2\n3,1e999\n", "row 3, column `b` holds `1e999`"),
        ("a,b\n1,2\n3,oops\n5,6\n", "row 3, column `b` holds `oops`, where other rows hold numbers"),
        ("a,b\n1,2\n3\n", "row 3 has 1 values, the first one 2"),
        ("a,a\n1,2\n", "two columns `a`"),
        ("", "is empty"),
    ],
)
def test_csv_that_is_wrong(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(DiffgraphError, match=message):
        tables.read_csv(path, None, None, ",")


def test_csv_target_that_is_not_there(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("length,kind\n1,a\n2,b\n")
    with pytest.raises(DiffgraphError, match="did you mean `kind`"):
        tables.read_csv(path, "kinds", None, ",")


def test_npz_with_a_test_set_and_images(tmp_path):
    image = np.full((3, 2, 2), 255, np.uint8)
    np.savez(tmp_path / "d.npz", image=image, label=np.arange(3), test_image=image[:1], test_label=np.arange(1))
    data = tables.read_npz(tmp_path / "d.npz")
    assert list(data.columns) == ["image", "label"] and data.columns["image"].max() == 1
    assert data.test["label"].tolist() == [0]


def test_npz_never_runs_code(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.array([object()]))
    with pytest.raises(DiffgraphError, match="plain arrays"):
        tables.read_npz(tmp_path / "d.npz")


def test_idx(tmp_path):
    array = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    (tmp_path / "x").write_bytes(struct.pack(">HBB3I", 0, 8, 3, 3, 2, 2) + array.tobytes())
    assert np.array_equal(images.read_idx(tmp_path / "x"), array)
    (tmp_path / "y").write_bytes(b"hello, world")
    with pytest.raises(DiffgraphError, match="not an IDX file"):
        images.read_idx(tmp_path / "y")


def test_cifar_in_both_forms(tmp_path):
    import pickle

    generator = np.random.default_rng(0)
    for name in [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]:
        pixels, labels = generator.integers(0, 256, (4, 3072), np.uint8), generator.integers(0, 10, 4)
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "py").mkdir(exist_ok=True)
        rows = np.c_[labels.astype(np.uint8), pixels]
        (tmp_path / "bin" / f"{name}.bin").write_bytes(rows.tobytes())
        with (tmp_path / "py" / name).open("wb") as stream:
            pickle.dump({b"data": pixels, b"labels": labels.tolist()}, stream)
    a, b = images.cifar10_from(tmp_path / "bin"), images.cifar10_from(tmp_path / "py")
    assert a.columns["image"].shape == (20, 3, 32, 32) and a.test["image"].shape == (4, 3, 32, 32)
    assert np.array_equal(a.columns["image"], b.columns["image"])
    assert np.array_equal(a.test["label"], b.test["label"])


def test_a_pickle_with_code_in_it_is_refused(tmp_path):
    import os
    import pickle

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trapped"),)

    for name in [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]:
        with (tmp_path / name).open("wb") as stream:
            pickle.dump(Trap(), stream)
    with pytest.raises(DiffgraphError, match="posix.mkdir"):
        images.cifar10_from(tmp_path)
    assert not (tmp_path / "trapped").exists()


# ---------------------------------------------------------------- PNG


def png(pixels: np.ndarray, filters: list[int]) -> bytes:
    """A PNG file of [h, w, c] bytes, its rows filtered as asked."""
    height, width, channels = pixels.shape
    flat = pixels.reshape(height, -1).astype(int)
    rows = []
    for y in range(height):
        kind = filters[y % len(filters)]
        row, up = flat[y], flat[y - 1] if y else np.zeros(flat.shape[1], int)
        left = np.r_[np.zeros(channels, int), row[:-channels]]
        corner = np.r_[np.zeros(channels, int), up[:-channels]]
        estimate = left + up - corner
        distance = np.stack([abs(estimate - left), abs(estimate - up), abs(estimate - corner)])
        paeth = np.choose(distance.argmin(axis=0), [left, up, corner])
        guess = [0 * row, left, up, (left + up) // 2, paeth][kind]
        rows.append(bytes([kind]) + ((row - guess) % 256).astype(np.uint8).tobytes())
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    body = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"".join(rows))),
        (b"IEND", b""),
    ]
    packed = b"".join(struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in body)
    return b"\x89PNG\r\n\x1a\n" + packed


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("filters", [[0], [1], [2], [3], [4], [4, 3, 2, 1, 0]])
def test_png_in_every_filter(tmp_path, channels, filters):
    pixels = np.random.default_rng(channels).integers(0, 256, (7, 5, channels), np.uint8)
    (tmp_path / "a.png").write_bytes(png(pixels, filters))
    assert np.array_equal(read_image(tmp_path / "a.png"), pixels[:, :, : 1 if channels < 3 else 3])


def test_png_that_is_damaged(tmp_path):
    whole = png(np.zeros((4, 4, 1), np.uint8), [0])
    bad = bytearray(whole)
    bad[45] ^= 1
    huge = png(np.zeros((1, 1, 1), np.uint8), [0]).replace(
        struct.pack(">II", 1, 1), struct.pack(">II", 1 << 20, 1 << 20)
    )
    for content in (b"no", whole[:50], bytes(bad), huge):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(DiffgraphError, match="DG706"):
            read_image(tmp_path / "a.png")


def test_folders_of_images(tmp_path):
    for k, name in enumerate(("cat", "dog")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(2):
            pixels = np.full((4, 4 + i, 3), 100 * k, np.uint8)
            (tmp_path / "pets" / name / f"{i}.png").write_bytes(png(pixels, [0]))
    data = images.images_from(tmp_path / "pets", 4, 1)
    assert data.columns["image"].shape == (4, 1, 4, 4) and data.columns["label"].tolist() == [0, 0, 1, 1]
    assert data.classes["label"] == ("cat", "dog")
    with pytest.raises(DiffgraphError, match="size = 4"):
        images.images_from(tmp_path / "pets", None, 3)


def test_files_stay_inside_the_directory(tmp_path):
    (tmp_path / "program").mkdir()
    (tmp_path / "secret.npz").write_bytes(b"")
    (tmp_path / "program" / "link.npz").symlink_to(tmp_path / "secret.npz")
    for name in ("../secret.npz", str(tmp_path / "secret.npz"), "link.npz"):
        with pytest.raises(DiffgraphError, match="outside the directory"):
            inside(tmp_path / "program", name)


def test_noise_is_added_once():
    source = images.digits(8)
    data = images.noisy_pairs(source, 0.3, seed=1)
    assert list(data.columns) == ["noisy", "clean"]
    rest = data.columns["noisy"] - data.columns["clean"]
    assert abs(rest.std() - 0.3) < 0.01 and abs(rest.mean()) < 0.01
    assert np.array_equal(data.columns["noisy"], images.noisy_pairs(source, 0.3, seed=1).columns["noisy"])
    assert data.test is not None
