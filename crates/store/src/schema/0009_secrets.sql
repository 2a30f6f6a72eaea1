-- What configurations need and nobody shall read. `sealed` is empty once the secret is deleted: its version goes on if it
-- comes back, because devices tell what they have by it.
CREATE TABLE secret (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES project (id),
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    sealed BLOB,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL,
    UNIQUE (project_id, name)
);
