"""What `Books` promises: reading the ledger outside a transaction; and how its rows are pruned."""

from __future__ import annotations

from stamp.errors import NotRunning, StoreUnavailable
from stamp.stores.conformance.bookkeeping import books, listed, read, row, write
from stamp.stores.conformance.site import Site, error_of, names_a_fix


async def an_empty_ledger_lists_and_counts_nothing(site: Site) -> None:
    assert await listed(site.store) == []
    assert await books(site.store).counts() == {}


async def the_newest_comes_first_and_of_equals_the_greater_run(site: Site) -> None:
    started = {"b": 2.0, "old": 1.0, "c": 2.0, "new": 3.0, "B": 2.0, "a": 2.0}
    await write(site.store, *(row(run, started=moment) for run, moment in started.items()))
    assert await listed(site.store) == ["new", "c", "b", "a", "B", "old"]
    assert await listed(site.store, runs=list(started)) == ["new", "c", "b", "a", "B", "old"]


async def a_list_is_no_longer_than_its_limit(site: Site) -> None:
    await write(site.store, *(row(f"run-{number:04}", started=float(number)) for number in range(1_200)))
    assert await listed(site.store, limit=2) == ["run-1199", "run-1198"]
    assert await listed(site.store, limit=0) == []
    assert len(await listed(site.store)) == 1_000
    assert len(await listed(site.store, limit=5_000)) == 1_200


async def a_list_of_given_runs_has_no_others(site: Site) -> None:
    await write(site.store, row("a"), row("b"), row("c"))
    assert await listed(site.store, runs=["c", "unknown", "a", "c"]) == ["c", "a"]
    assert await listed(site.store, runs=[]) == []
    assert await listed(site.store, runs=None) == ["c", "b", "a"]


async def a_prefix_is_taken_as_it_is(site: Site) -> None:
    runs = ["0197", "0197-a", "0197-b", "0198", "a%b", "a%", "a_b", "axb", "aXb", "A_b", "a\\%b", "a*b", "a[x]b", "äb"]
    await write(site.store, *(row(run) for run in runs))
    for prefix in ("", "0", "0197", "0197-", "0197-c", "a", "A", "a%", "a_", "a%b", "a\\", "a*", "a[", "ä", "zz", "?"):
        assert sorted(await listed(site.store, prefix=prefix)) == sorted(
            run for run in runs if run.startswith(prefix)
        ), prefix


async def a_prefix_may_end_with_any_character(site: Site) -> None:
    ends = ["~", "\x7f", "\u07ff", "\ud7ff", "\ue000", "\uffff", "\U0010ffff"]
    await write(site.store, *(row(f"r{end}{more}") for end in ends for more in ("", "0", "\U0010ffff")))
    for end in ends:
        assert len(await listed(site.store, prefix=f"r{end}")) == 3
    assert await listed(site.store, prefix="\U0010ffff") == []


async def a_list_of_one_workflow_has_no_other(site: Site) -> None:
    await write(site.store, row("a", workflow="ORDER"), row("b"), row("c", workflow="ORDER"), row("d", workflow="ORD"))
    assert await listed(site.store, workflow="ORDER") == ["c", "a"]
    assert await listed(site.store, workflow="order") == []
    assert await listed(site.store, workflow="") == []


async def a_list_of_some_statuses_has_no_other(site: Site) -> None:
    await write(site.store, row("a", status="held"), row("b"), row("c", status="completed"), row("d", status="held"))
    assert await listed(site.store, statuses=["held"]) == ["d", "a"]
    assert await listed(site.store, statuses=["completed", "held"]) == ["d", "c", "a"]
    assert await listed(site.store, statuses=["failed"]) == []
    assert await listed(site.store, statuses=[]) == ["d", "c", "b", "a"]


async def overdue_is_what_has_not_ended_by_its_deadline(site: Site) -> None:
    await write(
        site.store,
        row("late", deadline=99.0),
        row("later", deadline=50.0, started=7.0),
        row("just", deadline=100.0),
        row("ended", deadline=99.0, ended=120.0),
        row("endless"),
    )
    assert await listed(site.store, overdue=100.0) == ["late", "later"]
    assert await listed(site.store, overdue=100.5) == ["late", "just", "later"]
    assert await listed(site.store, overdue=0.0) == []


