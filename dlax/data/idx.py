"""The IDX format, in which MNIST and its relatives are published: a header of sizes, then raw numbers."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

# The header's third byte names the type; numbers are big-endian.
_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_bytes(path: Path) -> bytes:
    """The contents of a file, unpacked when they are gzip (known by the first two bytes, not the name).

    Args:
      path: an existing file.

    Returns:
      The unpacked bytes.

    Raises:
      ValueError: if the gzip data are cut short or damaged.
    """
    data = path.read_bytes()
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip file: {error}") from error


def parse_idx(data: bytes, *, name: str) -> np.ndarray:
    """Decode one IDX file.

    Two zero bytes, a type byte, the number of axes, one big-endian uint32 an axis, then the numbers.

    Args:
      data: the unpacked contents.
      name: what to call the file in an error.

    Returns:
      The array, in the byte order of this machine.

    Raises:
      ValueError: if the header is not IDX or the length does not fit the header.
    """
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES or data[3] == 0:
        raise ValueError(f"{name} is not an IDX file: it begins with {data[:4]!r}")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise ValueError(f"{name} is cut short: {len(data)} bytes, its header alone has {start}")
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4))
    dtype = np.dtype(_TYPES[data[2]])
    length = start + math.prod(shape) * dtype.itemsize
    if len(data) != length:
        raise ValueError(f"{name} is cut short or too long: {len(data)} bytes, its header says {length}")
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
