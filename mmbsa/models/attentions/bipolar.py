"""Bipolar Self-attention (BSA, NeurIPS 2025): ternary products and Shiftmax."""

from copy import deepcopy

from torch import nn

from mmbsa.models.attentions.base import DotProductAttention
from mmbsa.models.neurons import ternary_neuron
from mmbsa.registry import MODELS, resolve_type


@MODELS.register_module()
class BipolarSelfAttention(DotProductAttention):
    """Bipolar Self-attention, eq. 16-19, and with other arguments the whole ablation grid of its
    paper.

    .. math:: Attn = TSN(Shiftmax(TSN(Q)\\, TSN(K)^T) \\triangleright V)

    Q, K and V are the family's conv + norm outputs; V stays a real-valued membrane potential, and
    there is no scale.

    Args:
        embed_dims, num_heads, value_dims, impl: see :class:`DotProductAttention`.
        neuron: the backbone's neuron config; ternary neurons take over its parameters **[ours]**.
        product: ``'ternary'`` (TMP), ``'binary'`` (BMP: q and k fire with the backbone's neuron) or
            ``'real'`` (RMP).
        normalizer: ``'shiftmax'``, ``'softmax'`` or ``'none'``.
        ternary: overrides of the ternary neurons, for example ``dict(v_threshold=0.5)``, or with a
            ``type`` another signed neuron, for example
            ``dict(type='mmbsa.SignedIntegerNode', levels=1)``.
        v_neuron: None leaves V real-valued, as the paper has it; ``'family'``, or a neuron config,
            lets it fire.
        out_neuron: ``'ternary'`` (eq. 18), ``'family'``, or a neuron config.
        out_threshold: threshold of the output neuron, unless that is a config of its own. None is
            the family's for a family's neuron, and an eighth of the family's for a ternary one
            **[ours]**. The paper does not name it. Shiftmax averages V, so what arrives there is
            small: with V of unit variance and 196 tokens its standard deviation is about 0.13 at
            the beginning of a training, and a threshold of 1 would leave the attention silent.
        scale: factor on the scores; 1 in the paper.
        family_scale: the scale of the attention that is replaced. Accepted from the family and not
            used: BSA has none.
        grad: how the ceil in Shiftmax is differentiated, ``'ste'`` or ``'detach'`` **[ours]**.

    Without a normalizer, and with
    ``v_neuron='family', scale=0.125, out_neuron='family', out_threshold=0.5``, the binary product
    is the family's spiking self-attention.

    Raises:
        ValueError: indivisible heads or an unknown product, normalizer, grad or out_neuron.
    """

    short_name = 'bsa'

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        neuron: dict,
        value_dims: int | None = None,
        product: str = 'ternary',
        normalizer: str = 'shiftmax',
        ternary: dict | None = None,
        v_neuron: str | dict | None = None,
        out_neuron: str | dict = 'ternary',
        out_threshold: float | None = None,
        scale: float = 1.0,
        family_scale: float | None = None,
        grad: str = 'ste',
        impl: str = 'auto',
    ):
        if not isinstance(ternary, dict | None):
            raise TypeError(
                'BipolarSelfAttention: ternary must be a dict such as dict(v_threshold=0.5), got '
                f'{ternary!r}'
            )
        tsn = ternary_neuron(neuron, **deepcopy(ternary or {}))
        operands = dict(ternary=tsn, binary=neuron, real=None)
        if product not in operands:
            raise ValueError(
                f'BipolarSelfAttention: product must be one of {sorted(operands)}, got {product!r}'
            )
        if normalizer not in ('shiftmax', 'softmax', 'none'):
            raise ValueError(
                "BipolarSelfAttention: normalizer must be 'shiftmax', 'softmax' or 'none', "
                f'got {normalizer!r}'
            )
        # 'host' is the name of 'family' in configs of mmbsa 0.1
        v_neuron, out_neuron = (
            'family' if name == 'host' else name for name in (v_neuron, out_neuron)
        )
        if isinstance(out_neuron, str):
            if out_neuron not in ('ternary', 'family'):
                raise ValueError(
                    "BipolarSelfAttention: out_neuron must be 'ternary', 'family' or a neuron "
                    'config, '
                    f'got {out_neuron!r}'
                )
            if out_neuron == 'ternary':
                out_neuron = _at_threshold(tsn, out_threshold)
            else:
                out_neuron = (
                    neuron if out_threshold is None else dict(neuron, v_threshold=out_threshold)
                )
        if isinstance(v_neuron, str):
            if v_neuron != 'family':
                raise ValueError(
                    "BipolarSelfAttention: v_neuron must be None, 'family' or a neuron config, got "
                    f'{v_neuron!r}'
                )
            v_neuron = neuron
        super().__init__(
            embed_dims,
            num_heads,
            value_dims,
            q_neuron=operands[product],
            k_neuron=operands[product],
            v_neuron=v_neuron,
            out_neuron=out_neuron,
            normalizer=normalizer,
            scale=scale,
            grad=grad,
            impl=impl,
        )


def _at_threshold(tsn: dict, threshold: float | None) -> dict:
    """The output's ternary neuron; signed neurons of another type keep their own rule of firing."""
    cls = resolve_type(tsn, nn.Module, 'BipolarSelfAttention.ternary', MODELS)
    facts = getattr(cls, 'facts', None)
    if facts is None or not facts.ternary:
        return tsn
    given = tsn.get('v_threshold', 1.0)
    if not isinstance(given, int | float) or isinstance(given, bool):
        raise TypeError(
            f'BipolarSelfAttention: ternary.v_threshold must be a number, got {given!r}'
        )
    return dict(tsn, v_threshold=given / 8 if threshold is None else threshold)
