"""What stops start-up, beside what spec, persistence and inference refuse.

ServingError
└── SettingsRefused    a variable's value cannot be used; names the variable, the value and the mend
"""


class ServingError(Exception):
    """The root of everything that serving raises."""


class SettingsRefused(ServingError):
    """A variable's value cannot be used; the message names it, the value and the mend."""
