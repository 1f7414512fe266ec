"""Types of command line options, without imports that take memory."""

import argparse


def positive(text: str) -> int:
    """Return the whole number of an option that must be at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'must be a whole number of at least 1, got {text}')
    return int(text)
