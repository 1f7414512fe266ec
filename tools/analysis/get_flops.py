"""Count the parameters and multiply-accumulates of a segmentor, and say which operations were not counted.

    python tools/analysis/get_flops.py CONFIG --shape 512 512

Dense arithmetic is counted: a spiking network spends an accumulate, not a multiplication, where its input is a spike,
and nothing where it is zero. Auxiliary heads, which only training uses, are left out.
"""
import argparse
from collections import Counter

import torch
from mmengine.config import Config, DictAction
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, flop_registry

import mmbsa.ops.flops  # noqa: F401  formulas of our ops


class UncountedOps(TorchDispatchMode):
    """Note the operations without a formula that compute something: calls and elements written, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.elements = Counter(), Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operation; note it unless it is counted elsewhere, or only looks at memory in another way."""
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket not in flop_registry and not func.is_view:
            written = sum(leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor))
            if written:
                self.calls[str(func)] += 1
                self.elements[str(func)] += written
        return out


def build(cfg: Config) -> nn.Module:
    """Build the segmentor of a config for inference on a CPU, without pretrained weights."""
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    cfg.model.pop('auxiliary_head', None)
    cfg.model.pop('pretrained', None)
    return revert_sync_batchnorm(MODELS.build(cfg.model)).eval()


def macs_within(part: str, macs: dict[str, int]) -> int:
    """Sum the counts of a part's outermost modules: mmseg calls a head's ``forward``, which the counter does not see."""
    inside = [name for name in macs if f'{name}.'.startswith(f'{part}.')]
    return sum(macs[name] for name in inside if not any(name.startswith(f'{other}.') for other in inside))


def count(model: nn.Module, shape: tuple[int, int]) -> dict:
    """Run one image of (height, width) through a segmentor, up to its logits.

    Returns:
        ``params``; ``macs``; ``by_part`` (part of the model -> params, macs); ``uncounted`` (op -> calls, elements).
    """
    image = torch.rand(1, 3, *shape)
    # as plain matrix products, since torch has no formula for its fused attention on a CPU
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops, UncountedOps() as rest:
        model(image, mode='tensor')
    macs = {name: sum(ops.values()) // 2 for name, ops in flops.get_flop_counts().items()}
    parts = {name: (sum(p.numel() for p in part.parameters()), macs_within(f'{type(model).__name__}.{name}', macs))
             for name, part in model.named_children() if any(True for _ in part.parameters())}
    return dict(
        params=sum(p.numel() for p in model.parameters()),
        macs=flops.get_total_flops() // 2,
        by_part=parts,
        uncounted={name: (calls, rest.elements[name]) for name, calls in rest.calls.items()})


def report(result: dict, shape: tuple[int, int]) -> str:
    """Write a result of ``count`` as text."""
    lines = [f'input       1 x 3 x {shape[0]} x {shape[1]}', f'parameters  {result["params"]:,}',
             f'MACs        {result["macs"]:,} ({result["macs"] / 1e9:.2f} G)', '',
             f'{"part":<24}{"parameters":>16}{"MACs":>20}']
    lines += [f'{name:<24}{params:>16,}{macs:>20,}' for name, (params, macs) in result['by_part'].items()]
    lines += ['', 'not counted (no multiply-accumulates by convention, or no formula):',
              f'{"operation":<44}{"calls":>8}{"elements written":>20}']
    rows = sorted(result['uncounted'].items(), key=lambda row: -row[1][1])
    return '\n'.join(lines + [f'{name:<44}{calls:>8,}{elements:>20,}' for name, (calls, elements) in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('--shape', type=int, nargs='+', default=[512, 512], metavar='N', help='height width, or one side')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='override config entries, key=value')
    args = parser.parse_args()
    if len(args.shape) > 2:
        parser.error('--shape takes one number or two')
    cfg = Config.fromfile(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    shape = (args.shape[0], args.shape[-1])
    print(report(count(build(cfg), shape), shape))


if __name__ == '__main__':
    main()
