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

#: number of pyramid levels; the cross-attention of successive layers uses them in turn.
NUM_LEVELS = 3


@MODELS.register_module()
class Spike2FormerHead(TimeMajorHead):
    """Mask decoder with spiking self- and cross-attention; the readout is the mean of class and
    mask logits over T.

    Data flow (Q queries, L decoder layers)::

        maps --pixel decoder--> mask features (T,B,C,H_0,W_0), maps of three levels, coarse to fine
        learned queries --decoder layer i (1 .. L) on level i mod 3--> queries i (T,B,C,Q,1)
        queries --neuron, linear--> class logits --mean over T--> (B,Q,K+1)
        queries --spiking MLP, + w * (conv between queries)--> neuron --> e
        e * mask features --mean over T--> mask logits (B,Q,H_0,W_0)

    In training all L + 1 sets of queries (the learned ones and those of each layer) have losses;
    inference uses the last set. The score of a class is the sum over queries of its probability
    times the sigmoid of the mask.

    If paper and official code differ, the defaults are those of the paper: neurons with 4 levels
    and memory over T, no sigmoid of the queries (eq. 14). The off-by-one error in the
    initialisation of the finest pyramid convolutions of the official code is not reproduced.

    Args:
        in_channels: channels of the input maps, fine to coarse, two or more.
        channels: C, channels of queries and mask features, a multiple of 4; default 256.
        num_classes: K, number of classes, at least 2.
        num_queries: Q, number of queries; default 100.
        num_layers: L, number of decoder layers; default 6.
        num_encoder_layers: number of layers of the pixel decoder on the coarsest map; default 6.
        num_heads: number of heads of all attentions; default 8.
        groups: number of channel groups of the deformable attention; default 32.
        feedforward_channels: hidden channels of the MLPs in decoder layers; default 2048.
        encoder_feedforward_channels: hidden channels of the MLPs in the pixel decoder; default
            1024.
        kernel_size: kernel size of the separable convolution in encoder layers, in pixels; default
            3.
        depthwise_size: kernel size of the depth-wise convolutions in the deformable attention, in
            pixels; default 5.
        attention: config of the attention kind of self- and cross-attention in the decoder; None
            (default) is that of Spike2Former.
        cross_attention: config of the attention kind of cross-attention; None (default) means
            ``attention``.
        neuron: config of the neurons; None (default) is ``IntegerNode(levels=4)``, with
            ``official_quirks`` ``IntegerNode(levels=8, decay=0)``.
        num_steps: T, for neurons whose parameters depend on it; None (default) accepts every T.
        official_quirks: whether to reproduce three places of the official code that read memory in
            the wrong order, and its default neuron; default False.
        query_sigmoid: whether a sigmoid is applied to queries before the class and mask heads. The
            output of integer neurons then depends on the sign of a query only, and neurons with a
            threshold of 1 emit no spikes. None (default) means the value of ``official_quirks``.
        spike_scale: factor on spikes in the class and mask heads; default 4.
        criterion: arguments of :class:`MaskCriterion`; None (default) means its defaults.
        save_memory: whether the backward recomputes the mask logits of each set of queries, so that
            only one set is in memory at a time; default True.
        kwargs: arguments of mmseg's ``BaseDecodeHead``: in_index, norm_cfg, ignore_index, init_cfg,
            ...; ``loss_decode``, ``sampler`` and ``dropout_ratio`` have no effect.

    Raises:
        ValueError: fewer than two maps or classes, or ``channels`` is not a multiple of 4, of
            ``num_heads`` or of ``groups``.
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
                'Spike2FormerHead needs num_classes >= 2, channels divisible by 4, num_queries '
                '>= 1 '
                f'and num_layers >= 1, got {num_classes=}, {channels=}, {num_queries=}, '
                f'{num_layers=}'
            )
        kwargs.setdefault('in_index', list(range(len(in_channels))))
        # layers are initialised where they are built; the default of the base class is for its
        # conv_seg
        kwargs.setdefault('init_cfg', None)
        # the base class needs the config of a loss
        kwargs['loss_decode'] = dict(type='CrossEntropyLoss', avg_non_ignore=True)
        super().__init__(
            num_steps, in_channels=in_channels, channels=channels, num_classes=num_classes, **kwargs
        )
        del self.conv_seg, self.loss_decode  # only for heads that classify pixels
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
        """Return mask features (T, B, C, H_0, W_0) and L + 1 sets of queries (T, B, C, Q, 1) for
        maps (T, B, C_i, H_i, W_i)."""
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
        """Return class logits (n, B, Q, K + 1) and mask embeddings (T, n, B, C, Q) for n sets of
        queries (T, B, C, Q, 1)."""
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
        """Return mask logits (B, Q, H, W), the mean over T.

        Args:
            embedding: mask embeddings (T, B, C, Q).
            features: mask features (T, B, C, H, W).
        """
        return torch.einsum('tbcq,tbchw->bqhw', embedding, features) / len(features)

    def outputs(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the outputs of all sets of queries for time-major maps, all in memory at once.

        Args:
            inputs: maps (T, B, C_i, H_i, W_i), fine to coarse.

        Returns:
            Class logits (L + 1, B, Q, K + 1), mask logits (L + 1, B, Q, H_0, W_0), and mask
            features (T, B, C, H_0, W_0).
        """
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
        """Return class scores (B, K, H_0, W_0), each between 0 and Q, for time-major maps (T, B,
        C_i, H_i, W_i)."""
        return self._semantic(*self._last(inputs))

    def predict(
        self, inputs: Sequence[Tensor], batch_img_metas: list[dict], test_cfg: dict | None = None
    ) -> Tensor:
        """Return class scores (B, K, H, W) at the size of the images; masks are resized bilinearly.

        Args:
            inputs: maps (T, B, C_i, H_i, W_i), fine to coarse.
            batch_img_metas: meta information of the images.
            test_cfg: accepted and not used; default None.
        """
        scores, masks = self._last(inputs)
        meta = batch_img_metas[0]
        # in slide inference img_shape is a torch.Size; whole images may be padded, see
        # BaseDecodeHead
        size = meta['img_shape']
        if not isinstance(size, torch.Size) and 'pad_shape' in meta:
            size = meta['pad_shape']
        return self._semantic(
            scores, interpolate(masks, tuple(size[:2]), mode='bilinear', align_corners=False)
        )

    def loss(
        self, inputs: Sequence[Tensor], batch_data_samples: list, train_cfg: dict | None = None
    ) -> dict[str, Tensor]:
        """Return a dict of losses: ``loss_cls``, ``loss_mask``, ``loss_dice`` of the last set of
        queries, and ``d0.loss_cls``, ... of the earlier sets.

        Args:
            inputs: maps (T, B, C_i, H_i, W_i), fine to coarse.
            batch_data_samples: samples with ``gt_sem_seg``.
            train_cfg: accepted and not used; default None.

        Raises:
            FloatingPointError: logits are not finite.
            ValueError: a label is neither a class nor ``ignore_index``.
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
        """Return the losses of one set of queries; the first of two calls finds the matches."""
        masks = self.masks(embedding, features)
        if not matches:
            matches.extend(self.criterion.match(score, masks, targets, name))
        return self.criterion.losses(score, masks, targets, matches, count)
