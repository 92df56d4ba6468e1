-- Joins: one row an arrival of a fork that a step waits for. Pruned by expires_at; NULL keeps the row.
CREATE TABLE IF NOT EXISTS {joins} (
    join_id TEXT NOT NULL,
    name TEXT NOT NULL,
    record BLOB NOT NULL,
    expires_at REAL,
    PRIMARY KEY (join_id, name)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS {prefix}joins_expires ON {joins} (expires_at) WHERE expires_at IS NOT NULL;
