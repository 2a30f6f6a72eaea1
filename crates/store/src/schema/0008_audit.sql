-- Signed heads of the audit log's tree. `edge` are the roots of its full subtrees, 32 bytes each, so that the next
-- checkpoint needs only the records after this one.
CREATE TABLE audit_checkpoint (
    project_id INTEGER NOT NULL REFERENCES project (id),
    size INTEGER NOT NULL,
    head BLOB NOT NULL,
    edge BLOB NOT NULL,
    note TEXT NOT NULL,
    PRIMARY KEY (project_id, size)
) WITHOUT ROWID;
