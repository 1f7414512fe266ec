"""Inferencers in the style of OpenMMLab: a config and its weights, then files or arrays in and
predictions out.

    from mmbsa.apis import SegmentationInferencer

    inferencer = SegmentationInferencer('bsa_quickstart', 'iter_450.pth')
    labels = inferencer('photo.jpg')['predictions']

Files are read by the config's own test pipeline, so that pictures, grey pictures and recordings of
event cameras all work.
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

#: what an inferencer reads.
Source = str | Path | np.ndarray


def find_config(name: str | Path) -> Path:
    """Path of a config.

    Args:
        name: A path; ``package::family/name.py`` for a config of an installed package; or the name
            of a config of mmbsa without folder and suffix, such as ``'bsa_quickstart'``.

    Raises:
        FileNotFoundError: There is no such config; names that may have been meant are in the
            message.
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
    """Predicts with the model of a config; the kind of prediction is that of the model.

    Args:
        config: A ``Config``, or what :func:`find_config` takes.
        checkpoint: Path of the weights; None keeps the random weights of a new model.
        device: Default: the first GPU, or the CPU where there is none.
        cfg_options: Overrides of the config, dotted key -> value.
        fuse: Fold norms into convolutions: faster, rounds differently.

    Raises:
        FileNotFoundError: No such config or checkpoint.
        ValueError: Weights that do not fit; a config without a test pipeline.
    """

    #: key of the model's data sample that this class reads; None: whatever the model gives.
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
        #: reads a file as the config's test pipeline does.
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
            inputs: Path of a picture or recording; a picture (H, W) or (H, W, 3) in the order
                B, G, R; events as a structured array with x, y, t, p; or a list of these.
            visualize: Also draw the prediction.
            opacity: Of the colours over a picture, 0 to 1.
            threshold: Detections with a lower score are not drawn.

        Returns:
            ``predictions`` as the class says; ``visualization``, RGB uint8 (h, w, 3), or None. A
            list of these for a list.

        Raises:
            ValueError: An input that cannot be read; a model that gives something else.
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
        """Functions that read and draw the model's kind of prediction."""
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
    """Label maps: ``predictions`` is (H, W) int64, the class of every pixel of the input.

    The arguments are those of :class:`Inferencer`.
    """

    gives = 'pred_sem_seg'


class ClassificationInferencer(Inferencer):
    """Classes of pictures and recordings: ``predictions`` is a dict of ``pred_label`` (int),
    ``pred_class`` (its name), ``pred_score`` (float) and ``pred_scores`` (classes,).

    The arguments are those of :class:`Inferencer`.
    """

    gives = 'pred_label'


class DetectionInferencer(Inferencer):
    """Boxes and masks: ``predictions`` is a dict of ``bboxes`` (N, 4) as x1, y1, x2, y2 in pixels,
    ``labels`` (N,), ``scores`` (N,) and ``masks`` (N, H, W) of bool, or None.

    The arguments are those of :class:`Inferencer`.
    """

    gives = 'pred_instances'


#: key of a data sample -> how it is read, how it is drawn, which inferencer gives it.
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
