"""The schemas of the main file and of a vector store's index: one script per version.

Released scripts never change. The table `collections` (`realms` in the first script) numbers each (project,
collection), so that rows and indexes hold a number. A list is the documents of a collection under one
parent, by position.
"""

from persistence.sqlite.database import Schema

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

VECTOR_STORES = """
CREATE TABLE vector_stores (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    file TEXT NOT NULL,                 -- the database of its chunks, in the indexes directory
    PRIMARY KEY (project, id)
) WITHOUT ROWID;
"""

LIFETIMES = """
ALTER TABLE logs RENAME COLUMN written TO until;        -- seconds since the epoch
UPDATE logs SET until = until + 86400;
DROP INDEX logs_written;
CREATE INDEX logs_until ON logs (until);
"""

CHILD_IDS = """
UPDATE documents SET id = parent || '/' || id
    WHERE realm IN (SELECT realm FROM realms WHERE collection IN ('messages', 'run_steps'));
"""
"""Messages and steps are found through their thread and run."""

TAKEOVERS = "ALTER TABLE jobs ADD COLUMN takeovers INTEGER NOT NULL DEFAULT 0;"

COLLECTIONS = """
ALTER TABLE realms RENAME TO collections;
ALTER TABLE collections RENAME COLUMN realm TO collection_id;
ALTER TABLE documents RENAME COLUMN realm TO collection_id;
ALTER TABLE labels RENAME COLUMN realm TO collection_id;
"""

MAIN = Schema(
    application_id=0x41535452,
    scripts=(
        DOCUMENTS + JOBS + LOGS + CONTENTS + VECTOR_STORES,
        LIFETIMES + CHILD_IDS,
        TAKEOVERS + COLLECTIONS,
    ),
)

CHUNKS = """
CREATE TABLE sources (
    source INTEGER PRIMARY KEY AUTOINCREMENT,
    file TEXT NOT NULL UNIQUE,
    attributes BLOB NOT NULL            -- a JSON object
);
CREATE TABLE attributes (
    name TEXT NOT NULL,
    kind INTEGER NOT NULL,              -- 0 boolean, 1 number, 2 text
    value NOT NULL,
    source INTEGER NOT NULL,
    PRIMARY KEY (name, kind, value, source)
) WITHOUT ROWID;
CREATE TABLE chunks (
    chunk INTEGER PRIMARY KEY AUTOINCREMENT,
    source INTEGER NOT NULL,
    number INTEGER NOT NULL,
    text TEXT NOT NULL,
    UNIQUE (source, number)
);
CREATE TABLE vectors (
    chunk INTEGER PRIMARY KEY,
    vector BLOB NOT NULL                -- 32-bit floats, as they were given
);
CREATE TABLE changes (
    removed INTEGER NOT NULL            -- grows whenever a vector goes
);
INSERT INTO changes VALUES (0);
CREATE VIRTUAL TABLE words USING fts5 (
    text, content='', contentless_delete=1, tokenize='porter unicode61 remove_diacritics 2'
);
CREATE VIRTUAL TABLE frequencies USING fts5vocab ('words', 'row');
"""

INDEX = Schema(application_id=0x41535458, scripts=(CHUNKS,))
