-- Muster's own agent: how its devices join, and how far the server has taken their queues.

CREATE TABLE join_token (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES project (id),
    name TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    uses INTEGER NOT NULL,
    uses_left INTEGER,
    expires_at INTEGER NOT NULL,
    labels TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    UNIQUE (project_id, name)
);

-- What a device joined with, by the digest of the secret: a join whose answer was lost may be repeated with it.
CREATE TABLE device_join (
    device_id INTEGER PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
    project_id INTEGER NOT NULL,
    digest BLOB NOT NULL,
    joined_at INTEGER NOT NULL
);

-- Reports up to this one are in; a device that lost its state names a new queue.
CREATE TABLE device_queue (
    device_id INTEGER PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
    project_id INTEGER NOT NULL,
    queue TEXT NOT NULL,
    sequence INTEGER NOT NULL
);
