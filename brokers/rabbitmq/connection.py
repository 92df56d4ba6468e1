"""One connection that is made when it is needed, to whichever of several nodes answers."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import aio_pika

from brokers.errors import AccessRefused, BrokerError, BrokerUnreachable, ProtocolMisuse
from brokers.rabbitmq.foreign import translated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aio_pika.abc import AbstractChannel, AbstractConnection

    from brokers.rabbitmq.chores import Chores
    from brokers.rabbitmq.wire import Wire

log = logging.getLogger("brokers.rabbitmq")

_PASSWORD = re.compile(r"(://[^:]*):.*@")


def split_urls(url: str) -> list[str]:
    """The nodes named in a URL, separated by commas. Raises `ProtocolMisuse` for what is no AMQP URL."""
    urls = [part.strip() for part in url.split(",")]
    for part in urls:
        if not _names_a_node(part):
            raise ProtocolMisuse(f"{censored(part)!r} is no AMQP URL (fix: amqp://user:password@host:5672/vhost)")
    return urls


def _names_a_node(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"amqp", "amqps"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a bracket that is not closed, a port that is none
        return False


def spread(urls: Sequence[str]) -> list[str]:
    """The same nodes in an order of chance: no node gets every process, nor after a loss its whole neighbour's load."""
    return random.sample(urls, len(urls))


def censored(url: str) -> str:
    """The URL without its password."""
    try:
        password = urlsplit(url).password
    except ValueError:
        return _PASSWORD.sub(r"\1:***@", url)
    return url.replace(f":{password}@", ":***@", 1) if password else url


class Link:
    """A connection with a purpose. Never reconnects by itself: who needs it asks, and gets one attempt.

    A loss, and that it is over, is logged with `level`: a warning where nobody else would notice.
    """

    def __init__(
        self,
        urls: Sequence[str],
        wire: Wire,
        chores: Chores,
        *,
        name: str,
        heartbeat: int,
        timeout: float,
        level: int = logging.INFO,
    ) -> None:
        self._urls = list(urls)
        self._wire = wire
        self._chores = chores
        self._name = name
        self._heartbeat = heartbeat
        self._timeout = timeout
        self._level = level
        self._lost = False
        self._current: AbstractConnection | None = None
        self._attempt: asyncio.Task[AbstractConnection] | None = None
        self._closed = False

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._current is not None and self._current.connected.is_set()

    async def connection(self) -> AbstractConnection:
        """The open connection; made now, in one attempt that all callers share, when there is none.

        Raises `BrokerUnreachable` or `AccessRefused`.
        """
        if self._current is not None and self.connected:
            return self._current
        if self._closed:
            raise BrokerUnreachable("the broker object was closed")
        if self._attempt is None:
            self._attempt = asyncio.create_task(self._connect())
            self._attempt.add_done_callback(self._attempted)
        return await asyncio.shield(self._attempt)

    async def channel(self, *, confirms: bool) -> AbstractChannel:
        """A new channel. Raises `BrokerUnreachable`, also while a resource alarm blocks the connection."""
        connection = await self.connection()
        await self.unblocked()
        with translated(f"opening a channel on {self}"):
            async with asyncio.timeout(self._timeout):
                channel = connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
                await channel.initialize()
        return channel

    async def unblocked(self) -> None:
        """Return when the broker lets this connection publish; `BrokerUnreachable` when it does not in time.

        The library has no event for `connection.blocked`; no call that needs an answer may be made before.
        """
        transport = self._current.transport if self._current is not None else None
        if transport is None:
            raise BrokerUnreachable(f"no connection to {self}")
        if self._wire.flows(transport.connection):
            return
        try:
            async with asyncio.timeout(self._timeout):
                await transport.ready()
        except TimeoutError as error:
            raise BrokerUnreachable(f"{self} blocks publishing: a memory or disk alarm is on") from error

    async def close(self) -> None:
        """`disconnect`, for good. Idempotent."""
        self._closed = True
        await self.disconnect()

    async def disconnect(self) -> None:
        """Close the connection; the next call that needs one makes a new one."""
        if self._attempt is not None:
            self._attempt.cancel()
            await asyncio.gather(self._attempt, return_exceptions=True)
        connection, self._current = self._current, None
        if connection is not None:
            self._chores.add(connection.close())

    async def _connect(self) -> AbstractConnection:
        failures: list[BrokerError] = []
        for _ in self._urls:
            url = self._urls[0]
            try:
                return await self._connect_to(url)
            except BrokerError as error:
                failures.append(error)
            self._urls.append(self._urls.pop(0))
        refused = [error for error in failures if isinstance(error, AccessRefused)]
        raise refused[0] if refused else BrokerUnreachable("; ".join(str(error) for error in failures))

    async def _connect_to(self, url: str) -> AbstractConnection:
        own_heartbeat = parse_qs(urlsplit(url).query).get("heartbeat")
        with translated(f"no connection to {censored(url)}"):
            connection = await aio_pika.connect(
                url,
                timeout=self._timeout,
                connection_class=self._wire.connection,
                client_properties={"connection_name": self._name},
                heartbeat=int(own_heartbeat[0]) if own_heartbeat else self._heartbeat,
            )
        connection.close_callbacks.add(self._on_close)
        self._current = connection
        if self._lost:
            self._lost = False
            log.log(self._level, "the connection %s to %s is back", self._name, censored(url))
        return connection

    def _attempted(self, attempt: asyncio.Task[AbstractConnection]) -> None:
        self._attempt = None
        if not attempt.cancelled():
            attempt.exception()  # Whoever asked may be gone; asyncio would complain at an error nobody read.

    def _on_close(self, connection: AbstractConnection | None, error: BaseException | None) -> None:
        if connection is None or connection is not self._current:
            return
        log.log(self._level, "lost the connection %s to %s: %s", self._name, self, error or "closed")
        self._current = None
        self._lost = True
        self._urls.append(self._urls.pop(0))
        self._chores.add(connection.close())

    def __str__(self) -> str:
        return censored(self._urls[0])
