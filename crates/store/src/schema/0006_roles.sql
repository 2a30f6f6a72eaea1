-- Roles of a project's own, and who has which role over what. `select` is empty for the whole project.
CREATE TABLE role (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES project (id),
    name TEXT NOT NULL,
    permissions TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    UNIQUE (project_id, name)
);

CREATE TABLE role_binding (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES project (id),
    account_id INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    selector TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    UNIQUE (account_id, role, selector)
);

-- Tokens made by a login may make tokens that outlive them; others may not.
ALTER TABLE token ADD COLUMN is_login INTEGER NOT NULL DEFAULT 0;

-- Who made the account: a service account decides nothing for which its maker could not decide.
ALTER TABLE account ADD COLUMN created_by INTEGER;
