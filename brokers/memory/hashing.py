"""Which of several buckets a value belongs to: the same one in every process, and few move when one is added."""

from __future__ import annotations

from hashlib import blake2b

_MASK = 2**64 - 1


def bucket_of(value: str, buckets: int) -> int:
    """A number from 0 to `buckets` - 1 (jump consistent hash, Lamping and Veach, https://arxiv.org/abs/1406.2294)."""
    seed = int.from_bytes(blake2b(value.encode(), digest_size=8).digest(), "big")
    found, following = 0, 0
    while following < buckets:
        found = following
        seed = (seed * 2862933555777941757 + 1) & _MASK
        following = int((found + 1) * ((1 << 31) / ((seed >> 33) + 1)))
    return found
