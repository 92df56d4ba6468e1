"""The application with five lines changed, and its own glue between message, database and publish gone."""

from __future__ import annotations

import asyncio
import sys

import aio_pika
import aiosqlite

from existing_consumer import business
from existing_consumer.workflow import HELPDESK, assignment
from stamp.middleware import stamped


async def main(url: str, database: str) -> None:
    connection = await aio_pika.connect_robust(url)
    async with connection, aiosqlite.connect(database) as db:
        await db.execute(business.TABLES)
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        await channel.set_qos(prefetch_count=50)
        exchange = await channel.declare_exchange(business.EXCHANGE, "topic", durable=True)
        queue = await channel.declare_queue(business.QUEUE, durable=True)
        await queue.bind(exchange, "TicketCreated")

        async with assignment.open(broker=url, store=f"sqlite:///{database}", consume=False):
            await queue.consume(stamped(assignment, HELPDESK, "assign", channel=channel))
            print("ready", flush=True)
            await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
