"""What spiking decode heads share."""

from collections.abc import Sequence

from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor
from torch.nn.functional import interpolate

from mmbsa.models.layers import TIME_MODES, check_steps, merge_time, split_time
from mmbsa.models.neurons import bind_steps, build_neuron


def resize(x: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """Time-major map -> the map at another size, bilinear; the same tensor where the size is
    right."""
    if x.shape[-2:] == tuple(size):
        return x
    return split_time(
        interpolate(merge_time(x), size=tuple(size), mode='bilinear', align_corners=align_corners),
        len(x),
    )


class TimeMajorHead(BaseDecodeHead):
    """mmseg's decode head, over several time-major maps.

    Maps (B, C, H, W), of a stock backbone or of ``mmbsa.TemporalReadout``, are one step.

    Args:
        num_steps: T, for neurons whose parameters depend on it; None takes any T.
        kwargs: mmseg's ``BaseDecodeHead``; ``norm_cfg`` is BN unless given.
    """

    #: tells ``swap_backbone`` that time need not be read out in front of this head.
    reads_time = True

    def __init__(self, num_steps: int | None = None, **kwargs):
        kwargs['norm_cfg'] = kwargs.get('norm_cfg') or dict(type='BN')
        super().__init__(input_transform='multiple_select', **kwargs)
        self.num_steps = num_steps

    def read(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """All maps of the neck or backbone -> the maps (T, B, C_i, H_i, W_i) of ``in_index``."""
        maps = [x.unsqueeze(0) if x.ndim == 4 else x for x in self._transform_inputs(inputs)]
        check_steps(maps[0], self.num_steps, 'decode_head.num_steps')
        return maps


class SpikeDecodeHead(TimeMajorHead):
    """Base of heads that classify every position; time is read out on the logits.

    Subclasses define :meth:`fuse_maps`, and build their layers from ``self.unit``.

    Args:
        neuron: neuron config; None is integers up to 4.
        num_steps: T, for neurons whose parameters depend on it; None takes any T.
        kwargs: mmseg's ``BaseDecodeHead``: in_channels, in_index, channels, num_classes,
            loss_decode, ...; ``dropout_ratio`` is 0 and ``norm_cfg`` is BN unless given.
    """

    def __init__(self, neuron: dict | None = None, num_steps: int | None = None, **kwargs):
        kwargs.setdefault('dropout_ratio', 0)
        super().__init__(num_steps, **kwargs)
        neuron = bind_steps(neuron or dict(type='mmbsa.IntegerNode', levels=4), num_steps)
        self.unit = dict(neuron=neuron, norm_cfg=self.norm_cfg)
        self.out_neuron = build_neuron(neuron)

    def fuse_maps(self, inputs: Sequence[Tensor]) -> Tensor:
        """Maps (T, B, C_i, H_i, W_i), fine to coarse -> potentials (T, B, channels, H_0, W_0)."""
        raise NotImplementedError(f'{type(self).__name__} must define fuse_maps')

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Time-major maps (T, B, C_i, H_i, W_i) -> logits (B, num_classes, H_0, W_0)."""
        out = self.fuse_maps(self.read(inputs))
        logits = self.cls_seg(merge_time(self.out_neuron(out)))
        return TIME_MODES['mean'](split_time(logits, len(out)))
