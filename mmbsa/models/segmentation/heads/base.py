"""Base classes of spiking decode heads."""

from collections.abc import Sequence

from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor
from torch.nn.functional import interpolate

from mmbsa.models.layers import TIME_MODES, check_steps, merge_time, split_time
from mmbsa.models.neurons import bind_steps, build_neuron


def resize(x: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """Resize a time-major map bilinearly; a map that already has the size is returned unchanged.

    Args:
        x: map (T, B, C, H, W).
        size: height and width of the result in pixels.
        align_corners: as in ``torch.nn.functional.interpolate``; default False.
    """
    if x.shape[-2:] == tuple(size):
        return x
    return split_time(
        interpolate(merge_time(x), size=tuple(size), mode='bilinear', align_corners=align_corners),
        len(x),
    )


class TimeMajorHead(BaseDecodeHead):
    """Base class of decode heads for time-major maps, derived from mmseg's ``BaseDecodeHead``.

    Maps (B, C, H, W), from a backbone of an mm package or from ``mmbsa.TemporalReadout``, count as
    one time step.

    Args:
        num_steps: T, for neurons whose parameters depend on it; None (default) accepts every T.
        kwargs: arguments of mmseg's ``BaseDecodeHead``; the default of ``norm_cfg`` is BN.
    """

    #: True means that ``swap_backbone`` adds no readout before this head.
    reads_time = True

    def __init__(self, num_steps: int | None = None, **kwargs):
        kwargs['norm_cfg'] = kwargs.get('norm_cfg') or dict(type='BN')
        super().__init__(input_transform='multiple_select', **kwargs)
        self.num_steps = num_steps

    def read(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return the maps (T, B, C_i, H_i, W_i) of ``in_index``.

        Args:
            inputs: all maps of the neck or backbone, (T, B, C_i, H_i, W_i) or (B, C_i, H_i, W_i).
        """
        maps = [x.unsqueeze(0) if x.ndim == 4 else x for x in self._transform_inputs(inputs)]
        check_steps(maps[0], self.num_steps, 'decode_head.num_steps')
        return maps


class SpikeDecodeHead(TimeMajorHead):
    """Base class of heads that classify every position; the readout is the mean of the logits over
    T.

    Subclasses define :meth:`fuse_maps`, and build their layers with the configs in ``self.unit``.

    Args:
        neuron: config of the neurons; None (default) is the integer neuron with counts 0 .. 4.
        num_steps: T, for neurons whose parameters depend on it; None (default) accepts every T.
        kwargs: arguments of mmseg's ``BaseDecodeHead``: in_channels, in_index, channels,
            num_classes, loss_decode, ...; the default of ``dropout_ratio`` is 0, that of
            ``norm_cfg`` is BN.
    """

    def __init__(self, neuron: dict | None = None, num_steps: int | None = None, **kwargs):
        kwargs.setdefault('dropout_ratio', 0)
        super().__init__(num_steps, **kwargs)
        neuron = bind_steps(neuron or dict(type='mmbsa.IntegerNode', levels=4), num_steps)
        self.unit = dict(neuron=neuron, norm_cfg=self.norm_cfg)
        self.out_neuron = build_neuron(neuron)

    def fuse_maps(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return membrane potentials (T, B, channels, H_0, W_0) for maps (T, B, C_i, H_i, W_i),
        fine to coarse."""
        raise NotImplementedError(f'{type(self).__name__} must define fuse_maps')

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return logits (B, num_classes, H_0, W_0) for time-major maps (T, B, C_i, H_i, W_i)."""
        out = self.fuse_maps(self.read(inputs))
        logits = self.cls_seg(merge_time(self.out_neuron(out)))
        return TIME_MODES['mean'](split_time(logits, len(out)))
