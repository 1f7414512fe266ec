"""Exported programs, ahead-of-time compiled packages and ONNX files of whole models, in float32."""

import contextlib
import re
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from mmbsa.deploy.decompose import decompose
from mmbsa.utils.files import atomic_open

#: version of ONNX's default operator set that files are written for; 18 is what the exporter itself
#: is written in.
OPSET = 18
#: names of the axes that may vary, and the axis of an input (B, C, H, W) or (B, T, C, H, W) that
#: each one is.
AXES = dict(batch=0, height=-2, width=-1)


class Predictor(nn.Module):
    """What a model predicts, as one function of tensors: the ``tensor`` or ``encode_decode`` mode
    of OpenMMLab's models.

    * classifier: (B, C, H, W) or (B, T, C, H, W) -> logits (B, K);
    * segmentor: (B, C, H, W) -> logits (B, K, H, W) at the size of the input;
    * detector: (B, C, H, W) -> outputs of its heads for every level, in the order of the head,
      before boxes are decoded; (T, B, ...) if a spiking head averages T afterwards;
    * two-stage detector: (B, C, H, W) -> the maps of its neck, level by level, then the scores
      (B, A, h, w) and box deltas (B, 4 A, h, w) of its proposal head for A anchors per position;
      (T, B, ...) for a spiking head. :class:`mmbsa.deploy.BoxPredictor` predicts boxes and masks;
    * tracker: template (T, B, 3, z, z) and search crop (T, B, 3, s, s) -> boxes (B, 1, 4), and maps
      of score (B, 1, h, w), size (B, 2, h, w) and offset (B, 2, h, w);
    * any other module: its ``forward``.

    Inputs are what the model's data preprocessor gives: normalised float32.

    Args:
        model: the trained model; it is used as it is, in evaluation mode.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model.eval()

    def forward(self, *inputs: Tensor):
        """Predict from tensors; the result is a tensor or a tuple of tensors."""
        model = self.model
        if hasattr(model, 'encode_decode'):
            # heads read the size of the first image's meta only; a list per image would fix the
            # batch
            return model.encode_decode(inputs[0], [dict(img_shape=inputs[0].shape[2:])])
        if hasattr(model, 'track') and hasattr(model, 'features'):
            out = model(dict(template=inputs[0], search=inputs[1]), mode='tensor')
            return tuple(out[key] for key in ('pred_boxes', 'score_map', 'size_map', 'offset_map'))
        if (
            hasattr(model, 'with_head')
            and hasattr(model, 'extract_feat')
            and hasattr(model, 'head')
        ):
            return _logits(model, inputs[0])
        if hasattr(model, 'roi_head'):
            maps = model.extract_feat(inputs[0])
            return _flat((maps, model.rpn_head(maps)))
        if hasattr(model, 'bbox_head'):
            return _flat(model(*inputs, mode='tensor'))
        return _flat(model(*inputs))


def _logits(model: nn.Module, image: Tensor) -> Tensor:
    """Return the class scores of an image classifier of mmpretrain's type."""
    out = model(image, mode='tensor')
    return out if isinstance(out, Tensor) else _flat(out)


def _flat(out):
    """Return nested results as one flat tuple of tensors; a single tensor is not changed."""
    leaves = [leaf for leaf in torch.utils._pytree.tree_leaves(out) if isinstance(leaf, Tensor)]
    return leaves[0] if len(leaves) == 1 else tuple(leaves)


def trace(
    model: nn.Module, example_inputs: Sequence[Tensor], dynamic: Sequence[str] = ('batch',)
) -> ExportedProgram:
    """Trace the prediction of a model as an exported program, see :class:`Predictor`.

    Args:
        model: the model; its training mode is restored.
        example_inputs: tensors with the exported shapes. If the batch varies, examples with one
            image are doubled for the trace, because tracers treat a size of 1 as a constant.
        dynamic: axes that may vary, of ``'batch'``, ``'height'``, ``'width'``; the batch by
            default. Heights and widths vary as far as the architecture allows, for example in
            multiples of its largest stride.

    Raises:
        ValueError: there is no example, ``dynamic`` has an unknown name, or the model cannot be
            exported in this way; the message has the reason.
    """
    name, inputs = type(model).__name__, tuple(example_inputs)
    if not inputs or not all(isinstance(x, Tensor) for x in inputs):
        raise ValueError(
            f'export of {name}: example_inputs must be tensors, got '
            f'{[type(x).__name__ for x in inputs]}'
        )
    unknown = set(dynamic) - set(AXES)
    if unknown:
        raise ValueError(
            f'export of {name}: dynamic={tuple(dynamic)} must hold names among {", ".join(AXES)}'
        )
    tracker = hasattr(model, 'track') and hasattr(model, 'features')
    shapes = []
    for index, x in enumerate(inputs):
        axes = {key: axis % x.dim() for key, axis in AXES.items()}
        if tracker and x.dim() == 5:
            axes['batch'] = 1
        if 'batch' in dynamic and x.size(axes['batch']) == 1:
            x = torch.cat([x, x], axes['batch'])
            inputs = (*inputs[:index], x, *inputs[index + 1 :])
        shapes.append({axes[key]: Dim.DYNAMIC for key in dynamic})
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return torch.export.export(
                Predictor(model), inputs, dynamic_shapes=(tuple(shapes),), strict=False
            )
    except Exception as error:  # what exporters raise is of many kinds
        raise ValueError(
            f'{name} cannot be exported with dynamic={tuple(dynamic)}: {_first_lines(error)}'
        ) from error
    finally:
        for module, mode in modes.items():
            module.training = mode


