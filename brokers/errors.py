"""What can go wrong between a process and its broker.

BrokerError                 base; `transient` says whether the same call may succeed later
├── BrokerUnreachable       transient: no connection, or it broke before the message was sent
├── PublishUnknown          transient: sent, but no confirm came back; it may have arrived
├── PublishRefused          transient: the broker answered with a nack
├── Unroutable              no queue is bound for this exchange and routing key
├── MessageTooLarge         properties and headers do not fit in one AMQP frame
├── NotFound                the queue, exchange or stream does not exist
├── TopologyMismatch        it exists with other arguments than those declared
├── AccessRefused           credentials or permissions
├── ProtocolMisuse          a value AMQP cannot carry, or a call the broker forbids
└── NodeFailed              a private broker node did not start, stop or join
"""

from __future__ import annotations


class BrokerError(Exception):
    """Base of every error that a broker adapter lets out; foreign exceptions never pass it."""

    transient = False


class BrokerUnreachable(BrokerError):
    """No connection could be made, or it was lost before the message was handed over."""

    transient = True


class PublishUnknown(BrokerError):
    """The message was sent and the confirm never came: publish again with the same message id."""

    transient = True


class PublishRefused(BrokerError):
    """The broker answered with a nack: nothing was stored, the channel was replaced."""

    transient = True


class Unroutable(BrokerError):
    """A mandatory message came back because no queue is bound for it."""


class MessageTooLarge(BrokerError):
    """Properties and headers exceed one frame; sending them would end the whole connection."""


class NotFound(BrokerError):
    """The queue, exchange or stream named in the call does not exist."""


class TopologyMismatch(BrokerError):
    """The name exists with other arguments than those declared here."""


class AccessRefused(BrokerError):
    """The broker refused the credentials or the permission."""


class ProtocolMisuse(BrokerError):
    """The call or a value in it is something AMQP cannot carry or the broker forbids."""


class NodeFailed(BrokerError):
    """A private node did not start, stop or join; the message carries the end of its log."""
