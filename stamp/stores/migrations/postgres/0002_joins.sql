-- Joins: one row an arrival of a fork that a step waits for. Pruned by expires_at; NULL keeps the row.
CREATE TABLE IF NOT EXISTS {joins} (
    join_id text NOT NULL,
    name text NOT NULL,
    record bytea NOT NULL,
    expires_at double precision,
    PRIMARY KEY (join_id, name)
);

CREATE INDEX IF NOT EXISTS joins_expires ON {joins} (expires_at) WHERE expires_at IS NOT NULL;
