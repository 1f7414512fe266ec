"""Direct encoding: the first layer sees the real-valued input at every step."""
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
        """(B, C, H, W) or (B, T, C, H, W) -> (T, B, C, H, W), channels last in memory where convolutions gain by it."""
        if x.ndim == 4:
            x = x.unsqueeze(0).expand(self.num_steps, *x.shape)
        elif x.ndim == 5:
            if x.shape[1] != self.num_steps:
                raise ValueError(f'num_steps is {self.num_steps}, but the event frames have T = {x.shape[1]}: '
                                 f'{tuple(x.shape)} is read as (B, T, C, H, W)')
            x = x.transpose(0, 1)
        else:
            raise ValueError(f'expected images (B, C, H, W) or event frames (B, T, C, H, W), got {tuple(x.shape)}')
        if x.device.type == 'cpu' or x.is_cuda:
            # merging T into the batch copies repeated or transposed steps anyway: copy once, into this layout, which
            # then lasts through the whole backbone
            x = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
        return x
