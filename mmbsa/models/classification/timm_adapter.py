"""Every published classifier as a timm model, with its own attention kind and with BSA.

Examples::

    import timm
    import mmbsa.models
    timm.list_models('*_bsa')
    timm.create_model('espikeformer_m_bsa', num_classes=10, num_steps=4, drop_path_rate=0.1)
    # number of classes and normalisation of CIFAR-100
    timm.create_model('spikingformer_cifar_4_384.cifar100')
    timm.create_model('qkformer_10_384', checkpoint_path='converted.pth', official_quirks=True)
    timm.create_model('meta_spikeformer_8_512', features_only=True, out_indices=(1, 2, 4))

Names are ``<family>_<preset>`` and ``<family>_<preset>_bsa``; tags are data sets. Further arguments
are those of the backbone. There are no weights to download; convert official weights with
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
    """:class:`SpikingClassifier` with the methods of a timm model; the keys of its state dict are
    the same.

    The readout comes last, because the readout neuron of some families runs over T.
    ``forward_features`` returns the last map with its time axis, (T, B, C, H, W), which is the
    input of ``forward_head``; ``forward_head(forward_features(x))`` equals ``forward(x)``. All
    other outputs have no time axis: logits, pre-logits, and intermediate maps (also those of
    ``features_only=True``), which are means over T. With ``feature_cls='hook'``, which needs
    ``out_indices``, ``features_only=True`` returns the maps of every step instead.

    Args:
        cfg: dict with ``preset`` and, for models with BSA, ``attention``.
        num_classes: K, number of classes; default 1000. With 0 there is no classifier, and
            ``forward`` returns its input (B, C).
        in_chans: channels of the input; default 3.
        num_steps: T, the number of time steps; None (default) is that of the preset. Images are
            repeated T times; event frames have the shape (B, T, C, H, W).
        global_pool: ``'avg'`` (default), or ``''`` to return the last map without pooling, (B, C,
            H, W), which needs ``num_classes=0``.
        drop_rate: probability of dropout before the classifier; default 0.
        drop_path_rate: probability of stochastic depth in the last block; it increases linearly
            from 0 at the first block. Default 0.
        distill: whether to add a second linear layer for distillation, see
            :class:`SpikingClassifier`; default False.
        device: device of parameters and buffers; None (default) is torch's default.
        dtype: dtype of parameters and buffers; None (default) is torch's default.
        backbone: further arguments of the family, such as ``attention``, ``neuron``, ``norm_cfg``,
            ``layer_scale``, ``frozen_stages``, ``with_cp``.

    Raises:
        ValueError: ``global_pool`` is unknown, or it is ``''`` and ``num_classes`` is not 0.
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
            raise ValueError(f"global_pool='' needs num_classes=0, got {num_classes}")
        return global_pool

    def forward_head(
        self, maps: Tensor, pre_logits: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return logits (B, K) for the last map (T, B, C, H, W).

        Args:
            maps: the last map, from ``forward_features``.
            pre_logits: whether to return the input of the classifier instead, (B, C), or (B, C, H,
                W) with ``global_pool=''``; default False.
        """
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
        """Return the maps of several levels, averaged over T.

        Args:
            x: images (B, C, H, W), or event frames (B, T, C, H, W).
            indices: indices of the levels; an int n means the last n levels, None (default) all
                levels.
            norm: accepted and not used, because no family has a norm after its last map.
            stop_early: whether to skip the stages after the last requested level; default False.
            output_fmt: must be ``'NCHW'``.
            intermediates_only: whether to return only the maps; default False.

        Returns:
            The maps (B, C_i, H_i, W_i) in ascending order. Without ``intermediates_only`` a pair:
            the last computed map (T, B, C, H, W), for ``forward_head``, and these maps.
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
        """Convert timm's ``indices`` to indices from 0."""
        number = len(self.backbone.stages)
        if indices is None or isinstance(indices, int):
            indices = range(-(number if indices is None else indices), 0)
        take = [index + number if index < 0 else index for index in indices]
        if not take or not all(0 <= level < number for level in take):
            raise ValueError(
                f'indices={list(indices)} must be in the {number} levels of this '
                f'{type(self.backbone).__name__}'
            )
        return take

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove the stages after the last level of ``indices``, the readout neuron and the
        classifier; return the levels.

        Args:
            indices: indices of the levels; an int n means the last n levels, None all levels;
                default 1.
            prune_norm: accepted and not used, because no family has a norm after its last map.
            prune_head: whether readout and classifier are removed even if no stage is; default
                True.
        """
        take = self._levels(indices)
        last = max(take)
        pruned = last < len(self.backbone.stages) - 1
        self.backbone.stages = self.backbone.stages[: last + 1]
        self.backbone.out_indices = (last,)
        self.num_features = self.head_hidden_size = self.in_channels = self.feature_info[last][
            'num_chs'
        ]
        if prune_head or pruned:  # the classifier has the channels of the removed map
            self.neuron = nn.Identity()
            self.reset_classifier(0, '')
        return take

    def get_classifier(self) -> nn.Module | tuple[nn.Module, nn.Module]:
        """Return the linear layer, or both linear layers with distillation."""
        return self.head if self.distill_head is None else (self.head, self.distill_head)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a new one.

        Args:
            num_classes: number of classes; 0 removes the classifier and the distillation layer.
            global_pool: see the class; None (default) keeps the present value.
        """
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
        """Return the groups of layers for layer-wise learning rates: stem, every block (every stage
        if ``coarse``), and head."""
        blocks = r'^backbone\.stages\.(\d+)' if coarse else r'^backbone\.stages\.(\d+)\.(\d+)'
        return dict(stem=r'^backbone\.stem\.', blocks=blocks)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Set whether blocks are recomputed in the backward to save memory (``enable``, default
        True)."""
        self.backbone.with_cp = enable


def _register(preset: Preset, name: str, **overrides) -> None:
    """Add an entry point to timm, and a function of the same name to this module, where timm's
    registry expects it."""

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
    create.__doc__ = f'Build a classifier: {preset.family.__name__}, preset {preset.arch!r}{kind}.'
    globals()[name] = register_model(create)


def _register_family(family: type[BaseSpikingBackbone]) -> None:
    """Register every preset of a family, with its own attention kind and with every kind that has a
    short name."""
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


#: timm's registry needs this name in the module of an entry point.
default_cfgs: dict = {}
MODELS.on_register(BaseSpikingBackbone, _register_family)
