-- Certificate authorities, the keys that devices prove themselves by, and keys that were told in advance.

-- `kind`: root, issuing, or device (an authority of somebody else, believed for one project).
-- `key` is absent where it lies elsewhere: the root's in a file, a foreign one's with its owner.
CREATE TABLE authority (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    project_id INTEGER REFERENCES project (id),
    name TEXT NOT NULL,
    certificate TEXT NOT NULL,
    key BLOB,
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL
);
CREATE UNIQUE INDEX authority_name ON authority (ifnull(project_id, 0), name);

-- SHA-256 of public keys. `next` was asked for and has not been used; `past` must not come back.
CREATE TABLE device_key (
    device_id INTEGER PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
    project_id INTEGER NOT NULL,
    key BLOB NOT NULL,
    next BLOB,
    past BLOB,
    changed_at INTEGER NOT NULL,
    not_after INTEGER NOT NULL
);
CREATE INDEX device_key_key ON device_key (project_id, key);

-- Keys burnt in at the factory, by serial number.
CREATE TABLE claim (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES project (id),
    name TEXT NOT NULL,
    key BLOB NOT NULL,
    labels TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    claimed_at INTEGER,
    UNIQUE (project_id, key),
    UNIQUE (project_id, name)
);

-- Why a device is kept out, and what it is told before it is forgotten.
CREATE TABLE device_hold (
    device_id INTEGER PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
    project_id INTEGER NOT NULL,
    reason TEXT NOT NULL,
    since INTEGER NOT NULL
);

-- Queues that a device named before its present one: one of them again means that two devices have its identity.
CREATE TABLE device_queue_past (
    device_id INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    queue TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (device_id, queue)
) WITHOUT ROWID;
