"""The arrows as data: which row each module stands on, and which packages from outside each may import."""

from __future__ import annotations

ROWS: dict[int, tuple[str, ...]] = {
    0: ("stamp.errors", "brokers.errors"),
    1: (
        "stamp.model",
        "stamp.duration",
        "stamp.ids",
        "stamp.graft",
        "stamp.nesting",
        "stamp.resources",
        "stamp.branching",
    ),
    2: (
        "stamp.step",
        "stamp.table",
        "stamp.workflow",
        "stamp.evolution",
        "stamp.schema",
        "stamp.seal",
        "stamp.retry",
        "stamp.events",
        "brokers.contract",
        "brokers.framesize",
        "brokers.clock",
    ),
    3: (
        "stamp.codec",
        "stamp.history",
        "stamp.merging",
        "stamp.decision",
        "stamp.placing",
        "stamp.joining",
        "stamp.layout",
        "stamp.outgoing",
        "stamp.parking",
        "stamp.repair",
        "stamp.hop",
        "brokers.topology",
        "brokers.registry",
    ),
    4: ("stamp.ports", "stamp.registry"),
    5: (
        "stamp.service",
        "stamp.middleware",
        "stamp.relay",
        "stamp.controller",
        "stamp.orchestrator",
        "stamp.inquiry",
        "stamp.ledger",
        "stamp.delivery",
        "stamp.trip",
        "stamp.watching",
        "stamp.sending",
        "stamp.runtime",
        "stamp.shards",
        "stamp.held",
        "stamp.failure",
        "stamp.journal",
        "stamp.nostore",
        "stamp.reading",
    ),
    6: ("stamp.stores", "stamp.observers", "brokers.memory", "brokers.rabbitmq", "brokers.node"),
    7: ("stamp.testing", "stamp.stores.conformance", "brokers.conformance"),
    8: ("stamp.cli", "stamp.web", "stamp.__main__"),
}
"""A package stands for everything in it, unless one of its modules has a line of its own."""

FREE = ("stamp", "brokers")
"""The package roots: they load their names when asked, and everybody may import them."""

OUTSIDE: dict[str, tuple[str, ...]] = {
    "msgspec": (
        "stamp.model",
        "stamp.codec",
        "stamp.schema",
        "stamp.workflow",
        "stamp.decision",
        "stamp.merging",
        "stamp.joining",
        "stamp.hop",
        "stamp.delivery",
        "stamp.service",
        "stamp.stores",
        "stamp.reading",
        "stamp.testing",
        "stamp.cli",
        "stamp.evolution",
        "stamp.ledger",
        "stamp.parking",
        "stamp.repair",
        "brokers.node",
    ),
    "jsonschema": ("stamp.schema",),
    "jsonschema_rs": ("stamp.schema",),
    "cryptography": ("stamp.seal",),
    "aio_pika": ("brokers.rabbitmq",),
    "aiormq": ("brokers.rabbitmq",),
    "pamqp": ("brokers.rabbitmq",),
    "yarl": ("brokers.rabbitmq",),
    "aiosqlite": ("stamp.stores.sqlite", "stamp.stores"),
    "asyncpg": ("stamp.stores",),
    "sqlalchemy": ("stamp.stores",),
    "click": ("stamp.cli",),
    "pytest": ("stamp.testing",),
}

PURE_ROWS = (0, 1, 2, 3)
IMPURE_MODULES = frozenset({"asyncio", "socket", "subprocess", "threading", "time", "random", "secrets"})
"""What the pure rows of `stamp` may not import: loops, clocks, dice."""
