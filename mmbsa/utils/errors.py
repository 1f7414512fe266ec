"""Errors in what a user gave: the message alone tells what to do, so the tools print no
traceback."""


class DataError(RuntimeError):
    """A file or folder of a dataset cannot be used; the message names it."""


class MissingDataError(DataError, FileNotFoundError):
    """A dataset's folder or list of files is not there; the message says where it was looked
    for."""


class MissingCheckpointError(FileNotFoundError):
    """There is no such checkpoint."""


def message(error: Exception) -> str:
    """Return what an error says, without the traceback that a data worker puts before it."""
    text, name = str(error), f'{type(error).__name__}: '
    return text.rsplit(name, 1)[-1].strip() if 'Original Traceback' in text else text
