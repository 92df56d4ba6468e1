-- Inbox: one row a message that a consumer has handled. Pruned by expires_at; NULL keeps the row.
CREATE TABLE IF NOT EXISTS {inbox} (
    consumer TEXT NOT NULL,
    message_id TEXT NOT NULL,
    expires_at REAL,
    PRIMARY KEY (consumer, message_id)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS {prefix}inbox_expires ON {inbox} (expires_at) WHERE expires_at IS NOT NULL;

-- Outbox: one row a message that is committed and not yet confirmed by the broker.
CREATE TABLE IF NOT EXISTS {outbox} (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id TEXT NOT NULL UNIQUE,
    run TEXT NOT NULL,
    exchange TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    mandatory INTEGER NOT NULL,
    properties TEXT NOT NULL,
    body BLOB NOT NULL,
    created_at REAL NOT NULL,
    lease_until REAL NOT NULL,
    lease_by TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS {prefix}outbox_lease ON {outbox} (lease_until, run, id);
