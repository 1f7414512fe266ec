"""RoI heads for time-major maps: features of every step, box and mask heads with neurons, and a
readout at the end."""

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
    """Extract RoI features of every time step, (T, RoIs, C, h, w).

    The level of a RoI follows from its size. Coordinates are scaled by the true strides of the
    maps, which the RoI head measures. ``featmap_strides`` gives the number of levels, and with
    ``official_quirks`` also the scale.

    Args:
        official_quirks: whether to scale by the configured strides; default False. The official
            code does so; the fourth level of E-SpikeFormer has stride 16 but is configured as 32,
            so its features are taken at half the right coordinates.
        kwargs: arguments of ``mmdet.SingleRoIExtractor``.
    """

    def __init__(self, *args, official_quirks: bool = False, **kwargs):
        super().__init__(*args, **kwargs)
        self.official_quirks = official_quirks

    def fit(self, maps: Sequence[Tensor], size: tuple[int, int]) -> None:
        """Set the strides to those of maps (T, B, C, H_i, W_i) of an image with ``size`` (H, W) in
        pixels."""
        if not self.official_quirks:
            for layer, stride in zip(self.roi_layers, true_strides(maps[: self.num_inputs], size)):
                layer.spatial_scale = 1 / stride

    def forward(
        self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None
    ) -> Tensor:
        """Return RoI features (T, N, C, h, w).

        Args:
            feats: maps (T, B, C, H_i, W_i).
            rois: RoIs (N, 5): index of the image, and corners x1, y1, x2, y2 in pixels.
            roi_scale_factor: factor on the size of RoIs; None (default) means 1.
        """
        steps, batch = feats[0].shape[:2]
        shifts = (
            torch.arange(steps, device=rois.device) * batch
        )  # step t of image b has the index t B + b
        repeated = rois.repeat(steps, 1)
        repeated[:, 0] += shifts.repeat_interleave(len(rois)).to(rois)
        # mmcv's compiled RoIAlign misreads maps in channels-last memory
        feats = [merge_time(x).contiguous() for x in feats]
        out = super().forward(feats, repeated, roi_scale_factor)
        return out.unflatten(0, (steps, len(rois)))


class SpikingRoIHead:
    """Mix-in class that makes a RoI head of mmdet support time-major maps (T, B, C, H, W).

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
                'roi_head.mask_roi_extractor is missing: a mask head needs its own RoI extractor'
            )

    def loss(self, x: Sequence[Tensor], rpn_results_list: list, batch_data_samples: list) -> dict:
        """Return the losses of proposals on maps (T, B, C, H_i, W_i)."""
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
        """Return instances from proposals on maps (T, B, C, H_i, W_i)."""
        return super().predict(
            self._batch_first(x, batch_data_samples), rpn_results_list, batch_data_samples, rescale
        )

    def forward(
        self, x: Sequence[Tensor], rpn_results_list: list, batch_data_samples: list
    ) -> tuple:
        """Return the raw outputs of the box and mask heads for maps (T, B, C, H_i, W_i)."""
        return super().forward(
            self._batch_first(x, batch_data_samples), rpn_results_list, batch_data_samples
        )

    def _batch_first(self, maps: Sequence[Tensor], samples: list) -> tuple[Tensor, ...]:
        """Return maps (B, T, C, H_i, W_i), because samplers of mmdet index images; set the strides
        of the extractors."""
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
    """Convert the argument ``x`` of a function, maps (B, T, C, H, W), to (T, B, C, H, W)."""
    given = inspect.signature(function).bind(*args, **kwargs).arguments
    return {**given, 'x': [level.transpose(0, 1) for level in given['x']]}


def _all(modules: nn.Module) -> list[nn.Module]:
    """Return a list of one extractor, or of those of all stages."""
    return list(modules) if isinstance(modules, nn.ModuleList) else [modules]


@MODELS.register_module()
class SpikeRoIHead(SpikingRoIHead, StandardRoIHead):
    """RoI head of Faster and Mask R-CNN for time-major maps; see :class:`SpikingRoIHead` and
    ``mmdet.StandardRoIHead``."""


@MODELS.register_module()
class SpikeCascadeRoIHead(SpikingRoIHead, CascadeRoIHead):
    """RoI head of Cascade R-CNN for time-major maps; see :class:`SpikingRoIHead` and
    ``mmdet.CascadeRoIHead``."""


@MODELS.register_module()
class SpikeShared2FCBBoxHead(Shared2FCBBoxHead):
    """Box head of SDT-V3 detection (``SharedSpike2FCBBoxHead`` there).

    Data flow::

        (T,N,C,h,w) -> neuron, linear -> neuron, linear -+-> linear -> scores (T,N,K+1)
                                                          +-> linear -> deltas (T,N,4K)

    The input of the last two layers is membrane potentials. The RoI head has the readout.
    Parameters have the names of mmdet's head. N is the number of RoIs, K the number of classes.

    Args:
        neuron: config of the neurons; None (default) is the official integer neuron with counts 0
            .. 4.
        num_steps: T, for neurons whose parameters depend on it; None (default) accepts every T.
        kwargs: arguments of ``mmdet.Shared2FCBBoxHead``.
    """

    def __init__(self, *args, neuron: dict | None = None, num_steps: int | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        neuron = bind_steps(neuron or COUNTS, num_steps)
        self.neurons = nn.ModuleList(build_neuron(neuron) for _ in self.shared_fcs)

    def forward(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return scores (T, N, K + 1) and deltas (T, N, 4 K) for RoI features (T, N, C, h, w); None
        for a branch that does not exist."""
        for neuron, linear in zip(self.neurons, self.shared_fcs):
            # after the first layer as maps of one cell, because some neurons need (T, B, C, H, W)
            x = linear(neuron(x if x.ndim == 5 else x[..., None, None]).flatten(2))
        return self.fc_cls(x) if self.with_cls else None, self.fc_reg(x) if self.with_reg else None


@MODELS.register_module()
class SpikeFCNMaskHead(FCNMaskHead):
    """Mask head of SDT-V3 detection (``SpikeFCNMaskHead`` there).

    Data flow::

        (T,N,C,h,w) -> (neuron, 3x3 conv, ReLU) x num_convs -> neuron, 2x2 transposed conv ->
        neuron, 1x1 conv
                    -> mean over T -> logits (N,K,2h,2w)

    The ReLUs are those of the official code; with integer neurons they change nothing. Parameters
    have the names of mmdet's head. N is the number of RoIs, K the number of classes.

    Args:
        neuron: config of the neurons; None (default) is the official integer neuron with counts 0
            .. 4.
        num_steps: T, for neurons whose parameters depend on it; None (default) accepts every T.
        kwargs: arguments of ``mmdet.FCNMaskHead``.
    """

    def __init__(self, *args, neuron: dict | None = None, num_steps: int | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        neuron = bind_steps(neuron or COUNTS, num_steps)
        self.neurons = nn.ModuleList(build_neuron(neuron) for _ in self.convs)
        self.upsample_neuron = build_neuron(neuron if self.upsample_method == 'deconv' else None)
        self.logits_neuron = build_neuron(neuron)

    def forward(self, x: Tensor) -> Tensor:
        """Return mask logits (N, K, 2 h, 2 w) for RoI features (T, N, C, h, w)."""
        for neuron, conv in zip(self.neurons, self.convs):
            x = each_step(conv, neuron(x))
        if self.upsample is not None:
            x = each_step(self.upsample, self.upsample_neuron(x))
        logits = each_step(self.conv_logits, self.logits_neuron(x))
        return mean_over_steps([logits])[0]
