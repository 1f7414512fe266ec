"""Dense heads for time-major maps: region proposals and RetinaNet, with a neuron before every
convolution."""

from collections.abc import Sequence

from mmdet.models.dense_heads import RetinaHead, RPNHead
from torch import Tensor, nn

from mmbsa.models.detection.heads.units import COUNTS, each_step, mean_over_steps
from mmbsa.models.detection.strides import check_time_major, image_size, true_strides
from mmbsa.models.layers import check_steps
from mmbsa.models.neurons import bind_steps, build_neuron
from mmbsa.registry import MODELS


class SpikingDenseHead:
    """Mix-in for an anchor head of mmdet, placed before it in the base classes.

    ``forward`` keeps the time axis: scores (T, B, A K, H_i, W_i) and deltas (T, B, 4 A, H_i, W_i)
    per level, with A anchors and K classes. Losses and predictions are mmdet's, computed from means
    over T.

    The positions of anchors follow from the true strides of the maps, which are measured
    (:func:`true_strides`); ``anchor_generator.strides`` only sets their sizes. The official code
    uses the configured strides for the positions. For E-SpikeFormer (true strides 4, 8, 16, 16, 32,
    configured 4, 8, 16, 32, 64) this spreads the anchors of the last two levels over twice the
    image; ``official_quirks`` does the same.
    """

    official_quirks = False
    num_steps: int | None = None

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return scores (T, B, A K, H_i, W_i) and deltas (T, B, 4 A, H_i, W_i) per level for maps
        (T, B, C, H_i, W_i)."""
        check_time_major(maps, type(self).__name__)
        check_steps(maps[0], self.num_steps, 'num_steps of the head')
        return super().forward(maps)

    def loss_by_feat(
        self, cls_scores, bbox_preds, batch_gt_instances, batch_img_metas, *args, **kwargs
    ) -> dict:
        """Return mmdet's losses of the means over T."""
        self._place_anchors(cls_scores, batch_img_metas)
        return super().loss_by_feat(
            mean_over_steps(cls_scores),
            mean_over_steps(bbox_preds),
            batch_gt_instances,
            batch_img_metas,
            *args,
            **kwargs,
        )

    def predict_by_feat(
        self, cls_scores, bbox_preds, score_factors=None, batch_img_metas=None, **kwargs
    ) -> list:
        """Return mmdet's predictions from the means over T."""
        self._place_anchors(cls_scores, batch_img_metas)
        return super().predict_by_feat(
            mean_over_steps(cls_scores),
            mean_over_steps(bbox_preds),
            score_factors,
            batch_img_metas=batch_img_metas,
            **kwargs,
        )

    def _place_anchors(self, maps: Sequence[Tensor], metas: Sequence[dict]) -> None:
        if not self.official_quirks:
            self.prior_generator.strides = [(s, s) for s in true_strides(maps, image_size(metas))]


@MODELS.register_module()
class SpikeRPNHead(SpikingDenseHead, RPNHead):
    """Region proposal head of SDT-V3 detection (``SpikeRPNHead`` there).

    Data flow, the same layers for all levels::

        (T,B,C,H,W) -> (neuron, 3x3 conv) x num_convs -+-> neuron, 1x1 conv -> scores
                                                        +-> neuron, 1x1 conv -> deltas

    Parameters have the names of mmdet's ``RPNHead``.

    Args:
        neuron: config of the neurons; None (default) is the official integer neuron with counts 0
            .. 4.
        num_steps: T, for neurons whose parameters depend on it; None (default) accepts every T.
        official_quirks: whether the positions of anchors follow from the configured strides instead
            of the true ones; default False.
        kwargs: arguments of ``mmdet.RPNHead``.
    """

    def __init__(
        self,
        *args,
        neuron: dict | None = None,
        num_steps: int | None = None,
        official_quirks: bool = False,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.official_quirks, self.num_steps = official_quirks, num_steps
        neuron = bind_steps(neuron or COUNTS, num_steps)
        self.conv_neurons = nn.ModuleList(build_neuron(neuron) for _ in range(self.num_convs))
        self.cls_neuron, self.reg_neuron = build_neuron(neuron), build_neuron(neuron)
        if self.num_convs > 1:
            _drop_activations(self.rpn_conv)

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (T, B, A, H, W) and deltas (T, B, 4 A, H, W) for a map (T, B, C, H, W)."""
        convs = self.rpn_conv if self.num_convs > 1 else [self.rpn_conv]
        for neuron, conv in zip(self.conv_neurons, convs):
            x = each_step(conv, neuron(x))
        return each_step(self.rpn_cls, self.cls_neuron(x)), each_step(
            self.rpn_reg, self.reg_neuron(x)
        )


@MODELS.register_module()
class SpikeRetinaHead(SpikingDenseHead, RetinaHead):
    """Spiking head of RetinaNet: two branches of units neuron -> 3x3 conv (-> norm), each with
    neuron -> 3x3 conv at the end.

    The official head has one LIF neuron for both branches, whose second call continues from the
    membrane potential of the first call; here every convolution has its own neuron.

    Args:
        neuron: config of the neurons; None (default) is the integer neuron with counts 0 .. 4, as
            in :class:`SpikeRPNHead`.
        num_steps: T, for neurons whose parameters depend on it; None (default) accepts every T.
        official_quirks: whether the positions of anchors follow from the configured strides instead
            of the true ones; default False.
        kwargs: arguments of ``mmdet.RetinaHead``; ``norm_cfg`` adds norms after the convolutions of
            the branches.
    """

    def __init__(
        self,
        *args,
        neuron: dict | None = None,
        num_steps: int | None = None,
        official_quirks: bool = False,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.official_quirks, self.num_steps = official_quirks, num_steps
        neuron = bind_steps(neuron or COUNTS, num_steps)
        for convs in (self.cls_convs, self.reg_convs):
            _drop_activations(convs)
        self.cls_neurons = nn.ModuleList(
            build_neuron(neuron) for _ in range(self.stacked_convs + 1)
        )
        self.reg_neurons = nn.ModuleList(
            build_neuron(neuron) for _ in range(self.stacked_convs + 1)
        )

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (T, B, A K, H, W) and deltas (T, B, 4 A, H, W) for a map (T, B, C, H,
        W)."""
        scores = deltas = x
        for neuron, conv in zip(self.cls_neurons, (*self.cls_convs, self.retina_cls)):
            scores = each_step(conv, neuron(scores))
        for neuron, conv in zip(self.reg_neurons, (*self.reg_convs, self.retina_reg)):
            deltas = each_step(conv, neuron(deltas))
        return scores, deltas


def _drop_activations(convs: nn.Module) -> None:
    """Remove the activations: neurons replace them, and negative currents reach the neurons."""
    for conv in convs:
        conv.with_activation, conv.activate = False, None
