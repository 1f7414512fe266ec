"""The base class of all spiking backbones: time steps, feature levels, freezing, checkpointing and
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
from mmbsa.models.layers import TIME_MODES, checkpointed, keep_grad_layout, read_time
from mmbsa.models.neurons import bind_steps, readout_neuron
from mmbsa.registry import MODELS, build_checked
from mmbsa.utils.checkpoint import fit_state
from mmbsa.utils.types import PRETRAINED, type_name

#: types of errors that Python and torch raise for a wrong value. A message that starts with a
#: registered type or with one of ``OWN_KEYS`` comes from mmbsa and names its key.
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
    """Base class of all families: from images or event frames to a tuple of feature maps.

    Data flow::

        (B,C,H,W) or (B,T,C,H,W) -> encoder -> (T,B,C,H,W) -> stem -> stages[0] -> ... -> stages[-1]
                                                                        |                 |
                                                         level 0 (T,B,C_0,H_0,W_0)    level n-1
                                                                        |                 |
                                                              with a readout: (B,C_i,H_i,W_i)

    A family is one class. It defines presets (``arch_settings``) with their ``recipes``, the keys
    of its arch (``required`` and ``defaults``), further arguments (``options``), its default
    ``neuron`` and ``attention``, and :meth:`build`. See CONTRIBUTING.md.

    Args:
        arch: name of a preset, or a dict with the keys of a preset; None (default) is the default
            preset of the family.
        num_steps: T, the number of time steps; None (default) is the T of the preset's recipe.
        in_channels: channels of the input; None (default) is the value of the preset.
        attention: config of the attention kind; None (default) is the one of the family.
            ``dict(type='mmbsa.BipolarSelfAttention')`` is BSA.
        neuron: config of every neuron that the attention kind does not choose itself; None
            (default) is the one of the family.
        norm_cfg: config of the norms, for example ``dict(type='SyncBN')``; None (default) is
            ``dict(type='BN')``.
        drop_path_rate: probability of stochastic depth in the last block, 0 to 1; it increases
            linearly from 0 at the first block. Default 0.
        official_quirks: whether to reproduce the mistakes of the official code on which its weights
            depend; default False. It has no effect in a family without such mistakes.
        out_indices: indices of the levels to return, in ascending order; negative ones count from
            the end; None (default) is the choice of the family.
        readout: None (default) returns time-major maps (T, B, C, H, W), for spiking necks and
            heads. ``'mean'``, ``'sum'``, ``'max'`` or ``'last'`` removes the time axis and returns
            maps (B, C, H, W) for necks and heads of mm packages.
        frozen_stages: frozen parts: -1 (default) none, 0 the stem, k the stem and the first k
            stages. They stay frozen and in eval mode after ``train()``.
        norm_eval: whether all norms stay in eval mode; default False.
        with_cp: whether blocks are recomputed in the backward to save memory; results and running
            statistics stay the same. Default False.
        encoder: config of the encoder of images, without ``num_steps``; None (default) is
            ``dict(type='mmbsa.DirectEncoder')``.
        init_cfg: initialisation config of OpenMMLab; default None.
            ``dict(type='Pretrained', checkpoint=..., prefix='backbone.')`` reports every missing
            and every unexpected key.
        options: further arguments of the family, see its class.

    Raises:
        KeyError: the preset is unknown.
        TypeError: an argument is unknown.
        ValueError: ``arch``, ``out_indices``, ``readout``, ``frozen_stages``, ``num_steps`` or
            ``encoder`` has an invalid value.
    """

    #: name of a preset -> arch.
    arch_settings: dict[str, dict] = {}
    #: first letters of a preset's name -> recipe; '' is the recipe of all other presets.
    recipes: dict[str, Recipe] = {}
    #: the preset for ``arch=None``.
    default_arch: str = ''
    #: keys that an arch must have, and those that it may have with their defaults.
    required: tuple[str, ...] = ()
    defaults: dict[str, Any] = {}
    #: arguments of the family in addition to those of the base class, with their defaults.
    options: dict[str, Any] = {}
    #: configs of the family's default neuron and attention kind; see :meth:`default_neuron` and
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
    #: a small arch for tests and examples, which emits spikes in all layers at 32 x 32 pixels.
    small_arch: dict = {}
    #: whether published classifiers have a neuron between pooling and linear layer, and whether
    #: that layer has a bias.
    head_neuron = False
    head_bias = True
    #: whether only the distillation layer reads that neuron, see :class:`SpikingReadout`.
    distill_neuron = False
    #: name of the first convolution.
    first_conv = 'stem.conv'
    #: arguments of published classifiers that differ from the defaults.
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
                f'{type(self).__name__}: frozen_stages={frozen_stages} must be in '
                f'-1..{len(self.stages)}'
            )
        if readout is not None and readout not in tuple(TIME_MODES):
            raise ValueError(
                f'{type(self).__name__}: readout must be None or one of {", ".join(TIME_MODES)}, '
                f'got {readout!r}'
            )
        self.readout = readout
        self._freeze()

    def build(
        self, spec: dict, unit: dict
    ) -> tuple[nn.Module, Sequence, Sequence[tuple[int, int]]]:
        """Build the parts of the family; called once by the constructor.

        Args:
            spec: the arch as a dict, with all keys present.
            unit: the keys ``neuron`` and ``norm_cfg``, configs for every layer.
                ``self.attention_cfg``, ``self.in_channels``, ``self.drop_path_rate``,
                ``self.official_quirks`` and ``self.options`` hold the other arguments.

        Returns:
            The stem; per level its blocks, as a list or a ``Sequential``; per level its channels
            and its stride. All blocks map (T, B, C, H, W) to (T, B, C', H', W').
        """
        raise NotImplementedError(f'{type(self).__name__} must define build(spec, unit)')

    def default_neuron(self) -> dict:
        """Return the config of the family's neuron for ``self.arch``."""
        return deepcopy(self.neuron)

    def default_attention(self) -> dict:
        """Return the config of the family's attention kind for ``self.arch``, ``self.options`` and
        ``self.official_quirks``."""
        return deepcopy(self.attention)

    def check(self, spec: dict) -> None:
        """Check that the values of an arch are consistent.

        A family may override this method; the default accepts every arch.

        Args:
            spec: the arch as a dict, with all keys present.

        Raises:
            ValueError: two values are inconsistent; the message names their keys.
        """

    @classmethod
    def recipe(cls, arch: str | dict) -> Recipe:
        """Return the recipe of a preset: the entry of ``recipes`` with the longest key that the
        preset's name starts with.

        Args:
            arch: name of a preset, or a dict, which gets the recipe ``''``.
        """
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
        """Return the arch of a preset, or the given arch, checked and with its defaults."""
        name = type(self).__name__
        if isinstance(arch, str):
            if arch not in self.arch_settings:
                close = get_close_matches(arch, self.arch_settings, 3)
                raise KeyError(
                    f'{name}: arch={arch!r} is unknown; use one of '
                    f'{", ".join(self.arch_settings)}, or a '
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
                f'{name}: arch must have the keys {", ".join(self.required)} and may have the keys '
                f'{", ".join(self.defaults)}; got {arch}'
            )
        spec = deepcopy({**self.defaults, **arch})
        known = (self.defaults, self.small_arch, *self.arch_settings.values())
        for key, value in arch.items():  # True would count as 1, and fail later in torch
            if isinstance(value, bool) and not any(
                isinstance(spec.get(key), bool) for spec in known
            ):
                raise ValueError(f'{name}: arch.{key}={value} must not be a bool')
        self._checked(self.check, spec)
        return spec

    def _checked(self, function: Callable, spec: dict, *args: Any) -> Any:
        """Call ``function(spec, *args)``; an error of Python or torch that names no key of the
        config gets the arch in its message."""
        try:
            return function(spec, *args)
        except _UNNAMED as error:
            first = re.split(r'[^A-Za-z_]', str(error), maxsplit=1)[0]
            sentence = isinstance(error, KeyError) and ' ' in str(error)
            # the message names the key
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
        """Build the encoder of a config with the T of this backbone."""
        cfg = dict(cfg or dict(type='mmbsa.DirectEncoder'))
        given = cfg.setdefault('num_steps', num_steps)
        if given != num_steps:
            raise ValueError(
                f'{type(self).__name__}: encoder.num_steps={given} differs from '
                f'num_steps={num_steps}; '
                'remove encoder.num_steps'
            )
        return build_checked(cfg, Encoder, 'backbone.encoder', MODELS)

    def _levels(self, out_indices: Sequence[int] | None) -> tuple[int, ...]:
        """Return ``out_indices`` as checked indices from 0."""
        levels = len(self.stages)
        given = range(levels) if out_indices is None else out_indices
        indices = tuple(i + levels if i < 0 else i for i in given)
        if (
            not indices
            or any(not 0 <= i < levels for i in indices)
            or list(indices) != sorted(set(indices))
        ):
            raise ValueError(
                f'{type(self).__name__}: out_indices={tuple(given)} must be ascending indices of '
                f'the levels 0..{levels - 1}'
            )
        return indices

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each map that ``forward`` returns."""
        return tuple(self.feature_info[i]['num_chs'] for i in self.out_indices)

    def published_head(self) -> dict:
        """Return the arguments of :class:`SpikingReadout` in the family's published classifiers."""
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
        """Return the config of the family's published classifier, with the head of
        :meth:`published_head`.

        Args:
            arch: a preset's name, or a dict with the preset's keys.
            num_classes: number of classes; default 1000.
            distill: whether the classifier has a distillation layer, see
                :class:`SpikingClassifier`; default False.
            per_step: whether the classifier returns the logits of every time step, see
                :class:`SpikingClassifier`; default False.
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
        """Compute the feature maps of the levels in ``out_indices``.

        Args:
            x: images (B, C, H, W), sequences (B, C, 1, L), or event frames (B, T, C, H, W).
            out_indices: indices of the levels to return, ascending and not negative; None (default)
                means ``self.out_indices``.

        Returns:
            One map per level, (T, B, C_i, H_i, W_i), or (B, C_i, H_i, W_i) with a ``readout``.
        """
        out_indices = self.out_indices if out_indices is None else out_indices
        x = self.stem(self.encoder(x))
        outs = []
        for index, stage in enumerate(self.stages[: out_indices[-1] + 1]):
            for block in stage:
                x = checkpointed(block, x) if self.with_cp and torch.is_grad_enabled() else block(x)
            if index in out_indices:
                outs.append(keep_grad_layout(x))
        return (
            tuple(map(mark_time_major, outs))
            if self.readout is None
            else read_time(outs, self.readout)
        )

    def train(self, mode: bool = True):
        """Set the mode of all modules; frozen parts and, with ``norm_eval``, all norms stay in eval
        mode."""
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
        """Return the depth of a parameter and the number of depths, for layer-wise learning rates.

        Args:
            param_name: name of the parameter in the model.
            prefix: prefix of the backbone's parameters in the model; default ``''``.

        Returns:
            The depth, 0 for the stem and then one more per block, and the number of depths.
        """
        depths, depth = {}, 0
        for s, stage in enumerate(self.stages):
            for b in range(len(stage)):
                depth += 1
                depths[f'stages.{s}.{b}.'] = depth
        total = depth + 2  # stem, blocks, and the layers after the backbone
        if not param_name.startswith(prefix):
            return total - 1, total
        name = param_name[len(prefix) :]
        if name.startswith('stem.'):
            return 0, total
        return next((d for key, d in depths.items() if name.startswith(key)), total - 1), total

    def init_weights(self) -> None:
        """Load the checkpoint of ``init_cfg``, if there is one.

        Without a checkpoint, convolutions and norms keep the initial values of PyTorch.

        Raises:
            ValueError: keys or sizes of the checkpoint do not match the backbone.
        """
        cfg = self.init_cfg
        if not isinstance(cfg, dict) or type_name(cfg) not in PRETRAINED:
            return super().init_weights()
        path = cfg['checkpoint']
        state = CheckpointLoader.load_checkpoint(path, map_location=cfg.get('map_location', 'cpu'))
        try:
            state = fit_state(state, self.state_dict(), cfg.get('prefix') or '')
        except KeyError as error:
            raise ValueError(
                f'init_cfg.checkpoint={path!r} does not match {type(self).__name__}: '
                f'{error.args[0]}. Convert official '
                'checkpoints with tools/model_converters/convert.py first.'
            ) from None
        try:
            missing, unexpected = self.load_state_dict(state, strict=False)
        except RuntimeError as error:  # sizes that differ
            raise ValueError(f'init_cfg.checkpoint={path!r} does not match: {error}') from None
        print_log(
            f'{type(self).__name__} loaded {len(state) - len(unexpected)} tensors from {path}',
            logger='current',
        )
        for what, keys in (
            ('missing in the checkpoint, not loaded', missing),
            ('unexpected in the checkpoint, not used', unexpected),
        ):
            if keys:
                print_log(f'{len(keys)} keys {what}: {", ".join(keys)}', logger='current', level=30)
        self._is_init = True
