"""Draw q, k, scores and normalised weights of an attention layer for one query position.

    python tools/analysis_tools/draw_attention.py photo.jpg configs/bsa_camvid.py iter_2000.pth \\
        --out attention.png

Left to right: the picture with the query, the spikes of q and k (the channels of one head, -1 blue,
0 white, +1 red), the integer scores of the query with every position, and its attention weights
over the picture. With Shiftmax every weight is a power of two.
"""

import argparse
import io
import sys
from pathlib import Path

import matplotlib
import numpy as np
import torch
from mmengine import DictAction
from torch import Tensor, nn

from mmbsa.apis.inference import SampleReader, load_model, predict
from mmbsa.ops import shiftmax
from mmbsa.utils.files import atomic_open, check_output
from mmbsa.utils.launch import read_config
from mmbsa.visualization import to_picture

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402  (the backend must be set first)

NORMALIZERS = {'shiftmax': shiftmax, 'softmax': lambda x: x.softmax(-1), 'none': lambda x: x}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'image', type=Path, help='a picture or an event recording, read by the config'
    )
    parser.add_argument('config', type=Path)
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('--out', type=Path, required=True, help='picture to write')
    parser.add_argument(
        '--layer', type=int, default=-1, help='index of the attention layer; default: the last'
    )
    parser.add_argument(
        '--head',
        type=int,
        help='index of the head; default: the head with the most concentrated weights',
    )
    parser.add_argument('--step', type=int, default=0, help='index of the time step; default 0')
    parser.add_argument(
        '--query',
        type=float,
        nargs=2,
        default=(0.6, 0.5),
        metavar=('Y', 'X'),
        help='position of the query, as shares of height and width',
    )
    parser.add_argument('--device', default='cpu')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='override the config, key=value'
    )
    args = parser.parse_args(argv)
    for path in (args.image, args.config, args.checkpoint):
        if not path.exists():
            parser.error(f'{path} does not exist')
    try:
        check_output(args.out, args.image, args.config, args.checkpoint)
    except ValueError as error:
        parser.error(str(error))
    if not all(0 <= share < 1 for share in args.query):
        parser.error(
            f'--query must be two shares of height and width, 0 <= share < 1, got {args.query}'
        )
    return args


def attention_layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the layers that compare q with k: they have both neurons and the op's options."""
    return [
        (name, module)
        for name, module in model.named_modules()
        if all(hasattr(module, key) for key in ('q_neuron', 'k_neuron', 'num_heads', 'options'))
    ]


def capture(model: nn.Module, layer: nn.Module, sample: dict) -> tuple[Tensor, Tensor]:
    """Run the model on a sample and return the layer's spikes of q and k, (T, B, C, H, W) each."""
    seen, handles = {}, []
    for key in ('q_neuron', 'k_neuron'):

        def keep(module, inputs, output, key=key):
            seen[key] = output.detach()

        handles.append(getattr(layer, key).register_forward_hook(keep))
    predict(model, sample)
    for handle in handles:
        handle.remove()
    return seen['q_neuron'], seen['k_neuron']


