"""Signatures vouch for every byte they cover, and only for the services their key speaks for."""

from __future__ import annotations

import hmac
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stamp.errors import BadConfiguration, SignatureInvalid, UnknownKey
from stamp.resources import schemas
from stamp.seal import Ed25519Key, HmacKey, KeyRing, pae

MESSAGE: dict[str, Any] = {"message_id": "m-1", "type_": "TicketCreated", "stamp": b'{"stamp":"1.0"}', "body": b"{}"}
OLD = HmacKey("old", b"o" * 32)
NEW = HmacKey("new", b"n" * 32, apps=frozenset({"tickets"}))
PRIVATE = bytes(range(32))
PUBLIC = bytes.fromhex("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")


def ed25519(**changes: Any) -> Ed25519Key:
    return Ed25519Key(**{"kid": "ed", "public": PUBLIC, "private": PRIVATE, "apps": frozenset({"tickets"}), **changes})


def verify(ring: KeyRing, header: str | None, *, app_id: str | None = "tickets", **changes: Any) -> str:
    return ring.verify(header, app_id=app_id, **{**MESSAGE, **changes})


def test_the_encoding_of_two_parts_is_that_of_dsse() -> None:
    assert pae(b"http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@given(left=st.lists(st.binary(max_size=6), max_size=4), right=st.lists(st.binary(max_size=6), max_size=4))
def test_different_parts_never_encode_alike(left: list[bytes], right: list[bytes]) -> None:
    assert (pae(*left) == pae(*right)) == (left == right)


@given(secret=st.binary(min_size=32, max_size=130), data=st.binary(max_size=200))
def test_an_hmac_key_signs_as_the_standard_library_does(secret: bytes, data: bytes) -> None:
    assert HmacKey("k", secret).sign(data) == hmac.digest(secret, data, "sha256")


@pytest.mark.parametrize("key", [OLD, ed25519()], ids=["hmac", "ed25519"])
def test_what_a_key_signs_it_verifies(key: Any) -> None:
    ring = KeyRing([key], signing=key.kid)
    assert verify(ring, ring.sign(**MESSAGE)) == key.kid


@pytest.mark.parametrize("key", [OLD, ed25519()], ids=["hmac", "ed25519"])
@settings(max_examples=100, deadline=None)
@given(data=st.data(), part=st.sampled_from(["message_id", "type_", "stamp", "body"]))
def test_any_changed_byte_of_the_message_fails(key: Any, data: st.DataObject, part: str) -> None:
    ring = KeyRing([key], signing=key.kid)
    signed = MESSAGE[part]
    place = data.draw(st.integers(0, len(signed) - 1))
    other = data.draw(st.integers(1, 127).filter(lambda code: code != ord(signed[place : place + 1])))
    swapped = chr(other) if isinstance(signed, str) else bytes([other])
    changed = signed[:place] + swapped + signed[place + 1 :]
    with pytest.raises(SignatureInvalid, match="does not fit"):
        verify(ring, ring.sign(**MESSAGE), **{part: changed})


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_changed_character_of_the_signature_fails(data: st.DataObject) -> None:
    ring = KeyRing([OLD], signing="old")
    header = ring.sign(**MESSAGE)
    place = data.draw(st.integers(0, len(header) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda char: char != header[place]))
    with pytest.raises(SignatureInvalid):
        verify(ring, header[:place] + other + header[place + 1 :])


def test_bytes_moved_from_one_part_to_the_next_fail() -> None:
    ring = KeyRing([OLD], signing="old")
    with pytest.raises(SignatureInvalid):
        verify(ring, ring.sign(**MESSAGE), stamp=MESSAGE["stamp"] + b"{", body=b"}")


def test_a_missing_signature_is_refused() -> None:
    with pytest.raises(SignatureInvalid, match="no signature"):
        verify(KeyRing([OLD]), None)


def test_an_unknown_key_is_refused_by_name() -> None:
    header = KeyRing([OLD], signing="old").sign(**MESSAGE)
    with pytest.raises(SignatureInvalid, match="unknown key old"):
        verify(KeyRing([NEW]), header)


def test_a_key_does_not_speak_for_another_service() -> None:
    ring = KeyRing([NEW], signing="new")
    with pytest.raises(SignatureInvalid, match="does not speak for app_id 'billing'"):
        verify(ring, ring.sign(**MESSAGE), app_id="billing")


def test_a_restricted_key_does_not_speak_for_a_message_without_app_id() -> None:
    ring = KeyRing([NEW], signing="new")
    with pytest.raises(SignatureInvalid, match="does not speak"):
        verify(ring, ring.sign(**MESSAGE), app_id=None)


def test_during_a_rotation_a_reader_with_either_key_is_satisfied() -> None:
    header = KeyRing([OLD, NEW], signing=["old", "new"]).sign(**MESSAGE)
    assert (verify(KeyRing([OLD]), header), verify(KeyRing([NEW]), header)) == ("old", "new")


def test_a_malformed_item_does_no_harm_beside_a_good_one() -> None:
    ring = KeyRing([OLD], signing="old")
    assert verify(ring, f"v9,what,ever v1,old,*** {ring.sign(**MESSAGE)}") == "old"


@pytest.mark.parametrize(
    "header", ["v1", "v2,old,AAAA", "v1,old,", "v1,old,A", "v1,old,AA==", "v1,old,AB", " ", "v1,o/d,AA"]
)
def test_malformed_items_alone_are_refused(header: str) -> None:
    with pytest.raises(SignatureInvalid, match="malformed item"):
        verify(KeyRing([OLD]), header)


def test_more_items_than_a_rotation_needs_are_refused_unread() -> None:
    with pytest.raises(SignatureInvalid, match="9 signatures"):
        verify(KeyRing([OLD]), " ".join(["v1,old,AAAA"] * 9))


def test_the_algorithm_is_the_keys_and_not_the_messages() -> None:
    forger = KeyRing([HmacKey("ed", PUBLIC)], signing="ed")
    with pytest.raises(SignatureInvalid, match="does not fit"):
        verify(KeyRing([ed25519(private=None)]), forger.sign(**MESSAGE))


def test_a_key_without_its_private_half_cannot_sign() -> None:
    with pytest.raises(UnknownKey, match="no private half"):
        KeyRing([ed25519(private=None)], signing="ed").sign(**MESSAGE)


def test_signing_with_a_key_that_is_not_in_the_ring_is_refused_at_once() -> None:
    with pytest.raises(UnknownKey, match="known keys: old"):
        KeyRing([OLD], signing="gone")


def test_a_ring_without_a_signing_key_says_so() -> None:
    with pytest.raises(UnknownKey, match="no signing key"):
        KeyRing([OLD]).sign(**MESSAGE)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: HmacKey("short", b"secret"), "shorter than 32"),
        (lambda: HmacKey("no spaces", b"x" * 32), "no key id"),
        (lambda: HmacKey("line\n", b"x" * 32), "no key id"),
        (lambda: ed25519(public=b"short"), "public half"),
        (lambda: ed25519(private=b"short"), "private half"),
        (lambda: ed25519(private=b"x" * 32), "do not belong together"),
        (lambda: KeyRing([OLD, HmacKey("old", b"z" * 32)]), "two keys of one id"),
    ],
)
def test_a_key_that_cannot_work_is_refused_when_it_is_made(make: Any, words: str) -> None:
    with pytest.raises(BadConfiguration, match=words):
        make()


