"""Draw what ``swap_backbone`` changes in a stock segmentor: maps, their strides and channels.

    python tools/dev/draw_swap.py mmseg::pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512.py \\
        --backbone espikeformer-m-bsa --out docs/images/swap.png
"""

import argparse

import matplotlib

from mmbsa.apis.swap.heads import consumers, input_indices
from mmbsa.apis.swap.load import load_config
from mmbsa.apis.swap.measure import measure_backbone, spiking_levels
from mmbsa.apis.swap.swap import swap_backbone
from mmbsa.utils.types import type_name

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402  (the backend is chosen first)

NEW, HEAD, OLD = '#cfe8cf', '#dde6f5', '#eeeeee'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config of a segmentor without a neck')
    parser.add_argument('--backbone', default='espikeformer-m-bsa', help='name of the new backbone')
    parser.add_argument('--size', type=int, default=512, help='side of the image in pixels')
    parser.add_argument('--out', required=True, help='picture file to write')
    return parser.parse_args()


def box(axis, x: float, y: float, text: str, colour: str, width: float = 1.7) -> None:
    axis.add_patch(plt.Rectangle((x, y), width, 0.8, facecolor=colour, edgecolor='#666666'))
    axis.text(x + width / 2, y + 0.4, text, ha='center', va='center', fontsize=8)


def draw(axis, model: dict, levels: list, title: str, colour: str) -> None:
    """Draw the backbone with its maps, the neck, and the heads with lines to the maps they read.

    Args:
        axis: axis of the figure.
        model: config of the segmentor.
        levels: levels of the backbone, as the heads index them.
        title: text above.
        colour: colour of the backbone and its neck.
    """
    axis.set_title(title, fontsize=10, loc='left')
    box(axis, 0, 0, type_name(model['backbone']), colour, 2.0)
    maps = 2.9 if not model.get('neck') else 5.2
    if model.get('neck'):
        box(axis, 2.6, 0, f'{type_name(model["neck"])}\nmean over time', colour, 2.1)
        axis.annotate('', (2.6, 0.4), (2.0, 0.4), arrowprops=dict(arrowstyle='->'))
    axis.annotate('', (maps, 0.4), (maps - 0.6, 0.4), arrowprops=dict(arrowstyle='->'))
    for index, level in enumerate(levels):
        text = f'stride {level.stride}\n{level.channels} channels'
        box(axis, maps + 1.5 * index, 0, text, '#ffffff', 1.3)
    right = maps + 1.5 * len(levels) + 0.6
    for row, part in enumerate(consumers(model).parts):
        height = 0.75 - 1.1 * row
        box(axis, right, height, f'{type_name(part)}\nin {part["in_channels"]}', HEAD)
        for index in input_indices(part, len(levels)):
            start = (maps + 1.5 * index + 0.65, 0.8 if row == 0 else 0.0)
            axis.annotate(
                '',
                (right, height + 0.4),
                start,
                arrowprops=dict(arrowstyle='->', connectionstyle='angle3,angleA=0,angleB=90'),
            )
    axis.set_xlim(-0.1, 12.6)
    axis.set_ylim(-0.6, 1.7)
    axis.axis('off')


def main() -> None:
    args = parse_args()
    old = load_config(args.config)
    new = swap_backbone(args.config, args.backbone).to_dict()
    sizes = ((args.size, args.size),)
    before = measure_backbone(old['model']['backbone'], 'mmseg', sizes, True).levels
    backbone = dict(new['model']['backbone'])
    indices = backbone.pop('out_indices')
    levels = spiking_levels(backbone)
    fig, axes = plt.subplots(2, 1, figsize=(9.5, 4), layout='constrained')
    draw(axes[0], old['model'], list(before), args.config, OLD)
    title = f'after swap_backbone, --backbone {args.backbone}'
    draw(axes[1], new['model'], [levels[index] for index in indices], title, NEW)
    fig.savefig(args.out, dpi=110)
    print(f'{args.out} written')


if __name__ == '__main__':
    main()
