-- Devices that leave a project: decommissioned, or handed over to another one.

-- `body` is what was ordered and what became of it. `receipt` is the SHA-256 of what the device tells its end with,
-- once it has nothing else left to prove itself by.
CREATE TABLE device_departure (
    device_id INTEGER PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
    project_id INTEGER NOT NULL,
    body TEXT NOT NULL,
    receipt BLOB
);
CREATE UNIQUE INDEX device_departure_receipt ON device_departure (receipt) WHERE receipt IS NOT NULL;

-- Where the device called so went. It comes to fetch its new credentials with those it has here.
CREATE TABLE device_transfer (
    device_id INTEGER PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
    project_id INTEGER NOT NULL,
    to_device_id INTEGER NOT NULL,
    to_project_id INTEGER NOT NULL,
    at INTEGER NOT NULL
);
CREATE INDEX device_transfer_to ON device_transfer (to_device_id);

-- Devices that a rule of the enrolment policy has let in within the last hour.
CREATE TABLE enrollment_hour (
    project_id INTEGER NOT NULL REFERENCES project (id),
    rule TEXT NOT NULL,
    device_id INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (project_id, rule, device_id)
) WITHOUT ROWID;

-- A key whose issuing authority a root elsewhere has yet to sign: at most one.
CREATE TABLE issuing_request (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    name TEXT NOT NULL,
    request TEXT NOT NULL,
    key BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL
);

-- Which TPM a device is in, by SHA-256 of its endorsement key.
CREATE TABLE device_tpm (
    device_id INTEGER PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
    project_id INTEGER NOT NULL,
    tpm BLOB NOT NULL,
    UNIQUE (project_id, tpm)
);

-- The highest counters that a device has told with its reports: lower ones mean a copy, or an old backup.
CREATE TABLE device_counter (
    device_id INTEGER PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
    project_id INTEGER NOT NULL,
    queue TEXT NOT NULL,
    boots INTEGER NOT NULL,
    taken INTEGER NOT NULL,
    at INTEGER NOT NULL
);