def _first_lines(error: Exception) -> str:
    text = re.sub(r'\x1b\[[0-9;]*m', '', str(error))  # colours
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f'{type(error).__name__}: ' + ' '.join(lines[:6])


def export_torch(
    model: nn.Module,
    example_inputs: Sequence[Tensor],
    path: str | Path,
    *,
    dynamic: Sequence[str] = ('batch',),
    plain: bool = False,
) -> ExportedProgram:
    """Write a ``.pt2`` file for ``torch.export.load``.

    By default the file contains the mmbsa ops: they need ``import mmbsa`` before loading, and
    choose their implementation on the machine that runs the file. With ``plain`` they are
    decomposed, and the file needs PyTorch only.

    Args:
        model, example_inputs, dynamic: arguments of :func:`trace`.
        path: the file; it is written completely or not at all.
        plain: whether to decompose the mmbsa ops, see :func:`mmbsa.deploy.decompose`; False by
            default.

    Returns:
        The written program.
    """
    program = trace(model, example_inputs, dynamic)
    program = decompose(program) if plain else program
    with atomic_open(path) as file:
        torch.export.save(program, file)
    return program


def export_aoti(
    model: nn.Module,
    example_inputs: Sequence[Tensor],
    path: str | Path,
    *,
    dynamic: Sequence[str] = ('batch',),
    plain: bool = True,
) -> ExportedProgram:
    """Write an AOTInductor package (``.pt2``) for this machine.

    ``torch._inductor.aoti_load_package`` loads it. With ``plain`` the package calls no Python
    function of mmbsa, so a C++ process can run it. Compilation takes minutes.

    Args:
        model, example_inputs, dynamic, path: arguments of :func:`export_torch`.
        plain: whether to decompose the mmbsa ops; True by default.

    Returns:
        The compiled program.

    Raises:
        ValueError: the model cannot be exported, or the compiler fails; the message has the reason.
    """
    program = trace(model, example_inputs, dynamic)
    program = decompose(program) if plain else program
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / 'model.pt2'
        try:
            with torch.no_grad():
                torch._inductor.aoti_compile_and_package(program, package_path=str(draft))
        except Exception as error:
            raise ValueError(
                f'{type(model).__name__} cannot be compiled: {_first_lines(error)}'
            ) from error
        with atomic_open(path) as file:
            file.write(draft.read_bytes())
    return program


def export_onnx(
    model: nn.Module,
    example_inputs: Sequence[Tensor],
    path: str | Path,
    *,
    dynamic: Sequence[str] = ('batch',),
    opset: int = OPSET,
) -> ExportedProgram:
    """Write an ONNX file with standard operators only.

    Inputs are named ``input_0``, ``input_1``, outputs ``output_0``, ...; varying axes are symbols.

    Args:
        model, example_inputs, dynamic, path: arguments of :func:`export_torch`.
        opset: version of the default operator set, at least 18 (default).

    Returns:
        The translated program, without the mmbsa ops.

    Raises:
        ValueError: the model or an operator cannot be exported; the message has the reason.
        ImportError: onnx and onnxscript are missing (the extra ``deploy``).
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'export_onnx needs onnx and onnxscript ({error}): pip install "mmbsa[deploy]"'
        ) from None
    if opset < OPSET:
        raise ValueError(f'export_onnx: opset must be at least {OPSET}, got {opset}')
    program = decompose(trace(model, example_inputs, dynamic))
    outputs = [f'output_{i}' for i in range(len(program.graph_signature.user_outputs))]
    inputs = [f'input_{i}' for i in range(len(example_inputs))]
    with quiet():
        try:
            translated = torch.onnx.export(
                program,
                input_names=inputs,
                output_names=outputs,
                dynamo=True,
                opset_version=opset,
                verbose=False,
            )
        except Exception as error:
            raise ValueError(
                f'{type(model).__name__} cannot be translated to ONNX: {_first_lines(error)}'
            ) from error
    with atomic_open(path) as file:
        file.write(translated.model_proto.SerializeToString())
    return program


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Context that hides the exporter's messages about its own versions."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield
