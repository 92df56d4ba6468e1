-- Ledger: one row a run whose history its owner keeps. `done`, `current`, `remaining` and `to_undo` are JSON arrays of
-- step names. Times are epoch seconds. Pruned by expires; NULL keeps the row. Run ids compare byte by byte, so that
-- the index of the key finds all that begin with something.
CREATE TABLE IF NOT EXISTS {ledger} (
    run text COLLATE "C" NOT NULL PRIMARY KEY,
    workflow text NOT NULL,
    version bigint NOT NULL,
    status text NOT NULL,
    event text NOT NULL,
    seq bigint NOT NULL,
    done text NOT NULL,
    "current" text NOT NULL,
    remaining text NOT NULL,
    to_undo text NOT NULL,
    attempts bigint NOT NULL,
    error text NOT NULL,
    started double precision NOT NULL,
    deadline double precision,
    updated double precision NOT NULL,
    ended double precision,
    expires double precision,
    record bytea NOT NULL
);

-- Newest first: of all, of one workflow, of one status. While a run goes on nothing in the indexes changes.
CREATE INDEX IF NOT EXISTS ledger_started ON {ledger} (started, run);

CREATE INDEX IF NOT EXISTS ledger_workflow ON {ledger} (workflow, started, run, status);

CREATE INDEX IF NOT EXISTS ledger_status ON {ledger} (status, started, run, workflow);

CREATE INDEX IF NOT EXISTS ledger_deadline ON {ledger} (deadline) WHERE ended IS NULL;

CREATE INDEX IF NOT EXISTS ledger_expires ON {ledger} (expires) WHERE expires IS NOT NULL;
