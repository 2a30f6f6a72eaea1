-- A person's second factor. `sealed` holds the shared secret; it counts once it was confirmed. Codes of steps up to
-- `last_step` were used.
CREATE TABLE totp (
    account_id INTEGER PRIMARY KEY REFERENCES account (id) ON DELETE CASCADE,
    project_id INTEGER NOT NULL REFERENCES project (id),
    sealed BLOB NOT NULL,
    confirmed_at INTEGER,
    last_step INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    locked_until INTEGER
);

-- Digests of codes for whoever lost his second factor; a used one is deleted.
CREATE TABLE recovery_code (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    digest BLOB NOT NULL
);
CREATE INDEX recovery_code_account ON recovery_code (account_id);

-- Who vouches for people. `groups` maps a group to roles, as JSON.
CREATE TABLE oidc_provider (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES project (id),
    name TEXT NOT NULL,
    issuer TEXT NOT NULL,
    client_id TEXT NOT NULL,
    client_secret BLOB,
    server_url TEXT,
    certificates TEXT,
    scopes TEXT NOT NULL,
    name_claim TEXT NOT NULL,
    groups_claim TEXT NOT NULL,
    groups TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (project_id, name)
);

-- A person as an issuer knows him: never by name or e-mail address, which change hands.
CREATE TABLE oidc_identity (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES project (id),
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    account_id INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    UNIQUE (project_id, issuer, subject)
);
CREATE INDEX oidc_identity_account ON oidc_identity (account_id);

-- Roles that groups gave at the last login; they end by themselves.
CREATE TABLE group_role (
    account_id INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    project_id INTEGER NOT NULL REFERENCES project (id),
    provider TEXT NOT NULL,
    role TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (account_id, provider, role)
) WITHOUT ROWID;

-- Programs that an issuer vouches for, and the service account that they are here.
CREATE TABLE workload (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES project (id),
    name TEXT NOT NULL,
    issuer TEXT NOT NULL,
    audience TEXT NOT NULL,
    subject TEXT NOT NULL,
    certificates TEXT,
    account_id INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    permissions TEXT NOT NULL,
    life_s INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (project_id, name)
);

-- Whose decisions this account's are: an account from before its owner linked his logins.
ALTER TABLE account ADD COLUMN same_as INTEGER;
