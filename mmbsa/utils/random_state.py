"""Save, restore and seed the random generators of a process."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def get_random_state() -> dict[str, Any]:
    """Return the generator states of Python, numpy, torch and the current GPU.

    They are tensors and plain values.
    """
    name, key, position, has_gauss, gauss = np.random.get_state()
    state = dict(
        python=random.getstate(),
        numpy=(name, key.tolist(), position, has_gauss, gauss),
        torch=torch.get_rng_state(),
    )
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Restore the result of ``get_random_state``; a GPU's state is ignored without a GPU."""
    version, internal, gauss = state['python']
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(tuple(state['numpy']))
    torch.set_rng_state(state['torch'].cpu())  # a loader may have moved it to a GPU
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


@contextmanager
def seeded(*entropy: int) -> Iterator[None]:
    """Context that seeds the CPU generators and restores their states at the end.

    The GPU's generator does not change, because samples are created on the CPU.

    Args:
        entropy: integers that form the seed.
    """
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    words = np.random.SeedSequence(entropy).generate_state(4)
    random.seed(int(words[0]))
    np.random.seed(words)
    torch.default_generator.manual_seed(int(words[1]) << 32 | int(words[2]))
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
