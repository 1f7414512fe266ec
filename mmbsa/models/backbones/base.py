"""What every spiking backbone has in common: time, feature levels, freezing, checkpointing, loading."""
from collections.abc import Sequence
from copy import deepcopy

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmbsa.models.encoders import Encoder
from mmbsa.models.layers import checkpointed
from mmbsa.models.neurons import readout_neuron
from mmbsa.registry import MODELS
from mmbsa.utils.checkpoint import fit_state
from mmbsa.utils.types import type_name


class BaseSpikingBackbone(BaseModule):
    """Template of a spiking backbone: image -> tuple of time-major feature maps.

    Data flow::

        (B,C,H,W) or (B,T,C,H,W) -> encoder -> (T,B,C,H,W) -> stem -> stages[0] -> ... -> stages[-1]
                                                                        |                 |
                                                                  level 0 (T,B,C_0,H_0,W_0)  level n-1

    A family sets ``arch_settings`` (its presets, data), and fills ``self.stem`` and ``self.stages`` with modules from
    time-major map to time-major map. Every stage ends a feature level. It also says how its published classifiers read
    the last map out (``head_fires``, ``head_bias``, ``real_head``), and keeps its neurons' config as ``self.neuron_cfg``.

    Args:
        arch: a preset's name, or a dict with the preset's keys.
        num_steps: T.
        out_indices: levels to return, in ascending order; negative ones count from the end; None returns all.
        frozen_stages: -1 none, 0 the stem, k the stem and the first k stages. Kept frozen, and in eval mode, by
            ``train()``.
        norm_eval: keep all norms in eval mode.
        with_cp: recompute blocks in backward to save memory; results and running statistics stay the same.
        init_cfg: OpenMMLab's; ``dict(type='Pretrained', checkpoint=..., prefix='backbone.')`` reports every missing and
            every unexpected key.
        encoder: config of the encoder of images; None is ``dict(type='mmbsa.DirectEncoder')``. T is ``num_steps``.

    Raises:
        KeyError: an unknown preset. ValueError: bad out_indices, frozen_stages, num_steps or encoder.
    """

    arch_settings: dict[str, dict] = {}
    #: whether published classifiers fire between pooling and linear layer, and whether that layer has a bias.
    head_fires = False
    head_bias = True
    #: whether only the head for distillation reads those spikes, see :class:`SpikingClassifier`.
    real_head = False
    #: name of the first convolution.
    first_conv = 'stem.conv'
    #: arguments that published classifiers set apart from the defaults of ``__init__``.
    classifier_args: dict = {}

    def __init__(self, arch: str | dict, num_steps: int = 1, out_indices: Sequence[int] | None = (-1,),
                 frozen_stages: int = -1, norm_eval: bool = False, with_cp: bool = False,
                 init_cfg: dict | None = None, encoder: dict | None = None):
        super().__init__(init_cfg=deepcopy(init_cfg))
        if isinstance(arch, str) and arch not in self.arch_settings:
            raise KeyError(f'{type(self).__name__}: arch={arch!r} is unknown; there are {", ".join(self.arch_settings)}, '
                           'or give a dict')
        self.arch = deepcopy(self.arch_settings[arch] if isinstance(arch, str) else dict(arch))
        self.encoder = self._build_encoder(encoder, num_steps)
        self.num_steps = num_steps
        self.with_cp = with_cp
        self.norm_eval = norm_eval
        self.frozen_stages = frozen_stages
        self._out_indices = None if out_indices is None else tuple(out_indices)
        #: config of every neuron that the attention kind does not choose itself; set by the family.
        self.neuron_cfg: dict | None = None
        self.stem = nn.Identity()
        self.stages = nn.ModuleList()
        #: per level ``dict(num_chs=channels, reduction=stride)``, as timm names them.
        self.feature_info: list[dict[str, int]] = []

    def _build_encoder(self, cfg: dict | None, num_steps: int) -> Encoder:
        """The encoder of a config, with this backbone's T."""
        cfg = deepcopy(dict(cfg or dict(type='mmbsa.DirectEncoder')))
        cls = cfg['type'] if isinstance(cfg['type'], type) else MODELS.get(cfg['type'])
        if cls is None or not issubclass(cls, Encoder):
            raise ValueError(f'{type(self).__name__}: encoder.type={cfg["type"]!r} is no encoder; there are '
                             'mmbsa.DirectEncoder, mmbsa.RateEncoder, mmbsa.TTFSEncoder and mmbsa.PhaseEncoder')
        given = cfg.setdefault('num_steps', num_steps)
        if given != num_steps:
            raise ValueError(f'{type(self).__name__}: encoder.num_steps={given} differs from num_steps={num_steps}; '
                             'leave it out')
        return MODELS.build(cfg)

    def finish(self) -> None:
        """Called by a family once stem and stages stand: checks out_indices and frozen_stages, and freezes."""
        levels, name = len(self.stages), type(self).__name__
        given = range(levels) if self._out_indices is None else self._out_indices
        indices = tuple(i + levels if i < 0 else i for i in given)
        if not indices or any(not 0 <= i < levels for i in indices) or list(indices) != sorted(set(indices)):
            raise ValueError(f'{name}: out_indices={self._out_indices} must ascend within the levels 0..{levels - 1}')
        if not -1 <= self.frozen_stages <= levels:
            raise ValueError(f'{name}: frozen_stages={self.frozen_stages} must lie in -1..{levels}')
        self.out_indices = indices
        self._freeze()

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of the maps that ``forward`` returns."""
        return tuple(self.feature_info[i]['num_chs'] for i in self.out_indices)

    def readout(self) -> dict:
        """How the family's published classifiers read the last map out: arguments of :class:`SpikingClassifier`."""
        return dict(neuron=readout_neuron(self.neuron_cfg) if self.head_fires else None, head_bias=self.head_bias,
                    real_head=self.real_head)

    @classmethod
    def classifier_cfg(cls, arch: str | dict, num_classes: int = 1000, *, distill: bool = False, per_step: bool = False,
                       **backbone) -> dict:
        """Config of the family's published classifier, whose readout :meth:`readout` knows.

        Args:
            arch: a preset's name, or a dict with the preset's keys.
            num_classes, distill, per_step: of :class:`SpikingClassifier`.
            backbone: further arguments of the backbone.
        """
        backbone = {'type': f'mmbsa.{cls.__name__}', 'arch': arch, 'out_indices': (-1,), **cls.classifier_args, **backbone}
        return deepcopy(dict(type='mmbsa.SpikingClassifier', num_classes=num_classes, distill=distill, per_step=per_step,
                             backbone=backbone))

    def forward(self, x: Tensor, out_indices: Sequence[int] | None = None) -> tuple[Tensor, ...]:
        """(B, C, H, W) or (B, T, C, H, W) -> one (T, B, C_i, H_i, W_i) per out index.

        Args:
            x: image, sequence (B, C, 1, L), or frames of T steps.
            out_indices: levels to return instead of ``self.out_indices``, ascending and not negative.
        """
        out_indices = self.out_indices if out_indices is None else out_indices
        x = self.stem(self.encoder(x))
        outs = []
        for index, stage in enumerate(self.stages[:out_indices[-1] + 1]):
            for block in stage:
                x = checkpointed(block, x) if self.with_cp and torch.is_grad_enabled() else block(x)
            if index in out_indices:
                outs.append(x)
        return tuple(outs)

    def train(self, mode: bool = True):
        """Set the mode; frozen parts and, with ``norm_eval``, all norms stay in eval mode."""
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        for part in (self.stem, *self.stages[:self.frozen_stages]):
            part.eval()
            part.requires_grad_(False)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter for layer-wise learning rates: 0 the stem, then one per block; and the number of depths."""
        depths, depth = {}, 0
        for s, stage in enumerate(self.stages):
            for b in range(len(stage)):
                depth += 1
                depths[f'stages.{s}.{b}.'] = depth
        total = depth + 2  # stem, blocks, and what follows the backbone
        if not param_name.startswith(prefix):
            return total - 1, total
        name = param_name[len(prefix):]
        if name.startswith('stem.'):
            return 0, total
        return next((d for key, d in depths.items() if name.startswith(key)), total - 1), total

    def init_weights(self) -> None:
        """Load ``init_cfg``'s checkpoint if it names one; convolutions and norms otherwise keep PyTorch's defaults."""
        cfg = self.init_cfg
        if not isinstance(cfg, dict) or type_name(cfg) not in ('Pretrained', 'PretrainedInit'):
            return super().init_weights()
        path = cfg['checkpoint']
        state = CheckpointLoader.load_checkpoint(path, map_location=cfg.get('map_location', 'cpu'))
        try:
            state = fit_state(state, self.state_dict(), cfg.get('prefix') or '')
        except KeyError as error:
            raise ValueError(f'init_cfg.checkpoint={path!r} does not fit {type(self).__name__}: {error.args[0]}. Official '
                             'checkpoints go through tools/model_converters/convert.py first.') from None
        try:
            missing, unexpected = self.load_state_dict(state, strict=False)
        except RuntimeError as error:  # sizes that differ
            raise ValueError(f'init_cfg.checkpoint={path!r} does not fit: {error}') from None
        print_log(f'{type(self).__name__} loaded {len(state) - len(unexpected)} tensors from {path}', logger='current')
        for what, keys in (('missing in the checkpoint, left as initialised', missing),
                           ('unexpected in the checkpoint, not used', unexpected)):
            if keys:
                print_log(f'{len(keys)} keys {what}: {", ".join(keys)}', logger='current', level=30)
        self._is_init = True


def build_backbone(cfg: dict) -> BaseSpikingBackbone:
    """Build a backbone from a copy of its config."""
    return MODELS.build(deepcopy(cfg))
