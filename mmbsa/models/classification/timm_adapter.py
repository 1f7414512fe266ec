"""Every published classifier as a timm model, natively and with BSA, through one adapter.

    import timm
    import mmbsa.models

    timm.list_models('*_bsa')
    timm.create_model('espikeformer_m_bsa', num_classes=10, num_steps=4, drop_path_rate=0.1)
    timm.create_model('spikingformer_cifar_4_384.cifar100')            # classes and normalisation
    of CIFAR-100 timm.create_model('qkformer_10_384', checkpoint_path='converted.pth',
    official_quirks=True) timm.create_model('meta_spikeformer_8_512', features_only=True,
    out_indices=(1, 2, 4))

Names are ``<family>_<preset>`` and ``<family>_<preset>_bsa``; tags are data sets. Further arguments
are the backbone's. There are no weights to download: official ones go through
``tools/model_converters/convert.py``.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from copy import deepcopy

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from mmbsa.models.backbones import BaseSpikingBackbone
from mmbsa.models.classification.presets import Preset, presets
from mmbsa.models.classification.spiking_classifier import SpikingClassifier
from mmbsa.registry import MODELS
from mmbsa.spiking import AttentionKind

__all__ = ['TimmSpikingClassifier']


class TimmSpikingClassifier(SpikingClassifier):
    """:class:`SpikingClassifier` with timm's verbs; keys of its state dict are the same.

    Time is read out late, because the readout neuron of some families runs over T:
    ``forward_features`` gives the last map with its time axis, (T, B, C, H, W), and
    ``forward_head`` takes it; ``forward_head(forward_features(x))`` is ``forward(x)``. Everything
    else that leaves the model has no time axis: logits and pre-logits, and intermediate maps (also
    those of ``features_only=True``), which are the means over T. With ``feature_cls='hook'``, which
    needs ``out_indices``, ``features_only=True`` gives the maps of every step instead.

    Args:
        cfg: dict with ``preset`` and, for its BSA twin, ``attention``.
        num_classes: K; 0 leaves out the classifier, and ``forward`` returns what it would read, (B,
            C).
        in_chans: channels of the input.
        num_steps: T; None is the preset's. Images are repeated T times; event frames come as (B, T,
            C, H, W).
        global_pool: ``'avg'``, or ``''`` to return the unpooled last map (B, C, H, W); needs
            ``num_classes=0``.
        drop_rate: dropout in front of the classifier.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0.
        distill: with the head for distillation, see :class:`SpikingClassifier`.
        device, dtype: of parameters and buffers.
        backbone: further arguments of the family, such as ``attention``, ``neuron``, ``norm_cfg``,
            ``layer_scale``, ``frozen_stages``, ``with_cp``.

    Raises:
        ValueError: an unknown ``global_pool``, or an empty one with a classifier.
    """

    def __init__(
        self,
        cfg: dict,
        num_classes: int = 1000,
        in_chans: int = 3,
        num_steps: int | None = None,
        global_pool: str = 'avg',
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        distill: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **backbone,
    ):
        preset: Preset = cfg['preset']
        backbone = {key: value for key, value in cfg.items() if key != 'preset'} | backbone
        config = preset.family.classifier_cfg(
            preset.arch,
            num_classes,
            distill=distill,
            in_channels=in_chans,
            drop_path_rate=drop_path_rate,
            num_steps=preset.num_steps if num_steps is None else num_steps,
            **backbone,
        )
        del config['type']
        with nullcontext() if device is None else torch.device(device):
            super().__init__(drop_rate=drop_rate, **config)
        self.to(dtype=dtype)
        self.in_chans = in_chans
        self.num_classes = num_classes
        self.global_pool = self._pool(global_pool, num_classes)
        self.num_features = self.head_hidden_size = self.backbone.feature_info[-1]['num_chs']
        self.feature_info = [
            dict(info, module=f'backbone.stages.{i}.{len(stage) - 1}')
            for i, (info, stage) in enumerate(zip(self.backbone.feature_info, self.backbone.stages))
        ]

    @staticmethod
    def _pool(global_pool: str, num_classes: int) -> str:
        if global_pool not in ('avg', ''):
            raise ValueError(f"global_pool must be 'avg' or '', got {global_pool!r}")
        if not global_pool and num_classes:
            raise ValueError(
                "global_pool='' leaves nothing for a classifier to read; give num_classes=0"
            )
        return global_pool

    def forward_head(
        self, maps: Tensor, pre_logits: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Last map (T, B, C, H, W) -> logits (B, K), or what the classifier reads (B, C); (B, C, H,
        W) without a pool."""
        return super().forward_head(maps, pre_logits) if self.global_pool else maps.mean(0)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Maps of several levels, averaged over T.

        Args:
            x: (B, C, H, W), or event frames (B, T, C, H, W).
            indices: levels; an int takes the last ones, None all.
            norm: accepted; no family has a norm behind its last map.
            stop_early: leave out what lies behind the last level asked for.
            output_fmt: ``'NCHW'``.
            intermediates_only: return the maps alone.

        Returns:
            The maps (B, C_i, H_i, W_i) in ascending order; unless ``intermediates_only``, behind
            the last map computed, (T, B, C, H, W), which ``forward_head`` takes.
        """
        if output_fmt != 'NCHW':
            raise ValueError(f"output_fmt must be 'NCHW', got {output_fmt!r}")
        take = self._levels(indices)
        last = max(take) if stop_early or intermediates_only else len(self.backbone.stages) - 1
        levels = sorted({*take, last})
        maps = dict(zip(levels, self.backbone(x, levels)))
        intermediates = [maps[level].mean(0) for level in sorted(set(take))]
        return intermediates if intermediates_only else (maps[last], intermediates)

    def _levels(self, indices: int | Sequence[int] | None) -> list[int]:
        """timm's ways of naming levels -> levels counted from 0."""
        number = len(self.backbone.stages)
        if indices is None or isinstance(indices, int):
            indices = range(-(number if indices is None else indices), 0)
        take = [index + number if index < 0 else index for index in indices]
        if not take or not all(0 <= level < number for level in take):
            raise ValueError(
                f'levels {list(indices)} are not within the {number} levels of this '
                f'{type(self.backbone).__name__}'
            )
        return take

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove the stages behind the last level of ``indices``, the readout neuron and the
        classifier; return the levels.

        Args:
            indices: levels; an int takes the last ones, None all.
            prune_norm: accepted; no family has a norm behind its last map.
            prune_head: whether readout and classifier go even if the last map stays.
        """
        take = self._levels(indices)
        last = max(take)
        pruned = last < len(self.backbone.stages) - 1
        self.backbone.stages = self.backbone.stages[: last + 1]
        self.backbone.out_indices = (last,)
        self.num_features = self.head_hidden_size = self.in_channels = self.feature_info[last][
            'num_chs'
        ]
        if prune_head or pruned:  # a classifier is as wide as the map that is gone
            self.neuron = nn.Identity()
            self.reset_classifier(0, '')
        return take

    def get_classifier(self) -> nn.Module | tuple[nn.Module, nn.Module]:
        """The linear layer; both of them with a head for distillation."""
        return self.head if self.distill_head is None else (self.head, self.distill_head)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put in a fresh classifier; 0 classes remove it, and the one for distillation with it."""
        self.global_pool = self._pool(
            self.global_pool if global_pool is None else global_pool, num_classes
        )
        self.num_classes = num_classes
        place = next(self.backbone.parameters())
        self.head = self.build_head(num_classes).to(place.device, place.dtype)
        if self.distill_head is not None:
            self.distill_head = (
                self.build_head(num_classes).to(place.device, place.dtype) if num_classes else None
            )

    def group_matcher(self, coarse: bool = False) -> dict:
        """Layers for layer-wise learning rates: the stem, every block (stages if coarse), and the
        head."""
        blocks = r'^backbone\.stages\.(\d+)' if coarse else r'^backbone\.stages\.(\d+)\.(\d+)'
        return dict(stem=r'^backbone\.stem\.', blocks=blocks)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute blocks in backward to save memory."""
        self.backbone.with_cp = enable


def _register(preset: Preset, name: str, **overrides) -> None:
    """Add an entry point to timm, and under its name to this module, where timm's registry expects
    it."""

    def create(pretrained: bool = False, **kwargs) -> nn.Module:
        return build_model_with_cfg(
            TimmSpikingClassifier,
            name,
            pretrained,
            model_cfg=dict(preset=preset, **deepcopy(overrides)),
            feature_cfg=dict(out_indices=None, feature_cls='getter'),
            **kwargs,
        )

    create.__name__ = create.__qualname__ = name
    kind = f', {overrides["attention"]["type"].__name__}' if overrides else ''
    create.__doc__ = f'{preset.family.__name__}, preset {preset.arch!r}{kind}.'
    globals()[name] = register_model(create)


def _register_family(family: type[BaseSpikingBackbone]) -> None:
    """Every preset of a family, with its own attention and with every kind that has a short
    name."""
    kinds = {
        cls.short_name: dict(attention=dict(type=cls))
        for cls in MODELS.module_dict.values()
        if isinstance(cls, type) and issubclass(cls, AttentionKind) and cls.short_name
    }
    for preset in presets(family):
        for suffix, overrides in {
            '': {},
            **{f'_{name}': kind for name, kind in kinds.items()},
        }.items():
            name = preset.name + suffix
            default_cfgs.update(
                generate_default_cfgs(
                    {
                        f'{name}.{tag}': dict(
                            data, first_conv=f'backbone.{family.first_conv}', classifier='head'
                        )
                        for tag, data in preset.data.items()
                    }
                )
            )
            _register(preset, name, **overrides)


#: timm's registry looks for this name in the module of an entry point.
default_cfgs: dict = {}
MODELS.on_register(BaseSpikingBackbone, _register_family)
