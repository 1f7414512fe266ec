"""A neck with a readout, for necks and heads of mm packages."""

from collections.abc import Sequence
from copy import deepcopy

from mmengine.model import BaseModule
from torch import Tensor

from mmbsa.models.layers import TIME_MODES, read_time
from mmbsa.registry import MODELS


@MODELS.register_module()
class TemporalReadout(BaseModule):
    """Neck that removes the time axis of all maps, for necks and heads of mm packages.

    Args:
        mode: ``'mean'`` over the T steps (default), ``'sum'``, ``'max'``, or the ``'last'`` step.
        neck: config of a neck of an mm package (FPN, ...) that gets the maps; default None.
        init_cfg: initialisation config of OpenMMLab; default None.

    Raises:
        ValueError: ``mode`` is unknown, or a map is not (T, B, C, H, W).
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
        """Return a map (B, C_i, H_i, W_i) per input map (T, B, C_i, H_i, W_i), or the output of
        ``neck`` for these maps."""
        outs = read_time(inputs, self.mode)
        return outs if self.neck is None else self.neck(outs)
