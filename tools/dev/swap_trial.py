"""Trial of a swapped segmentor, without memory at its crop or really on a tiny crop."""

from copy import deepcopy

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.structures import PixelData
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from mmbsa.apis.swap.heads import head_list
from mmbsa.apis.swap.measure import build_skeleton, default_scope

#: crop of runs with real computation.
TINY_CROP = (64, 64)


def crop_size(cfg: Config | dict) -> tuple[int, int]:
    """Return (H, W) of a config's training crop; 512 x 512 without one."""
    size = (cfg['model'].get('data_preprocessor') or {}).get('size') or cfg.get('crop_size') or 512
    return (size, size) if isinstance(size, int) else tuple(size)


def _metas(size: tuple[int, int], batch: int) -> list[dict]:
    return [
        dict(
            img_shape=size,
            ori_shape=size,
            pad_shape=size,
            batch_input_shape=size,
            padding_size=[0, 0, 0, 0],
        )
        for _ in range(batch)
    ]


def build_model(cfg: Config | dict) -> nn.Module:
    """Build a config's model with real weights and plain norms."""
    with default_scope(cfg.get('default_scope') or 'mmseg'):
        return revert_sync_batchnorm(ROOT_MODELS.build(deepcopy(dict(cfg['model']))))


def image_channels(cfg: Config | dict) -> int:
    """Return the channels of a config's pictures: those of its backbone, or 3."""
    channels = cfg['model']['backbone'].get('in_channels')
    return channels if isinstance(channels, int) else 3


def _run(model: nn.Module, size: tuple[int, int], channels: int) -> nn.Module:
    """Run every head of a model on empty images, in train and eval mode."""
    from mmseg.models.decode_heads.decode_head import BaseDecodeHead

    image = torch.zeros(2, channels, *size)
    maps = model.train().extract_feat(image)
    for key in ('decode_head', 'auxiliary_head'):
        heads = getattr(model, key, None)
        heads = list(heads) if isinstance(heads, nn.ModuleList) else [heads]
        # encode_decode alone runs later heads of a cascade, and heads that need labels too
        for head in heads[:1] if key == 'decode_head' else heads:
            if isinstance(head, BaseDecodeHead):
                head(maps)
    logits = model.eval().encode_decode(image, _metas(size, 2))
    if tuple(logits.shape[-2:]) != size:
        raise ValueError(f'predictions are {tuple(logits.shape[-2:])} for images of {size}')
    return model


def run_skeleton(cfg: Config | dict) -> tuple[nn.Module, tuple[int, int]]:
    """Build a config's model without memory and run it at the config's crop.

    Only shapes are checked: every head reads its maps, and predictions have the size of the image.
    Models with mmcv's compiled layers are built with real weights and run on a tiny crop, because
    those kernels need tensors with memory.

    Returns:
        The model, of which only shapes are valid, and the crop.

    Raises:
        Exception: any error of building or running the model.
        ValueError: predictions have another size than the image.
    """
    scope = cfg.get('default_scope') or 'mmseg'
    skeleton = build_skeleton(dict(cfg['model']), scope)
    with default_scope(scope), torch.no_grad():
        if any(type(module).__module__.startswith('mmcv.ops') for module in skeleton.modules()):
            return _run(build_model(cfg), TINY_CROP, image_channels(cfg)), TINY_CROP
        # fake tensors instead of meta ones: they have the device that a layer requests, and the ops
        # of mmbsa support them
        with FakeTensorMode(allow_non_fake_inputs=True):
            model = _run(skeleton.to_empty(device='cpu'), crop_size(cfg), image_channels(cfg))
            return model, crop_size(cfg)


def synthetic_batch(
    cfg: Config | dict, size: tuple[int, int], batch: int = 2, seed: int = 0
) -> tuple[Tensor, list]:
    """Return random images (B, C, H, W) and samples with labels, edges and depth for all heads."""
    from mmseg.structures import SegDataSample

    generator = torch.Generator().manual_seed(seed)
    head = head_list(cfg['model'], 'decode_head')[-1]
    classes = (
        head.get('num_classes') or head.get('kernel_generate_head', {}).get('num_classes') or 2
    )
    samples = []
    for meta in _metas(size, batch):
        labels = torch.randint(classes, (1, *size), generator=generator)
        samples.append(
            SegDataSample(
                metainfo=meta,
                gt_sem_seg=PixelData(data=labels),
                gt_edge_map=PixelData(data=labels % 2),
                gt_depth_map=PixelData(data=torch.rand(1, *size, generator=generator) * 9 + 1),
            )
        )
    return torch.randn(batch, image_channels(cfg), *size, generator=generator), samples


def train_step(
    model: nn.Module, cfg: Config | dict, size: tuple[int, int]
) -> tuple[dict[str, float], list[str]]:
    """Run one real forward and backward of the training loss on random data.

    Returns:
        The losses by name, and the names of parameters that require a gradient and got none.

    Raises:
        Exception: any error of the model.
        ValueError: a loss is not finite.
    """
    images, samples = synthetic_batch(cfg, size)
    with default_scope(cfg.get('default_scope') or 'mmseg'):
        losses = model.train().loss(images, samples)
        total, logged = model.parse_losses(losses)
    model.zero_grad()
    total.backward()
    if not torch.isfinite(total):
        raise ValueError(f'the loss is not finite: {logged}')
    silent = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    return {name: float(value.detach()) for name, value in logged.items()}, silent
