"""Does a swapped config work? Built and run without memory at its own crop, or for real on a tiny one."""
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


def crop_size(cfg: Config | dict) -> tuple[int, int]:
    """(H, W) of the training crop that a config names; 512 x 512 where it names none."""
    size = (cfg['model'].get('data_preprocessor') or {}).get('size') or cfg.get('crop_size') or 512
    return (size, size) if isinstance(size, int) else tuple(size)


def _metas(size: tuple[int, int], batch: int) -> list[dict]:
    return [dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size, padding_size=[0, 0, 0, 0])
            for _ in range(batch)]


def run_skeleton(cfg: Config | dict) -> nn.Module:
    """Build a config's model without memory and run it at the config's own crop, in train and eval mode.

    Shapes are all that is checked: every head reads its maps, and predictions have the size of the image.

    Returns:
        The model, without values.

    Raises:
        Exception: whatever building or running it raises. ValueError: predictions of another size than the image.
    """
    scope = cfg.get('default_scope') or 'mmseg'
    size = crop_size(cfg)
    skeleton = build_skeleton(dict(cfg['model']), scope)
    # fake tensors rather than meta ones: they name the device that a layer asks for, and ops of ours know them
    with default_scope(scope), torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
        model = skeleton.to_empty(device='cpu')
        image = torch.empty(2, 3, *size)
        maps = model.train().extract_feat(image)
        heads = model.decode_head if isinstance(model.decode_head, nn.ModuleList) else [model.decode_head]
        heads[0](maps)  # later heads of a cascade are run by encode_decode
        if model.with_auxiliary_head:
            aux = model.auxiliary_head
            for head in aux if isinstance(aux, nn.ModuleList) else [aux]:
                head(maps)
        logits = model.eval().encode_decode(image, _metas(size, 2))
    if tuple(logits.shape[-2:]) != size:
        raise ValueError(f'predictions are {tuple(logits.shape[-2:])} for images of {size}')
    return model


def build_model(cfg: Config | dict) -> nn.Module:
    """Build a config's model for real, with synchronised norms turned into plain ones."""
    with default_scope(cfg.get('default_scope') or 'mmseg'):
        return revert_sync_batchnorm(ROOT_MODELS.build(deepcopy(dict(cfg['model']))))


def synthetic_batch(cfg: Config | dict, size: tuple[int, int], batch: int = 2, seed: int = 0) -> tuple[Tensor, list]:
    """Random images (B, 3, H, W) and samples with labels, edges and depth, whatever the config's heads ask for."""
    from mmseg.structures import SegDataSample
    generator = torch.Generator().manual_seed(seed)
    head = head_list(cfg['model'], 'decode_head')[-1]
    classes = head.get('num_classes') or head.get('kernel_generate_head', {}).get('num_classes') or 2
    samples = []
    for meta in _metas(size, batch):
        labels = torch.randint(classes, (1, *size), generator=generator)
        samples.append(SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=labels),
                                     gt_edge_map=PixelData(data=labels % 2),
                                     gt_depth_map=PixelData(data=torch.rand(1, *size, generator=generator) * 9 + 1)))
    return torch.randn(batch, 3, *size, generator=generator), samples


def train_step(model: nn.Module, cfg: Config | dict, size: tuple[int, int]) -> tuple[dict[str, float], list[str]]:
    """One real forward and backward of the training loss on random data.

    Returns:
        The losses by name, and the names of parameters that got no gradient although they want one.

    Raises:
        Exception: whatever the model raises. ValueError: a loss that is not finite.
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
