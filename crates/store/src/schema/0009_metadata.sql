-- Signed metadata, by the name under which devices fetch it. The bytes are what was signed, and are never changed.
CREATE TABLE metadata (
    project_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (project_id, name)
) WITHOUT ROWID;
