-- Who has to approve which rollouts. `selector` is empty for all of them.
CREATE TABLE approval_rule (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES project (id),
    role TEXT NOT NULL,
    selector TEXT NOT NULL,
    needed INTEGER NOT NULL,
    life_s INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    UNIQUE (project_id, role, selector)
);

-- One person's word for one plan. `person_id` is whose decision it is: a service account's is its maker's.
CREATE TABLE approval (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES project (id),
    rollout_id INTEGER NOT NULL REFERENCES rollout (id) ON DELETE CASCADE,
    account_id INTEGER NOT NULL,
    account_name TEXT NOT NULL,
    person_id INTEGER NOT NULL,
    plan BLOB NOT NULL,
    at INTEGER NOT NULL,
    UNIQUE (rollout_id, person_id)
);

-- What somebody else has to look at afterwards. It outlives the rollout.
CREATE TABLE review (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES project (id),
    rollout_id INTEGER NOT NULL,
    rollout_name TEXT NOT NULL,
    author_id INTEGER NOT NULL,
    opened_at INTEGER NOT NULL,
    opened_by TEXT NOT NULL,
    opened_by_id INTEGER NOT NULL,
    reason TEXT NOT NULL,
    closed_at INTEGER,
    closed_by TEXT,
    note TEXT
);
CREATE INDEX review_open ON review (project_id, id) WHERE closed_at IS NULL;
