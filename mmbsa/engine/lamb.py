"""timm's LAMB as an optimizer of OpenMMLab configs."""

from timm.optim import Lamb as TimmLamb

from mmbsa.registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class Lamb(TimmLamb):
    """LAMB (You et al., ICLR 2020) as in the recipes of Spike-driven Transformer: timm's class.

    Arguments are those of timm. mmpretrain's ``Lamb`` is an older copy of the same code. The
    recipes of SDT-V2 and V3 set ``trust_clip=True``.
    """
