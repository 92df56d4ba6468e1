"""The application as it was: it owns its connection, its channel, its queue."""

from __future__ import annotations

import asyncio
import sys

import aio_pika
import aiosqlite
import msgspec

from existing_consumer import business


async def main(url: str, database: str) -> None:
    connection = await aio_pika.connect_robust(url)
    async with connection, aiosqlite.connect(database) as db:
        await db.execute(business.TABLES)
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=50)
        exchange = await channel.declare_exchange(business.EXCHANGE, "topic", durable=True)
        queue = await channel.declare_queue(business.QUEUE, durable=True)
        await queue.bind(exchange, "TicketCreated")

        async def on_message(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            async with message.process():
                ticket = msgspec.json.decode(message.body, type=business.TicketCreated)
                assigned = await business.assign(ticket, db)
                await db.commit()
                await exchange.publish(aio_pika.Message(msgspec.json.encode(assigned)), "TicketAssigned")

        await queue.consume(on_message)
        print("ready", flush=True)
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
