-- Times are milliseconds since 1970; 0 is no time. Bodies, metadata and lists
-- are JSON.

PRAGMA application_id = 0x6f70636f; -- "opco": tells our file from any other

CREATE TABLE session (
    id         TEXT NOT NULL PRIMARY KEY,
    slug       TEXT NOT NULL,
    project_id TEXT NOT NULL,
    directory  TEXT NOT NULL,
    parent_id  TEXT REFERENCES session (id),
    title      TEXT NOT NULL,
    title_fold TEXT NOT NULL, -- the title as searches compare it
    agent      TEXT NOT NULL,
    version    TEXT NOT NULL,
    metadata   TEXT NOT NULL, -- '' for none
    created    INTEGER NOT NULL,
    updated    INTEGER NOT NULL,
    archived   INTEGER NOT NULL
) STRICT;

CREATE INDEX session_by_updated ON session (updated DESC, id);
CREATE INDEX session_by_directory ON session (directory, updated DESC, id);
CREATE INDEX session_by_parent ON session (parent_id, updated DESC, id);

-- Clients choose ids, so an id is unique in the whole table: nobody can take
-- over a message or part of another session by naming it.

CREATE TABLE message (
    id         TEXT NOT NULL UNIQUE,
    session_id TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
    role       TEXT NOT NULL,
    created    INTEGER NOT NULL,
    body       TEXT NOT NULL,
    PRIMARY KEY (session_id, id)
) STRICT;

CREATE TABLE part (
    id         TEXT NOT NULL UNIQUE,
    session_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    type       TEXT NOT NULL,
    status     TEXT NOT NULL, -- state.status of the body of a tool part, or ''
    body       TEXT NOT NULL,
    PRIMARY KEY (session_id, message_id, id),
    FOREIGN KEY (session_id, message_id) REFERENCES message (session_id, id) ON DELETE CASCADE
) STRICT;

CREATE INDEX part_by_status ON part (status, id) WHERE status <> '';

CREATE TABLE answer (
    seq          INTEGER PRIMARY KEY,
    id           TEXT NOT NULL UNIQUE,
    session_id   TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
    tool         TEXT NOT NULL,
    rules        TEXT NOT NULL,
    reply        TEXT NOT NULL,
    principal_id TEXT NOT NULL,
    message      TEXT NOT NULL,
    asked        INTEGER NOT NULL,
    answered     INTEGER NOT NULL
) STRICT;

CREATE INDEX answer_by_session ON answer (session_id, answered);

CREATE TABLE lease (
    seq          INTEGER PRIMARY KEY,
    id           TEXT NOT NULL UNIQUE,
    session_id   TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
    tool         TEXT NOT NULL,
    rule         TEXT NOT NULL,
    pattern      TEXT NOT NULL,
    principal_id TEXT NOT NULL,
    created      INTEGER NOT NULL,
    expires      INTEGER NOT NULL
) STRICT;

CREATE INDEX lease_by_session ON lease (session_id, created);

-- Decisions outlive the sessions that they were about.
CREATE TABLE decision (
    seq          INTEGER PRIMARY KEY,
    id           TEXT NOT NULL,
    time         INTEGER NOT NULL,
    kind         TEXT NOT NULL,
    principal_id TEXT NOT NULL,
    session_id   TEXT NOT NULL,
    subject      TEXT NOT NULL,
    effect       TEXT NOT NULL,
    rules        TEXT NOT NULL,
    snapshot     TEXT NOT NULL,
    duration     INTEGER NOT NULL, -- nanoseconds
    error        TEXT NOT NULL
) STRICT;
