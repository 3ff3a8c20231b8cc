"""What a store can refuse or fail with.

StoreError
├── Conflict               a condition of a write did not hold; nothing was written
│   ├── AlreadyExists      an Insert met an object of that id
│   ├── VersionConflict    a Replace, Delete or Check met another version, or no object
│   └── LeaseLost          a Hold, Finish or Reschedule met another token, or no job
├── CursorNotFound         `after` or `before` names nothing in that list
├── ContentNotFound        no content of that id, or not written to its end
├── DimensionMismatch      a vector's length is not that of the vector store's others
├── DocumentTooLarge       an object has more bytes than the engine takes
├── StoreUnavailable       the database cannot be reached or does not answer in time; try again
├── StoreFull              no room left on the device
└── StoreRefused           start-up: a wrong URL, a newer schema, a file that is no store
    ├── CredentialsRefused     the database does not accept the user or the token
    └── DatabaseAmbiguous      a token opens several databases, or none, and none is named
"""


class StoreError(Exception):
    """Base class of a store's errors."""


class Conflict(StoreError):
    """A condition of a write did not hold; nothing was written."""


class AlreadyExists(Conflict):
    """An Insert met an object of that id."""


class VersionConflict(Conflict):
    """A Replace, Delete or Check met another version of the object, or none."""


class LeaseLost(Conflict):
    """Another token holds the job, or it is finished."""


class CursorNotFound(StoreError):
    """`after` or `before` names no object of the list."""


class ContentNotFound(StoreError):
    """No content of that id, or it was not written to its end."""


class DimensionMismatch(StoreError):
    """A vector's length is not that of the others in the vector store."""


class DocumentTooLarge(StoreError):
    """An object has more bytes than the engine takes."""


class StoreUnavailable(StoreError):
    """The database cannot be reached, or does not answer in time; trying again may help."""


class StoreFull(StoreError):
    """No room left on the device."""


class StoreRefused(StoreError):
    """Start-up cannot go on: a wrong URL, a newer schema, a file that is no store."""


class CredentialsRefused(StoreRefused):
    """The database does not accept the user or the token, or has none of that name for it."""


class DatabaseAmbiguous(StoreRefused):
    """A token opens several databases, or none, and none is named."""
