"""Integer reference: a folded, quantised network on int64 arrays, which judges faster engines and
hardware."""

from mmbsa.deploy.integer.fixed import Fixed, Rules
from mmbsa.deploy.integer.network import IntegerNetwork, Layer

__all__ = ['Fixed', 'IntegerNetwork', 'Layer', 'Rules']
