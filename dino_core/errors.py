"""What goes wrong because of what a user gave: one sentence each, no traceback on the command line."""


class DinoError(ValueError):
    """A mistake a user can mend; the command line prints its sentence and exits with 2."""


class ConfigError(DinoError):
    """An option, recipe or config file that can't be."""


class DataError(DinoError):
    """Images that can't be found or read."""


class RunError(DinoError):
    """A run directory that can't be read, resumed or forked."""


class CheckpointError(DinoError):
    """A file of weights that can't be read."""
