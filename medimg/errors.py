"""Errors that a user can cause and mend.

The command line prints their message without a traceback. A message says what was expected,
what was found, in which file or case, and the next step.
"""


class MedimgError(Exception):
    """A fault in the input, the configuration or the machine, and not in medimg."""


class DataError(MedimgError):
    """A file, a case or a table that cannot be used as it is."""


class ConfigError(MedimgError):
    """A value in a config or on the command line that cannot be used."""


class CheckpointError(MedimgError):
    """A checkpoint that is missing, damaged, or made by another configuration."""


class ResourceError(MedimgError):
    """A disk, a folder or a process that a run needs and does not have."""
