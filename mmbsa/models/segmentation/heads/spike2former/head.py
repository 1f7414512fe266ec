"""Spike2Former: a spiking mask decoder for semantic segmentation (Lei et al., AAAI 2025)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.checkpoint import checkpoint

from mmbsa.models.layers import TIME_MODES, SpikeConv
from mmbsa.models.neurons import bind_steps, build_neuron
from mmbsa.models.segmentation.heads.base import TimeMajorHead
from mmbsa.models.segmentation.heads.spike2former.criterion import MaskCriterion, Match, Target
from mmbsa.models.segmentation.heads.spike2former.pixel_decoder import Spike2FormerPixelDecoder
from mmbsa.models.segmentation.heads.spike2former.transformer import (
    Spike2FormerDecoderLayer,
    sine_positions,
)
from mmbsa.registry import MODELS

#: levels of the pyramid that queries attend to, in turn.
NUM_LEVELS = 3


@MODELS.register_module()
class Spike2FormerHead(TimeMajorHead):
    """Mask decoder with spiking self- and cross-attention; time is read out on class and mask
    logits.

    Data flow (Q queries, L decoder layers)::

        maps --pixel decoder--> mask features (T,B,C,H_0,W_0), maps of three levels, coarse to fine
        learned queries --decoder layer i (1 .. L) on level i mod 3--> queries i (T,B,C,Q,1)
        queries --neuron, linear--> class logits --mean over T--> (B,Q,K+1)
        queries --spiking MLP, + w * (conv between queries)--> neuron --> e
        e * mask features --mean over T--> mask logits (B,Q,H_0,W_0)

    In training all L + 1 sets of queries, the learned ones included, are supervised; inference uses
    the last. The score of a class is the sum over queries of its probability times the sigmoid of
    the mask.

    Where paper and official code differ, the defaults are the paper's: neurons with 4 levels and
    memory over T, no sigmoid of the queries (eq. 14). The official off-by-one in the start of the
    finest pyramid convolutions is not kept.

    Args:
        in_channels: of the maps, fine to coarse, two or more.
        channels: C, a multiple of 4.
        num_classes: K, at least 2.
        num_queries: Q.
        num_layers: L.
        num_encoder_layers: layers of the pixel decoder on the coarsest map.
        num_heads: of the attentions.
        groups: of the deformable attention.
        feedforward_channels, encoder_feedforward_channels: hidden channels of the MLPs.
        kernel_size, depthwise_size: see :class:`Spike2FormerEncoderLayer`.
        attention: config of the attention kind of the decoder, self and cross; None is
            Spike2Former's own.
        cross_attention: the kind of cross-attention where it is another one.
        neuron: neuron config; None is ``IntegerNode(levels=4)``, with ``official_quirks``
            ``IntegerNode(levels=8, decay=0)``.
        num_steps: T, for neurons whose parameters depend on it; None takes any T.
        official_quirks: three reinterpretations of memory, and the default neuron of the official
            code.
        query_sigmoid: apply a sigmoid to queries in front of the class and mask heads, so that
            integer neurons see the sign of a query only; neurons with a threshold of 1 never fire
            then. None means ``official_quirks``.
        spike_scale: what spikes are multiplied by in the class and mask heads.
        criterion: arguments of :class:`MaskCriterion`.
        save_memory: recompute the mask logits of one set of queries after the other in the backward
            pass, so that those of all sets are never held at once.
        kwargs: mmseg's ``BaseDecodeHead``: in_index, norm_cfg, ignore_index, init_cfg, ...;
            ``loss_decode``, ``sampler`` and ``dropout_ratio`` have no use here.

    Raises:
        ValueError: fewer than two maps or classes, or channels that do not fit heads, groups or the
            encoding of positions.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        channels: int = 256,
        num_queries: int = 100,
        num_layers: int = 6,
        num_encoder_layers: int = 6,
        num_heads: int = 8,
        groups: int = 32,
        feedforward_channels: int = 2048,
        encoder_feedforward_channels: int = 1024,
        kernel_size: int = 3,
        depthwise_size: int = 5,
        attention: dict | None = None,
        cross_attention: dict | None = None,
        neuron: dict | None = None,
        num_steps: int | None = None,
        official_quirks: bool = False,
        query_sigmoid: bool | None = None,
        spike_scale: float = 4.0,
        criterion: dict | None = None,
        save_memory: bool = True,
        **kwargs,
    ):
        if num_classes < 2 or channels % 4 or num_queries < 1 or num_layers < 1:
            raise ValueError(
                'Spike2FormerHead needs num_classes >= 2, channels in multiples of 4, num_queries '
                '>= 1 '
                f'and num_layers >= 1, got {num_classes=}, {channels=}, {num_queries=}, '
                f'{num_layers=}'
            )
        kwargs.setdefault('in_index', list(range(len(in_channels))))
        # layers are started where they are made; the base's default is for its conv_seg
        kwargs.setdefault('init_cfg', None)
        # the base builds one
        kwargs['loss_decode'] = dict(type='CrossEntropyLoss', avg_non_ignore=True)
        super().__init__(
            num_steps, in_channels=in_channels, channels=channels, num_classes=num_classes, **kwargs
        )
        del self.conv_seg, self.loss_decode  # of heads that classify pixels
        self.official_quirks, self.save_memory = official_quirks, save_memory
        self.query_sigmoid = official_quirks if query_sigmoid is None else query_sigmoid
        self.spike_scale, self.num_queries = spike_scale, num_queries
        if neuron is None:
            neuron = dict(levels=8, decay=0.0) if official_quirks else dict(levels=4)
            neuron = dict(type='mmbsa.IntegerNode', **neuron)
        neuron, attention, cross_attention = (
            bind_steps(cfg, num_steps) for cfg in (neuron, attention, cross_attention)
        )
        unit = dict(neuron=neuron, norm_cfg=self.norm_cfg)
        self.pixel_decoder = Spike2FormerPixelDecoder(
            in_channels,
            channels,
            num_encoder_layers,
            encoder_feedforward_channels,
            groups,
            kernel_size,
            depthwise_size,
            official_quirks=official_quirks,
            **unit,
        )
        self.layers = nn.ModuleList(
            Spike2FormerDecoderLayer(
                channels,
                num_heads,
                feedforward_channels,
                attention,
                cross_attention,
                official_quirks=official_quirks,
                **unit,
            )
            for _ in range(num_layers)
        )
        self.query_feat, self.query_embed = (
            nn.Parameter(torch.randn(num_queries, channels)) for _ in range(2)
        )
        self.level_embed = nn.Parameter(torch.randn(min(NUM_LEVELS, len(in_channels)), channels))
        self.query_neuron, self.shortcut_neuron, self.out_neuron = (
            build_neuron(neuron) for _ in range(3)
        )
        self.cls_embed = SpikeConv(channels, num_classes + 1, 1, bias=True)
        self.mask_embed = nn.ModuleList(
            SpikeConv(channels, channels, 1, bias=i == 2) for i in range(3)
        )
        self.mask_neurons = nn.ModuleList(build_neuron(neuron) for _ in range(2))
        self.shortcut = SpikeConv(num_queries, num_queries, 1, norm_cfg=self.norm_cfg)
        self.shortcut_scale = nn.Parameter(torch.ones(1))
        for part in (self.cls_embed, self.mask_embed[2]):
            nn.init.trunc_normal_(part.conv.weight, std=0.02)
            nn.init.zeros_(part.conv.bias)
        self.criterion = MaskCriterion(num_classes, **(criterion or {}))

    def decode(self, inputs: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Maps (T, B, C_i, H_i, W_i) -> mask features (T, B, C, H_0, W_0), and L + 1 sets of
        queries (T, B, C, Q, 1)."""
        features, levels = self.pixel_decoder(self.read(inputs))
        sources = []
        for level, embed in zip(levels, self.level_embed):
            position = sine_positions(*level.shape[-2:], self.channels, level.device).to(
                level.dtype
            )
            sources.append((level + embed[:, None, None], position))
        feat, position = (embed.T[:, :, None] for embed in (self.query_feat, self.query_embed))
        queries = [feat.expand(*features.shape[:2], *feat.shape)]
        for index, layer in enumerate(self.layers):
            source, source_pos = sources[index % len(sources)]
            queries.append(layer(queries[-1], source, position, source_pos))
        return features, queries

    def embed(self, queries: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """n sets of queries (T, B, C, Q, 1) -> class logits (n, B, Q, K + 1), mask embeddings (T,
        n, B, C, Q)."""
        sets = len(queries)
        queries = torch.stack(tuple(queries), 1).flatten(1, 2)  # (T, n B, C, Q, 1)
        if self.query_sigmoid:
            queries = queries.sigmoid()
        spikes = self.spike_scale * self.query_neuron(queries)
        scores = TIME_MODES['mean'](self.cls_embed(spikes))
        scores = scores.squeeze(-1).transpose(1, 2).unflatten(0, (sets, -1))
        embedding = self.mask_embed[0](spikes)
        for linear, neuron in zip(self.mask_embed[1:], self.mask_neurons):
            embedding = linear(self.spike_scale * neuron(embedding))
        # a convolution whose channels are the queries
        shortcut = self.spike_scale * self.shortcut_neuron(queries)
        shortcut = self.shortcut(shortcut.transpose(2, 3)).transpose(2, 3)
        embedding = self.spike_scale * self.out_neuron(embedding + self.shortcut_scale * shortcut)
        return scores, embedding.squeeze(-1).unflatten(1, (sets, -1))

    @staticmethod
    def masks(embedding: Tensor, features: Tensor) -> Tensor:
        """Embeddings (T, B, C, Q) and mask features (T, B, C, H, W) -> mask logits (B, Q, H, W),
        the mean over T."""
        return torch.einsum('tbcq,tbchw->bqhw', embedding, features) / len(features)

    def outputs(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Maps -> class logits (L + 1, B, Q, K + 1), mask logits (L + 1, B, Q, H_0, W_0), and the
        mask features (T, B, C, H_0, W_0), all held at once."""
        features, queries = self.decode(inputs)
        scores, embeddings = self.embed(queries)
        return (
            scores,
            torch.stack([self.masks(part, features) for part in embeddings.unbind(1)]),
            features,
        )

    def _last(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        features, queries = self.decode(inputs)
        scores, embeddings = self.embed(queries[-1:])
        return scores[0], self.masks(embeddings[:, 0], features)

    @staticmethod
    def _semantic(scores: Tensor, masks: Tensor) -> Tensor:
        return torch.einsum('bqk,bqhw->bkhw', scores.softmax(-1)[..., :-1], masks.sigmoid())

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Time-major maps (T, B, C_i, H_i, W_i) -> scores of classes (B, K, H_0, W_0), each between
        0 and Q."""
        return self._semantic(*self._last(inputs))

    def predict(
        self, inputs: Sequence[Tensor], batch_img_metas: list[dict], test_cfg: dict | None = None
    ) -> Tensor:
        """Time-major maps -> scores of classes (B, K, H, W) at the size of the images; masks are
        enlarged bilinearly."""
        scores, masks = self._last(inputs)
        meta = batch_img_metas[0]
        # crops of slide inference have a torch.Size, whole images may be padded, see BaseDecodeHead
        size = meta['img_shape']
        if not isinstance(size, torch.Size) and 'pad_shape' in meta:
            size = meta['pad_shape']
        return self._semantic(
            scores, interpolate(masks, tuple(size[:2]), mode='bilinear', align_corners=False)
        )

    def loss(
        self, inputs: Sequence[Tensor], batch_data_samples: list, train_cfg: dict | None = None
    ) -> dict[str, Tensor]:
        """Time-major maps and data samples -> ``loss_cls``, ``loss_mask``, ``loss_dice`` of the
        last set of queries, and ``d0.loss_cls`` .. of the earlier ones.

        Raises:
            FloatingPointError: logits that are not finite. ValueError: labels that are no classes.
        """
        labels = self._stack_batch_gt(batch_data_samples).squeeze(1)
        targets = self.criterion.targets(labels, self.ignore_index)
        count = self.criterion.count(targets, self.num_queries)
        features, queries = self.decode(inputs)
        scores, embeddings = self.embed(queries)
        losses, last = {}, len(queries) - 1
        for index, (score, embedding) in enumerate(zip(scores, embeddings.unbind(1))):
            matches: list[Match] = []
            arguments = (
                score,
                embedding,
                features,
                targets,
                matches,
                count,
                f'decode_head, set {index} of queries',
            )
            if self.save_memory and torch.is_grad_enabled():
                found = checkpoint(self._loss_of_set, *arguments, use_reentrant=False)
            else:
                found = self._loss_of_set(*arguments)
            prefix = '' if index == last else f'd{index}.'
            losses.update({prefix + name: value for name, value in found.items()})
        return losses

    def _loss_of_set(
        self,
        score: Tensor,
        embedding: Tensor,
        features: Tensor,
        targets: list[Target],
        matches: list[Match],
        count: float,
        name: str,
    ) -> dict[str, Tensor]:
        """Losses of one set of queries; matches are found in the first of two calls."""
        masks = self.masks(embedding, features)
        if not matches:
            matches.extend(self.criterion.match(score, masks, targets, name))
        return self.criterion.losses(score, masks, targets, matches, count)
