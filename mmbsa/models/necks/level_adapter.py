"""Feature maps arranged the way a stock neck or head asks for them."""

from collections.abc import Sequence
from copy import deepcopy

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmbsa.models.layers import Conv2d
from mmbsa.registry import MODELS


@MODELS.register_module()
class LevelAdapter(BaseModule):
    """Rearranges, decodes, resizes and projects maps for consumers that expect more than a pyramid.

    Some stock heads rely on what one backbone returns: the same map several times (plain vision
    transformers), fine maps that hold coarse context (U-Net, BiSeNet), sizes that nest exactly,
    fixed channels, a class token beside each map, or a single tensor in eval mode.
    ``swap_backbone`` measures what the replaced backbone did and puts this adapter behind
    :class:`TemporalReadout` where it matters. Every step is optional::

        maps -> top-down merge -> pick sources -> resize -> project -> tokens -> neck

    It makes only outputs that are asked for, so that no parameter stays without gradient in
    distributed training.

    Args:
        in_channels: channels of the incoming maps, fine to coarse.
        in_strides: strides of the incoming maps.
        sources: per output, the index of the map it is made from.
        top_down: merge the maps from coarse to fine first, as a feature pyramid does: 1x1
            convolutions to this width, each map plus the upsampled coarser one; outputs are then
            projected by 3x3 convolutions.
        strides: per output its stride; maps are resized bilinearly to sizes that nest exactly (a
            map of half the stride has exactly twice the height and width, whatever the image's
            size). None keeps every source's size.
        channels: per output its channels, reached by a convolution, norm and ReLU; None keeps the
            source's.
        tokens: return ``(map, token)`` pairs. A spiking backbone has no class token: the mean over
            positions stands in.
        eval_out: in eval mode return only this output, as a tensor. None returns all of them
            always.
        neck: config of a stock neck to run on the outputs.
        norm_cfg: norm of the convolutions.
        init_cfg: OpenMMLab's.

    Raises:
        ValueError: an index out of range, lists of unequal length, or strides that do not divide
            the coarsest one.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        in_strides: Sequence[int],
        sources: Sequence[int],
        top_down: int | None = None,
        strides: Sequence[int] | None = None,
        channels: Sequence[int] | None = None,
        tokens: bool = False,
        eval_out: int | None = None,
        neck: dict | None = None,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.in_strides, self.sources = tuple(in_strides), tuple(sources)
        self.strides = None if strides is None else tuple(strides)
        self.tokens, self.eval_out = tokens, eval_out
        self._check(in_channels, channels)
        norm_cfg = norm_cfg or dict(type='BN')
        widths = [in_channels[source] for source in self.sources]
        self.laterals = None
        if top_down:
            self.laterals = nn.ModuleList(
                ConvModule(
                    c,
                    top_down,
                    1,
                    conv_cfg=dict(type=Conv2d),
                    norm_cfg=deepcopy(norm_cfg),
                    act_cfg=None,
                )
                for c in in_channels
            )
            widths = [top_down] * len(widths)
            channels = channels or widths
        kernel = 3 if top_down else 1
        self.projections = nn.ModuleList(
            nn.Identity()
            if channels is None
            else ConvModule(
                width,
                channels[i],
                kernel,
                padding=kernel // 2,
                conv_cfg=dict(type=Conv2d),
                norm_cfg=deepcopy(norm_cfg),
            )
            for i, width in enumerate(widths)
        )
        self.neck = None if neck is None else MODELS.build(deepcopy(neck))

    def _check(self, in_channels: Sequence[int], channels: Sequence[int] | None) -> None:
        number = len(self.sources)
        if len(in_channels) != len(self.in_strides):
            raise ValueError(
                f'LevelAdapter: {len(in_channels)} in_channels but {len(self.in_strides)} '
                'in_strides'
            )
        if not number or not all(0 <= i < len(in_channels) for i in self.sources):
            raise ValueError(
                f'LevelAdapter: sources={self.sources} must name some of the {len(in_channels)} '
                'maps'
            )
        for key, value in (('strides', self.strides), ('channels', channels)):
            if value is not None and len(value) != number:
                raise ValueError(
                    f'LevelAdapter: {key} must have one entry per output ({number}), got {value}'
                )
        if self.strides and any(max(self.strides) % s for s in self.strides):
            raise ValueError(f'LevelAdapter: strides={self.strides} must divide the coarsest one')
        if self.eval_out is not None and not 0 <= self.eval_out < number:
            raise ValueError(f'LevelAdapter: eval_out={self.eval_out} must lie in 0..{number - 1}')

    def _merge(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Top-down sums: every map gets what the coarser ones know."""
        maps = [lateral(x) for lateral, x in zip(self.laterals, inputs)]
        for i in range(len(maps) - 1, 0, -1):
            maps[i - 1] = maps[i - 1] + interpolate(
                maps[i], size=maps[i - 1].shape[-2:], mode='nearest'
            )
        return maps

    def _size(self, inputs: Sequence[Tensor], stride: int) -> tuple[int, int]:
        """Size at a stride: the coarsest output covers the image (rounded up), the others are
        multiples of it."""
        coarse = max(self.strides)
        return tuple(
            -(-side * self.in_strides[0] // coarse) * (coarse // stride)
            for side in inputs[0].shape[-2:]
        )

    def _out(self, inputs: Sequence[Tensor], index: int) -> Tensor | tuple[Tensor, Tensor]:
        x = inputs[self.sources[index]]
        if self.strides is not None:
            size = self._size(inputs, self.strides[index])
            if tuple(x.shape[-2:]) != size:
                x = interpolate(x, size=size, mode='bilinear', align_corners=False)
        x = self.projections[index](x)
        return (x, x.mean((-2, -1))) if self.tokens else x

    def forward(self, inputs: Sequence[Tensor]) -> tuple | Tensor:
        """(B, C_i, H_i, W_i) per incoming map -> per output a map, a (map, (B, C) token) pair, or
        one tensor in eval."""
        if len(inputs) != len(self.in_strides):
            raise ValueError(
                f'LevelAdapter: got {len(inputs)} maps for in_strides={self.in_strides}'
            )
        inputs = inputs if self.laterals is None else self._merge(inputs)
        if self.eval_out is not None and not self.training:
            return self._out(inputs, self.eval_out)
        outs = tuple(self._out(inputs, i) for i in range(len(self.sources)))
        return outs if self.neck is None else self.neck(outs)
