-- Whose signatures on documents about releases count.
CREATE TABLE ring_key (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES project (id),
    name TEXT NOT NULL,
    public TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    UNIQUE (project_id, name)
);

-- What a document, itself an artifact, says of an artifact of a release. `signer` names a key of the ring.
CREATE TABLE attestation (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL REFERENCES project (id),
    release_id INTEGER NOT NULL REFERENCES release (id) ON DELETE CASCADE,
    artifact BLOB NOT NULL,
    document BLOB NOT NULL,
    kind TEXT NOT NULL,
    signed INTEGER NOT NULL,
    signer TEXT,
    builder TEXT,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    UNIQUE (release_id, artifact, document)
);
CREATE INDEX attestation_document ON attestation (project_id, document);

-- What is inside, for whoever looks for what is known to be broken.
CREATE TABLE package (
    attestation_id INTEGER NOT NULL REFERENCES attestation (id) ON DELETE CASCADE,
    project_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    purl TEXT NOT NULL
);
CREATE INDEX package_attestation ON package (attestation_id);
CREATE INDEX package_name ON package (project_id, name);

-- What a release needs before it is published.
CREATE TABLE release_policy (
    project_id INTEGER PRIMARY KEY REFERENCES project (id),
    body TEXT NOT NULL
);
