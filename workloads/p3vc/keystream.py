"""Cryptographic random words, reproducible from a 32-byte seed.

A release must be replayable after a crash (``ledger.py``) and independent of the number of workers, so its randomness
is a keystream rather than the operating system's pool: AES-256 in counter mode, NIST SP 800-38A, keyed per purpose.
With a secret uniformly random seed the words are indistinguishable from uniform ones by any feasible adversary, as
are those of OpenDP's own generator.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

SEED_BYTES = 32
NAME = "AES-256-CTR"


class Keystream:
    """An endless sequence of uniform words.

    Args:
        seed: 32 bytes; secret when the words are noise.
        purpose: separates uses of one seed.
        index: separates parallel streams of one purpose, below 2**64.
    """

    def __init__(self, seed: bytes, purpose: str, index: int = 0) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
        key = hashlib.sha256(b"p3vc keystream\0" + purpose.encode() + b"\0" + seed).digest()
        # The counter block is index ‖ block number, so streams do not meet within 2**64 blocks.
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(index.to_bytes(8, "big") + bytes(8))).encryptor()

    def words(self, count: int, dtype: str) -> NDArray[Any]:
        """Return ``count`` uniform words of a little-endian unsigned type such as ``"<u2"``."""
        return np.frombuffer(self._cipher.update(bytes(count * np.dtype(dtype).itemsize)), dtype)

    def word(self) -> int:
        """Return one uniform 64-bit integer."""
        return int(self.words(1, "<u8")[0])

    def bits(self, count: int) -> NDArray[np.uint8]:
        """Return ``count`` fair bits."""
        return np.unpackbits(self.words(-(-count // 8), "<u1"), count=count)

    def integers(self, high: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return for each entry of ``high`` a uniform integer in 0..high, exactly, by rejection under a bit mask."""
        mask = np.uint64((1 << int(high.max(initial=0)).bit_length()) - 1)
        result = np.empty(high.shape, np.int64)
        pending = np.arange(high.size)
        while pending.size:
            drawn = (self.words(pending.size, "<u8") & mask).astype(np.int64)
            fits = drawn <= high[pending]
            result[pending[fits]] = drawn[fits]
            pending = pending[~fits]
        return result
