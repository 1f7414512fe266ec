"""Measurement of the outputs of a backbone or neck on PyTorch's meta device.

The meta device computes shapes without arithmetic, in less than a second.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import wraps
from math import log2
from typing import Any

import torch
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmbsa.apis.swap.level import Level, SwapError

#: constructors of parameters and buffers. Those with values that builders read (linspace, arange,
#: tensor) are not replaced.
_FACTORIES = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye}
#: image sizes that are tried in this order, before those of the config: not square, so that a map
#: differs from a square matrix.
_IMAGE = (256, 512)
#: maps with a larger stride are pooled context and not feature levels.
_MAX_STRIDE = 64
#: strides of backbones that are not built for measurement: VPD loads gigabytes of Stable
#: Diffusion.
KNOWN_STRIDES = {'VPD': (8, 16, 32, 64)}


class _Skeleton(TorchFunctionMode):
    """Create new parameters and buffers on the meta device."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in _FACTORIES and kwargs.get('device') is None:
            kwargs['device'] = 'meta'
        return func(*args, **kwargs)


class _Sizes(TorchFunctionMode):
    """Record the height and width of every map under the autograd node that made it."""

    def __init__(self):
        super().__init__()
        self.of = {}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(x, Tensor) and x.ndim == 4 and x.grad_fn is not None:
                self.of[x.grad_fn] = tuple(x.shape[-2:])
        return out


@contextmanager
def default_scope(scope: str = 'mmseg') -> Iterator[None]:
    """Context in which types without prefix are found in ``scope``, ``'mmseg'`` by default."""
    with DefaultScope.overwrite_default_scope(scope), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield


def build_skeleton(cfg: dict, scope: str = 'mmseg') -> nn.Module:
    """Build a module from a copy of its config on the meta device, without memory.

    Args:
        cfg: config of the module; it is not changed.
        scope: default scope of the config, ``'mmseg'`` by default.
    """
    with default_scope(scope):
        if isinstance(cfg['type'], str):
            ROOT_MODELS.get(
                cfg['type']
            )  # import the class here: tensors created at import must not be on the meta device
        with _Skeleton():
            module = ROOT_MODELS.build(deepcopy(cfg))
    return module.to('meta')


@dataclass(frozen=True)
class Outputs:
    """Outputs of a backbone.

    Attributes:
        levels: its maps.
        tokens: whether every map comes with a class token.
        eval_out: index of the only map that it returns in eval mode, as a tensor; None if both
            modes return the same.
        vector: whether it returns one vector (B, C) per image, as transformers with a class token
            do; its stride is 0.
    """

    levels: tuple[Level, ...]
    tokens: bool = False
    eval_out: int | None = None
    vector: bool = False


def _stride(image: int, side: int) -> int:
    """Return the stride of a map, rounded to a power of two.

    Odd sizes and missing padding change the ratio slightly.
    """
    return 2 ** max(0, round(log2(image / side)))


