"""CamVid in the usual eleven classes."""
from mmseg.datasets import BaseSegDataset

from mmbsa.registry import DATASETS


@DATASETS.register_module()
class CamVidDataset(BaseSegDataset):
    """CamVid street photos (Brostow et al., 2009) in the eleven classes of SegNet; void pixels are 255.

    Layout under ``data_root``: ``images/{train,val,test}/*.jpg`` and ``annotations/{train,val,test}/*.png`` with
    labels 0..10 (367, 101 and 233 photos in the original split).

    Args:
        img_suffix: Ending of the photos.
        seg_map_suffix: Ending of the label maps.
        kwargs: Passed to ``mmseg.datasets.BaseSegDataset``.
    """

    METAINFO = dict(
        classes=('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'signsymbol', 'fence', 'car', 'pedestrian',
                 'bicyclist'),
        palette=[[128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [60, 40, 222], [128, 128, 0],
                 [192, 128, 128], [64, 64, 128], [64, 0, 128], [64, 64, 0], [0, 128, 192]])

    def __init__(self, img_suffix: str = '.jpg', seg_map_suffix: str = '.png', **kwargs) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)
