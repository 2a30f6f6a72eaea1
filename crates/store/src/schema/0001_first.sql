-- Times are milliseconds since 1970 in UTC. Digests are 32 raw bytes. JSON is text.
-- Numbers are never given out twice, also after a delete: AUTOINCREMENT here, identity columns elsewhere.
-- Action states are numbered as domain::ActionState: below 6 is open, 2 to 4 hold the device.

CREATE TABLE project (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL UNIQUE,
    settings TEXT NOT NULL,
    gateway_token BLOB,
    created_at INTEGER NOT NULL,
    revision INTEGER NOT NULL
);

CREATE TABLE account (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES project (id),
    name TEXT NOT NULL,
    password TEXT,
    permissions TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (project_id, name)
);

CREATE TABLE token (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES project (id),
    account_id INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    permissions TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    last_used_at INTEGER
);
CREATE INDEX token_account ON token (account_id);

CREATE TABLE device (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES project (id),
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    token BLOB,
    installed_release_id INTEGER,
    installed_action_id INTEGER,
    attributes_requested INTEGER NOT NULL,
    auto_confirm TEXT,
    poll_interval_s INTEGER NOT NULL,
    last_seen INTEGER,
    created_at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    UNIQUE (project_id, name)
);
CREATE INDEX device_state ON device (project_id, state, id);
CREATE INDEX device_installed ON device (installed_release_id);

CREATE TABLE device_label (
    project_id INTEGER NOT NULL,
    device_id INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (device_id, key)
) WITHOUT ROWID;
CREATE INDEX device_label_value ON device_label (project_id, key, value, device_id);

CREATE TABLE device_attribute (
    project_id INTEGER NOT NULL,
    device_id INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (device_id, key)
) WITHOUT ROWID;
CREATE INDEX device_attribute_value ON device_attribute (project_id, key, value, device_id);

CREATE TABLE artifact (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES project (id),
    digest BLOB NOT NULL,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha1 TEXT NOT NULL,
    md5 TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    UNIQUE (project_id, digest)
);
CREATE INDEX artifact_digest ON artifact (digest);

CREATE TABLE upload (
    id TEXT PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES project (id),
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    digest BLOB NOT NULL,
    created_by TEXT NOT NULL,
    touched_at INTEGER NOT NULL
);

CREATE TABLE release (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES project (id),
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    state TEXT NOT NULL,
    notes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    published_at INTEGER,
    revision INTEGER NOT NULL,
    UNIQUE (project_id, name, version)
);

-- DDI addresses artifacts by the number of their module.
CREATE TABLE module (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL,
    release_id INTEGER NOT NULL REFERENCES release (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    metadata TEXT NOT NULL
);
CREATE INDEX module_release ON module (release_id, position);

CREATE TABLE module_artifact (
    module_id INTEGER NOT NULL REFERENCES module (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    project_id INTEGER NOT NULL,
    digest BLOB NOT NULL,
    file_name TEXT NOT NULL,
    PRIMARY KEY (module_id, position)
) WITHOUT ROWID;
CREATE INDEX module_artifact_digest ON module_artifact (project_id, digest);

CREATE TABLE channel (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES project (id),
    name TEXT NOT NULL,
    release_id INTEGER NOT NULL REFERENCES release (id),
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL,
    revision INTEGER NOT NULL,
    UNIQUE (project_id, name)
);

CREATE TABLE rollout (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES project (id),
    name TEXT NOT NULL,
    release_id INTEGER NOT NULL REFERENCES release (id),
    state TEXT NOT NULL,
    due_at INTEGER,
    is_dynamic INTEGER NOT NULL,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    revision INTEGER NOT NULL,
    UNIQUE (project_id, name)
);
CREATE INDEX rollout_due ON rollout (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX rollout_release ON rollout (release_id);

CREATE TABLE action (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL,
    device_id INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    rollout_id INTEGER NOT NULL REFERENCES rollout (id),
    wave INTEGER NOT NULL,
    is_rollback INTEGER NOT NULL,
    release_id INTEGER NOT NULL,
    previous_release_id INTEGER,
    priority INTEGER NOT NULL,
    push TEXT NOT NULL,
    window TEXT,
    confirmation INTEGER NOT NULL,
    silence_s INTEGER NOT NULL,
    state INTEGER NOT NULL,
    installed INTEGER NOT NULL,
    told_skip INTEGER NOT NULL,
    silent_at INTEGER,
    reason TEXT,
    progress_done INTEGER,
    progress_of INTEGER,
    reports INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    revision INTEGER NOT NULL
);
CREATE UNIQUE INDEX action_once ON action (rollout_id, device_id, is_rollback);
CREATE INDEX action_wave ON action (rollout_id, is_rollback, wave, state);
CREATE INDEX action_device ON action (device_id, state);
CREATE UNIQUE INDEX action_holds_device ON action (device_id) WHERE state IN (2, 3, 4);
CREATE INDEX action_silent ON action (silent_at) WHERE silent_at IS NOT NULL;
CREATE INDEX action_release ON action (release_id);

CREATE TABLE report (
    action_id INTEGER NOT NULL REFERENCES action (id) ON DELETE CASCADE,
    sequence INTEGER NOT NULL,
    at INTEGER NOT NULL,
    text TEXT NOT NULL,
    code INTEGER,
    messages TEXT NOT NULL,
    PRIMARY KEY (action_id, sequence)
) WITHOUT ROWID;

CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL,
    rollout_id INTEGER NOT NULL REFERENCES rollout (id) ON DELETE CASCADE,
    effect TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (rollout_id, effect)
);

CREATE TABLE audit (
    project_id INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    detail TEXT NOT NULL,
    previous BLOB NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (project_id, sequence)
) WITHOUT ROWID;
CREATE INDEX audit_target ON audit (project_id, target, sequence);

CREATE TABLE event (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    change TEXT NOT NULL,
    rollout_id INTEGER
);

CREATE TABLE idempotency (
    project_id INTEGER NOT NULL,
    account_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    request BLOB NOT NULL,
    status INTEGER NOT NULL,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (project_id, account_id, key)
) WITHOUT ROWID;
