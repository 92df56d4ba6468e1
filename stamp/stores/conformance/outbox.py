"""What `emit` promises: what comes out is what went in, in its order."""

from __future__ import annotations

from brokers.contract import Message, Publication
from stamp.stores.conformance.site import LEASE, Site


async def _through(site: Site, *publications: Publication) -> list[Publication]:
    async with site.store.begin() as tx:
        await tx.emit(publications, run="run-1")
    site.pass_leases()
    return list(await site.store.claim(100, lease=LEASE))


async def every_property_comes_out_as_it_went_in(site: Site) -> None:
    message = Message(
        body=b"\x00\xff{}",
        message_id="0197-ä",
        type="TicketCreated",
        headers={"stamp": '{"stamp":"1.0"}', "stamp_attempt": 1},
        correlation_id="run-ß",
        app_id="tickets",
        timestamp=1_767_225_600,
        content_type="application/json",
        content_encoding="utf-8",
        reply_to="answers",
    )
    publication = Publication("NEW_TICKET", "Ticket.Created", message, mandatory=False)
    assert await _through(site, publication) == [publication]


async def what_is_not_set_stays_unset(site: Site) -> None:
    publication = Publication("", "queue", Message(body=b"", message_id="bare"))
    assert await _through(site, publication) == [publication]


async def header_values_keep_their_types(site: Site) -> None:
    headers = {"text": "1", "number": 1, "yes": True, "no": False, "zero": 0, "empty": "", "big": 2**53, "less": -7}
    (publication,) = await _through(site, site.publication(headers=headers))
    found = publication.message.headers
    assert {name: (type(value), value) for name, value in found.items()} == {
        name: (type(value), value) for name, value in headers.items()
    }


async def any_text_survives(site: Site) -> None:
    text = "äß 東京 🎫 \u0000 \u2028 ' \" \\ $1 ?1 %s :name \r\n"
    (publication,) = await _through(site, site.publication(headers={"stamp": text}, correlation_id=text))
    assert publication.message.headers == {"stamp": text}
    assert publication.message.correlation_id == text


async def a_body_is_any_bytes_of_any_size(site: Site) -> None:
    bodies = [b"", bytes(range(256)), b"\x00" * 3, b"\xf0" * 4_000_000]
    found = await _through(site, *(site.publication(body=body) for body in bodies))
    assert [publication.message.body for publication in found] == bodies


async def a_stamp_of_the_hard_budget_fits(site: Site) -> None:
    stamp = "x" * 64 * 1024
    (publication,) = await _through(site, site.publication(headers={"stamp": stamp}))
    assert publication.message.headers["stamp"] == stamp


async def rows_come_out_in_the_order_of_the_emits(site: Site) -> None:
    names = [f"m{number:03}" for number in range(60)]
    async with site.store.begin() as tx:
        for name in names[:10]:
            await tx.emit([site.publication(name)], run="run-1")
        await tx.emit([site.publication(name) for name in names[10:]], run="run-1")
    site.pass_leases()
    assert await site.claimed() == names


async def a_message_id_that_is_there_is_left_as_it_is(site: Site) -> None:
    async with site.store.begin() as tx:
        await tx.emit([site.publication("m", body=b"first")], run="run-1")
    async with site.store.begin() as tx:
        await tx.emit([site.publication("m", body=b"second"), site.publication("n")], run="run-2")
    site.pass_leases()
    claimed = await site.store.claim(100, lease=LEASE)
    assert [(each.message.message_id, each.message.body) for each in claimed] == [("m", b"first"), ("n", b"{}")]


async def a_message_id_given_twice_in_one_call_is_written_once(site: Site) -> None:
    found = await _through(site, site.publication("m", body=b"first"), site.publication("m", body=b"second"))
    assert [publication.message.body for publication in found] == [b"first"]


async def emitting_nothing_writes_nothing(site: Site) -> None:
    assert await _through(site) == []
