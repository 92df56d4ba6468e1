"""Stamps in every form in which people get hold of them.

A bare stamp; a message dump with `properties` and `headers`; what `rabbitmqadmin get` prints (old and v2) and the
management API returns; the lines of `stamp tail -o jsonl` and the documents of `-o json`; the value of the
header alone; base64 of any of these; several of them as an array, line by line, or one after the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import msgspec

from stamp.errors import NoStamp, StampError, StampUnreadable
from stamp.nesting import depth_exceeds

SIZE_LIMIT = 64 * 1024 * 1024
NESTING = 64

_PROPERTIES = ("message_id", "type", "correlation_id", "app_id", "timestamp", "content_type")
_PLACE = ("exchange", "routing_key", "queue", "redelivered", "offset")
_LISTS = ("items", "messages")
_GAP = re.compile(r"[ \t\r\n]*")
_FORMS = "a stamp, a message with headers, an array of messages, lines of JSON, or base64 of one of these"


class Specimen(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that should carry a stamp: the stamp's text, or the error that says why there is none."""

    where: str
    text: bytes = b""
    properties: Mapping[str, Any] = {}
    """What came with it: message properties, exchange, routing key, other headers."""
    error: StampError | None = None


def specimens(data: bytes, name: str) -> list[Specimen]:
    """Everything in `data` that is or should be a stamp, in order; `name` says where it came from. Never raises."""
    try:
        return list(_specimens(data, name, wrapped=False))
    except StampError as error:
        return [Specimen(where=name, error=error)]


def _specimens(data: bytes, name: str, *, wrapped: bool) -> Iterator[Specimen]:
    text = data.removeprefix(b"\xef\xbb\xbf").strip()
    if len(text) > SIZE_LIMIT:
        raise StampUnreadable(f"{len(text)} bytes are more than this command reads", fix="split the input")
    if not text:
        raise StampUnreadable("there is nothing to read", fix=f"give {_FORMS}")
    if text[:1] in b'{["':
        yield from _from_json(text, name)
        return
    if wrapped:
        raise StampUnreadable("base64 of something that is not JSON", fix=f"give {_FORMS}")
    yield from _specimens(_unbase64(text), name, wrapped=True)


def _unbase64(text: bytes) -> bytes:
    import base64  # noqa: PLC0415  few inputs are packed
    import binascii  # noqa: PLC0415

    packed = b"".join(text.split()).rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise StampUnreadable("neither JSON nor base64", fix=f"give {_FORMS}") from None


def _from_json(text: bytes, name: str) -> Iterator[Specimen]:
    if depth_exceeds(text, NESTING):
        raise StampUnreadable(f"nested more than {NESTING} levels deep")
    try:
        source = text.decode()
        documents = list(_documents(source))
    except UnicodeDecodeError:
        yield from _by_line(text, name, "not UTF-8")
        return
    except ValueError as error:
        yield from _by_line(text, name, f"not JSON: {error}")
        return
    many = len(documents) > 1
    for document, line, raw in documents:
        yield from _unwrapped(document, f"{name}:{line}" if many else name, raw)


def _by_line(text: bytes, name: str, problem: str) -> Iterator[Specimen]:
    """Lines of JSON of which some are broken: the others still count."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not (len(lines) > 1 and any(_parses(line) for _, line in lines)):
        raise StampUnreadable(problem, fix=f"give {_FORMS}") from None
    for number, line in lines:
        where = f"{name}:{number}"
        yield from (
            specimens(line, where)
            if _parses(line)
            else [Specimen(where=where, error=StampUnreadable(f"this line is not {_lacks(line)}"))]
        )


def _lacks(line: bytes) -> str:
    try:
        line.decode()
    except UnicodeDecodeError:
        return "UTF-8"
    return "JSON"


def _parses(line: bytes) -> bool:
    try:
        _decoder().decode(line.strip().decode())
    except ValueError:
        return False
    return True


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(parse_constant=_refuse)


def _documents(source: str) -> Iterator[tuple[Any, int, bytes]]:
    """Each JSON document with its line and its text."""
    decode = _decoder().raw_decode
    place, line = 0, 1
    while place < len(source):
        document, end = decode(source, place)
        yield document, line, source[place:end].encode()
        gap = _GAP.match(source, end)
        following = gap.end() if gap else end
        line += source.count("\n", place, following)
        place = following


def _unwrapped(document: Any, where: str, raw: bytes | None = None) -> Iterator[Specimen]:
    match document:
        case []:
            yield Specimen(where=where, error=NoStamp("an empty array carries no stamp"))
        case list():
            for place, item in enumerate(document):
                yield from _unwrapped(item, f"{where}[{place}]")
        case str():
            yield from _from_text(document, where)
        case dict():
            yield from _from_object(document, where, raw)
        case _:
            yield Specimen(where=where, error=NoStamp(f"a {type(document).__name__} carries no stamp"))


def _from_text(text: str, where: str) -> Iterator[Specimen]:
    inner = text.strip().encode(errors="surrogatepass")
    if inner[:1] == b'"':
        yield Specimen(where=where, error=NoStamp("a text in a text carries no stamp"))
        return
    yield from specimens(inner, where)


def _from_object(document: dict[str, Any], where: str, raw: bytes | None) -> Iterator[Specimen]:
    inner = next((document[name] for name in _LISTS if isinstance(document.get(name), list)), None)
    if inner is not None and "stamp" not in document:
        yield from _unwrapped(inner, where)
        return
    value = document.get("stamp")
    if _is_bare(document, value):
        yield Specimen(where=where, text=raw or _dumped(document))
        return
    properties = _mapping(document.get("properties"))
    headers = {**_mapping(document.get("headers")), **_mapping(properties.get("headers"))}
    value = headers.get("stamp", value)
    about = _about(document, properties, headers)
    if value is None:
        error = NoStamp("no `stamp` in its headers", fix=f"give {_FORMS}")
        yield Specimen(where=where, properties=about, error=error)
        return
    yield _from_header(value, where, about)


def _is_bare(document: Mapping[str, Any], value: object) -> bool:
    return isinstance(value, str) and "workflow" in document and not value.lstrip().startswith("{")


def _from_header(value: object, where: str, about: Mapping[str, Any]) -> Specimen:
    if isinstance(value, dict):
        return Specimen(where=where, text=_dumped(value), properties=about)
    if not isinstance(value, str):
        error = StampUnreadable(f"the `stamp` header is a {type(value).__name__}, not a text")
        return Specimen(where=where, properties=about, error=error)
    text = value.strip().encode(errors="surrogatepass")
    if text[:1] == b"{":
        return Specimen(where=where, text=text, properties=about)
    try:
        return Specimen(where=where, text=_unbase64(text), properties=about)
    except StampUnreadable as error:
        return Specimen(where=where, properties=about, error=error)


def _about(document: Mapping[str, Any], properties: Mapping[str, Any], headers: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: {**document, **properties}.get(name) for name in _PROPERTIES}
    found |= {name: document.get(name) for name in _PLACE}
    found["headers"] = {name: value for name, value in headers.items() if name != "stamp"} or None
    return {name: value for name, value in found.items() if value is not None}


def _mapping(value: object) -> dict[str, Any]:
    """A JSON object, or the text of one; the management API writes an empty table as an empty array."""
    if isinstance(value, str):
        try:
            value = _decoder().decode(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def _dumped(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass")
