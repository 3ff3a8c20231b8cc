"""Errors that stop start-up, beside those of spec, persistence and inference.

ServingError
└── SettingsRefused    a variable's value cannot be used; names the variable, the value and what to set
"""


class ServingError(Exception):
    """The base class of serving's errors."""


class SettingsRefused(ServingError):
    """A variable's value cannot be used; the message names it, the value and what to set instead."""


class SourceRefused(ServingError):
    """What is to be imported cannot be read."""
