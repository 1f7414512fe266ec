"""CamVid in the usual eleven classes."""

from pathlib import Path

from mmseg.datasets import BaseSegDataset

from mmbsa.registry import DATASETS
from mmbsa.utils.listing import visible_files


@DATASETS.register_module()
class CamVidDataset(BaseSegDataset):
    """CamVid street photos (Brostow et al., 2009) in SegNet's eleven classes; void is 255.

    Layout under ``data_root``: ``images/{train,val,test}/*.jpg`` and
    ``annotations/{train,val,test}/*.png`` with labels 0..10 (367, 101 and 233 photos in the
    original split). Hidden files (``._*`` of macOS) are ignored.

    Args:
        img_suffix: ending of the photos in upper or lower case, ``'.jpg'`` by default.
        seg_map_suffix: ending of the label maps in upper or lower case, ``'.png'`` by default.
        kwargs: arguments of ``mmseg.datasets.BaseSegDataset``.

    Raises:
        FileNotFoundError: no photo has this ending; the message names the endings that exist.
    """

    METAINFO = dict(
        classes=(
            'sky',
            'building',
            'pole',
            'road',
            'pavement',
            'tree',
            'signsymbol',
            'fence',
            'car',
            'pedestrian',
            'bicyclist',
        ),
        palette=[
            [128, 128, 128],
            [128, 0, 0],
            [192, 192, 128],
            [128, 64, 128],
            [60, 40, 222],
            [128, 128, 0],
            [192, 128, 128],
            [64, 64, 128],
            [64, 0, 128],
            [64, 64, 0],
            [0, 128, 192],
        ],
    )

    def __init__(self, img_suffix: str = '.jpg', seg_map_suffix: str = '.png', **kwargs) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the photos with their label maps; ``ann_file`` is read as in mmseg."""
        if self.ann_file and not Path(self.ann_file).is_dir():
            return super().load_data_list()
        folder, labels = self.data_prefix.get('img_path'), self.data_prefix.get('seg_map_path')
        photos = visible_files(folder, [self.img_suffix], recursive=True)
        if not photos:
            others = sorted({path.suffix for path in visible_files(folder, [''], recursive=True)})
            raise FileNotFoundError(
                f'mmbsa.CamVidDataset: no *{self.img_suffix} in {folder}'
                + (f', there are *{", *".join(others)}' if others else '')
            )
        maps = (
            {}
            if labels is None
            else {
                _stem(path, labels, self.seg_map_suffix): str(path)
                for path in visible_files(labels, [self.seg_map_suffix], recursive=True)
            }
        )
        data = []
        for path in photos:
            facts = dict(
                img_path=str(path),
                label_map=self.label_map,
                seg_fields=[],
                reduce_zero_label=self.reduce_zero_label,
            )
            if labels is not None:
                name = _stem(path, folder, self.img_suffix)
                # loading reports a missing map by its name
                facts['seg_map_path'] = maps.get(name, f'{Path(labels, name)}{self.seg_map_suffix}')
            data.append(facts)
        return data


def _stem(path: Path, folder: str, suffix: str) -> str:
    return str(path.relative_to(folder))[: -len(suffix)]
