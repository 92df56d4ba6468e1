"""Between bytes and stamps: every check that a message passes before a handler sees it, and before it is sent.

Reading, in this order: the header is there, its size, its signature (over raw bytes, before anything is parsed),
its nesting, JSON, format, `crit` and phase, the schema of the header part, workflow and version, the hop guard, the
last history entry, the state, the payload. History before the last entry was validated by whoever wrote it;
doing it again at every hop would cost O(n²) over a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from stamp.errors import (
    Looping,
    NoStamp,
    OutputInvalid,
    PayloadInvalid,
    SignatureInvalid,
    StampInvalid,
    StampTooLarge,
    StampUnreadable,
    StateInvalid,
    TooNew,
    UnknownWorkflow,
)
from stamp.evolution import too_new
from stamp.model import ENDED, FORMAT, Stamp, encoded_size, epoch, is_uuid
from stamp.nesting import depth_exceeds
from stamp.schema import entry_checker, header_checker
from stamp.style import Stateless
from stamp.window import as_seen

if TYPE_CHECKING:  # words for types alone: a tool that reads a stamp loads no tables
    from brokers.contract import Message
    from stamp.evolution import Upcasters
    from stamp.seal import KeyRing
    from stamp.workflow import Workflow

STAMP = "stamp"
SIGNATURE = "stamp_signature"
ATTEMPT = "stamp_attempt"
TRACE_HEADERS = ("traceparent", "tracestate")
CARRIED = frozenset({STAMP, SIGNATURE, ATTEMPT, *TRACE_HEADERS})
"""The toolkit's own headers: what a re-send takes along. Everything else belongs to somebody else's delivery."""

JSON = "application/json"
TIMER = "timer:"
"""What the type of a message begins with that only tells the time."""

SOFT_LIMIT = 16 * 1024
HARD_LIMIT = 64 * 1024
NESTING = 32
ATTEMPTS_BELIEVED = 1_000_000

FEATURES: frozenset[str] = frozenset()
"""Values of `crit` that this version understands."""

Versions = Mapping[int, "Workflow"]

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_object = msgspec.json.Decoder(dict[str, Any])
_any = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode


class Arrival(msgspec.Struct, frozen=True):
    """A message that passed every check that needs no handler."""

    stamp: Stamp
    workflow: Workflow
    message: Message
    payload: Any
    """The body as plain values, valid against its event's schema; `None` for an undo."""
    attempt: int = 1


class Codec(msgspec.Struct, frozen=True, kw_only=True):
    """Reads and writes messages of the workflows given. Pure: keys and versions are all it knows."""

    keys: KeyRing | None = None
    soft_limit: int = SOFT_LIMIT
    hard_limit: int = HARD_LIMIT
    features: frozenset[str] = FEATURES

    def decode(self, message: Message, versions: Versions) -> Arrival:
        """Check and open a message of one workflow, of which `versions` are known here.

        Raises one of `stamp.errors.Theirs`; the message is then held, whole, under its reason.
        """
        text = header_text(message)
        stamp = self._opened(message, text, versions)
        _check_identity(message, stamp)
        written = stamp.version
        workflow = served(stamp, versions)
        lifts = versions[max(versions)].upcasters
        stamp = as_seen(lifted(stamp, workflow, lifts), workflow)
        if stamp.seq >= workflow.hop_guard and stamp.phase == "forward":
            raise Looping(
                f"{stamp.seq} hops and still going forward; the hop guard of {workflow.label} is {workflow.hop_guard}",
                fix="look for a loop in the table, or raise hop_guard=",
            )
        check_state(stamp, workflow)
        payload = None if message.type.startswith("undo:") else read_payload(message)
        if payload is not None and not is_timer(message):
            _check_known(payload, stamp, workflow)
            if written != workflow.version:
                payload = lifts.event(stamp.event, payload, written, workflow.version)
            _check_payload(payload, stamp, workflow)
        return Arrival(stamp, workflow, message, payload, attempt_of(message))

    def notice(self, message: Message, versions: Versions) -> Stamp:
        """The stamp of a message that only tells where a run stands (its end, a timer): signature and header checked.

        Raises one of `stamp.errors.Theirs`.
        """
        return self._opened(message, header_text(message), versions)

    def encode(self, stamp: Stamp) -> str:
        """The header value of a stamp, within its budget. Raises `StampTooLarge`."""
        return self.written(stamp).decode()

    def written(self, stamp: Stamp) -> bytes:
        """The header value as the bytes that are signed, within its budget. Raises `StampTooLarge`."""
        text = stamp.to_json()
        if len(text) > self.hard_limit:
            raise StampTooLarge(
                f"the stamp of {stamp.workflow} would be {len(text)} bytes, over the limit of {self.hard_limit};"
                f" biggest: {biggest_members(stamp)}",
                fix="keep large data in your database and put its key into the state",
            )
        return text

    def sign(self, *, message_id: str, type_: str, stamp: bytes, body: bytes) -> str | None:
        """The value of the signature header, or `None` when there is no signing key."""
        if self.keys is None:
            return None
        return self.keys.sign(message_id=message_id, type_=type_, stamp=stamp, body=body)

    def _opened(self, message: Message, text: bytes, versions: Versions) -> Stamp:
        for workflow in versions.values():
            if workflow.signed:
                self._verify(message, text)
                break
        stamp = parse(text)
        check_readable(stamp, self.features)
        check_header(stamp)
        return stamp

    def _verify(self, message: Message, text: bytes) -> None:
        if self.keys is None:
            raise SignatureInvalid(
                "this workflow is signed and the service has no keys", fix="give the service a key ring: Service(keys=)"
            )
        self.keys.verify(
            message.headers.get(SIGNATURE),
            app_id=message.app_id,
            message_id=message.message_id,
            type_=message.type,
            stamp=text,
            body=message.body,
        )


