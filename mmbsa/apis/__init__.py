"""What users call: ``swap_backbone`` makes a stock mmseg config spiking."""
from mmbsa.apis.swap import SwapError, swap_backbone

__all__ = ['SwapError', 'swap_backbone']