def _history(x: Tensor, sizes: dict, image: tuple[int, int]) -> tuple[int, int]:
    """Return (depth, coarsest stride) of a map from its autograd graph."""
    known: dict[Any, tuple[int, int]] = {}
    stack = [x.grad_fn] if x.grad_fn is not None else []
    while stack:
        node = stack[-1]
        parents = [p for p, _ in node.next_functions if p is not None]
        waiting = [p for p in parents if p not in known]
        if waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        layer = any(part in node.name() for part in ('Conv', 'Addmm', 'Mm', 'Bmm'))
        depth = max((known[p][0] for p in parents), default=0) + layer
        coarsest = max((known[p][1] for p in parents), default=1)
        h, w = sizes.get(node, (0, 0))
        if (
            h
            and h * image[1] == w * image[0]
            and image[0] % h == 0
            and image[0] // h <= _MAX_STRIDE
        ):
            coarsest = max(coarsest, image[0] // h)
        known[node] = (depth, coarsest)
    return known.get(x.grad_fn, (0, 1))


def _run(
    backbone: nn.Module, image: tuple[int, int], channels: int, train: bool
) -> tuple[list[Level], bool, bool]:
    """Run one forward.

    Returns:
        The levels, whether they come with tokens, and whether the output is a single tensor.
    """
    backbone.train(train)
    x = torch.empty(2, channels, *image, device='meta', requires_grad=True)
    with torch.enable_grad(), warnings.catch_warnings(), _Sizes() as sizes:
        warnings.simplefilter('ignore')
        out = backbone(x)
    single = isinstance(out, Tensor)
    maps = [out] if single else list(out)
    pairs = [
        isinstance(m, (tuple, list)) and len(m) == 2 and m[0].ndim == 4 and m[1].ndim == 2
        for m in maps
    ]
    tokens = bool(pairs) and all(pairs)
    maps = [m[0] for m in maps] if tokens else maps
    if len(maps) == 1 and isinstance(maps[0], Tensor) and maps[0].ndim == 2:
        return [Level(maps[0].shape[1], 0)], False, single
    if not maps or any(not isinstance(m, Tensor) or m.ndim != 4 for m in maps):
        raise SwapError(f'backbone {type(backbone).__name__} does not return (B, C, H, W) maps')
    if any(len(m) != len(x) for m in maps):
        raise SwapError(
            f'backbone {type(backbone).__name__} returns {len(maps[0])} maps of {len(x)} images'
        )
    levels = []
    for m in maps:
        depth, coarsest = _history(m, sizes.of, image)
        levels.append(Level(m.shape[1], _stride(image[0], m.shape[2]), coarsest, depth))
    return levels, tokens, single


def _same_map(levels: list[Level], only: Level, name: str) -> int:
    """Return which map of train mode is the only map in eval mode."""
    shape = (only.channels, only.stride)
    same = [i for i, level in enumerate(levels) if (level.channels, level.stride) == shape]
    if not same:
        raise SwapError(
            f'backbone {name} returns in eval mode a map that it does not return in train mode'
        )
    return min(same, key=lambda i: abs(levels[i].depth - only.depth))


def _cached(function: Callable) -> Callable:
    """Cache results by the text of the arguments, because many configs have the same backbone."""
    memory: dict[str, Any] = {}

    @wraps(function)
    def wrapper(*args):
        key = repr(args)
        if key not in memory:
            memory[key] = function(*args)
        return memory[key]

    return wrapper


@_cached
def measure_backbone(
    cfg: dict, scope: str, images: tuple[tuple[int, int], ...] = (), both: bool = True
) -> Outputs:
    """Run a stock backbone on the meta device.

    Args:
        cfg: config of the backbone; its checkpoints are not read.
        scope: default scope of the config.
        images: further image sizes (H, W) to try, for backbones with one fixed size; none by
            default.
        both: whether to run eval mode too, which may return less than train mode; True by default.

    Raises:
        SwapError: the outputs are not maps.
        Exception: any error of building or running the backbone.
    """
    cfg = {k: v for k, v in cfg.items() if k not in ('init_cfg', 'pretrained', 'with_cp')}
    channels = cfg.get('in_channels', 3) if isinstance(cfg.get('in_channels', 3), int) else 3
    backbone = build_skeleton(cfg, scope)
    errors = []
    for image in (_IMAGE, *images):
        try:
            levels, tokens, _ = _run(backbone, image, channels, train=True)
            in_eval, _, single = (
                _run(backbone, image, channels, train=False) if both else (levels, tokens, False)
            )
        except SwapError:
            raise
        except (
            Exception
        ) as error:  # a backbone of one fixed size raises the error of its first wrong operation
            errors.append(error)
            continue
        if not single or len(levels) == 1:
            return Outputs(tuple(levels), tokens, vector=not levels[0].stride)
        return Outputs(tuple(levels), tokens, _same_map(levels, in_eval[0], cfg['type']))
    raise errors[0]


@_cached
def spiking_levels(cfg: dict) -> dict[int, Level]:
    """Return index -> level of a backbone of mmbsa, from its ``feature_info``.

    If the config has ``out_indices``, only these levels are returned.

    Args:
        cfg: config of the backbone.

    Raises:
        SwapError: the backbone is not from mmbsa or does not build; the message has the reason.
    """
    name = cfg['type'] if isinstance(cfg['type'], str) else cfg['type'].__name__
    try:
        backbone = build_skeleton(cfg)
    except Exception as error:
        raise SwapError(f'backbone {name} does not build: {error}') from error
    info = getattr(backbone, 'feature_info', None)
    if not info:
        raise SwapError(
            f'backbone {name} has no feature_info: expected a spiking backbone of mmbsa'
        )
    chosen = backbone.out_indices if 'out_indices' in cfg else range(len(info))
    return {i: Level(info[i]['num_chs'], info[i]['reduction']) for i in chosen}


def measure_neck(cfg: dict, levels: Sequence[Level], scope: str) -> list[Level]:
    """Return the maps that a neck computes from levels.

    Args:
        cfg: config of the neck.
        levels: its input maps.
        scope: default scope of the config.

    Raises:
        Exception: any error of building or running the neck.
    """
    neck = build_skeleton(cfg, scope).train()
    coarse = max(level.stride for level in levels)
    image = (8 * coarse, 8 * coarse)
    maps = tuple(
        torch.empty(2, level.channels, *(side // level.stride for side in image), device='meta')
        for level in levels
    )
    out = neck(maps)
    return [Level(x.shape[1], _stride(image[0], x.shape[2])) for x in out]
