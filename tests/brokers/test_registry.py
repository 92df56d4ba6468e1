"""From a URL or a channel to an adapter."""

from __future__ import annotations

import pytest

from brokers.errors import ProtocolMisuse
from brokers.memory import MemoryBroker
from brokers.registry import adopt, broker_for


@pytest.mark.parametrize("url", ["memory:", "memory://", "memory://demo", "MEMORY:"])
def test_a_memory_url_gives_the_embedded_broker(url: str) -> None:
    assert isinstance(broker_for(url), MemoryBroker)


def test_an_amqp_url_gives_an_adapter_without_connecting() -> None:
    assert type(broker_for("amqp://localhost")).__name__ == "RabbitBroker"


@pytest.mark.parametrize("url", ["kafka://host", "localhost", ""])
def test_an_unknown_scheme_names_the_known_ones(url: str) -> None:
    with pytest.raises(ProtocolMisuse, match="amqp:, amqps:, memory:"):
        broker_for(url)


def test_an_error_does_not_repeat_a_password() -> None:
    with pytest.raises(ProtocolMisuse) as raised:
        broker_for("amqq://guest:secret@host")
    assert "secret" not in str(raised.value)


def test_a_channel_of_an_unknown_package_names_the_known_ones() -> None:
    with pytest.raises(ProtocolMisuse, match="'builtins'; known: aio_pika"):
        adopt(object())