def test_secrets_are_not_in_the_repr() -> None:
    assert "ooo" not in repr(OLD)
    assert "private" not in repr(ed25519())


def test_without_the_extra_hmac_works_and_ed25519_names_the_package() -> None:
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from stamp.seal import *\n"
        "HmacKey('k', b'x' * 32).sign(b'')\n"
        "try: Ed25519Key('e', b'x' * 32, frozenset())\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "state-stamp[ed25519]" in done.stdout


@pytest.mark.parametrize("path", sorted((schemas() / "golden" / "signed").glob("*.json")), ids=lambda path: path.stem)
def test_a_golden_signed_message_verifies_and_signs_to_the_same_bytes(path: Any) -> None:
    golden = json.loads(path.read_text("utf-8"))
    ring = KeyRing([_golden_key(key) for key in golden["keys"]], signing=[key["kid"] for key in golden["keys"]])
    parts = {"message_id": golden["message_id"], "type_": golden["type"]}
    parts |= {"stamp": golden["stamp"].encode(), "body": golden["body"].encode()}
    assert ring.sign(**parts) == golden["stamp_signature"]
    assert ring.verify(golden["stamp_signature"], app_id=golden["app_id"], **parts) == golden["keys"][0]["kid"]
    assert pae(b"stamp/v1", *(part if isinstance(part, bytes) else part.encode() for part in parts.values())) == (
        golden["signed_bytes"].encode()
    )


def _golden_key(key: dict[str, Any]) -> HmacKey | Ed25519Key:
    apps = frozenset(key["apps"])
    if key["algorithm"] == "hmac-sha256":
        return HmacKey(key["kid"], bytes.fromhex(key["secret"]), apps)
    return Ed25519Key(key["kid"], bytes.fromhex(key["public"]), apps, bytes.fromhex(key["private"]))
