"""Feature maps arranged the way a head or neck asks for them, and necks one after the other."""
from collections.abc import Sequence
from copy import deepcopy

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmbsa.registry import MODELS


@MODELS.register_module()
class LevelAdapter(BaseModule):
    """Rearranges, resizes and projects maps for consumers that expect more than a pyramid.

    Some stock heads rely on what one backbone returns: the same map several times (plain vision transformers), maps whose
    sizes nest exactly, fixed channels, a class token beside each map, or a single tensor in eval mode. ``swap_backbone``
    measures what the replaced backbone did and puts this adapter behind :class:`TemporalReadout` where it matters.

    Args:
        in_channels: channels of the incoming maps.
        in_strides: strides of the incoming maps.
        sources: per output, the index of the map it is made from.
        strides: per output its stride; maps are resized bilinearly to sizes that nest exactly (a map of half the stride
            has exactly twice the height and width, whatever the image's size). None keeps every source's size.
        channels: per output its channels, reached by a 1x1 convolution, norm and ReLU; None keeps the source's.
        tokens: return ``(map, token)`` pairs. A spiking backbone has no class token: the mean over positions stands in.
        eval_out: in eval mode return only this output, as a tensor. None returns all of them always.
        norm_cfg: norm of the projections.
        init_cfg: OpenMMLab's.

    Raises:
        ValueError: an index out of range, lists of unequal length, or strides that do not divide the coarsest one.
    """

    def __init__(self, in_channels: Sequence[int], in_strides: Sequence[int], sources: Sequence[int],
                 strides: Sequence[int] | None = None, channels: Sequence[int] | None = None, tokens: bool = False,
                 eval_out: int | None = None, norm_cfg: dict | None = None, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.in_strides, self.sources = tuple(in_strides), tuple(sources)
        self.strides = None if strides is None else tuple(strides)
        self.tokens, self.eval_out = tokens, eval_out
        number = len(self.sources)
        if len(in_channels) != len(self.in_strides):
            raise ValueError(f'LevelAdapter: {len(in_channels)} in_channels but {len(self.in_strides)} in_strides')
        if not number or not all(0 <= i < len(in_channels) for i in self.sources):
            raise ValueError(f'LevelAdapter: sources={self.sources} must name some of the {len(in_channels)} maps')
        for key, value in (('strides', self.strides), ('channels', channels)):
            if value is not None and len(value) != number:
                raise ValueError(f'LevelAdapter: {key} must have one entry per output ({number}), got {value}')
        if self.strides and any(max(self.strides) % s for s in self.strides):
            raise ValueError(f'LevelAdapter: strides={self.strides} must divide the coarsest one')
        if eval_out is not None and not 0 <= eval_out < number:
            raise ValueError(f'LevelAdapter: eval_out={eval_out} must lie in 0..{number - 1}')
        self.projections = nn.ModuleList(
            nn.Identity() if channels is None else
            ConvModule(in_channels[source], channels[i], 1, norm_cfg=deepcopy(norm_cfg) or dict(type='BN'))
            for i, source in enumerate(self.sources))

    def _size(self, inputs: Sequence[Tensor], stride: int) -> tuple[int, int]:
        """Size at a stride: the coarsest output covers the image (rounded up), the others are multiples of it."""
        coarse = max(self.strides)
        return tuple(-(-side * self.in_strides[0] // coarse) * (coarse // stride) for side in inputs[0].shape[-2:])

    def _out(self, inputs: Sequence[Tensor], index: int) -> Tensor | tuple[Tensor, Tensor]:
        x = inputs[self.sources[index]]
        if self.strides is not None:
            size = self._size(inputs, self.strides[index])
            if tuple(x.shape[-2:]) != size:
                x = interpolate(x, size=size, mode='bilinear', align_corners=False)
        x = self.projections[index](x)
        return (x, x.mean((-2, -1))) if self.tokens else x

    def forward(self, inputs: Sequence[Tensor]) -> tuple | Tensor:
        """(B, C_i, H_i, W_i) per incoming map -> per output a map, a (map, (B, C) token) pair, or one tensor in eval."""
        if len(inputs) != len(self.in_strides):
            raise ValueError(f'LevelAdapter: got {len(inputs)} maps for in_strides={self.in_strides}')
        if self.eval_out is not None and not self.training:
            return self._out(inputs, self.eval_out)
        return tuple(self._out(inputs, i) for i in range(len(self.sources)))


@MODELS.register_module()
class NeckSequence(BaseModule):
    """Necks that run one after the other.

    Args:
        necks: their configs, first to last.
        init_cfg: OpenMMLab's.
    """

    def __init__(self, necks: Sequence[dict], init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.necks = nn.ModuleList(MODELS.build(deepcopy(neck)) for neck in necks)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps -> what the last neck returns."""
        for neck in self.necks:
            inputs = neck(inputs)
        return inputs