def header_text(message: Message, limit: int = HARD_LIMIT) -> bytes:
    """The stamp header's bytes, within the size limit."""
    value = message.headers.get(STAMP)
    if value is None:
        raise NoStamp("the message has no `stamp` header", fix="publish it through the toolkit, or start a run with it")
    if not isinstance(value, str | bytes | bytearray):
        raise StampUnreadable(f"the `stamp` header is a {type(value).__name__}, not a text")
    text = value.encode(errors="surrogatepass") if isinstance(value, str) else bytes(value)
    if len(text) > limit:
        raise StampUnreadable(f"the stamp has {len(text)} bytes, the limit is {limit}")
    return text


def parse(text: bytes) -> Stamp:
    """JSON to a stamp, for anybody: no workflow is needed. Raises `StampUnreadable`."""
    if depth_exceeds(text, NESTING):
        raise StampUnreadable(f"the stamp is nested more than {NESTING} levels deep")
    try:
        return _history_last(text) or _history_anywhere(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise StampUnreadable(f"the stamp is not a JSON object: {error}") from None


def _history_last(text: bytes) -> Stamp | None:
    """The stamp as this library writes it, compact and with its history last; `None` when it is written otherwise.

    What stands before the cut is an object once it is closed, so the cut is not inside a string or a member.
    """
    head, _, tail = text.rpartition(b',"history":[')
    if not head or not tail.endswith(b"]}"):
        return None
    try:
        values = _object.decode(head + b"}")
        stamp = Stamp(values, b"[" + tail[:-1])
        stamp.raw_history()
    except msgspec.DecodeError:
        return None
    return stamp if values and "history" not in values else None


def _history_anywhere(text: bytes) -> Stamp:
    members = _members.decode(text)
    trail = members.pop("history", None)
    values = {name: _any.decode(value) for name, value in members.items()}
    return Stamp(values, None if trail is None else bytes(trail))


def check_readable(stamp: Stamp, features: frozenset[str] = FEATURES) -> None:
    """Tell what is too new from what is wrong: an unknown major, `crit` or phase waits for a newer reader."""
    why = too_new(stamp.values, own=FORMAT, features=features)
    if why:
        raise TooNew(why, fix="upgrade this service; then it is released by itself")


def check_header(stamp: Stamp) -> None:
    """The header part and the newest entry against `schemas/stamp/1.json`. Raises `StampInvalid`."""
    checker = header_checker()
    if not checker.is_valid(stamp.values):
        raise StampInvalid(checker.explain(stamp.values))
    _check_time("started", stamp.started)
    _check_time("deadline", stamp.deadline)
    if stamp.trail is None:
        return
    try:
        entry = stamp.last_entry()
    except (msgspec.DecodeError, RecursionError) as error:
        raise StampInvalid(f"history is not an array of entries: {error}") from None
    if entry is None:
        return
    if not entry_checker().is_valid(entry):
        raise StampInvalid(f"history[-1]: {entry_checker().explain(entry)}")
    _check_time("history[-1].at", entry["at"])
    if entry["seq"] != stamp.seq and stamp.branch is None and stamp.owner is None:
        raise StampInvalid(f"seq is {stamp.seq}, but the last entry has {entry['seq']}")


def _check_time(name: str, text: str | None) -> None:
    """The schema's pattern lets the 31st of February through, and a year 0; only such dates cost a look."""
    if text is None or (text >= "0001" and text[8:10] <= "28"):
        return
    try:
        epoch(text)
    except ValueError:
        raise StampInvalid(f"{name} {text!r} is no day of the calendar") from None


def served(stamp: Stamp, versions: Versions) -> Workflow:
    """The definition that handles the run: the one it is pinned to, or the nearest that upcasts lead to.

    Raises `UnknownWorkflow` or `TooNew`.
    """
    newest = versions[max(versions)]
    if stamp.workflow != newest.name:
        raise UnknownWorkflow(
            f"this queue belongs to {newest.name}, the stamp to {stamp.workflow}",
            fix="look at who published it, or register the workflow with a handler",
        )
    return versions.get(stamp.version) or versions[newest.upcasters.goal(stamp.version, versions)]


def lifted(stamp: Stamp, workflow: Workflow, lifts: Upcasters) -> Stamp:
    """The stamp in the shape of `workflow`'s version; a run of that version is left as it is."""
    if stamp.version == workflow.version:
        return stamp
    state = lifts.state(stamp.state, stamp.version, workflow.version)
    return stamp.having({"version": workflow.version, "state": state})


def attempt_of(message: Message) -> int:
    """The transport attempt of this delivery, from 1; a header that is not a sensible number counts as 1."""
    attempt = message.headers.get(ATTEMPT, 1)
    return attempt if type(attempt) is int and 1 <= attempt <= ATTEMPTS_BELIEVED else 1  # True is an int, too


def _check_identity(message: Message, stamp: Stamp) -> None:
    if not is_uuid(message.message_id):
        raise StampInvalid(
            f"message_id {message.message_id[:80]!r} is not a UUID", fix="see the wire format: ids are UUIDv5"
        )
    if stamp.phase in ENDED:
        raise StampInvalid(f"the run has ended ({stamp.phase}): no step follows")
    if is_timer(message):
        return
    named = message.type.removeprefix("undo:")
    if message.type.startswith("undo:") != (stamp.phase == "backward") or (
        named == message.type and named != stamp.event
    ):
        raise StampInvalid(
            f"type {message.type[:80]!r} does not fit phase {stamp.phase} and event {stamp.event!r}",
            fix="type is the stamp's event, or undo:<step> while the run goes backward",
        )


def check_state(stamp: Stamp, workflow: Workflow) -> None:
    """The state against its schema; where nobody owns one, none travels. Raises `StateInvalid`."""
    if isinstance(workflow.style, Stateless):
        return
    checker = workflow.contract.state
    if not checker.is_valid(stamp.state):
        raise StateInvalid(f"state of {workflow.label}: {checker.explain(stamp.state)}")


def read_payload(message: Message) -> Any:
    """The body as plain values. Raises `PayloadInvalid`."""
    try:
        if depth_exceeds(message.body, NESTING):
            raise PayloadInvalid(f"the body is nested more than {NESTING} levels deep")
        return _any.decode(message.body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise PayloadInvalid(f"the body is not JSON: {error}") from None


def _check_known(payload: Any, stamp: Stamp, workflow: Workflow) -> None:
    if stamp.event not in workflow.contract.events:
        raise StampInvalid(f"{workflow.label} has no event {stamp.event[:80]!r}", fix="look at who published it")
    if not isinstance(payload, dict):
        raise PayloadInvalid(f"{stamp.event} of {workflow.label}: the body is not a JSON object")


def _check_payload(payload: Any, stamp: Stamp, workflow: Workflow) -> None:
    checker = workflow.contract.event(stamp.event)
    if not checker.is_valid(payload):
        raise PayloadInvalid(f"{stamp.event} of {workflow.label}: {checker.explain(payload)}")


class Timer(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a timer: when it is due, and for which fork."""

    due: int
    """Epoch milliseconds."""
    fork: str = ""


def is_timer(message: Message) -> bool:
    """Whether a message only tells the time."""
    return message.type.startswith(TIMER)


def write_timer(timer: Timer) -> bytes:
    """A timer as the body that travels."""
    return _encode(timer)


def read_timer(message: Message) -> Timer:
    """What a timer says that comes without a workflow. Raises `PayloadInvalid`."""
    return timer_of(read_payload(message))


def timer_of(payload: Any) -> Timer:
    """What a timer's body says. Raises `PayloadInvalid`."""
    try:
        return msgspec.convert(payload, Timer)
    except msgspec.ValidationError as error:
        raise PayloadInvalid(f"not the body of a timer: {error}") from None


def write_payload(event: object, workflow: Workflow) -> bytes:
    """An event as the body that travels; bytes have been one. Raises `OutputInvalid` when its schema refuses it."""
    if isinstance(event, bytes):
        return event
    checker = workflow.contract.event(type(event).__name__)
    plain = msgspec.to_builtins(event)
    if not checker.is_valid(plain):
        raise OutputInvalid(f"{type(event).__name__}: {checker.explain(plain)}", fix="mend the event in the handler")
    return _encode(plain)


def biggest_members(stamp: Stamp) -> str:
    """The three largest members with their sizes, those inside `state` by path."""
    sizes = {name: encoded_size(value) for name, value in stamp.values.items() if name != "state"}
    sizes |= {f"state.{name}": encoded_size(value) for name, value in stamp.state.items()}
    sizes["history"] = len(stamp.trail or b"")
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:3]
    return ", ".join(f"{name} {size} bytes" for name, size in largest)