async def what_is_asked_together_narrows_together(site: Site) -> None:
    wanted = row("0197-x", workflow="ORDER", status="held", deadline=5.0, started=9.0)
    others = [
        wanted._replace(run="0198-x"),
        wanted._replace(run="0197-y"),
        wanted._replace(run="0197-w", workflow="NEW_TICKET"),
        wanted._replace(run="0197-s", status="running"),
        wanted._replace(run="0197-d", deadline=10.0),
    ]
    await write(site.store, wanted, *others)
    runs = [each.run for each in (wanted, *others) if each.run != "0197-y"]
    asked = {"runs": runs, "prefix": "0197", "workflow": "ORDER", "statuses": ["held", "failed"], "overdue": 10.0}
    assert list(await books(site.store).ledger(**asked, limit=5)) == [wanted]  # type: ignore[arg-type]
    for left_out, found in zip(asked, [2, 2, 2, 2, 2], strict=True):
        fewer = {name: value for name, value in asked.items() if name != left_out}
        assert len(await listed(site.store, **fewer)) == found, left_out
    assert len(await listed(site.store, **asked, limit=0)) == 0


async def counts_are_by_status_and_leave_out_what_none_has(site: Site) -> None:
    await write(site.store, row("a"), row("b"), row("c", status="held"), row("d", status="held", workflow="ORDER"))
    assert await books(site.store).counts() == {"running": 2, "held": 2}
    assert await books(site.store).counts("ORDER") == {"held": 1}
    assert await books(site.store).counts("UNKNOWN") == {}
    await write(site.store, row("c", status="completed"), row("d", status="completed", workflow="ORDER"))
    found = await books(site.store).counts()
    assert (dict(found), "held" in found) == ({"running": 2, "completed": 2}, False)


async def a_row_of_the_ledger_is_kept_until_its_time_has_passed(site: Site) -> None:
    await write(site.store, row("a", expires=100.0), row("b", expires=200.0), row("c", expires=None))
    assert await site.store.prune(100.0) == 0
    assert await site.store.prune(100.5) == 1
    assert await read(site.store, "a", "b", "c") == {"b": b"{}", "c": b"{}"}
    assert await site.store.prune(1e12) == 1
    assert await listed(site.store) == ["c"]


async def pruning_the_ledger_is_bounded_and_takes_the_oldest_first(site: Site) -> None:
    await write(site.store, *(row(f"run-{number:03}", expires=1_000.0 - number) for number in range(450)))
    assert await site.store.prune(2_000.0, limit=440) == 440
    assert sorted(await listed(site.store)) == [f"run-{number:03}" for number in range(10)]
    assert await site.store.prune(2_000.0) == 10
    assert await site.store.prune(2_000.0) == 0


async def each_kind_of_row_is_pruned_up_to_the_limit(site: Site) -> None:
    await write(site.store, row("a", expires=1.0), row("b", expires=2.0))
    async with site.store.begin() as tx, tx.savepoint():
        for number in range(2):
            await tx.first_seen("assign", f"m{number}", expires=1.0)
        await tx.put_arrivals("j", {"0": b"x", "1": b"y"}, expires=1.0)
    assert await site.store.prune(3.0, limit=1) == 3
    assert await listed(site.store) == ["b"]


async def a_row_that_was_written_again_is_pruned_at_its_new_time(site: Site) -> None:
    await write(site.store, row("a", expires=100.0), row("b", expires=100.0))
    await write(site.store, row("a", expires=None), row("b", expires=300.0))
    assert await site.store.prune(200.0) == 0
    assert await listed(site.store) == ["b", "a"]


async def a_store_that_is_not_open_lists_nothing(site: Site) -> None:
    store = books(site.closed())
    for work in (store.ledger(), store.counts()):
        error = await error_of(work)
        assert isinstance(error, NotRunning)
        assert names_a_fix(error)


async def a_database_that_is_away_is_read_or_said_to_be_away(site: Site) -> None:
    await write(site.store, row("a"))
    await site.place.go_away()
    errors = [await error_of(books(site.store).ledger()), await error_of(books(site.store).counts())]
    await site.place.come_back()
    assert {type(error) for error in errors} <= {type(None), StoreUnavailable}
    assert await listed(site.store) == ["a"]
