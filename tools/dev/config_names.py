"""Name of every config, derived from its content.

    python tools/dev/config_names.py                 # exit with 1 if a name and a content differ
    python tools/dev/config_names.py my_config.py    # print the folder and the name of a config

``configs/<family>/<model>[_<setting>]_<batch>-<schedule>_<data>-<size>.py``

* family: Spike2Former and SDTrack, which are separate models, else the family of the backbone;
* model: family and preset, or depth and width if the config contains the arch; then the stock head
  or detector, if there is one;
* setting: the attention if it is not the family's own, T and D if they are not the preset's;
* batch: ``8xb32`` means 8 GPUs with 32 samples each (``auto_scale_lr.base_batch_size``), ``acc2``
  two batches per step; ``b64`` if the recipe states no number of GPUs;
* schedule: epochs (``e``) or iterations (``k`` are thousands, ``i`` single ones);
* size: size of the network's input: side or height x width, steps of a sequence, points of a cloud.

Entry points (the files in ``configs/`` itself, and ``*_quickstart.py``) have fixed names.
"""

import argparse
import re
from pathlib import Path

from mmengine import Config

import mmbsa.models  # noqa: F401  registers every family
from mmbsa.datasets.event_boxes import SENSORS
from mmbsa.datasets.event_sources import SOURCES
from mmbsa.models.classification.presets import preset_name
from mmbsa.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
#: data sets with one size.
PICTURES = dict(CIFAR10=('cifar10', 32), CIFAR100=('cifar100', 32), MNIST=('mnist', 28))
#: data sets whose size is set by the pipeline.
DATA = dict(
    ImageNet='imagenet',
    ADE20KDataset='ade20k',
    CamVidDataset='camvid',
    CityscapesDataset='cityscapes',
    COCOStuffDataset='coco-stuff164k',
    PascalVOCDataset='voc12',
    CocoDataset='coco',
    ScanObjectNN='scanobjectnn',
    CUB='cub',
    StanfordCars='stanford-cars',
    FGVCAircraft='fgvc-aircraft',
    Flowers102='flowers102',
)
EVENTS = dict(CIFAR10DVS='cifar10dvs', DVS128Gesture='dvs128', NCaltech101='ncaltech101')
#: width of the last stage -> published name of the tracker.
TRACKERS = {360: 'tiny', 768: 'base'}
DETECTORS = dict(MaskRCNN='mask-rcnn', CascadeRCNN='cascade-mask-rcnn', RetinaNet='retinanet')


def bare(name: str) -> str:
    """Return a registered type without its scope."""
    return name.rpartition('.')[2]


def size_name(size) -> str:
    """Return ``'224'`` for ``224`` and ``(224, 224)``, ``'512x1024'`` for ``(512, 1024)``."""
    sides = (size, size) if isinstance(size, int) else tuple(size)
    return str(sides[0]) if sides[0] == sides[1] else 'x'.join(map(str, sides))


def is_entry_point(path: Path) -> bool:
    """Return whether a config's name is fixed."""
    return path.parent.name == 'configs' or path.stem.endswith('_quickstart')


def family_name(cfg: Config) -> str:
    """Return the name of a config's model in snake case; it is also the name of its folder."""
    head = bare(cfg.model.get('decode_head', {}).get('type', ''))
    if head == 'Spike2FormerHead' or cfg.model.type == 'SDTrack':
        return head.lower().removesuffix('head') or 'sdtrack'
    return preset_name(bare(cfg.model.backbone.type), '').rstrip('_')


def arch_name(backbone: dict) -> str:
    """Return e.g. ``'8-512'``: a preset without the name of its data, or depth and width."""
    arch = backbone.get('arch')
    if isinstance(arch, str):
        return re.sub(r'(^|-)(cifar10dvs|cifar|gesture|dvsg|dvs128|dvs)(?=-|$)-?', r'\1', arch)
    if arch is None:
        return ''
    depth, width = arch.get('depth', arch.get('depths')), arch['embed_dims']
    depth = depth if isinstance(depth, int) else sum(depth)
    return f'{depth}-{width if isinstance(width, int) else width[-1]}'


def model_names(cfg: Config) -> list[str]:
    """Return family, preset, and the head or detector."""
    family, backbone = family_name(cfg), cfg.model.backbone
    if family == 'sdtrack':
        return [family, TRACKERS[backbone.arch.embed_dims[-1]]]
    arch = arch_name(backbone)
    if family == 'spike2former':
        name = preset_name(bare(backbone.type), '').rstrip('_').replace('_', '-')
        return [family, f'{name}-{arch}']
    head = bare(cfg.model.get('decode_head', {}).get('type', ''))
    parts = [family, arch, head.lower().removeprefix('spike').removesuffix('head')]
    parts.append(DETECTORS.get(cfg.model.type, ''))
    return [part for part in parts if part]


