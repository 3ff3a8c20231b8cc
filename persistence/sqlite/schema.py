"""The schema of the main file, one script per version; a script that was released is never changed.

A realm is a (project, collection): its number stands in every row and index in place of two texts.
A list is the documents of a realm under one parent, ordered by position.
"""

from astrolabe_server.persistence.sqlite.database import Schema

DOCUMENTS = """
CREATE TABLE realms (
    realm INTEGER PRIMARY KEY,
    project TEXT NOT NULL,
    collection TEXT NOT NULL,
    UNIQUE (project, collection)
);
CREATE TABLE documents (
    row INTEGER PRIMARY KEY,
    realm INTEGER NOT NULL,
    id TEXT NOT NULL,
    parent TEXT NOT NULL,
    position INTEGER NOT NULL,
    version INTEGER NOT NULL,
    labels BLOB,                        -- a JSON array, NULL for none
    state BLOB,                         -- a JSON object, NULL for an empty one
    value BLOB NOT NULL
);
CREATE UNIQUE INDEX documents_id ON documents (realm, id);
CREATE UNIQUE INDEX documents_list ON documents (realm, parent, position);
CREATE TABLE labels (
    realm INTEGER NOT NULL,
    parent TEXT NOT NULL,
    label TEXT NOT NULL,
    position INTEGER NOT NULL,
    document INTEGER NOT NULL,
    PRIMARY KEY (realm, parent, label, position)
) WITHOUT ROWID;
"""

JOBS = """
CREATE TABLE jobs (
    project TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    due REAL NOT NULL,
    token INTEGER NOT NULL,
    owner TEXT NOT NULL,                -- '' while nobody holds it
    payload BLOB NOT NULL,
    PRIMARY KEY (project, kind, id)
) WITHOUT ROWID;
CREATE INDEX jobs_due ON jobs (kind, due);
"""

LOGS = """
CREATE TABLE logs (
    log INTEGER PRIMARY KEY,
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    written REAL NOT NULL,
    UNIQUE (project, id)
);
CREATE INDEX logs_written ON logs (written);
CREATE TABLE segments (
    row INTEGER PRIMARY KEY,
    log INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    events BLOB NOT NULL,
    UNIQUE (log, sequence)
);
"""

CONTENTS = """
CREATE TABLE contents (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    size INTEGER NOT NULL,
    file TEXT NOT NULL,                 -- its name in the contents directory
    PRIMARY KEY (project, id)
) WITHOUT ROWID;
"""

INDEXES = """
CREATE TABLE vector_stores (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    file TEXT NOT NULL,                 -- the database of its chunks, in the indexes directory
    PRIMARY KEY (project, id)
) WITHOUT ROWID;
"""

MAIN = Schema(
    application_id=0x41535452,
    scripts=(DOCUMENTS + JOBS + LOGS + CONTENTS + INDEXES,),
)
