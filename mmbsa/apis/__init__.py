"""What users call from Python beyond configs."""
from mmbsa.apis.swap import SwapError, swap_backbone

__all__ = ['SwapError', 'swap_backbone']