def setting_names(cfg: Config) -> list[str]:
    """Return the differences from the preset: attention, T and D, distillation."""
    backbone, names = cfg.model.backbone, []
    if 'attention' in backbone:
        kind = MODELS.get(f'mmbsa.{bare(backbone.attention.type)}')
        names.append(kind.short_name)
    family = MODELS.get(f'mmbsa.{bare(backbone.type)}')
    if hasattr(family, 'recipe'):
        arch = backbone.get('arch', family.default_arch)
        own = family.recipe(arch).num_steps, family.neuron.get('levels', 1)
        levels = backbone.get('neuron', family.neuron).get('levels', 1)
        steps = backbone.get('num_steps', own[0])
        if family_name(cfg) == 'spike2former':
            levels = own[1]  # every neuron of that model is an integer neuron
    else:
        own, steps, levels = (None, 1), backbone.encoder.num_steps, 1
    time = (f't{steps}' if steps != own[0] else '') + (f'd{levels}' if levels != own[1] else '')
    if cfg.model.get('head', {}).get('distill'):
        names.append('distilled')
    return [*names, *([time] if time else [])]


def batch_name(cfg: Config) -> str:
    """Return ``'8xb32-acc2'``, or ``'b64'`` if the recipe states no number of GPUs."""
    batch = cfg.train_dataloader.batch_size
    steps = cfg.optim_wrapper.get('accumulative_counts', 1)
    base = cfg.get('auto_scale_lr', {}).get('base_batch_size')
    gpus, rest = divmod(base or 0, batch * steps)
    if rest:
        raise ValueError(
            f'auto_scale_lr.base_batch_size={base} is not a multiple of the '
            f'{batch * steps} samples of a step on one GPU'
        )
    return (f'{gpus}x' if base else '') + f'b{batch}' + (f'-acc{steps}' if steps > 1 else '')


def schedule_name(cfg: Config) -> str:
    """Return ``'300e'``, ``'160k'`` or ``'800i'``."""
    epochs, iters = cfg.train_cfg.get('max_epochs'), cfg.train_cfg.get('max_iters')
    if epochs:
        return f'{epochs}e'
    return f'{iters // 1000}k' if iters % 1000 == 0 else f'{iters}i'


def data_name(cfg: Config) -> str:
    """Return ``'imagenet-224'``: data set and size of the network's input."""
    dataset = cfg.train_dataloader.dataset
    kind = bare(dataset.type)
    steps = {bare(step['type']): step for step in dataset.pipeline}
    if kind in PICTURES:
        name, side = PICTURES[kind]
        if 'ToSequence' in steps:
            name = {'cifar10': 'scifar'}.get(name, f's{name}')
            name = f'p{name}' if 'permutation_seed' in steps['ToSequence'] else name
            side = f'{side**2}'
        return f'{name}-{side}'
    if kind == 'EventDataset':
        size = steps['LoadEventFrames'].get('size', SOURCES[dataset.reader].size)
        name = EVENTS.get(dataset.reader, dataset.reader.lower())
        return f'{name}-{size_name(size)}'
    if kind == 'SpikingAudioDataset':
        return f'{dataset.reader.lower()}-{steps["ChannelsToMap"]["side"]}'
    if kind == 'EventBoxes':
        size = steps['Resize']['scale'][::-1] if 'Resize' in steps else None
        return f'{dataset.sensor}-{size_name(size or SENSORS[dataset.sensor]["size"])}'
    if kind == 'TrackingDataset':
        return f'{dataset.layout.lower()}-{size_name(cfg.model.crops.search_size)}'
    if kind == 'ModelNet':
        return f'modelnet{dataset.classes}-{steps["SamplePoints"]["num_points"]}'
    if kind == 'ScanObjectNN':
        return f'scanobjectnn-{steps["SamplePoints"]["num_points"]}'
    if kind == 'CustomDataset':  # class folders; the name of the folder is that of the data
        name = Path(dataset.data_root).name.replace('_', '-')
        return f'{name}-{size_name(steps["RandomResizedCrop"]["scale"])}'
    if 'crop_size' in cfg:
        return f'{DATA[kind]}-{"x".join(map(str, cfg.crop_size))}'
    if 'RandomResizedCrop' in steps:
        return f'{DATA[kind]}-{size_name(steps["RandomResizedCrop"]["scale"])}'
    return f'{DATA[kind]}-{size_name(steps["Resize"]["scale"][::-1])}'


def config_path(cfg: Config) -> Path:
    """Return the path of a config with this content, relative to the repository."""
    recipe = f'{batch_name(cfg)}-{schedule_name(cfg)}'
    parts = [*model_names(cfg), *setting_names(cfg), recipe, data_name(cfg)]
    return Path('configs', family_name(cfg), '_'.join(parts) + '.py')


def mismatches(root: Path = ROOT) -> list[tuple[Path, Path]]:
    """Return (path, path by content) of every config whose name differs from its content."""
    found = []
    for path in sorted((root / 'configs').rglob('*.py')):
        if '_base_' not in path.parts and not is_entry_point(path):
            wanted = config_path(Config.fromfile(path))
            if path.relative_to(root) != wanted:
                found.append((path.relative_to(root), wanted))
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='*', help='print the name of these instead')
    args = parser.parse_args()
    for path in args.configs:
        print(config_path(Config.fromfile(path)))
    found = [] if args.configs else mismatches()
    for path, wanted in found:
        print(f'{path}: the name for its content is {wanted}')
    raise SystemExit(bool(found))


if __name__ == '__main__':
    main()
