"""Export a trained model for other runtimes.

    python tools/deployment/export.py CONFIG CHECKPOINT --out model.onnx --size 224 224

``--format`` sets the format of the file: ``onnx`` (onnxruntime and others), ``torch``
(``torch.export.load``), ``aoti`` (``torch._inductor.aoti_load_package``). Inputs of the exported
model are the outputs of the config's data preprocessor. ``--boxes`` exports boxes, scores, classes
and masks of a detector, for one image of the given size; without it the outputs are the maps of its
heads.
"""

import argparse
import sys
from pathlib import Path
from pickle import UnpicklingError

import torch
from options import positive
from torch import nn

from mmbsa.apis.inference import build_model, in_channels
from mmbsa.deploy import BoxPredictor, export_aoti, export_onnx, export_torch
from mmbsa.deploy.export import AXES, OPSET
from mmbsa.models.layers import fuse
from mmbsa.utils.checkpoint import fit_state, load_checkpoint_file
from mmbsa.utils.files import check_output
from mmbsa.utils.launch import read_config

EXPORTERS = dict(onnx=export_onnx, torch=export_torch, aoti=export_aoti)


def load(config: str, checkpoint: str | None) -> nn.Module:
    """Build a config's model with all weights of a checkpoint, or with random ones.

    Raises:
        ValueError: the checkpoint is from another model, or damaged.
    """
    cfg = read_config(config)
    cfg.model.pop('auxiliary_head', None)
    model = build_model(cfg)
    if checkpoint is None:
        return model
    try:
        saved = load_checkpoint_file(checkpoint, 'cpu')
    except (RuntimeError, UnpicklingError) as error:
        raise ValueError(str(error)) from None
    try:
        state = fit_state(saved, model.state_dict())
        state = {
            key: value for key, value in state.items() if not key.startswith('auxiliary_head.')
        }
        model.load_state_dict(state)
    except (KeyError, RuntimeError) as error:
        reason = ' '.join(str(error.args[0]).split())
        raise ValueError(
            f'checkpoint {checkpoint} is from another model than {config}: {reason[:500]}'
        ) from None
    return model


def one_image(model: nn.Module, tool: str) -> None:
    """Raise ValueError if a model takes more than one image."""
    if hasattr(model, 'crops') and hasattr(model, 'track'):
        raise ValueError(
            f'{tool} runs models that take one image; {type(model).__name__} takes a template and '
            'a search crop'
        )


def examples(
    model: nn.Module, size: tuple[int, int], batch: int = 1, seed: int = 0
) -> tuple[torch.Tensor, ...]:
    """Return inputs of the exported size; a tracker uses the size of its crops."""
    generator = torch.Generator().manual_seed(seed)
    if hasattr(model, 'crops') and hasattr(model, 'track'):
        sides = model.crops.template_size, model.crops.search_size
        return tuple(
            torch.randn(model.num_steps, batch, 3, side, side, generator=generator)
            for side in sides
        )
    return (torch.randn(batch, in_channels(model), *size, generator=generator),)


def boxes_of(model: nn.Module, size: tuple[int, int]) -> BoxPredictor:
    """Return a detector as a function of one image.

    Raises:
        ValueError: the model is no detector.
    """
    if not hasattr(model, 'bbox_head') and not hasattr(model, 'rpn_head'):
        raise ValueError(f'--boxes is for detectors, the model is a {type(model).__name__}')
    return BoxPredictor(model, size, channels=in_channels(model))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('config')
    parser.add_argument('checkpoint', nargs='?', help='weights; default: random')
    parser.add_argument('--out', required=True, help='file to write')
    parser.add_argument('--format', choices=sorted(EXPORTERS), default='onnx')
    parser.add_argument(
        '--size', nargs=2, type=positive, default=(224, 224), metavar=('HEIGHT', 'WIDTH')
    )
    parser.add_argument(
        '--dynamic', nargs='*', choices=sorted(AXES), default=['batch'], help='axes that may vary'
    )
    parser.add_argument(
        '--boxes',
        action='store_true',
        help='detectors: export boxes, scores, classes and masks of one image',
    )
    parser.add_argument(
        '--fold', action='store_true', help='fold batch norms into convolutions first'
    )
    parser.add_argument(
        '--plain',
        action='store_true',
        help='torch: decompose the mmbsa ops, so that PyTorch alone runs the file',
    )
    parser.add_argument(
        '--opset',
        type=int,
        default=OPSET,
        help=f'onnx: version of the operator set, {OPSET} or more',
    )
    return parser.parse_args()


def main() -> None:
    args = parse()
    try:
        check_output(args.out, args.config, *filter(None, [args.checkpoint]))
        model = load(args.config, args.checkpoint)
        model = fuse(model) if args.fold else model
        inputs = examples(model, args.size)
        if args.boxes:
            model, args.dynamic = boxes_of(model, args.size), []
        options = dict(onnx=dict(opset=args.opset), torch=dict(plain=args.plain), aoti={})[
            args.format
        ]
        EXPORTERS[args.format](model, inputs, args.out, dynamic=args.dynamic, **options)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f'error: {error}')
    print(f'{args.out}: {Path(args.out).stat().st_size / 2**20:.2f} MiB, format {args.format}')


if __name__ == '__main__':
    main()
