"""The one place where time is read out for stock heads."""

from collections.abc import Sequence
from copy import deepcopy

from mmengine.model import BaseModule
from torch import Tensor

from mmbsa.models.layers import TIME_MODES, read_time
from mmbsa.registry import MODELS


@MODELS.register_module()
class TemporalReadout(BaseModule):
    """Time-major maps -> maps that every stock neck and head understands.

    Args:
        mode: ``'mean'`` over the T steps, ``'sum'``, ``'max'``, or ``'last'`` step.
        neck: config of a stock neck (FPN, ...) to run on the maps.
        init_cfg: OpenMMLab's.

    Raises:
        ValueError: an unknown mode, or a map that is not (T, B, C, H, W).
    """

    modes = TIME_MODES

    def __init__(self, mode: str = 'mean', neck: dict | None = None, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        if mode not in self.modes:
            raise ValueError(
                f'TemporalReadout: mode must be one of {", ".join(self.modes)}, got {mode!r}'
            )
        self.mode = mode
        self.neck = None if neck is None else MODELS.build(deepcopy(neck))

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """(T, B, C_i, H_i, W_i) each -> (B, C_i, H_i, W_i) each, or what the wrapped neck makes of
        them."""
        outs = read_time(inputs, self.mode)
        return outs if self.neck is None else self.neck(outs)
