"""Direct encoding: the first layer sees the real-valued input at every step."""
import torch
from torch import Tensor, nn

from mmbsa.registry import MODELS


@MODELS.register_module()
class DirectEncoder(nn.Module):
    """Repeat an image T times, or bring event frames into time-major order.

    Args:
        num_steps: T >= 1.

    Raises:
        ValueError: T < 1, an input that is neither (B, C, H, W) nor (B, T, C, H, W), or frames of another T.
    """

    def __init__(self, num_steps: int = 1):
        super().__init__()
        if not isinstance(num_steps, int) or num_steps < 1:
            raise ValueError(f'num_steps must be an integer >= 1, got {num_steps!r}')
        self.num_steps = num_steps

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) or (B, T, C, H, W) -> (T, B, C, H, W); images are repeated without a copy."""
        if x.ndim == 4:
            if x.device.type == 'cpu' or x.is_cuda:  # depth-wise and 1x1 convolutions are faster in this layout
                x = x.contiguous(memory_format=torch.channels_last)
            return x.unsqueeze(0).expand(self.num_steps, *x.shape)
        if x.ndim == 5:
            if x.shape[1] != self.num_steps:
                raise ValueError(f'num_steps is {self.num_steps}, but the event frames have T = {x.shape[1]}: '
                                 f'{tuple(x.shape)} is read as (B, T, C, H, W)')
            return x.transpose(0, 1)
        raise ValueError(f'expected images (B, C, H, W) or event frames (B, T, C, H, W), got {tuple(x.shape)}')
