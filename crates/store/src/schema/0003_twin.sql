-- Configurations, what each device shall have of them and said about it, commands, remote sessions.

CREATE TABLE configuration (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES project (id),
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL,
    revision INTEGER NOT NULL,
    UNIQUE (project_id, name)
);

-- `wanted`: the device has yet to try the version. `files` are the rendered ones of that version.
CREATE TABLE twin (
    device_id INTEGER PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
    project_id INTEGER NOT NULL,
    version INTEGER NOT NULL,
    digest BLOB,
    files TEXT NOT NULL,
    error TEXT,
    reported TEXT,
    wanted INTEGER NOT NULL
);

-- Devices whose files may have changed: rendered again by a worker.
CREATE TABLE render_due (
    device_id INTEGER PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
    project_id INTEGER NOT NULL
);

-- Projects all of whose devices are rendered again, and how far that is.
CREATE TABLE render_sweep (
    project_id INTEGER PRIMARY KEY REFERENCES project (id),
    after_device_id INTEGER NOT NULL
);

CREATE TABLE command (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL,
    device_id INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    what TEXT NOT NULL,
    state TEXT NOT NULL,
    deadline INTEGER NOT NULL,
    due_at INTEGER,
    exit_code INTEGER,
    output TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    changed_at INTEGER NOT NULL
);
CREATE INDEX command_device ON command (device_id, id);
CREATE INDEX command_told ON command (device_id) WHERE state IN ('pending', 'sent');
CREATE INDEX command_due ON command (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX command_ended ON command (changed_at) WHERE due_at IS NULL;

CREATE TABLE remote_session (
    id TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL,
    project_id INTEGER NOT NULL,
    device_id INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    command_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    seconds_max INTEGER NOT NULL,
    opened_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    is_over INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX remote_session_sequence ON remote_session (sequence);
CREATE INDEX remote_session_open ON remote_session (created_at) WHERE is_over = 0;
