"""SWFormer (Fang et al., ECCV 2024): Haar wavelets instead of attention."""

from collections.abc import Sequence

from torch import nn

from mmbsa.models.backbones.isotropic import IsotropicBackbone, build_mlp
from mmbsa.models.backbones.recipes import IMAGENET, Recipe, cifar, events
from mmbsa.models.backbones.tokenizers import membrane_splitting
from mmbsa.models.layers import HaarMixer, Residual, SpikeConv, init_convolutions
from mmbsa.models.neurons import bind_steps, readout_neuron
from mmbsa.registry import MODELS


@MODELS.register_module()
class SWFormer(IsotropicBackbone):
    """Backbone SWFormer, a spiking wavelet transformer: Haar transforms between ternary neurons mix
    the tokens; there is no q, k or v.

    Every unit is neuron -> conv -> norm (membrane shortcuts). Data flow, strides of ImageNet::

        stem: 3x3 conv (no neuron)                            (T,B,D/8,H,W)
        stages[0]: neuron, pool, 3x3 conv                     (T,B,D/4,H/2,W/2)     level 0
        stages[1]: neuron, pool, 3x3 conv                     (T,B,D/2,H/4,W/4)     level 1
        stages[2]: neuron, pool, 3x3 conv                     (T,B,D,H/8,W/8)       level 2
        stages[3]: pool (of potentials), x + 3x3 conv,        (T,B,D,H/16,W/16)     level 3
                   (x + HaarMixer(x), x + MLP(x)) x depth

    The maps of the blocks must be squares whose side is a power of two. The feature maps are
    real-valued membrane potentials. With ``attention``, an attention kind with 1x1 projections
    replaces the mixer **[ours]**; it supports any height and width.

    Parameters are those of the official code.

    Args:
        arch: ``'6-512'``, ``'8-512'`` for ImageNet at 256 x 256, ``'cifar-4-384'``,
            ``'cifar-4-384-g16'`` (16 groups, as in the STEP benchmark), ``'cifar10dvs-2-256'``; or
            a dict as in :class:`IsotropicBackbone`, with the further keys ``groups`` (number of
            channel groups in the mixer), ``haar_threshold`` (threshold of positive spikes in the
            transforms; that of negative spikes is 0.5), ``in_series`` (whether the convolutions
            read the wavelet path, as for events), ``head_neuron`` (whether a neuron is between
            pooling and linear layer), ``inner_shortcut`` (in MLPs of ratio 1), ``linear_init``
            (whether convolutions are initialised by a truncated normal, std 0.02). ``num_heads`` is
            used with ``attention`` only.
        attention: config of an attention kind; None (default) is the wavelet mixer.
        haar_neuron: config of the neurons in the transforms; None (default) is
            :class:`mmbsa.models.neurons.AsymmetricIFNode` with the surrogate of ``neuron``.
        stem: tokenizer, see :class:`IsotropicBackbone`; default 4.
        mlp: config of the MLP, see :class:`IsotropicBackbone`; default None.
        kwargs: arguments of :class:`BaseSpikingBackbone`. Official code never applies stochastic
            depth.
    """

    required = ('embed_dims', 'depth')
    defaults = dict(
        IsotropicBackbone.defaults,
        num_heads=8,
        groups=4,
        haar_threshold=1.0,
        in_series=False,
        head_neuron=False,
        inner_shortcut=False,
        linear_init=False,
    )
    options = dict(IsotropicBackbone.options, haar_neuron=None)
    recipes = {
        '': Recipe(4, 256, 0.875, dict(in1k=IMAGENET)),
        'cifar-': cifar(),
        'cifar10dvs': events(16, 128, 'cifar10dvs'),
    }
    arch_settings = {
        **{
            f'{depth}-512': dict(
                embed_dims=512, depth=depth, groups=2, head_neuron=True, linear_init=True
            )
            for depth in (6, 8)
        },
        'cifar-4-384': dict(embed_dims=384, depth=4, pooling='0011'),
        'cifar-4-384-g16': dict(embed_dims=384, depth=4, pooling='0011', groups=16),
        'cifar10dvs-2-256': dict(embed_dims=256, depth=2, in_channels=2, in_series=True),
    }

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.arch['linear_init']:
            init_convolutions(self)

    def check(self, spec: dict) -> None:
        """Check ``embed_dims``, ``pooling`` and ``groups`` of an arch.

        Args:
            spec: the arch as a dict, with all keys present.

        Raises:
            ValueError: a value is not valid; the message names the key.
        """
        super().check(spec)
        if spec['groups'] < 1 or spec['embed_dims'] % spec['groups']:
            raise ValueError(
                f'SWFormer: arch.groups={spec["groups"]} does not divide arch.embed_dims='
                f'{spec["embed_dims"]}'
            )

    def default_attention(self) -> None:
        """Return None: the default is the wavelet mixer."""
        return None

    def default_haar_neuron(self) -> dict:
        """Return the config of the neurons in the transforms, with the surrogate of the other
        neurons."""
        surrogate = {
            key: self.neuron_cfg[key] for key in ('surrogate_function',) if key in self.neuron_cfg
        }
        return dict(
            type='mmbsa.AsymmetricIFNode', v_threshold=self.arch['haar_threshold'], **surrogate
        )

    def build_block(self, spec: dict, unit: dict, drop_path_rate: float) -> nn.Module:
        """Return one block: wavelet mixer and MLP, or attention and MLP.

        Args:
            spec: the arch as a dict, with all keys present.
            unit: the keys ``neuron`` and ``norm_cfg``, configs for every layer.
            drop_path_rate: probability of stochastic depth of this block.
        """
        if self.attention_cfg is not None:
            return super().build_block(spec, unit, drop_path_rate)
        dims, ratio = spec['embed_dims'], spec['mlp_ratio']
        haar_neuron = (
            bind_steps(self.options['haar_neuron'], self.num_steps) or self.default_haar_neuron()
        )
        mixer = HaarMixer(dims, spec['groups'], haar_neuron, spec['in_series'], **unit)
        mlp = build_mlp(
            self.mlp_cfg,
            dims,
            ratio,
            False,
            unit,
            inner_shortcut=spec['inner_shortcut'] and ratio == 1,
        )
        return nn.Sequential(
            *(Residual(branch, dims, drop_path_rate=drop_path_rate) for branch in (mixer, mlp))
        )

    def build_tokenizer(
        self, in_channels: int, dims: int, pooling: Sequence[bool], unit: dict
    ) -> tuple[nn.Module, list[nn.Module]]:
        """Return spiking patch splitting with membrane shortcuts, see :func:`membrane_splitting`.

        The arguments are those of :meth:`IsotropicBackbone.build_tokenizer`.
        """
        return membrane_splitting(in_channels, dims, pooling, self.build_position(dims, unit), unit)

    def build_position(self, dims: int, unit: dict) -> nn.Module:
        """Return a convolution whose output is added to its input."""
        return Residual(SpikeConv(dims, dims, 3, **unit), dims)

    def published_head(self) -> dict:
        """Return the arguments of the published head, with a neuron if the arch has
        ``head_neuron``."""
        neuron = readout_neuron(self.neuron_cfg) if self.arch['head_neuron'] else None
        return dict(super().published_head(), neuron=neuron)