def look(
    q: Tensor, k: Tensor, heads: int, options: dict, place: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return scores and weights of one query, (heads, H, W) each; q, k: (C, H, W)."""
    height, width = q.shape[1:]
    q, k = (x.reshape(heads, -1, height * width) for x in (q, k))  # (heads, d, N)
    query = q[:, :, place[0] * width + place[1]]
    scores = torch.einsum('hd,hdn->hn', query, k) * options['scale']
    weights = NORMALIZERS[options['normalizer']](scores)
    return scores.view(heads, height, width), weights.view(heads, height, width)


def tiles(x: np.ndarray) -> np.ndarray:
    """Arrange the channels of (d, H, W) as a grid with grey lines between them."""
    number, height, width = x.shape
    cols = int(np.ceil(np.sqrt(number)))
    rows = -(-number // cols)
    sheet = np.full((rows * (height + 1) - 1, cols * (width + 1) - 1), np.nan)
    for i, channel in enumerate(x):
        top, left = i // cols * (height + 1), i % cols * (width + 1)
        sheet[top : top + height, left : left + width] = channel
    return sheet


def draw(
    image: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    scores: np.ndarray,
    weights: np.ndarray,
    place: tuple[int, int],
    options: dict,
    title: str,
) -> bytes:
    """Draw all panels; image: RGB (h, w, 3), q, k: (d, H, W), scores, weights: (H, W).

    Returns:
        The picture as PNG.
    """
    height, width = image.shape[:2]
    spot = ((place[1] + 0.5) * width / scores.shape[1], (place[0] + 0.5) * height / scores.shape[0])
    span = [0, width, height, 0]
    fig, axes = plt.subplots(
        1, 5, figsize=(15, 15 / 5 * height / width + 0.9), constrained_layout=True
    )
    signs = plt.get_cmap('bwr').with_extremes(bad='0.6')
    axes[0].imshow(image)
    for axis, name, spikes in zip(axes[1:3], 'qk', (q, k)):
        top = max(1, np.abs(spikes).max())
        axis.imshow(
            tiles(spikes), cmap=signs, vmin=-top, vmax=top, interpolation='nearest', aspect='auto'
        )
        silent = 100 * (spikes == 0).mean()
        axis.set_title(f'{name}: {len(spikes)} channels, {silent:.0f} % zero', fontsize=9)
    top = max(1, np.abs(scores).max())
    shown = axes[3].imshow(
        scores, cmap='PuOr_r', vmin=-top, vmax=top, extent=span, interpolation='nearest'
    )
    fig.colorbar(shown, ax=axes[3], fraction=0.05)
    axes[3].set_title('scores q k of this query', fontsize=9)
    axes[4].imshow(image.mean(-1), cmap='gray', vmin=0, vmax=255)
    if options['normalizer'] == 'none':
        shown = axes[4].imshow(
            weights, cmap='viridis', extent=span, alpha=0.75, interpolation='nearest'
        )
        label = 'weights'
    else:
        low = np.floor(np.log2(weights.max())) - 8  # smaller weights are drawn as the smallest
        shown = axes[4].imshow(
            np.log2(weights).clip(low),
            cmap='viridis',
            extent=span,
            alpha=0.75,
            interpolation='nearest',
        )
        label = f'log2 of the {options["normalizer"]} weights (sum {weights.sum():.3f})'
    fig.colorbar(shown, ax=axes[4], fraction=0.05)
    axes[4].set_title(label, fontsize=9)
    for axis in (axes[0], axes[3], axes[4]):
        axis.plot(
            *spot,
            marker='o',
            markersize=7,
            markerfacecolor='none',
            markeredgecolor='red',
            markeredgewidth=2,
        )
    axes[0].set_title('image; the circle is the query', fontsize=9)
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
    fig.suptitle(title, fontsize=10)
    buffer = io.BytesIO()
    fig.savefig(buffer, format='png', dpi=100)
    plt.close(fig)
    return buffer.getvalue()


def main(argv=None) -> int:
    args = parse_args(argv)
    cfg = read_config(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    try:
        sample, image = SampleReader(cfg)(args.image)
    except Exception as error:  # loaders raise different types
        print(f'{args.image}: not readable: {error}', file=sys.stderr)
        return 1
    model = load_model(cfg, str(args.checkpoint), args.device)
    layers = attention_layers(model)
    if not -len(layers) <= args.layer < len(layers):
        print(
            f'--layer {args.layer}: the model has {len(layers)} attention layers that compare q '
            'with k',
            file=sys.stderr,
        )
        return 1
    name, layer = layers[args.layer]
    q, k = capture(model, layer, sample)
    if not 0 <= args.step < len(q):
        print(f'--step {args.step}: the model has T = {len(q)}', file=sys.stderr)
        return 1
    q, k = q[args.step, 0].float().cpu(), k[args.step, 0].float().cpu()
    place = tuple(int(share * n) for share, n in zip(args.query, q.shape[1:]))
    scores, weights = look(q, k, layer.num_heads, layer.options, place)
    head = args.head if args.head is not None else int(weights.flatten(1).std(1).argmax())
    if not 0 <= head < layer.num_heads:
        print(f'--head {head}: the layer has {layer.num_heads} heads', file=sys.stderr)
        return 1
    q, k = (x.view(layer.num_heads, -1, *x.shape[1:])[head].numpy() for x in (q, k))
    png = draw(
        to_picture(image),
        q,
        k,
        scores[head].numpy(),
        weights[head].numpy(),
        place,
        layer.options,
        f'attention layer {name}, head {head}; spikes of q and k: red 1, white 0, blue -1',
    )
    with atomic_open(args.out) as file:
        file.write(png)
    print(
        f'{args.out}: {name}, head {head}, {q.shape[0]} channels, map {q.shape[1]} x {q.shape[2]}'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
