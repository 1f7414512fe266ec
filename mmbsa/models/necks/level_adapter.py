"""A neck that adapts feature maps to the requirements of a neck or head of an mm package."""

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
    """Neck that selects, merges, resizes and projects maps for necks and heads that need more than
    a feature pyramid.

    Some heads of mm packages need the output of one particular backbone: the same map several times
    (plain vision transformers), fine maps with coarse context (U-Net, BiSeNet), sizes that are
    exact multiples, fixed channels, a class token per map, or a single tensor in eval mode.
    ``swap_backbone`` measures the output of the replaced backbone and adds this adapter after
    :class:`TemporalReadout` if it is needed. Every step is optional::

        maps -> top-down merge -> pick sources -> resize -> project -> tokens -> neck

    It computes only the requested outputs, so that every parameter has a gradient in distributed
    training.

    Args:
        in_channels: channels of the input maps, fine to coarse.
        in_strides: strides of the input maps in pixels.
        sources: for each output, the index of its input map.
        top_down: number of channels of a top-down merge before the other steps, as in a feature
            pyramid: 1x1 convolutions to this number of channels, then each map plus the upsampled
            coarser one. The outputs are then projected by 3x3 convolutions. None (default) means no
            merge.
        strides: for each output its stride in pixels; maps are resized bilinearly to sizes that are
            exact multiples (a map with half the stride has exactly twice the height and width, for
            every image size). None (default) keeps the size of the input map.
        channels: for each output its number of channels, by a convolution, norm and ReLU; None
            (default) keeps the channels of the input map.
        tokens: whether to return ``(map, token)`` pairs. A spiking backbone has no class token, so
            the token is the mean over positions. Default False.
        eval_out: index of the only output that is returned in eval mode, as a tensor; None
            (default) always returns all outputs.
        neck: config of a neck of an mm package that gets the outputs; default None.
        norm_cfg: config of the norms after the convolutions.
        init_cfg: initialisation config of OpenMMLab; default None.

    Raises:
        ValueError: an index is out of range, lists have different lengths, or a stride does not
            divide the largest one.
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
                'LevelAdapter: in_channels and in_strides must have the same length, got '
                f'{len(in_channels)} and {len(self.in_strides)}'
            )
        if not number or not all(0 <= i < len(in_channels) for i in self.sources):
            raise ValueError(
                f'LevelAdapter: sources={self.sources} must be indices of the {len(in_channels)} '
                'input maps'
            )
        for key, value in (('strides', self.strides), ('channels', channels)):
            if value is not None and len(value) != number:
                raise ValueError(
                    f'LevelAdapter: {key} must have one entry per output ({number}), got {value}'
                )
        if self.strides and any(max(self.strides) % s for s in self.strides):
            raise ValueError(f'LevelAdapter: strides={self.strides} must divide the largest one')
        if self.eval_out is not None and not 0 <= self.eval_out < number:
            raise ValueError(f'LevelAdapter: eval_out={self.eval_out} must be in 0..{number - 1}')

    def _merge(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return top-down sums: every map plus the upsampled coarser ones."""
        maps = [lateral(x) for lateral, x in zip(self.laterals, inputs)]
        for i in range(len(maps) - 1, 0, -1):
            maps[i - 1] = maps[i - 1] + interpolate(
                maps[i], size=maps[i - 1].shape[-2:], mode='nearest'
            )
        return maps

    def _size(self, inputs: Sequence[Tensor], stride: int) -> tuple[int, int]:
        """Return the height and width at a stride: the coarsest output covers the image (rounded
        up), the others are multiples of it."""
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
        """Return the outputs for input maps (B, C_i, H_i, W_i).

        Args:
            inputs: one map per entry of ``in_channels``, fine to coarse.

        Returns:
            For each output a map, or a pair of a map and a token (B, C); one tensor in eval mode
            with ``eval_out``; or the output of ``neck``.

        Raises:
            ValueError: the number of maps differs from ``in_strides``.
        """
        if len(inputs) != len(self.in_strides):
            raise ValueError(
                f'LevelAdapter: got {len(inputs)} maps for in_strides={self.in_strides}'
            )
        inputs = inputs if self.laterals is None else self._merge(inputs)
        if self.eval_out is not None and not self.training:
            return self._out(inputs, self.eval_out)
        outs = tuple(self._out(inputs, i) for i in range(len(self.sources)))
        return outs if self.neck is None else self.neck(outs)
