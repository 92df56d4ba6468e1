"""Every error of the toolkit, by whose fault it is.

    StampError
    ├── Ours: raised to the caller, who can mend it
    │   ├── DefinitionError          a workflow table or a handler is wrong
    │   ├── SchemaMissing            no frozen schema where one was promised
    │   ├── SchemaDrift              code and frozen schema differ
    │   ├── OutputInvalid            a handler wrote state or an event that its schema refuses
    │   ├── StampTooLarge            the stamp would exceed its budget; names the biggest members
    │   ├── UndeclaredEvent          a handler returned an event that the step does not emit
    │   ├── TransactionHijacked      a handler ended the transaction it was given
    │   ├── StoreUnavailable         the local database is out of reach (transient)
    │   ├── NotRunning               a call that needs an open service
    │   ├── UnknownKey               no signing key of that id
    │   ├── BadConfiguration         a URL, option or file that can't be used
    │   ├── RepairRefused            a held message can't be repaired in this way
    │   └── NoState                  a handler asks for a state that does not travel
    └── Theirs: the message is held with this reason
        ├── NoStamp                  the header is missing
        ├── StampUnreadable          not JSON, nested too deep, over-size
        ├── StampInvalid             against schemas/stamp/1.json
        ├── TooNew                   newer format, version, crit or phase than this reader knows
        ├── UnknownWorkflow          this service takes no part in it
        ├── StateInvalid             against the workflow's schema
        ├── PayloadInvalid           the body against the event's schema
        ├── SignatureInvalid         missing, unknown key or wrong
        ├── Looping                  more hops than the hop guard allows
        ├── MergeConflict            branches disagree about a member of the state
        ├── Equivocation             one hop came with two different contents
        └── ActionRefused            another copy ran already, or the undo came before its action

`Fail` and `RetryLater` are not errors but words of a handler; they live in `stamp.model`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Disposition = Literal["raise", "retry", "backward", "hold"]


class StampError(Exception):
    """Base. `code` is stable and explained by `stamp explain CODE`; `fix` says what to do next."""

    code: ClassVar[str] = "E000"
    disposition: ClassVar[Disposition] = "raise"
    reason: ClassVar[str] = "error"

    def __init__(self, what: str, *, fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what} (fix: {self.fix})" if self.fix else self.what


class Ours(StampError):
    """Our side wrote or configured something wrong: raised to the caller, or handled like a failing handler."""


class Theirs(StampError):
    """The message can't be handled here as it is: it is held, whole, under `reason`."""

    disposition: ClassVar[Disposition] = "hold"


class DefinitionError(Ours):
    """A workflow table or a handler registration is wrong; the message names the line of the table."""

    code = "E001"
    reason = "definition"


class SchemaMissing(Ours):
    """A frozen schema was promised (`schemas=`) and the file is not there."""

    code = "E002"
    reason = "schema-missing"


class SchemaDrift(Ours):
    """The types in the code no longer produce the frozen schema of this version."""

    code = "E003"
    reason = "schema-drift"


class OutputInvalid(Ours):
    """A handler wrote state or an event that the workflow's schema refuses; its transaction rolled back."""

    code = "E004"
    disposition = "hold"
    reason = "output-invalid"


class StampTooLarge(Ours):
    """The stamp would exceed its hard budget; the transaction rolled back and nothing was lost."""

    code = "E005"
    disposition = "hold"
    reason = "too-large"


class UndeclaredEvent(Ours):
    """A handler returned an event that its step does not declare in `emits`."""

    code = "E006"
    disposition = "hold"
    reason = "undeclared-event"


class TransactionHijacked(Ours):
    """A handler committed or rolled back the transaction that it was given."""

    code = "E007"
    disposition = "hold"
    reason = "transaction-ended"


class StoreUnavailable(Ours):
    """The local database is out of reach, locked or full: consuming pauses, no attempt is spent."""

    code = "E008"
    disposition = "retry"
    reason = "store-unavailable"


class NotRunning(Ours):
    """The call needs an open service: use it inside `async with service.open(...)` or `service.run(...)`."""

    code = "E009"
    reason = "not-running"


class UnknownKey(Ours):
    """No signing key of that id in the key ring."""

    code = "E010"
    reason = "unknown-key"


class BadConfiguration(Ours):
    """A URL, an option or a file that can't be used."""

    code = "E011"
    reason = "configuration"


class RepairRefused(Ours):
    """A held message can't be repaired in this way; nothing was sent and it stays held."""

    code = "E012"
    reason = "repair-refused"


class NoState(Ours):
    """A handler of a stateless workflow asked for the run's state: nobody keeps one."""

    code = "E013"
    disposition = "hold"
    reason = "no-state"


class NoStamp(Theirs):
    """The message has no `stamp` header."""

    code = "E020"
    reason = "no-stamp"


class StampUnreadable(Theirs):
    """The header is not UTF-8 JSON, is nested too deep, or is over the size limit."""

    code = "E021"
    reason = "unreadable"


class StampInvalid(Theirs):
    """The stamp breaks `schemas/stamp/1.json`."""

    code = "E022"
    reason = "invalid"


class TooNew(Theirs):
    """A format major, definition version, `crit` feature or `phase` that this reader does not know yet."""

    code = "E023"
    reason = "too-new"


class UnknownWorkflow(Theirs):
    """No workflow of that name is registered with this service."""

    code = "E024"
    reason = "unknown-workflow"


class StateInvalid(Theirs):
    """The workflow's data breaks the schema of its version."""

    code = "E025"
    reason = "state-invalid"


class PayloadInvalid(Theirs):
    """The body is not JSON or breaks the schema of its event."""

    code = "E026"
    reason = "payload-invalid"


class SignatureInvalid(Theirs):
    """Policy asks for a signature and it is missing, of an unknown key, or wrong."""

    code = "E027"
    reason = "signature"


class Looping(Theirs):
    """More finished hops than the hop guard allows."""

    code = "E028"
    reason = "hop-guard"


class MergeConflict(Theirs):
    """Branches that meet in a join changed a member of the state differently, and no policy says what then."""

    code = "E029"
    reason = "merge-conflict"


class Equivocation(Theirs):
    """Branches that meet in a join carry the same history entry with different contents."""

    code = "E030"
    reason = "equivocation"


class ActionRefused(Theirs):
    """Another message asks for a visit of a step that ran already, or whose undo came before it."""

    code = "E031"
    reason = "already-settled"
