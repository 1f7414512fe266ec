"""Inferencers in the style of OpenMMLab: predictions of a config's model for files or arrays.

    from mmbsa.apis import SegmentationInferencer

    inferencer = SegmentationInferencer('bsa_quickstart', 'iter_450.pth')
    labels = inferencer('photo.jpg')['predictions']

Files are read by the test pipeline of the config, so pictures, grey pictures and event recordings
are supported.
"""

import difflib
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config

from mmbsa.apis.inference import SampleReader, build_model, load_model, name_classes, predict
from mmbsa.apis.swap.level import SwapError
from mmbsa.apis.swap.load import installed_configs, resolve
from mmbsa.models.layers import fuse as fuse_model
from mmbsa.visualization import draw_sample, instances_side_by_side, side_by_side, to_picture
from mmbsa.visualization.instances import spread_palette
from mmbsa.visualization.overlay_hook import label_map, to_instances

#: types of the inputs of an inferencer.
Source = str | Path | np.ndarray


def find_config(name: str | Path) -> Path:
    """Return the path of a config.

    Args:
        name: a path; ``package::family/name.py`` for a config of an installed package; or the name
            of a config of mmbsa without folder and suffix, such as ``'bsa_quickstart'``.

    Raises:
        FileNotFoundError: the config does not exist; the message lists similar names.
    """
    if Path(name).is_file():
        return Path(name)
    try:
        if '::' in str(name):
            return resolve(str(name))
        root = installed_configs('mmbsa')
    except SwapError as error:
        raise FileNotFoundError(str(error)) from None
    known = {path.stem: path for path in root.rglob('*.py') if '_base_' not in path.parts}
    if str(name) in known:
        return known[str(name)]
    meant = difflib.get_close_matches(Path(name).stem, known, 3)
    hint = f'; did you mean {", ".join(meant)}?' if meant else ''
    raise FileNotFoundError(f'config {name}: neither a file nor the name of a config{hint}')


