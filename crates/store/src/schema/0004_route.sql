-- Ways to an artifact beside its own bytes: a delta from other bytes, or (`from_digest` is empty) the whole, compressed.
-- `made` is absent if there is none; `outcome` says why.
CREATE TABLE route (
    project_id INTEGER NOT NULL,
    digest BLOB NOT NULL,
    from_digest BLOB NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    made BLOB,
    size INTEGER NOT NULL,
    made_at INTEGER NOT NULL,
    PRIMARY KEY (project_id, digest, from_digest)
) WITHOUT ROWID;
CREATE INDEX route_made ON route (made) WHERE made IS NOT NULL;

CREATE INDEX device_queue_project ON device_queue (project_id);
