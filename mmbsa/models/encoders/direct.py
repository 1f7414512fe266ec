"""Direct encoding: the first layer gets the real-valued input in every time step."""

from torch import Tensor

from mmbsa.models.encoders.base import Encoder
from mmbsa.registry import MODELS
from mmbsa.spiking import is_streaming


@MODELS.register_module()
class DirectEncoder(Encoder):
    """Repeat an image T times, or move the time axis of event frames to the front.

    Args:
        num_steps: T, the number of time steps, >= 1; default 1.

    Raises:
        ValueError: ``num_steps`` < 1, the input has another shape, or event frames have another T.
    """

    endless = True

    def encode(self, x: Tensor) -> Tensor:
        """Return images (B, C, H, W) repeated T times, (T, B, C, H, W)."""
        return x.unsqueeze(0).expand(self.num_steps, *x.shape)

    def frames(self, x: Tensor) -> Tensor:
        """Return event frames (B, T, C, H, W) as (T, B, C, H, W).

        Raises:
            ValueError: the frames have another T than ``num_steps``.
        """
        if x.shape[1] != self.num_steps and not is_streaming():
            raise ValueError(
                f'num_steps is {self.num_steps}, but the event frames have T = {x.shape[1]}: '
                f'their shape (B, T, C, H, W) is {tuple(x.shape)}'
            )
        return x.transpose(0, 1)
