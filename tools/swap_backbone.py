"""Put a spiking backbone into a stock config of mmseg, mmdet or mmpretrain, or try all configs.

    python tools/swap_backbone.py mmseg::pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512.py \\
        --backbone espikeformer-m-bsa -o configs/my_pspnet.py
    python tools/swap_backbone.py mmdet::retinanet/retinanet_r50_fpn_1x_coco.py \\
        -o configs/my_retinanet.py
    python tools/swap_backbone.py --survey --backbone espikeformer-t-bsa --forward --jobs 2 \\
        --out survey.md
    python tools/swap_backbone.py --survey --package mmdet --backbone espikeformer-t-bsa \\
        --out survey_mmdet.md
"""

import argparse
import json
import sys
from pathlib import Path

from mmengine.config import Config, DictAction

from mmbsa.apis.swap import SwapError, list_names, load_config, swap_backbone
from mmbsa.apis.swap.maps import SCOPES, backbone_owner
from mmbsa.utils.files import check_output

# workers of the survey inherit the path, so they find these modules too
sys.path.insert(0, str(Path(__file__).resolve().parent / 'dev'))
from swap_survey import as_dicts, survey, table  # noqa: E402
from swap_trial import run_skeleton  # noqa: E402
from swap_trial_maps import run_features  # noqa: E402


def parse_args():
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'config',
        nargs='?',
        help='path, or mmseg::family/name.py of an installed package (mmseg, mmdet, mmpretrain)',
    )
    parser.add_argument(
        '--backbone',
        default='espikeformer-m-bsa',
        help='short name (see --list), or a registered type such as mmbsa.ESpikeFormer',
    )
    parser.add_argument(
        '--backbone-options',
        nargs='+',
        action=DictAction,
        default={},
        help='further arguments of the backbone, e.g. num_steps=4 init_cfg.type=Pretrained',
    )
    parser.add_argument(
        '-o',
        '--out',
        help='file to write: the swapped config, or with --survey the table (.md or .json)',
    )
    parser.add_argument(
        '--readout',
        default='mean',
        choices=('mean', 'sum', 'max', 'last'),
        help='how the readout removes the time axis',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='override keys of the stock config before the swap, as in mmseg',
    )
    parser.add_argument(
        '--list', action='store_true', help='print the short names of all backbones'
    )
    parser.add_argument(
        '--survey', action='store_true', help='try every config of an installed package'
    )
    parser.add_argument(
        '--package',
        default='mmseg',
        choices=('mmseg', 'mmdet', 'mmpretrain'),
        help='with --survey: package of the configs',
    )
    parser.add_argument(
        '--families', nargs='+', default=[], help='with --survey: only these folders'
    )
    parser.add_argument(
        '--forward',
        action='store_true',
        help='with --survey: one real forward and backward for one config of each family',
    )
    parser.add_argument('--jobs', type=int, default=1, help='with --survey: number of processes')
    args = parser.parse_args()
    if not (args.survey or args.list) and not (args.config and args.out):
        parser.error('give CONFIG and -o OUT, or --survey, or --list')
    try:
        if args.out:
            check_output(args.out, *filter(None, [args.config]))
    except ValueError as error:
        parser.error(str(error))
    return args


def backbone_of(args) -> str | dict:
    """Return the backbone of the command line."""
    from mmbsa.apis.swap import backbone_config

    if not args.backbone_options:
        return args.backbone
    cfg = Config(backbone_config(args.backbone))
    cfg.merge_from_dict(args.backbone_options)
    return cfg.to_dict()


def swap(args) -> None:
    """Write one swapped config and print its description."""
    stock = Config(load_config(args.config))
    stock.merge_from_dict(args.cfg_options)
    cfg = swap_backbone(stock, backbone_of(args), args.readout)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    cfg.dump(args.out)
    print(f'{args.out}: backbone = {backbone_owner(cfg.model).backbone.to_dict()}')
    if cfg.get('default_scope') in SCOPES:
        print(f'neck = {backbone_owner(cfg.model).neck}')
        check_features(cfg, stock)
        return
    print(f'neck = {cfg.model.neck.to_dict()}')
    try:
        model, (height, width) = run_skeleton(cfg)
    # the file is valid; a missing package (an op, mmdet) may exist on the training machine
    except Exception as error:
        print(
            f'not checked, since the model does not build or run here: {type(error).__name__}: '
            f'{error}'
        )
        return
    print(
        f'checked: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, shapes fit '
        f'at {height} x {width}'
    )


def check_features(cfg: Config, stock: Config) -> None:
    """Print whether a swapped detector's or classifier's features have the stock model's shapes."""
    try:
        parameters = run_features(cfg, stock)
    except Exception as error:  # as in swap
        print(
            f'not checked, since the model does not build or run here: {type(error).__name__}: '
            f'{error}'
        )
        return
    print(
        f'checked: {parameters / 1e6:.2f} M parameters, features have the shapes of the stock model'
    )


def main() -> int:
    """Run the tool."""
    args = parse_args()
    if args.list:
        print('\n'.join(list_names()))
        return 0
    if not args.survey:
        swap(args)
        return 0
    rows = survey(backbone_of(args), args.families, args.jobs, args.forward, args.package)
    text = table(rows)
    print(text)
    if args.out:
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        Path(args.out).write_text(
            json.dumps(as_dicts(rows), indent=1) if args.out.endswith('.json') else text + '\n'
        )
    return int(any(row.status == 'crashed' for row in rows))


if __name__ == '__main__':
    try:
        sys.exit(main())
    except SwapError as error:
        sys.exit(f'swap not possible: {error}')
