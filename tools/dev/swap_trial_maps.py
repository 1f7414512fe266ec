"""Trial of a swapped detector or classifier: its features must have the stock model's shapes."""

from collections.abc import Mapping

import torch
from mmengine.config import Config
from mmengine.registry import MODELS as ROOT_MODELS
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from mmbsa.apis.swap.maps import backbone_owner, neck_list
from mmbsa.apis.swap.measure import build_skeleton, default_scope

#: size of the images for features, and of the images of a real training step.
IMAGE, TINY_IMAGE = (384, 384), (96, 128)


def _shapes(value) -> list[tuple[int, ...]]:
    """Return the shapes of all tensors in the output of a network, in order."""
    if isinstance(value, Tensor):
        return [tuple(value.shape)]
    values = (
        value.values()
        if isinstance(value, Mapping)
        else value
        if isinstance(value, (tuple, list))
        else ()
    )
    return [shape for item in values for shape in _shapes(item)]


def feature_shapes(cfg: Config | dict, size: tuple[int, int] = IMAGE) -> list[tuple[int, ...]]:
    """Return the shapes of the features that backbone and necks compute from two images.

    They are computed without memory.

    Raises:
        Exception: any error of building or running them.
    """
    scope, part = cfg['default_scope'], backbone_owner(cfg['model'])
    parts = [build_skeleton(dict(item), scope) for item in (part['backbone'], *neck_list(part))]
    channels = part['backbone'].get('in_channels', 3)
    with default_scope(scope), torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
        x = torch.zeros(2, channels if isinstance(channels, int) else 3, *size)
        for module in parts:
            module.to_empty(device='cpu')
            module.eval()  # a separate statement: eval() of some backbones returns None
            x = module(x)
    return _shapes(x)


def run_features(swapped: Config, stock: Config) -> int:
    """Build a swapped model without memory, and compare its features with those of the stock model.

    Returns:
        Number of parameters of the swapped model.

    Raises:
        Exception: any error of building or running.
        ValueError: features have other shapes than those of the stock model; for classifiers the
            width may differ.
    """
    shapes = feature_shapes(swapped)
    model = build_skeleton(dict(swapped['model']), swapped['default_scope'])
    try:
        expected = feature_shapes(stock)
    except Exception:  # the stock backbone does not run here, but the swapped one does
        expected = shapes
    kept = (
        1 if all(len(shape) == 2 for shape in shapes) else None
    )  # heads follow another width of vectors
    if [s[:kept] for s in shapes] != [s[:kept] for s in expected]:
        raise ValueError(f'features have the shapes {shapes}, those of the stock model {expected}')
    return sum(p.numel() for p in model.parameters())


def random_batch(cfg: Config | dict, size: tuple[int, int] = TINY_IMAGE) -> dict:
    """Return two random images with random boxes and masks, or labels, as from a data loader."""
    if cfg['default_scope'] == 'mmdet':
        from mmdet.testing import demo_mm_inputs

        return demo_mm_inputs(
            2, [[3, *size]] * 2, num_items=[2, 3], num_classes=2, with_mask=True, with_semantic=True
        )
    from mmpretrain.structures import DataSample

    images = [torch.randint(256, (3, *size), dtype=torch.uint8) for _ in range(2)]
    return dict(
        inputs=images, data_samples=[DataSample().set_gt_label(label) for label in range(2)]
    )


def train_step(
    cfg: Config | dict, size: tuple[int, int] = TINY_IMAGE
) -> tuple[nn.Module, dict[str, float]]:
    """Build a config's model with real weights, and run one forward and backward on random data.

    Returns:
        The model with gradients, and the losses by name.

    Raises:
        Exception: any error of the model.
        ValueError: a loss is not finite.
    """
    from mmengine.model import revert_sync_batchnorm

    part = dict(cfg['model'])
    part.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    with default_scope(cfg['default_scope']):
        model = revert_sync_batchnorm(ROOT_MODELS.build(part)).train()
        losses = model(**model.data_preprocessor(random_batch(cfg, size), True), mode='loss')
        total, logged = model.parse_losses(losses)
    total.backward()
    if not torch.isfinite(total):
        raise ValueError(f'the loss is not finite: {logged}')
    return model, {name: float(value.detach()) for name, value in logged.items()}
