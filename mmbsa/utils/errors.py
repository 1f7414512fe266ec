"""Errors in user input: the message is sufficient, so the tools print no traceback."""


class DataError(RuntimeError):
    """Raised if a file or folder of a dataset cannot be used; the message names it."""


class MissingDataError(DataError, FileNotFoundError):
    """Raised if a dataset's folder or list of files does not exist; the message names the path."""


class MissingCheckpointError(FileNotFoundError):
    """Raised if a checkpoint does not exist."""


def message(error: Exception) -> str:
    """Return the message of an error, without the traceback that a data worker adds before it."""
    text, name = str(error), f'{type(error).__name__}: '
    return text.rsplit(name, 1)[-1].strip() if 'Original Traceback' in text else text
