"""Template and search crop on one canvas and as one sequence of tokens, as in SDTrack."""

import torch
from torch import Tensor, nn

from mmbsa.models.backbones import BaseSpikingBackbone
from mmbsa.models.layers import checkpointed


def join_canvas(template: Tensor, search: Tensor) -> Tensor:
    """Return a canvas of zeros with both crops on its diagonal.

    Args:
        template: template crop (T, B, C, z, z), placed at the lower right.
        search: search crop (T, B, C, s, s), placed at the upper left.

    Returns:
        The canvas (T, B, C, s + z, s + z).
    """
    z, s = template.shape[-1], search.shape[-1]
    canvas = search.new_zeros(*search.shape[:3], s + z, s + z)
    canvas[..., :s, :s] = search
    canvas[..., s:, s:] = template
    return canvas


def check_pair_backbone(backbone: BaseSpikingBackbone) -> int:
    """Check that a backbone supports pairs of crops, and return the stride of its tokens in pixels.

    Raises:
        ValueError: the number of stages is wrong, or transformer blocks have convolutions over
            neighbouring tokens, which the tokens of a pair do not have.
    """
    stages = getattr(backbone, 'stages', ())
    if len(stages) < 4:
        raise ValueError(
            f'SDTrack: backbone {type(backbone).__name__} has {len(stages)} stages; it needs three '
            'convolutional stages and transformer stages, as mmbsa.ESpikeFormer has them'
        )
    for index, stage in enumerate(stages[3:], 3):
        wide = [
            name
            for block in stage[1:]
            for name, module in block.named_modules()
            if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)
        ]
        if wide:
            raise ValueError(
                f'SDTrack: backbone.stages[{index}] has convolutions over neighbouring tokens '
                f'({wide[0]}), but the tokens of a pair are a sequence; set arch.with_conv=False'
            )
    return backbone.feature_info[3]['reduction']


def pair_features(
    backbone: BaseSpikingBackbone, template: Tensor, search: Tensor, appendix: int = 2
) -> Tensor:
    """Return the features of a pair of crops.

    Data flow at template side z and search side s, z' = z / 16, s' = s / 16::

        canvas (T,B,3,s+z,s+z) -> stem, three stages, down to 1/16 -> (T,B,C2,s'+z',s'+z')
        -> tokens: template z'^2, search s'^2, then appendix^2 zeros -> (T,B,C2,N)
        -> blocks of stages[3] -> each of the three maps through the first unit of stages[4] apart
        -> blocks of stages[4] -> (T,B,C3,z'^2 + s'^2)

    The zeros are part of attention and of batch statistics, as in the official code. No feature of
    the template can be computed once per sequence. The receptive field of the convolutional stages
    is 127 pixels to every side, so with a template of 128 pixels every feature depends on the
    search crop next to it; after that, attention mixes all tokens.

    Args:
        backbone: a backbone that passes :func:`check_pair_backbone`.
        template: template crop (T, B, 3, z, z); z is a multiple of the stride.
        search: search crop (T, B, 3, s, s); s is a multiple of the stride.
        appendix: side of the square of zero tokens; default 2, as in SDTrack, where it completes a
            square of 18 x 18 tokens.

    Returns:
        Tokens (T, B, C3, N), those of the template first.

    Raises:
        ValueError: a crop is not square, or its side is not a multiple of the stride.
    """
    stride = backbone.feature_info[3]['reduction']
    for name, crop in (('template', template), ('search', search)):
        if crop.dim() != 5 or crop.shape[-1] != crop.shape[-2] or crop.shape[-1] % stride:
            raise ValueError(
                f'SDTrack: the {name} crop must be (T, B, C, side, side) with a side that is a '
                f'multiple of {stride}, got {tuple(crop.shape)}'
            )
    z, s = template.shape[-1] // stride, search.shape[-1] // stride
    x = backbone.stem(join_canvas(template, search))
    for stage in backbone.stages[:3]:
        x = _run(backbone, stage, x)
    x = backbone.stages[3][0](x)
    sides = (z, s, appendix)
    tokens = _flat([x[..., s:, s:], x[..., :s, :s], x.new_zeros(*x.shape[:3], appendix, appendix)])
    tokens = _run(backbone, backbone.stages[3][1:], tokens)
    for stage in backbone.stages[4:]:
        parts = tokens.squeeze(-1).split([side * side for side in sides], -1)
        tokens = _flat(
            [stage[0](part.unflatten(-1, (side, side))) for part, side in zip(parts, sides) if side]
        )
        tokens = _run(backbone, stage[1:], tokens)
    return tokens[..., : z * z + s * s, 0]


def _flat(maps: list[Tensor]) -> Tensor:
    """Return maps (T, B, C, h_i, w_i) as one sequence of tokens (T, B, C, N, 1)."""
    return torch.cat([x.flatten(3) for x in maps], -1).unsqueeze(-1)


def _run(backbone: BaseSpikingBackbone, blocks: nn.Sequential, x: Tensor) -> Tensor:
    for block in blocks:
        x = checkpointed(block, x) if backbone.with_cp and torch.is_grad_enabled() else block(x)
    return x
