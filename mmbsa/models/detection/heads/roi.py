"""RoI heads over time-major maps: features of every step, box and mask heads with neurons, time
read out at the end.
"""

import inspect
from collections.abc import Callable, Sequence

import torch
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import Tensor, nn

from mmbsa.models.detection.heads.units import COUNTS, each_step, mean_over_steps
from mmbsa.models.detection.strides import check_time_major, image_size, true_strides
from mmbsa.models.layers import merge_time
from mmbsa.models.neurons import bind_steps, build_neuron
from mmbsa.registry import MODELS


@MODELS.register_module()
class SpikeRoIExtractor(SingleRoIExtractor):
    """RoI features of every step, (T, RoIs, C, h, w).

    The level of a RoI follows from its size. Coordinates are scaled by the true strides of the
    maps, which the RoI head measures; ``featmap_strides`` tells the number of levels, and with
    ``official_quirks`` the scale.

    Args:
        official_quirks: scale by the configured strides. Official code does so, and reads features
            of the fourth level of E-SpikeFormer, configured as 32 and truly 16, at half the right
            coordinates.
        kwargs: see ``mmdet.SingleRoIExtractor``.
    """

    def __init__(self, *args, official_quirks: bool = False, **kwargs):
        super().__init__(*args, **kwargs)
        self.official_quirks = official_quirks

    def fit(self, maps: Sequence[Tensor], size: tuple[int, int]) -> None:
        """Take the strides of maps (T, B, C, H_i, W_i) of an image of ``size``."""
        if not self.official_quirks:
            for layer, stride in zip(self.roi_layers, true_strides(maps[: self.num_inputs], size)):
                layer.spatial_scale = 1 / stride

    def forward(
        self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None
    ) -> Tensor:
        """Maps (T, B, C, H_i, W_i) and RoIs (N, 5), image index and corners in pixels -> (T, N, C,
        h, w).
        """
        steps, batch = feats[0].shape[:2]
        shifts = (
            torch.arange(steps, device=rois.device) * batch
        )  # step t of image b is image t B + b
        repeated = rois.repeat(steps, 1)
        repeated[:, 0] += shifts.repeat_interleave(len(rois)).to(rois)
        out = super().forward([merge_time(x) for x in feats], repeated, roi_scale_factor)
        return out.unflatten(0, (steps, len(rois)))


