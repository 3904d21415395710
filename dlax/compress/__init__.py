"""Compressors: what a vector loses so that its message is short. One function a rule, for one vector of one node."""

from collections.abc import Callable

from dlax.compress.casts import bfloat16, identity
from dlax.compress.message import compress, message_bits
from dlax.compress.quantize import dithered, qsgd, sign
from dlax.compress.sparsify import rand_k, top_k
from dlax.types import Compressor

COMPRESSORS: dict[str, Callable[..., Compressor]] = {
    "bfloat16": bfloat16,
    "dithered": dithered,
    "identity": identity,
    "qsgd": qsgd,
    "rand_k": rand_k,
    "sign": sign,
    "top_k": top_k,
}

__all__ = [
    "COMPRESSORS",
    "bfloat16",
    "compress",
    "dithered",
    "identity",
    "message_bits",
    "qsgd",
    "rand_k",
    "sign",
    "top_k",
]
