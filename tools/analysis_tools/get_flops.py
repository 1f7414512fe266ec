"""Count parameters and multiply-accumulates of a model, and list operations that are not counted.

    python tools/analysis_tools/get_flops.py CONFIG --shape 512 512

The input has the channels of the backbone, and the frames and size of the config's event pipeline.

The counts are those of dense arithmetic. A spiking network needs an accumulate instead of a
multiplication where its input is a spike, and nothing where it is zero. Auxiliary heads, which only
training uses, are excluded.
"""

import argparse
from collections import Counter

import torch
from mmengine.config import Config, DictAction
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, flop_registry

import mmbsa.ops.flops  # noqa: F401  formulas of the ops of mmbsa
from mmbsa.apis.inference import SampleReader, build_model, in_channels
from mmbsa.utils.launch import read_config


class UncountedOps(TorchDispatchMode):
    """Record operations without a formula: name -> calls and written elements."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.elements = Counter(), Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operation; record it unless it is counted elsewhere or only changes a view."""
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket not in flop_registry and not func.is_view:
            written = sum(
                leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)
            )
            if written:
                self.calls[str(func)] += 1
                self.elements[str(func)] += written
        return out


def build(cfg: Config) -> nn.Module:
    """Build a config's model on a CPU, without pretrained weights and auxiliary heads."""
    cfg.model.pop('auxiliary_head', None)
    return build_model(cfg)


def input_shape(
    cfg: Config, model: nn.Module, shape: tuple[int, int] | None = None
) -> tuple[int, ...]:
    """Return the shape of one input: (C, H, W), or (T, C, H, W) for event frames.

    Args:
        cfg, model: the config and its model.
        shape: (height, width); None (default) uses that of the config's event frames, and 512 x 512
            for pictures.

    Raises:
        ValueError: the size of event frames depends on the recordings.
    """
    channels = in_channels(model)
    try:
        reader = SampleReader(cfg)
    except ValueError:  # a config without data
        reader = None
    if reader is None or reader.frames is None:
        return (channels, *(shape or (512, 512)))
    backbone = getattr(model, 'backbone', None)
    steps = reader.frames[0] or getattr(getattr(backbone, 'encoder', backbone), 'num_steps', None)
    shape = shape or reader.size_of_frames()
    if steps is None or shape is None:
        raise ValueError(
            'the number and size of frames depend on the recordings: set num_frames in the '
            'pipeline and give --shape'
        )
    return (steps, channels, *shape)


def macs_within(part: str, macs: dict[str, int]) -> int:
    """Sum the counts of a part's outermost modules.

    mmseg calls a head's ``forward`` directly, so the counter has no entry for the head itself.
    """
    inside = [name for name in macs if f'{name}.'.startswith(f'{part}.')]
    return sum(
        macs[name] for name in inside if not any(name.startswith(f'{other}.') for other in inside)
    )


def count(model: nn.Module, shape: tuple[int, ...]) -> dict:
    """Run one sample through a model, up to its logits.

    Args:
        model: the model; its backbone determines the channels of a picture.
        shape: (H, W), (C, H, W) or (T, C, H, W).

    Returns:
        ``params``; ``macs``; ``by_part`` (part of the model -> params, macs); ``uncounted`` (op ->
        calls, elements).
    """
    image = torch.rand(1, *(shape if len(shape) > 2 else (in_channels(model), *shape)))
    # as plain matrix products, because torch has no formula for its fused attention on a CPU
    with (
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as flops,
        UncountedOps() as rest,
    ):
        model(image, mode='tensor')
    macs = {name: sum(ops.values()) // 2 for name, ops in flops.get_flop_counts().items()}
    parts = {
        name: (
            sum(p.numel() for p in part.parameters()),
            macs_within(f'{type(model).__name__}.{name}', macs),
        )
        for name, part in model.named_children()
        if any(True for _ in part.parameters())
    }
    return dict(
        params=sum(p.numel() for p in model.parameters()),
        macs=flops.get_total_flops() // 2,
        by_part=parts,
        uncounted={name: (calls, rest.elements[name]) for name, calls in rest.calls.items()},
    )


def report(result: dict, shape: tuple[int, ...]) -> str:
    """Return a result of :func:`count` as text."""
    lines = [
        f'input       {" x ".join(map(str, (1, *shape)))}',
        f'parameters  {result["params"]:,}',
        f'MACs        {result["macs"]:,} ({result["macs"] / 1e9:.2f} G)',
        '',
        f'{"part":<24}{"parameters":>16}{"MACs":>20}',
    ]
    lines += [
        f'{name:<24}{params:>16,}{macs:>20,}' for name, (params, macs) in result['by_part'].items()
    ]
    lines += [
        '',
        'not counted (no multiply-accumulates by convention, or no formula):',
        f'{"operation":<44}{"calls":>8}{"elements written":>20}',
    ]
    rows = sorted(result['uncounted'].items(), key=lambda row: -row[1][1])
    return '\n'.join(
        lines + [f'{name:<44}{calls:>8,}{elements:>20,}' for name, (calls, elements) in rows]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        metavar='N',
        help='height width, or one side; default 512, or the size of event frames',
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='override config entries, key=value'
    )
    args = parser.parse_args()
    if args.shape is not None and len(args.shape) > 2:
        parser.error('--shape takes one number or two')
    cfg = read_config(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    model = build(cfg)
    try:
        shape = input_shape(cfg, model, args.shape and (args.shape[0], args.shape[-1]))
    except ValueError as error:
        parser.error(str(error))
    print(report(count(model, shape), shape))


if __name__ == '__main__':
    main()
