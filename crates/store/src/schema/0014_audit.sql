-- By what right, in answer to what, why, and what became of the target: JSON, as the record's digest covers it. Records
-- from before have none.
ALTER TABLE audit ADD COLUMN context TEXT NOT NULL DEFAULT '';

-- How far somebody outside was told of a project's records.
CREATE TABLE audit_stream (
    stream TEXT NOT NULL,
    project_id INTEGER NOT NULL REFERENCES project (id),
    sequence INTEGER NOT NULL,
    PRIMARY KEY (stream, project_id)
) WITHOUT ROWID;
