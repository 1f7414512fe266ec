"""Tensors that a training step keeps between forward and backward, for ``models.py --memory``."""

import collections
import traceback
from collections.abc import Callable

import torch
from torch import Tensor

#: holder of a tensor -> functions on the stack when it is stored; the first match is used.
HOLDERS = (
    ('norms: their inputs', ('batch_norm', 'layer_norm', 'group_norm')),
    ('pooling: places of maxima', ('max_pool2d', '_max_pool2d', 'MaxPool2d')),
    ('attention', ('bipolar_attention', 'attend')),
    ('neurons: their currents', ('lif', 'integer_spike', 'from_rest', 'run')),
    ('products of spikes', ('conv2d', '_product', '_conv_forward')),
)


def held(model: torch.nn.Module, forward: Callable[[], object]) -> dict[str, int]:
    """Return the bytes that autograd keeps of a forward, by holder and dtype.

    Parameters and buffers are excluded; memory with two holders counts for the first one.

    Args:
        model: the model in training mode.
        forward: function that runs it and returns the outputs to differentiate.
    """
    own = {x.untyped_storage().data_ptr() for x in (*model.parameters(), *model.buffers())}
    found, alive = collections.Counter(), {}

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in own and storage.data_ptr() not in alive:
            alive[storage.data_ptr()] = storage  # so that the address is not used again
            names = {frame.name for frame in traceback.extract_stack(limit=16)}
            holder = next((name for name, keys in HOLDERS if names & set(keys)), 'others')
            found[f'{holder}, {str(x.dtype).removeprefix("torch.")}'] += storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        kept = forward()
    del kept
    return dict(found)


def table(results: list[dict]) -> str:
    """Return a Markdown table: MiB per model and holder, and the rest of the peak."""
    holders = sorted({key for r in results for key in r['held']['saved']})
    names = [r['name'] for r in results]
    lines = [
        f'| held until the backward, MiB | {" | ".join(names)} |',
        '|---' * (len(names) + 1) + '|',
    ]
    mib = 2**20
    for holder in holders:
        cells = [f'{r["held"]["saved"].get(holder, 0) / mib:.1f}' for r in results]
        lines.append(f'| {holder} | {" | ".join(cells)} |')
    rows = {
        'sum': [sum(r['held']['saved'].values()) / mib for r in results],
        'parameters and gradients': [r['held']['parameters'] / mib for r in results],
    }
    for name, found in (
        ('', [r['ours'] for r in results]),
        (', freed memory given back', [r['held']['given back'] for r in results]),
        (", SpikingJelly's", [r.get('spikingjelly', {}) for r in results]),
        (", SpikingJelly's with its memopt", [r['held'].get('memopt', {}) for r in results]),
        (', the code of --beside', [r.get('beside', {}) for r in results]),
        (
            ', the code of --beside, freed memory given back',
            [r['held'].get('beside given back', {}) for r in results],
        ),
    ):
        if not any(found):
            continue
        rows[f'peak{name}'] = [x.get('mib') for x in found]
        if 'given back' not in name:
            rows[f'peak of tensors{name}'] = [x.get('tensors') for x in found]
    for name, values in rows.items():
        cells = ['-' if value is None else f'{value:.0f}' for value in values]
        lines.append(f'| {name} | {" | ".join(cells)} |')
    return '\n'.join(lines)