class Inferencer:
    """Predicts with the model of a config; the model determines the kind of prediction.

    Args:
        config: a ``Config``, or an argument of :func:`find_config`.
        checkpoint: path of the weights; None (default) keeps the random weights of a new model.
        device: device of the model; None (default) uses the first GPU, or the CPU without a GPU.
        cfg_options: overrides of the config, dotted key -> value; None by default.
        fuse: whether to fold norms into convolutions, which is faster but rounds differently; False
            by default.

    Raises:
        FileNotFoundError: the config or checkpoint does not exist.
        ValueError: the weights do not fit the model, or the config has no test pipeline.
    """

    #: key of the model's data sample that this class reads; None: the first known key.
    gives: str | None = None

    def __init__(
        self,
        config: Config | str | Path,
        checkpoint: str | Path | None = None,
        device: str | torch.device | None = None,
        cfg_options: dict | None = None,
        fuse: bool = False,
    ) -> None:
        cfg = config if isinstance(config, Config) else Config.fromfile(find_config(config))
        if cfg_options is not None:
            cfg.merge_from_dict(cfg_options)
        if checkpoint is not None and not Path(checkpoint).is_file():
            raise FileNotFoundError(f'checkpoint {checkpoint} does not exist')
        #: reads a file by the config's test pipeline.
        self.reader = SampleReader(cfg)
        device = str(device or ('cuda:0' if torch.cuda.is_available() else 'cpu'))
        if checkpoint is None:
            model = name_classes(build_model(cfg), cfg, {}).to(device)
        else:
            model = load_model(cfg, str(checkpoint), device)
        self.model = fuse_model(model) if fuse else model
        #: names of the classes.
        self.classes = tuple(self.model.dataset_meta['classes'])

    def __call__(
        self,
        inputs: Source | list[Source],
        visualize: bool = True,
        opacity: float = 0.6,
        threshold: float = 0.3,
    ) -> dict | list[dict]:
        """Predict one input, or every input of a list.

        Args:
            inputs: path of a picture or recording; a picture (H, W) or (H, W, 3) with the channels
                B, G, R; events as a structured array with x, y, t, p; or a list of these.
            visualize: whether to draw the prediction; True by default.
            opacity: opacity of the colours over a picture, 0 to 1; 0.6 by default.
            threshold: detections with a lower score are not drawn; 0.3 by default.

        Returns:
            ``predictions``, see the class of the inferencer; ``visualization``, RGB uint8 (h, w,
            3), or None. For a list of inputs, a list of these dicts.

        Raises:
            ValueError: an input cannot be read, or the model gives another kind of prediction.
        """
        if isinstance(inputs, list):
            return [self(item, visualize, opacity, threshold) for item in inputs]
        if not 0 <= opacity <= 1:
            raise ValueError(f'opacity must be between 0 and 1, got {opacity}')
        sample, seen = self.reader(inputs)
        result = predict(self.model, sample)
        read, draw = self._kind(result)
        picture = draw(self, result, seen, opacity, threshold) if visualize else None
        return dict(predictions=read(self, result), visualization=picture)

    def _kind(self, result) -> tuple:
        """Return the functions that read and draw the model's kind of prediction."""
        found = next((key for key in KINDS if key in result), None)
        if found is None:
            raise ValueError(
                f'{type(self.model).__name__} gives none of {", ".join(KINDS)}; its predictions '
                f'have {", ".join(result.keys())}'
            )
        if self.gives is not None and self.gives != found:
            raise ValueError(
                f'{type(self).__name__} reads {self.gives}, and {type(self.model).__name__} gives '
                f'{found}: use {KINDS[found][2]}'
            )
        return KINDS[found][:2]

    def _instances(self, result) -> dict:
        found = to_instances(result.pred_instances)
        return dict(bboxes=found.boxes, labels=found.labels, scores=found.scores, masks=found.masks)

    def _draw_instances(self, result, seen, opacity, threshold) -> np.ndarray:
        picture, size = to_picture(seen), tuple(result.ori_shape)
        picture = picture if picture.shape[:2] == size else cv2.resize(picture, size[::-1])
        found = {'prediction': to_instances(result.pred_instances).above(threshold)}
        palette = self.model.dataset_meta.get('palette') or spread_palette(len(self.classes))
        return instances_side_by_side(picture, found, self.classes, palette, opacity)

    def _labels(self, result) -> np.ndarray:
        return label_map(result.pred_sem_seg)

    def _draw_labels(self, result, seen, opacity, threshold) -> np.ndarray:
        labels, picture = self._labels(result), to_picture(seen)
        if picture.shape[:2] != labels.shape:
            picture = cv2.resize(picture, labels.shape[::-1])
        palette = self.model.dataset_meta['palette']
        return side_by_side(picture, {'prediction': labels}, self.classes, palette, opacity)

    def _class(self, result) -> dict:
        label = int(result.pred_label[0])
        scores = result.pred_score.detach().cpu().numpy() if 'pred_score' in result else None
        return dict(
            pred_label=label,
            pred_class=self.classes[label] if label < len(self.classes) else str(label),
            pred_score=None if scores is None else float(scores[label]),
            pred_scores=scores,
        )

    def _draw_class(self, result, seen, opacity, threshold) -> np.ndarray:
        seen = seen if seen.ndim == 4 else np.atleast_3d(seen).transpose(2, 0, 1)
        return draw_sample(seen, result, self.classes)


class SegmentationInferencer(Inferencer):
    """Inferencer for segmentation: ``predictions`` is (H, W) int64, the class of every input pixel.

    The arguments are those of :class:`Inferencer`.
    """

    gives = 'pred_sem_seg'


class ClassificationInferencer(Inferencer):
    """Inferencer for the classification of pictures and recordings.

    ``predictions`` is a dict of ``pred_label`` (int), ``pred_class`` (its name), ``pred_score``
    (float) and ``pred_scores`` (classes,). The arguments are those of :class:`Inferencer`.
    """

    gives = 'pred_label'


class DetectionInferencer(Inferencer):
    """Inferencer for detection and instance segmentation.

    ``predictions`` is a dict of ``bboxes`` (N, 4) as x1, y1, x2, y2 in pixels, ``labels`` (N,),
    ``scores`` (N,) and ``masks`` (N, H, W) of bool, or None. The arguments are those of
    :class:`Inferencer`.
    """

    gives = 'pred_instances'


#: key of a data sample -> function that reads it, function that draws it, inferencer class.
KINDS = {
    'pred_instances': (
        Inferencer._instances,
        Inferencer._draw_instances,
        'DetectionInferencer',
    ),
    'pred_sem_seg': (
        Inferencer._labels,
        Inferencer._draw_labels,
        'SegmentationInferencer',
    ),
    'pred_label': (
        Inferencer._class,
        Inferencer._draw_class,
        'ClassificationInferencer',
    ),
}
