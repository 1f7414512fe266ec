"""Direct encoding: the first layer sees the real-valued input at every step."""

from torch import Tensor

from mmbsa.models.encoders.base import Encoder
from mmbsa.registry import MODELS
from mmbsa.spiking import is_streaming


@MODELS.register_module()
class DirectEncoder(Encoder):
    """Repeat an image T times, or bring event frames into time-major order.

    Args:
        num_steps: T >= 1.

    Raises:
        ValueError: T < 1, an input of another shape, or frames of another T.
    """

    endless = True

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (T, B, C, H, W)."""
        return x.unsqueeze(0).expand(self.num_steps, *x.shape)

    def frames(self, x: Tensor) -> Tensor:
        """(B, T, C, H, W) -> (T, B, C, H, W)."""
        if x.shape[1] != self.num_steps and not is_streaming():
            raise ValueError(
                f'num_steps is {self.num_steps}, but the event frames have T = {x.shape[1]}: '
                f'{tuple(x.shape)} is read as (B, T, C, H, W)'
            )
        return x.transpose(0, 1)
