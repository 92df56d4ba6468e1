"""Detached signatures over the raw bytes of a message. The algorithm belongs to the key, never to the message.

A header value is one or more items `v1,<kid>,<base64url without padding>` separated by spaces; during a key
rotation a message carries one item of each key. `kid` is a hint: a key counts only for the `app_id`s it is allowed for.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from stamp.errors import BadConfiguration, SignatureInvalid, UnknownKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

CONTEXT = b"stamp/v1"
_KID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_ITEM = re.compile(r"v1,([A-Za-z0-9._-]{1,64}),([A-Za-z0-9_-]{1,512})\Z")
_MAX_ITEMS = 8
_MIN_SECRET = 32
_BLOCK = hashlib.sha256().block_size
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")


def pae(*parts: bytes) -> bytes:
    """DSSE's pre-authentication encoding of any number of parts: no two lists of parts give the same bytes."""
    return b"DSSEv1" + b"".join([b" %d %s" % (len(part), part) for part in parts])


_FIRST = pae(CONTEXT)


class Key(Protocol):
    """A key record: its id, its algorithm, and the `app_id`s it speaks for (`None`: every one)."""

    @property
    def kid(self) -> str: ...
    @property
    def apps(self) -> frozenset[str] | None: ...

    def sign(self, data: bytes) -> bytes:
        """Raises `UnknownKey` when this record can only verify."""
        ...

    def verifies(self, data: bytes, signature: bytes) -> bool:
        """In constant time; never raises for a wrong signature."""
        ...


