-- Ledger: one row a run whose history its owner keeps. `done`, `current`, `remaining` and `to_undo` are JSON arrays of
-- step names. Times are epoch seconds. Pruned by expires; NULL keeps the row.
CREATE TABLE IF NOT EXISTS {ledger} (
    run TEXT NOT NULL PRIMARY KEY,
    workflow TEXT NOT NULL,
    version INTEGER NOT NULL,
    status TEXT NOT NULL,
    event TEXT NOT NULL,
    seq INTEGER NOT NULL,
    done TEXT NOT NULL,
    "current" TEXT NOT NULL,
    remaining TEXT NOT NULL,
    to_undo TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    error TEXT NOT NULL,
    started REAL NOT NULL,
    deadline REAL,
    updated REAL NOT NULL,
    ended REAL,
    expires REAL,
    record BLOB NOT NULL
);

-- Newest first: of all, of one workflow, of one status. While a run goes on nothing in the indexes changes.
CREATE INDEX IF NOT EXISTS {prefix}ledger_started ON {ledger} (started, run);

CREATE INDEX IF NOT EXISTS {prefix}ledger_workflow ON {ledger} (workflow, started, run, status);

CREATE INDEX IF NOT EXISTS {prefix}ledger_status ON {ledger} (status, started, run, workflow);

CREATE INDEX IF NOT EXISTS {prefix}ledger_deadline ON {ledger} (deadline) WHERE ended IS NULL;

CREATE INDEX IF NOT EXISTS {prefix}ledger_expires ON {ledger} (expires) WHERE expires IS NOT NULL;
