"""Classification with mmpretrain: its image classifier, with a head that knows about time; needs mmpretrain."""
from mmbsa.models.cls_heads.image_classifier import SpikingImageClassifier
from mmbsa.models.cls_heads.losses import TETLoss
from mmbsa.models.cls_heads.spiking_cls_head import SpikingClsHead
from mmbsa.models.cls_heads.teacher import TimmTeacher

__all__ = ['SpikingClsHead', 'SpikingImageClassifier', 'TETLoss', 'TimmTeacher']
