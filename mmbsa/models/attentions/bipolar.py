"""Bipolar Self-attention (BSA, NeurIPS 2025): ternary products and Shiftmax."""

from copy import deepcopy

from torch import nn

from mmbsa.models.attentions.base import DotProductAttention
from mmbsa.models.neurons import ternary_neuron
from mmbsa.registry import MODELS, resolve_type


@MODELS.register_module()
class BipolarSelfAttention(DotProductAttention):
    """Bipolar Self-attention (BSA, NeurIPS 2025), eq. 16-19; other arguments give all rows of its
    ablation table.

    .. math:: Attn = TSN(Shiftmax(TSN(Q)\\, TSN(K)^T) \\triangleright V)

    Q, K and V are the outputs of the family's convolutions and norms. V stays a real-valued
    membrane potential, and there is no scale.

    Args:
        embed_dims: C, number of channels of q and k.
        num_heads: number of heads; must divide ``embed_dims`` and ``value_dims``.
        neuron: the neuron config of the family; ternary neurons take over its parameters
            **[ours]**.
        value_dims: C_v, number of channels of v and of the output; None (default) means C.
        product: ``'ternary'`` (TMP, default), ``'binary'`` (BMP: q and k use the neuron of the
            family) or ``'real'`` (RMP).
        normalizer: ``'shiftmax'`` (default), ``'softmax'`` or ``'none'``.
        ternary: arguments of the ternary neurons, for example ``dict(v_threshold=0.5)``. With a
            ``type`` it is another signed neuron, for example
            ``dict(type='mmbsa.SignedIntegerNode', levels=1)``. Default None.
        v_neuron: neuron of v: None (default) keeps v real-valued, as in the paper; ``'family'`` is
            the neuron of the family; or a neuron config.
        out_neuron: ``'ternary'`` (eq. 18, default), ``'family'``, or a neuron config.
        out_threshold: threshold of the output neuron; not used if ``out_neuron`` is a config. None
            (default) is the threshold of the family for ``'family'``, and an eighth of it for
            ``'ternary'`` **[ours]**. The paper does not give this threshold. Shiftmax averages V,
            so the input of the output neuron is small: for V of unit variance and 196 tokens its
            standard deviation is about 0.13 at the start of training, and with a threshold of 1 the
            neuron would emit no spikes.
        scale: factor on the scores; default 1, as in the paper.
        family_scale: scale of the family's own attention. It is accepted and not used, because BSA
            has no scale.
        grad: gradient rule of the ceil in Shiftmax, ``'ste'`` (default) or ``'detach'`` **[ours]**.
        impl: implementation of the op, one of ``mmbsa.ops.implementations``; default ``'auto'``.

    With ``product='binary'``, ``normalizer='none'``, ``v_neuron='family', scale=0.125,
    out_neuron='family', out_threshold=0.5`` it computes the family's spiking self-attention.

    Raises:
        TypeError: ``ternary`` is not a dict, or its ``v_threshold`` is not a number.
        ValueError: ``num_heads`` does not divide the channels, or ``product``, ``normalizer``,
            ``grad``, ``v_neuron`` or ``out_neuron`` is unknown.
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
    """Return the config of the ternary output neuron with a threshold; signed neurons of another
    type have no such threshold and stay unchanged."""
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
