"""Official Spike-driven Transformer V2 detection: its backbone."""

from collections.abc import Mapping

from torch import Tensor

from mmbsa.converters.base import Recipe, register
from mmbsa.converters.isotropic import tensor_of
from mmbsa.converters.metaformer import DOWN_RULES, STAGES, metaformer_arch
from mmbsa.converters.sdt_v2 import UNITS
from mmbsa.converters.sdtv3_det import LEVELS


def _config(state: Mapping[str, Tensor], args: Mapping) -> dict:
    """Return the config with T of the official constructor; 1 in the published protocol."""
    in_channels = tensor_of(state, 'downsample1_1.encode_conv.weight', 'MetaSpikeFormer').shape[1]
    return dict(
        type='mmbsa.MetaSpikeFormer',
        arch=metaformer_arch(state, args, 'MetaSpikeFormer'),
        num_steps=args.get('T', 1),
        in_channels=in_channels,
        out_indices=LEVELS,
    )


register(
    'sdt_v2_det_backbone',
    Recipe(_config, [*((rf'^{old}', new) for old, new in STAGES), *DOWN_RULES, *UNITS]),
)
