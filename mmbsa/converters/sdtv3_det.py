"""Official Spike-driven Transformer V3 detection: its backbone."""

from collections.abc import Mapping

from torch import Tensor

from mmbsa.converters.base import Recipe, register
from mmbsa.converters.metaformer import STAGES
from mmbsa.converters.sdt_v3 import UNITS, backbone_args

#: levels of the detection protocol: strides 4, 8, 16, 16.
LEVELS = (1, 2, 3, 4)


def _config(state: Mapping[str, Tensor], args: Mapping) -> dict:
    return dict(type='mmbsa.ESpikeFormer', out_indices=LEVELS, **backbone_args(state, dict(args)))


register(
    'sdtv3_det_backbone', Recipe(_config, [*((rf'^{old}', new) for old, new in STAGES), *UNITS])
)
