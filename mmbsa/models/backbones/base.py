"""What every spiking backbone has in common: time, feature levels, freezing, checkpointing,
loading."""

import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from difflib import get_close_matches
from inspect import signature
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmbsa.models.backbones.recipes import Recipe
from mmbsa.models.backbones.time_major import mark_time_major
from mmbsa.models.encoders import Encoder
from mmbsa.models.layers import TIME_MODES, checkpointed, read_time
from mmbsa.models.neurons import bind_steps, readout_neuron
from mmbsa.registry import MODELS, build_checked
from mmbsa.utils.checkpoint import fit_state
from mmbsa.utils.types import PRETRAINED, type_name

#: what Python and torch raise at a wrong value; with one of these words first, it is ours.
_UNNAMED = (
    TypeError,
    ValueError,
    AttributeError,
    AssertionError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
)
OWN_KEYS = ('attention', 'backbone', 'neuron', 'norm_cfg', 'surrogate_function')


class BaseSpikingBackbone(BaseModule):
    """Base of the families: image or event frames -> tuple of feature maps.

    Data flow::

        (B,C,H,W) or (B,T,C,H,W) -> encoder -> (T,B,C,H,W) -> stem -> stages[0] -> ... -> stages[-1]
                                                                        |                 |
                                                         level 0 (T,B,C_0,H_0,W_0)    level n-1
                                                                        |                 |
                                                              readout, if asked for: (B,C_i,H_i,W_i)

    A family is one class: presets (``arch_settings``) with their ``recipes``, the keys of its arch
    (``required`` and ``defaults``), what it takes beyond the arguments below (``options``), its own
    ``neuron`` and ``attention``, and
    :meth:`build`. See CONTRIBUTING.md.

    Args:
        arch: a preset's name, or a dict with the preset's keys; None is the family's default.
        num_steps: T; None is that of the preset's recipe.
        in_channels: of the input; None is the preset's.
        attention: config of the attention kind; None is the family's own.
            ``dict(type='mmbsa.BipolarSelfAttention')`` is BSA.
        neuron: config of every neuron that the attention kind does not choose itself; None is the
            family's.
        norm_cfg: ``dict(type='BN')``, ``dict(type='SyncBN')``, ...
        drop_path_rate: stochastic depth of the last block, growing linearly from 0.
        official_quirks: reproduce mistakes of the official code that its weights depend on, where
            the family has any.
        out_indices: levels to return, in ascending order; negative ones count from the end; None is
            the family's choice.
        readout: None returns time-major maps (T, B, C, H, W), for spiking necks and heads.
            ``'mean'``, ``'sum'``, ``'max'`` or ``'last'`` reads time out, so that every stock neck
            and head takes the maps (B, C, H, W).
        frozen_stages: -1 none, 0 the stem, k the stem and the first k stages. Kept frozen, and in
            eval mode, by ``train()``.
        norm_eval: keep all norms in eval mode.
        with_cp: recompute blocks in backward to save memory; results and running statistics stay
            the same.
        encoder: config of the encoder of images; None is ``dict(type='mmbsa.DirectEncoder')``. T is
            ``num_steps``.
        init_cfg: OpenMMLab's; ``dict(type='Pretrained', checkpoint=..., prefix='backbone.')``
            reports every missing and every unexpected key.
        options: what the family takes beyond these, see its class.

    Raises:
        KeyError: an unknown preset.
        TypeError: an unknown argument.
        ValueError: a bad arch, out_indices, readout, frozen_stages, num_steps or encoder.
    """

    #: name of a preset -> arch.
    arch_settings: dict[str, dict] = {}
    #: beginning of a preset's name -> recipe; '' is the recipe of all others.
    recipes: dict[str, Recipe] = {}
    #: the preset that is built when none is named.
    default_arch: str = ''
    #: keys that an arch must have, and those that it may have with their defaults.
    required: tuple[str, ...] = ()
    defaults: dict[str, Any] = {}
    #: arguments of the family beyond those of the base, with their defaults.
    options: dict[str, Any] = {}
    #: configs of the family's own neuron and attention kind; see :meth:`default_neuron` and
    #: :meth:`default_attention`.
    neuron: dict = dict(
        type='mmbsa.LIFNode',
        tau=2.0,
        detach_reset=True,
        surrogate_function=dict(type='Sigmoid', alpha=4.0),
    )
    attention: dict = dict(type='mmbsa.SpikingSelfAttention')
    #: levels that are returned by default; None returns all.
    default_out_indices: tuple[int, ...] | None = None
    #: a reduced arch for tests and examples, alive at 32 x 32.
    small_arch: dict = {}
    #: whether published classifiers have a neuron between pooling and linear layer, and whether
    #: that layer has a bias.
    head_neuron = False
    head_bias = True
    #: whether that neuron feeds the head for distillation alone, see :class:`SpikingReadout`.
    distill_neuron = False
    #: name of the first convolution.
    first_conv = 'stem.conv'
    #: arguments that published classifiers set apart from the defaults.
    classifier_args: dict = {}

    def __init__(
        self,
        arch: str | dict | None = None,
        num_steps: int | None = None,
        in_channels: int | None = None,
        attention: dict | None = None,
        neuron: dict | None = None,
        norm_cfg: dict | None = None,
        drop_path_rate: float = 0.0,
        official_quirks: bool = False,
        out_indices: Sequence[int] | None = None,
        readout: str | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        encoder: dict | None = None,
        init_cfg: dict | None = None,
        **options,
    ):
        super().__init__(init_cfg=deepcopy(init_cfg))
        arch = self.default_arch if arch is None else arch
        self.arch = self._read_arch(arch)
        self.options = self._read_options(options)
        self.num_steps = self.recipe(arch).num_steps if num_steps is None else num_steps
        self.encoder = self._build_encoder(encoder, self.num_steps)
        self.with_cp, self.norm_eval, self.frozen_stages = with_cp, norm_eval, frozen_stages
        self.official_quirks, self.drop_path_rate = official_quirks, drop_path_rate
        self.in_channels = self.arch.get('in_channels', 3) if in_channels is None else in_channels
        #: config of every neuron that the attention kind does not choose itself.
        self.neuron_cfg = bind_steps(deepcopy(neuron) or self.default_neuron(), self.num_steps)
        self.attention_cfg = bind_steps(
            deepcopy(attention) or self.default_attention(), self.num_steps
        )
        unit = dict(neuron=self.neuron_cfg, norm_cfg=norm_cfg or dict(type='BN'))
        self.stem, stages, info = self._checked(self.build, self.arch, unit)
        self.stages = nn.ModuleList(
            stage if isinstance(stage, nn.Sequential) else nn.Sequential(*stage) for stage in stages
        )
        #: per level ``dict(num_chs=channels, reduction=stride)``, as timm names them.
        self.feature_info = [dict(num_chs=channels, reduction=stride) for channels, stride in info]
        self.out_indices = self._levels(
            self.default_out_indices if out_indices is None else out_indices
        )
        if not -1 <= frozen_stages <= len(self.stages):
            raise ValueError(
                f'{type(self).__name__}: frozen_stages={frozen_stages} must lie in '
                f'-1..{len(self.stages)}'
            )
        if readout is not None and readout not in tuple(TIME_MODES):
            raise ValueError(
                f'{type(self).__name__}: readout must be None or one of {", ".join(TIME_MODES)}, '
                'got '
                f'{readout!r}'
            )
        self.readout = readout
        self._freeze()

    def build(
        self, spec: dict, unit: dict
    ) -> tuple[nn.Module, Sequence, Sequence[tuple[int, int]]]:
        """Build the parts of the family; called once by the constructor.

        Args:
            spec: the arch, complete.
            unit: ``neuron`` and ``norm_cfg`` of every unit. ``self.attention_cfg``,
                ``self.in_channels``, ``self.drop_path_rate``, ``self.official_quirks`` and
                ``self.options`` hold the other arguments.

        Returns:
            The stem; per level its blocks, as a list or a ``Sequential``; per level its channels
            and its stride. All blocks map (T, B, C, H, W) to (T, B, C', H', W').
        """
        raise NotImplementedError(f'{type(self).__name__} must define build(spec, unit)')

    def default_neuron(self) -> dict:
        """Config of the family's neuron for ``self.arch``."""
        return deepcopy(self.neuron)

    def default_attention(self) -> dict:
        """Config of the family's attention for ``self.arch``, ``self.options`` and
        ``self.official_quirks``."""
        return deepcopy(self.attention)

    def check(self, spec: dict) -> None:
        """Check that the values of an arch fit each other.

        A family may override this method; the default accepts every arch.

        Args:
            spec: the arch as a dict, with all keys present.

        Raises:
            ValueError: two values do not fit each other; the message names their keys.
        """

    @classmethod
    def recipe(cls, arch: str | dict) -> Recipe:
        """The recipe of a preset: that of the longest beginning of its name."""
        name = arch if isinstance(arch, str) else ''
        return next(
            (
                cls.recipes[key]
                for key in sorted(cls.recipes, key=len, reverse=True)
                if name.startswith(key)
            ),
            Recipe(),
        )

    def _read_arch(self, arch: str | dict) -> dict:
        """A preset's or the given arch with its defaults, checked."""
        name = type(self).__name__
        if isinstance(arch, str):
            if arch not in self.arch_settings:
                close = get_close_matches(arch, self.arch_settings, 3)
                raise KeyError(
                    f'{name}: arch={arch!r} is unknown; there are {", ".join(self.arch_settings)}, '
                    'or give a '
                    'dict' + (f'. Did you mean {" or ".join(map(repr, close))}?' if close else '')
                )
            arch = self.arch_settings[arch]
        if not isinstance(arch, dict):
            raise TypeError(f'{name}: arch must be the name of a preset or a dict, got {arch!r}')
        missing, unknown = (
            set(self.required) - set(arch),
            set(arch) - set(self.required) - set(self.defaults),
        )
        if missing or unknown:
            raise ValueError(
                f'{name}: arch must hold {", ".join(self.required)} and may hold '
                f'{", ".join(self.defaults)}; '
                f'got {arch}'
            )
        spec = deepcopy({**self.defaults, **arch})
        known = (self.defaults, self.small_arch, *self.arch_settings.values())
        for key, value in arch.items():  # True counts as 1, until torch refuses it somewhere
            if isinstance(value, bool) and not any(
                isinstance(spec.get(key), bool) for spec in known
            ):
                raise ValueError(f'{name}: arch.{key}={value} must not be a truth value')
        self._checked(self.check, spec)
        return spec

    def _checked(self, function: Callable, spec: dict, *args: Any) -> Any:
        """Call a function of an arch: errors of Python and torch at a wrong value name no key, so
        they get the arch."""
        try:
            return function(spec, *args)
        except _UNNAMED as error:
            first = re.split(r'[^A-Za-z_]', str(error), maxsplit=1)[0]
            sentence = isinstance(error, KeyError) and ' ' in str(error)
            # it says what is wrong
            if first in MODELS.module_dict or first in OWN_KEYS or sentence:
                raise
            raise ValueError(
                f'{type(self).__name__}: arch={spec} cannot be built: '
                f'{type(error).__name__}: {error}'
            ) from error

    def _read_options(self, options: dict) -> dict:
        unknown = set(options) - set(type(self).options)
        if unknown:
            known = [*signature(BaseSpikingBackbone.__init__).parameters][1:-1] + [
                *type(self).options
            ]
            close = get_close_matches(min(unknown), known, 1)
            raise TypeError(
                f'{type(self).__name__} has no argument {", ".join(map(repr, sorted(unknown)))}'
                + (f' (did you mean {close[0]!r}?)' if close else '')
                + f'; it takes {", ".join(known)}'
            )
        return {**type(self).options, **options}

    def _build_encoder(self, cfg: dict | None, num_steps: int) -> Encoder:
        """The encoder of a config, with this backbone's T."""
        cfg = dict(cfg or dict(type='mmbsa.DirectEncoder'))
        given = cfg.setdefault('num_steps', num_steps)
        if given != num_steps:
            raise ValueError(
                f'{type(self).__name__}: encoder.num_steps={given} differs from '
                f'num_steps={num_steps}; '
                'leave it out'
            )
        return build_checked(cfg, Encoder, 'backbone.encoder', MODELS)

    def _levels(self, out_indices: Sequence[int] | None) -> tuple[int, ...]:
        """``out_indices`` counted from 0, checked."""
        levels = len(self.stages)
        given = range(levels) if out_indices is None else out_indices
        indices = tuple(i + levels if i < 0 else i for i in given)
        if (
            not indices
            or any(not 0 <= i < levels for i in indices)
            or list(indices) != sorted(set(indices))
        ):
            raise ValueError(
                f'{type(self).__name__}: out_indices={tuple(given)} must ascend within the levels '
                f'0..{levels - 1}'
            )
        return indices

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of the maps that ``forward`` returns."""
        return tuple(self.feature_info[i]['num_chs'] for i in self.out_indices)

    def published_head(self) -> dict:
        """How the family's published classifiers read the last map out: arguments of
        :class:`SpikingReadout`."""
        return dict(
            neuron=readout_neuron(self.neuron_cfg) if self.head_neuron else None,
            head_bias=self.head_bias,
            distill_neuron=self.distill_neuron,
        )

    @classmethod
    def classifier_cfg(
        cls,
        arch: str | dict,
        num_classes: int = 1000,
        *,
        distill: bool = False,
        per_step: bool = False,
        **backbone,
    ) -> dict:
        """Config of the family's published classifier, whose head :meth:`published_head` describes.

        Args:
            arch: a preset's name, or a dict with the preset's keys.
            num_classes, distill, per_step: of :class:`SpikingClassifier`.
            backbone: further arguments of the backbone.
        """
        backbone = {
            'type': f'mmbsa.{cls.__name__}',
            'arch': arch,
            'out_indices': (-1,),
            **cls.classifier_args,
            **backbone,
        }
        return deepcopy(
            dict(
                type='mmbsa.SpikingClassifier',
                num_classes=num_classes,
                distill=distill,
                per_step=per_step,
                backbone=backbone,
            )
        )

    def forward(self, x: Tensor, out_indices: Sequence[int] | None = None) -> tuple[Tensor, ...]:
        """(B, C, H, W) or (B, T, C, H, W) -> one (T, B, C_i, H_i, W_i) per out index; (B, C_i, H_i,
        W_i) with a readout.

        Args:
            x: image, sequence (B, C, 1, L), or frames of T steps.
            out_indices: levels to return instead of ``self.out_indices``, ascending and not
                negative.
        """
        out_indices = self.out_indices if out_indices is None else out_indices
        x = self.stem(self.encoder(x))
        outs = []
        for index, stage in enumerate(self.stages[: out_indices[-1] + 1]):
            for block in stage:
                x = checkpointed(block, x) if self.with_cp and torch.is_grad_enabled() else block(x)
            if index in out_indices:
                outs.append(x)
        return (
            tuple(map(mark_time_major, outs))
            if self.readout is None
            else read_time(outs, self.readout)
        )

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
        for part in (self.stem, *self.stages[: self.frozen_stages]):
            part.eval()
            part.requires_grad_(False)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter for layer-wise learning rates: 0 the stem, then one per block; and
        the number of depths."""
        depths, depth = {}, 0
        for s, stage in enumerate(self.stages):
            for b in range(len(stage)):
                depth += 1
                depths[f'stages.{s}.{b}.'] = depth
        total = depth + 2  # stem, blocks, and what follows the backbone
        if not param_name.startswith(prefix):
            return total - 1, total
        name = param_name[len(prefix) :]
        if name.startswith('stem.'):
            return 0, total
        return next((d for key, d in depths.items() if name.startswith(key)), total - 1), total

    def init_weights(self) -> None:
        """Load ``init_cfg``'s checkpoint if it names one; convolutions and norms otherwise keep
        PyTorch's defaults."""
        cfg = self.init_cfg
        if not isinstance(cfg, dict) or type_name(cfg) not in PRETRAINED:
            return super().init_weights()
        path = cfg['checkpoint']
        state = CheckpointLoader.load_checkpoint(path, map_location=cfg.get('map_location', 'cpu'))
        try:
            state = fit_state(state, self.state_dict(), cfg.get('prefix') or '')
        except KeyError as error:
            raise ValueError(
                f'init_cfg.checkpoint={path!r} does not fit {type(self).__name__}: '
                f'{error.args[0]}. Official '
                'checkpoints go through tools/model_converters/convert.py first.'
            ) from None
        try:
            missing, unexpected = self.load_state_dict(state, strict=False)
        except RuntimeError as error:  # sizes that differ
            raise ValueError(f'init_cfg.checkpoint={path!r} does not fit: {error}') from None
        print_log(
            f'{type(self).__name__} loaded {len(state) - len(unexpected)} tensors from {path}',
            logger='current',
        )
        for what, keys in (
            ('missing in the checkpoint, left as initialised', missing),
            ('unexpected in the checkpoint, not used', unexpected),
        ):
            if keys:
                print_log(f'{len(keys)} keys {what}: {", ".join(keys)}', logger='current', level=30)
        self._is_init = True