class SpikingRoIHead:
    """Mix-in class that lets a RoI head of mmdet take time-major maps (T, B, C, H, W).

    Put it before the RoI head of mmdet in the list of base classes. The box head and the mask head
    average their outputs over time. Losses, targets and post-processing are those of mmdet.

    Raises:
        TypeError: an extractor is not a :class:`SpikeRoIExtractor`, or a head with masks has no
            ``mask_roi_extractor``.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for key in (
            ('bbox_roi_extractor', 'mask_roi_extractor')
            if self.with_mask
            else ('bbox_roi_extractor',)
        ):
            for extractor in _all(getattr(self, key)):
                if not isinstance(extractor, SpikeRoIExtractor):
                    raise TypeError(
                        f"roi_head.{key} must be of type 'mmbsa.SpikeRoIExtractor', got "
                        f'{type(extractor).__name__}'
                    )
        if self.with_mask and self.share_roi_extractor:
            raise TypeError(
                'roi_head.mask_roi_extractor is missing: features of masks are extracted by '
                'themselves'
            )

    def loss(self, x: Sequence[Tensor], rpn_results_list: list, batch_data_samples: list) -> dict:
        """Losses of proposals on maps (T, B, C, H_i, W_i)."""
        return super().loss(
            self._batch_first(x, batch_data_samples), rpn_results_list, batch_data_samples
        )

    def predict(
        self,
        x: Sequence[Tensor],
        rpn_results_list: list,
        batch_data_samples: list,
        rescale: bool = False,
    ) -> list:
        """Instances from proposals on maps (T, B, C, H_i, W_i)."""
        return super().predict(
            self._batch_first(x, batch_data_samples), rpn_results_list, batch_data_samples, rescale
        )

    def forward(
        self, x: Sequence[Tensor], rpn_results_list: list, batch_data_samples: list
    ) -> tuple:
        """Raw outputs of box and mask heads."""
        return super().forward(
            self._batch_first(x, batch_data_samples), rpn_results_list, batch_data_samples
        )

    def _batch_first(self, maps: Sequence[Tensor], samples: list) -> tuple[Tensor, ...]:
        """Maps (B, T, C, H_i, W_i), as samplers of mmdet pick images; the extractors learn the
        strides.
        """
        check_time_major(maps, type(self).__name__)
        size = image_size([sample.metainfo for sample in samples])
        for extractor in (
            *_all(self.bbox_roi_extractor),
            *(_all(self.mask_roi_extractor) if self.with_mask else ()),
        ):
            extractor.fit(maps, size)
        return tuple(x.transpose(0, 1) for x in maps)

    def _bbox_forward(self, *args, **kwargs) -> dict:
        results = super()._bbox_forward(**_time_first(super()._bbox_forward, args, kwargs))
        for key in ('cls_score', 'bbox_pred'):
            if results[key] is not None:
                results[key] = mean_over_steps([results[key]])[0]
        return results

    def _mask_forward(self, *args, **kwargs) -> dict:
        return super()._mask_forward(**_time_first(super()._mask_forward, args, kwargs))


def _time_first(function: Callable, args: tuple, kwargs: dict) -> dict:
    """Arguments of a function of maps ``x``, with (B, T, C, H, W) turned into (T, B, C, H, W)."""
    given = inspect.signature(function).bind(*args, **kwargs).arguments
    return {**given, 'x': [level.transpose(0, 1) for level in given['x']]}


def _all(modules: nn.Module) -> list[nn.Module]:
    """One extractor, or those of all stages."""
    return list(modules) if isinstance(modules, nn.ModuleList) else [modules]


@MODELS.register_module()
class SpikeRoIHead(SpikingRoIHead, StandardRoIHead):
    """Box and mask heads of Faster and Mask R-CNN, see :class:`SpikingRoIHead` and
    ``mmdet.StandardRoIHead``.
    """


@MODELS.register_module()
class SpikeCascadeRoIHead(SpikingRoIHead, CascadeRoIHead):
    """Stages of Cascade R-CNN, see :class:`SpikingRoIHead` and ``mmdet.CascadeRoIHead``."""


@MODELS.register_module()
class SpikeShared2FCBBoxHead(Shared2FCBBoxHead):
    """Box head of SDT-V3 detection (``SharedSpike2FCBBoxHead`` there).

    Data flow::

        (T,N,C,h,w) -> neuron, linear -> neuron, linear -+-> linear -> scores (T,N,K+1)
                                                          +-> linear -> deltas (T,N,4K)

    The last two layers read potentials. Time is read out by the RoI head. Parameters have the names
    of mmdet's head.

    Args:
        neuron: neuron config; None is the official one, counts 0 .. 4.
        num_steps: T, for neurons whose parameters depend on it.
        kwargs: see ``mmdet.Shared2FCBBoxHead``.
    """

    def __init__(self, *args, neuron: dict | None = None, num_steps: int | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        neuron = bind_steps(neuron or COUNTS, num_steps)
        self.neurons = nn.ModuleList(build_neuron(neuron) for _ in self.shared_fcs)

    def forward(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """(T, N, C, h, w) -> scores (T, N, K + 1) and deltas (T, N, 4 K), None without that
        branch."""
        for neuron, linear in zip(self.neurons, self.shared_fcs):
            # behind the first layer as maps of one cell: some neurons read shapes as
            # (T, B, C, H, W)
            x = linear(neuron(x if x.ndim == 5 else x[..., None, None]).flatten(2))
        return self.fc_cls(x) if self.with_cls else None, self.fc_reg(x) if self.with_reg else None


@MODELS.register_module()
class SpikeFCNMaskHead(FCNMaskHead):
    """Mask head of SDT-V3 detection (``SpikeFCNMaskHead`` there).

    Data flow::

        (T,N,C,h,w) -> (neuron, 3x3 conv, ReLU) x num_convs -> neuron, 2x2 transposed conv ->
        neuron, 1x1 conv
                    -> mean over T -> logits (N,K,2h,2w)

    The ReLUs are the official ones; an integer neuron behind them sees no difference. Parameters
    have the names of mmdet's head.

    Args:
        neuron: neuron config; None is the official one, counts 0 .. 4.
        num_steps: T, for neurons whose parameters depend on it.
        kwargs: see ``mmdet.FCNMaskHead``.
    """

    def __init__(self, *args, neuron: dict | None = None, num_steps: int | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        neuron = bind_steps(neuron or COUNTS, num_steps)
        self.neurons = nn.ModuleList(build_neuron(neuron) for _ in self.convs)
        self.upsample_neuron = build_neuron(neuron if self.upsample_method == 'deconv' else None)
        self.logits_neuron = build_neuron(neuron)

    def forward(self, x: Tensor) -> Tensor:
        """(T, N, C, h, w) -> logits (N, K, 2 h, 2 w)."""
        for neuron, conv in zip(self.neurons, self.convs):
            x = each_step(conv, neuron(x))
        if self.upsample is not None:
            x = each_step(self.upsample, self.upsample_neuron(x))
        logits = each_step(self.conv_logits, self.logits_neuron(x))
        return mean_over_steps([logits])[0]
