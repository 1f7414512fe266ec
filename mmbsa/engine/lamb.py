"""timm's LAMB as an optimizer of OpenMMLab configs."""

from timm.optim import Lamb as TimmLamb

from mmbsa.registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class Lamb(TimmLamb):
    """LAMB (You et al., ICLR 2020) as the recipes of Spike-driven Transformer use it: timm's class
    and arguments.

    mmpretrain's ``Lamb`` is an older copy of the same code. ``trust_clip=True`` is what the recipes
    of SDT-V2 and V3 set.
    """
