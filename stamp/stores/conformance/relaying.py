"""What leases, `claim`, `sent`, `unsent`, `flush` and `backlog` promise."""

from __future__ import annotations

import asyncio

from stamp.stores.conformance.site import LEASE, Refused, Site, error_of


async def emitted_rows_are_leased_to_their_process(site: Site) -> None:
    other = await site.another()
    await site.emitted("m")
    assert await site.claimed(other) == []
    assert await site.claimed() == []
    site.now += LEASE - 1
    assert await site.claimed(other) == []


async def a_lease_that_ended_is_anybodys(site: Site) -> None:
    other = await site.another()
    await site.emitted("m")
    site.pass_leases()
    assert await site.claimed(other) == ["m"]


async def a_claimed_row_is_nobody_elses(site: Site) -> None:
    other = await site.another()
    await site.emitted("m")
    site.pass_leases()
    assert await site.claimed(lease=60) == ["m"]
    site.now += 59
    assert await site.claimed(other) == []
    assert await site.claimed() == []


async def a_claim_ends_by_itself(site: Site) -> None:
    other = await site.another()
    await site.emitted("m")
    site.pass_leases()
    assert await site.claimed(lease=60) == ["m"]
    site.now += 61
    assert await site.claimed(other) == ["m"]


async def two_stores_that_claim_at_once_share_nothing(site: Site) -> None:
    other = await site.another()
    for number in range(40):
        await site.emitted(f"m{number}", run=f"run-{number}")
    site.pass_leases()
    found = await asyncio.gather(*(site.claimed(store, limit=7) for store in (site.store, other) * 4))
    claimed = [message_id for part in found for message_id in part]
    assert sorted(claimed) == sorted(f"m{number}" for number in range(40))


async def a_claim_takes_no_more_than_its_limit_and_the_oldest_first(site: Site) -> None:
    await site.emitted(*(f"m{number}" for number in range(5)))
    site.pass_leases()
    assert await site.claimed(limit=2) == ["m0", "m1"]


async def the_rows_of_a_run_come_in_order(site: Site) -> None:
    for number in range(6):
        await site.emitted(f"m{number}", run=f"run-{number % 2}")
    site.pass_leases()
    claimed = await site.claimed()
    assert [name for name in claimed if int(name[1]) % 2] == ["m1", "m3", "m5"]
    assert [name for name in claimed if not int(name[1]) % 2] == ["m0", "m2", "m4"]


async def no_row_overtakes_a_held_row_of_its_run(site: Site) -> None:
    other = await site.another()
    await site.emitted("m1", "m2", run="run-1")
    await site.emitted("n1", run="run-2")
    site.pass_leases()
    assert await site.claimed(limit=1) == ["m1"]
    assert await site.claimed(other) == ["n1"]
    await site.store.sent(["m1"])
    await site.store.flush()
    assert await site.claimed(other) == ["m2"]


async def an_earlier_row_does_not_wait_for_a_held_later_one(site: Site) -> None:
    await site.emitted("m1", "m2", run="run-1")
    await site.store.unsent(["m1"])
    assert await site.claimed() == ["m1"]


async def unsent_rows_are_anybodys_at_once(site: Site) -> None:
    other = await site.another()
    await site.emitted("m", "n")
    await site.store.unsent(["m", "n"])
    assert await site.claimed(other) == ["m", "n"]


async def unsent_does_not_end_the_lease_of_another_process(site: Site) -> None:
    other = await site.another()
    await site.emitted("m")
    site.pass_leases()
    assert await site.claimed(other) == ["m"]
    await site.store.unsent(["m"])
    assert await site.claimed() == []


async def revived_rows_of_another_process_are_anybodys_at_once(site: Site) -> None:
    other = await site.another()
    await site.emitted("m", run="r1")
    await site.emitted("n", run="r2")
    await other.revive(["r1"])
    assert await site.claimed(other) == ["m"]


async def reviving_does_not_end_ones_own_leases(site: Site) -> None:
    await site.emitted("m", run="r1")
    await site.store.revive(["r1"])
    assert await site.claimed() == []


async def sent_rows_are_gone_after_a_flush(site: Site) -> None:
    other = await site.another()
    await site.emitted("m", "n")
    await site.store.sent(["m"])
    await site.store.flush()
    assert await other.backlog() == 1
    site.pass_leases()
    assert await site.claimed(other) == ["n"]


async def sent_rows_are_gone_after_closing(site: Site) -> None:
    other = await site.another()
    await site.emitted("m")
    await site.store.sent(["m"])
    await site.store.close()
    assert await other.backlog() == 0


async def sent_rows_are_never_claimed_again_by_their_process(site: Site) -> None:
    await site.emitted("m", "n")
    await site.store.sent(["m"])
    site.pass_leases()
    assert await site.claimed() == ["n"]


async def sent_rows_are_no_backlog(site: Site) -> None:
    await site.emitted("m", "n")
    assert await site.store.backlog() == 2
    await site.store.sent(["m"])
    assert await site.store.backlog() == 1


async def what_was_sent_is_not_forgotten_by_a_block_that_raises(site: Site) -> None:
    other = await site.another()
    await site.emitted("m")
    await site.store.sent(["m"])

    async def block() -> None:
        async with site.store.begin() as tx:
            await tx.emit([site.publication("n")], run="run-1")
            raise Refused

    async def hop() -> None:
        async with site.store.begin() as tx, tx.savepoint():
            await tx.emit([site.publication("n")], run="run-1")
            raise Refused

    assert [type(await error_of(work)) for work in (block(), hop())] == [Refused, Refused]
    await site.store.flush()
    assert await other.backlog() == 0


async def what_was_sent_survives_an_undone_savepoint(site: Site) -> None:
    other = await site.another()
    await site.emitted("m")
    await site.store.sent(["m"])

    async def hop(tx: object) -> None:
        async with tx.savepoint():  # type: ignore[attr-defined]
            await tx.emit([site.publication("n")], run="run-1")  # type: ignore[attr-defined]
            raise Refused

    async with site.store.begin() as tx:
        assert isinstance(await error_of(hop(tx)), Refused)
    await site.store.flush()
    assert await other.backlog() == 0


async def rows_that_follow_what_was_sent_are_written(site: Site) -> None:
    await site.emitted("m")
    await site.store.sent(["m"])
    await site.emitted("n")
    site.pass_leases()
    assert await site.claimed(await site.another()) == ["n"]


async def ids_that_nobody_knows_are_no_error(site: Site) -> None:
    await site.emitted("m")
    await site.store.sent(["unknown"])
    await site.store.unsent(["unknown"])
    await site.store.flush()
    assert await site.store.backlog() == 1


async def a_message_sent_and_forgotten_may_be_emitted_again(site: Site) -> None:
    await site.emitted("m")
    await site.store.sent(["m"])
    await site.store.flush()
    await site.emitted("m")
    assert await site.store.backlog() == 1


async def rows_of_a_process_that_died_are_found_by_the_next(site: Site) -> None:
    dead = await site.another()
    await site.emitted("m", "n", store=dead)
    await dead.sent(["m"])
    site.pass_leases()
    assert await site.claimed() == ["m", "n"]


async def claiming_from_an_empty_outbox_gives_nothing(site: Site) -> None:
    assert await site.claimed() == []
    assert await site.store.backlog() == 0