@dataclass(frozen=True, slots=True)
class HmacKey:
    """HMAC-SHA256 with a secret of 32 bytes or more: one trust domain, whoever verifies can also sign."""

    kid: str
    secret: bytes = field(repr=False)
    apps: frozenset[str] | None = None

    def __post_init__(self) -> None:
        _check_kid(self.kid)
        if len(self.secret) < _MIN_SECRET:
            raise BadConfiguration(f"the secret of key {self.kid!r} is shorter than 32 bytes", fix="openssl rand 32")

    def sign(self, data: bytes) -> bytes:
        inner_pad, outer_pad = _pads(self.secret)
        inner, outer = inner_pad.copy(), outer_pad.copy()
        inner.update(data)
        outer.update(inner.digest())
        signature: bytes = outer.digest()
        return signature

    def verifies(self, data: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(self.sign(data), signature)


@dataclass(frozen=True, slots=True)
class Ed25519Key:
    """Ed25519 with raw 32-byte keys; without `private` it only verifies. Needs the extra `ed25519`."""

    kid: str
    public: bytes
    apps: frozenset[str]
    private: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check_kid(self.kid)
        _ed25519_public(self.kid, self.public)
        if self.private is not None and _ed25519_private(self.kid, self.private).public_key().public_bytes_raw() != (
            self.public
        ):
            raise BadConfiguration(f"the private and the public half of key {self.kid!r} do not belong together")

    def sign(self, data: bytes) -> bytes:
        if self.private is None:
            raise UnknownKey(f"key {self.kid!r} has no private half here", fix="sign with a key of this service")
        return _ed25519_private(self.kid, self.private).sign(data)

    def verifies(self, data: bytes, signature: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra

        try:
            _ed25519_public(self.kid, self.public).verify(signature, data)
        except InvalidSignature:
            return False
        return True


class KeyRing:
    """The keys that a service accepts, and the ones it signs with (several during a rotation)."""

    def __init__(self, keys: Iterable[Key], *, signing: str | Sequence[str] = ()) -> None:
        records = list(keys)
        self._keys = {key.kid: key for key in records}
        if len(self._keys) != len(records):
            raise BadConfiguration("two keys of one id in the key ring", fix="give each key an id of its own")
        self._signing = [self._signer(kid) for kid in ([signing] if isinstance(signing, str) else signing)]

    def _signer(self, kid: str) -> Key:
        if kid not in self._keys:
            raise UnknownKey(f"no key {kid!r} to sign with", fix=f"known keys: {', '.join(sorted(self._keys)) or '-'}")
        return self._keys[kid]

    def sign(self, *, message_id: str, type_: str, stamp: bytes, body: bytes) -> str:
        """The value of the header `stamp_signature`; `type_` is the message's AMQP `type`.

        Raises `UnknownKey` when the ring has no signing key.
        """
        if not self._signing:
            raise UnknownKey("the key ring has no signing key", fix="KeyRing(keys, signing=<kid>)")
        data = _signed_bytes(message_id, type_, stamp, body)
        return " ".join([f"v1,{key.kid},{_encode(key.sign(data))}" for key in self._signing])

    def verify(
        self, header: str | None, *, message_id: str, type_: str, stamp: bytes, body: bytes, app_id: str | None
    ) -> str:
        """Returns the id of the key that vouches for these bytes, or raises `SignatureInvalid` saying why none does.

        Broken items and unknown keys do no harm as long as one item verifies.
        """
        if not header:
            raise SignatureInvalid("no signature", fix="sign at the publisher, or relax the policy of the workflow")
        data = _signed_bytes(message_id, type_, stamp, body)
        doubts: list[str] = []
        for item in _items(header):
            if (doubt := self._doubt(item, data, app_id)) is None:
                return item.partition(",")[2].partition(",")[0]
            doubts.append(doubt)
        raise SignatureInvalid("; ".join(doubts))

    def _doubt(self, item: str, data: bytes, app_id: str | None) -> str | None:
        match = _ITEM.match(item)
        signature = _decode(match[2]) if match else None
        if match is None or signature is None:
            return "malformed item"
        key = self._keys.get(match[1])
        if key is None:
            return f"unknown key {match[1]}"
        if key.apps is not None and app_id not in key.apps:
            return f"key {key.kid} does not speak for app_id {str(app_id)[:64]!r}"
        return None if key.verifies(data, signature) else f"key {key.kid}: the signature does not fit these bytes"


def _signed_bytes(message_id: str, type_: str, stamp: bytes, body: bytes) -> bytes:
    """`pae(CONTEXT, message_id, type_, stamp, body)` in one stroke."""
    name, kind = message_id.encode(), type_.encode()
    parts = (len(name), name, len(kind), kind, len(stamp), stamp, len(body), body)
    return _FIRST + b" %d %b %d %b %d %b %d %b" % parts


def _items(header: str) -> list[str]:
    items = header.split(" ")
    if len(items) > _MAX_ITEMS:
        raise SignatureInvalid(f"{len(items)} signatures, {_MAX_ITEMS} are allowed")
    return items


@lru_cache(maxsize=64)
def _pads(secret: bytes) -> tuple[Any, Any]:
    """HMAC-SHA256 with the key already in (RFC 2104, section 4): OpenSSL sets it up anew at each call otherwise."""
    key = (hashlib.sha256(secret).digest() if len(secret) > _BLOCK else secret).ljust(_BLOCK, b"\0")
    return hashlib.sha256(key.translate(_INNER)), hashlib.sha256(key.translate(_OUTER))


def _encode(signature: bytes) -> str:
    return binascii.b2a_base64(signature, newline=False).translate(_TO_URL, b"=").decode()


def _decode(text: str) -> bytes | None:
    """Only the one canonical spelling of the bytes: base64 decoders differ on spare bits and foreign characters."""
    try:
        signature = binascii.a2b_base64(text.encode().translate(_FROM_URL) + b"=" * (-len(text) % 4))
    except ValueError:
        return None
    return signature if _encode(signature) == text else None


def _check_kid(kid: str) -> None:
    if not _KID.match(kid):
        raise BadConfiguration(f"{kid!r} is no key id", fix="1 to 64 of A-Z a-z 0-9 . _ -")


def _ed25519_private(kid: str, raw: bytes) -> Ed25519PrivateKey:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

        return Ed25519PrivateKey.from_private_bytes(raw)
    except ImportError as error:
        raise _no_cryptography() from error
    except ValueError as error:
        raise BadConfiguration(f"the private half of key {kid!r}: {error}", fix="32 raw bytes") from error


def _ed25519_public(kid: str, raw: bytes) -> Ed25519PublicKey:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

        return Ed25519PublicKey.from_public_bytes(raw)
    except ImportError as error:
        raise _no_cryptography() from error
    except ValueError as error:
        raise BadConfiguration(f"the public half of key {kid!r}: {error}", fix="32 raw bytes") from error


def _no_cryptography() -> BadConfiguration:
    return BadConfiguration("Ed25519 keys need the package cryptography", fix="pip install 'state-stamp[ed25519]'")
