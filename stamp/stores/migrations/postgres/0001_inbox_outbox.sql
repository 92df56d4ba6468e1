-- Inbox: one row a message that a consumer has handled. Pruned by expires_at; NULL keeps the row.
CREATE TABLE IF NOT EXISTS {inbox} (
    consumer text NOT NULL,
    message_id text NOT NULL,
    expires_at double precision,
    PRIMARY KEY (consumer, message_id)
);

CREATE INDEX IF NOT EXISTS inbox_expires ON {inbox} (expires_at) WHERE expires_at IS NOT NULL;

-- Outbox: one row a message that is committed and not yet confirmed by the broker.
CREATE TABLE IF NOT EXISTS {outbox} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id text NOT NULL UNIQUE,
    run text NOT NULL,
    exchange text NOT NULL,
    routing_key text NOT NULL,
    mandatory boolean NOT NULL,
    properties text NOT NULL,
    body bytea NOT NULL,
    created_at double precision NOT NULL,
    lease_until double precision NOT NULL,
    lease_by text NOT NULL
);

CREATE INDEX IF NOT EXISTS outbox_lease ON {outbox} (lease_until, run, id);
