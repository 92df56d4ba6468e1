"""A TCP link over loopback that can be cut, slowed, and deafened in one direction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

Direction = Literal["up", "down"]
"""`up` is from the client to the server."""

CHUNK = 64 * 1024


class Proxy:
    """Passes bytes between clients and one server. What is set holds for open connections and, slowness, new ones."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._carrying: set[asyncio.Task[None]] = set()
        self.pause = 0.0
        """Seconds that each chunk waits."""
        self.chunk = CHUNK
        """Bytes that go at once."""
        self.hides_ends = False
        """Whether a client is not told that the server has closed its connection."""
        self.hidden = 0
        """How many ends were hidden; what the server said before has been passed on."""

    @property
    def port(self) -> int:
        """Where clients connect, on 127.0.0.1."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)

    async def close(self) -> None:
        """Cut everything and listen no more."""
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    def cut(self) -> int:
        """Reset every connection; how many there were. New ones are let in."""
        links, self._links = self._links, set()
        for link in links:
            link.cut()
        return len(links)

    def swallow(self, direction: Direction) -> None:
        """From now on bytes of this direction go nowhere, on the connections that are open now."""
        for link in self._links:
            link.swallowed.add(direction)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, onward = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(self, (reader, writer), (there, onward))
        self._links.add(link)
        carrying = asyncio.create_task(link.carry())
        self._carrying.add(carrying)
        await asyncio.wait([carrying])
        self._carrying.discard(carrying)
        self._links.discard(link)


class _Link:
    def __init__(
        self,
        proxy: Proxy,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self.swallowed: set[Direction] = set()

    def cut(self) -> None:
        self._client[1].transport.abort()
        self._server[1].transport.abort()

    async def carry(self) -> None:
        up = self._pump("up", self._client[0], self._server[1])
        down = self._pump("down", self._server[0], self._client[1])
        with suppress(OSError):
            await asyncio.gather(up, down)
        self.cut()

    async def _pump(self, direction: Direction, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(self._proxy.chunk):
            if self._proxy.pause:
                await asyncio.sleep(self._proxy.pause)
            if direction not in self.swallowed:
                target.write(data)
                await target.drain()
        if not self._proxy.hides_ends or direction == "up":
            raise ConnectionResetError
        self._proxy.hidden += 1


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy in front of the server that `url` names, and the URL that leads through it."""
    parts = urlsplit(url)
    proxy = Proxy(parts.hostname or "127.0.0.1", parts.port or 5672)
    await proxy.open()
    try:
        user = parts.netloc.rpartition("@")[0]
        yield proxy, urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{proxy.port}"))
    finally:
        await proxy.close()
