"""A replacement for mmcv's compiled ops: mmdet's models can then be imported and run without them.

The maintained fork of mmcv installs in seconds without ``mmcv._ext``, the module of its compiled
ops, and takes about ten minutes to compile with it. ``mmcv.ops`` and ``mmdet.models`` do not import
without it. The replacement has the ops that Mask R-CNN, Cascade R-CNN, Faster R-CNN and RetinaNet
call: RoIAlign (average), NMS and the sigmoid focal loss (on GPUs), computed by torchvision. The
Python side of ``mmcv.ops`` (``RoIAlign``, ``batched_nms``, ...) is mmcv's own. Every other op
raises an error with its name when it is called. Compiled ops are always used if they are installed.
The replacement is enabled in two ways:

* After this module is imported, Python finds the replacement if there is no other ``mmcv._ext``.
  Configs import it as for every OpenMMLab tool:
  ``custom_imports = dict(imports=['mmbsa.utils.mmcv_ops'], allow_failed_imports=False)``.
* mmdet's ``tools/test.py`` imports its models before it reads a config.
  ``python -m mmbsa.utils.mmcv_ops`` writes the file ``mmcv/_ext.py`` once, which imports this
  module; ``--remove`` deletes the file. Python prefers a compiled ``mmcv/_ext`` to it.
"""

import argparse
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from mmbsa.utils.files import atomic_open

NAME = 'mmcv._ext'


class MissingOp(RuntimeError):
    """Raised when an op is called that only the compiled extension of mmcv has."""


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Return the indices of the boxes that greedy suppression keeps, by descending score.

    Args:
        boxes: (N, 4), x1, y1, x2, y2 in pixels.
        scores: (N,).
        iou_threshold: boxes that overlap a better one by more are removed.
        offset: 1 includes the pixels of the right and lower edges in a box; 0 by default.
    """
    from torchvision.ops import nms as suppress

    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return suppress(boxes, scores, iou_threshold)


def _check_average(pool_mode: int) -> None:
    if pool_mode != 1:
        raise _missing('roi_align_forward with pool_mode="max"')


def roi_align_forward(
    x: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write averages over the RoIs (N, 5) of x (B, C, H, W) to ``output`` (N, C, h, w).

    Args:
        x: maps (B, C, H, W).
        rois: image index and corners of every RoI, (N, 5).
        output: result (N, C, h, w), changed in place.
        argmax_y, argmax_x: not used.
        aligned_height, aligned_width: h and w of the output.
        spatial_scale: pixels of the map per pixel of the image.
        sampling_ratio: samples per bin and side; 0 chooses by the size of the RoI.
        pool_mode: 1 (average); 0 (maximum) is not available.
        aligned: whether to shift the coordinates by half a pixel.
    """
    from torchvision.ops import roi_align

    _check_average(pool_mode)
    output.copy_(
        roi_align(x, rois, (aligned_height, aligned_width), spatial_scale, sampling_ratio, aligned)
    )


def roi_align_backward(
    grad: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Compute the gradient of :func:`roi_align_forward` and write it into ``grad_x``.

    Replaces ``mmcv._ext.roi_align_backward`` and has its arguments.

    Args:
        grad: gradient of the output, (N, C, h, w).
        rois: image index and corners of every RoI, (N, 5).
        argmax_y, argmax_x: not used.
        grad_x: gradient of the input, (B, C, H, W), changed in place.
        aligned_height, aligned_width: h and w of the output.
        spatial_scale: pixels of the map per pixel of the image.
        sampling_ratio: samples per bin and side; 0 chooses by the size of the RoI.
        pool_mode: 1 (average); 0 (maximum) is not available.
        aligned: shift the coordinates by half a pixel.
    """
    import torchvision  # noqa: F401 (registers the op)

    _check_average(pool_mode)
    grad_x.copy_(
        torch.ops.torchvision._roi_align_backward(
            grad,
            rois,
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_x.shape,
            sampling_ratio,
            aligned,
        )
    )


def _focal_loss(
    logits: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float
) -> Tensor:
    from torchvision.ops import sigmoid_focal_loss

    classes = logits.size(1)
    hot = torch.nn.functional.one_hot(target, classes + 1)[:, :classes].to(
        logits
    )  # label K is the background
    loss = sigmoid_focal_loss(logits, hot, alpha, gamma)
    return loss * weight[target.clamp(max=classes - 1)][:, None] if weight.numel() else loss


def sigmoid_focal_loss_forward(
    logits: Tensor, target: Tensor, weight: Tensor, output: Tensor, *, gamma: float, alpha: float
) -> None:
    """Write the loss of logits (N, K) and labels (N,) to ``output`` (N, K).

    Label K is the background; ``weight`` is (K,) or empty.

    Args:
        logits: (N, K).
        target: labels (N,) in 0..K.
        weight: weight per class (K,), or empty.
        output: loss (N, K), changed in place.
        gamma: exponent of the modulating factor.
        alpha: weight of the positive class.
    """
    output.copy_(_focal_loss(logits, target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    logits: Tensor, target: Tensor, weight: Tensor, grad: Tensor, *, gamma: float, alpha: float
) -> None:
    """Write the gradient of the sum of :func:`sigmoid_focal_loss_forward` to ``grad`` (N, K).

    Args:
        logits, target, weight, gamma, alpha: as in :func:`sigmoid_focal_loss_forward`.
        grad: gradient (N, K), changed in place.
    """
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        grad.copy_(
            torch.autograd.grad(_focal_loss(leaf, target, weight, gamma, alpha).sum(), leaf)[0]
        )


def _unknown() -> str:
    """Return the text that environment reports print for the compiler of the ops."""
    return 'not compiled'


#: names in ``mmcv._ext`` that have a replacement.
OPS: dict[str, Callable] = dict(
    nms=nms,
    roi_align_forward=roi_align_forward,
    roi_align_backward=roi_align_backward,
    sigmoid_focal_loss_forward=sigmoid_focal_loss_forward,
    sigmoid_focal_loss_backward=sigmoid_focal_loss_backward,
    get_compiler_version=_unknown,
    get_compiling_cuda_version=_unknown,
)


def _missing(name: str) -> MissingOp:
    return MissingOp(
        f"mmcv.ops: {name} needs mmcv's compiled ops, which are not installed here; without them "
        f'there are '
        'RoIAlign, nms and sigmoid_focal_loss only. Compile mmcv: '
        'pip install --no-build-isolation --no-binary :all: onedl-mmcv (about ten minutes)'
    )


class _StandIn(ModuleType):
    """``mmcv._ext`` without compiled code."""

    def __init__(self):
        super().__init__(NAME, 'Replacement of the compiled ops of mmcv, see mmbsa.utils.mmcv_ops.')
        vars(self).update(OPS, __spec__=importlib.machinery.ModuleSpec(NAME, None, origin=__file__))

    def __getattr__(self, name: str) -> Callable:
        if name.startswith('__'):
            raise AttributeError(f'module {NAME!r} has no attribute {name!r}')

        def refuse(*args, **kwargs):
            raise _missing(name)

        return refuse


#: the module ``mmcv._ext`` if there are no compiled ops.
STAND_IN = _StandIn()


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the replacement; last in ``sys.meta_path``, so that compiled ops have priority."""

    def find_spec(self, fullname, path=None, target=None):
        return (
            importlib.machinery.ModuleSpec(fullname, self, origin=__file__)
            if fullname == NAME
            else None
        )

    def create_module(self, spec):
        return STAND_IN

    def exec_module(self, module):
        """Do nothing: the module is complete."""


_FINDER = _Finder()


def has_compiled_ops() -> bool:
    """Return whether mmcv was installed with its compiled ops."""
    spec = importlib.util.find_spec('mmcv') and importlib.util.find_spec(NAME)
    return spec is not None and isinstance(spec.loader, importlib.machinery.ExtensionFileLoader)


def provide_ops() -> None:
    """Provide ``mmcv._ext`` from now on in this process; repeated calls have no effect.

    Modules of mmdet that were imported before contain functions that raise instead of ops; they get
    the ops.
    """
    if _FINDER in sys.meta_path:
        return
    sys.meta_path.append(_FINDER)
    loaded = [module for name, module in sys.modules.items() if name.startswith('mmdet.')]
    if loaded and not has_compiled_ops():
        from mmcv import ops

        for module in loaded:
            for name, value in list(vars(module).items()):
                op = getattr(ops, name.removeprefix('_'), None)
                if op is not None and getattr(value, '__module__', None) == module.__name__:
                    setattr(module, name, op)


POINTER = '''"""Loads the replacement for compiled ops; a compiled module here has priority.

Written by mmbsa.utils.mmcv_ops.
"""
import sys

from mmbsa.utils.mmcv_ops import STAND_IN

sys.modules[__name__] = STAND_IN
'''


def main(argv: list[str] | None = None) -> None:
    """Write or remove ``mmcv/_ext.py``.

    Raises:
        SystemExit: mmcv is not installed, or the folder cannot be written to.
    """
    parser = argparse.ArgumentParser(
        prog='python -m mmbsa.utils.mmcv_ops', description=main.__doc__
    )
    parser.add_argument('--remove', action='store_true', help='delete the file')
    remove = parser.parse_args(argv).remove
    spec = importlib.util.find_spec('mmcv')
    if spec is None:
        raise SystemExit('error: mmcv is not installed')
    path = Path(spec.origin).parent / '_ext.py'
    try:
        if remove:
            path.unlink(missing_ok=True)
        elif not has_compiled_ops():
            with atomic_open(path) as file:
                file.write(POINTER.encode())
    except OSError as error:
        raise SystemExit(f'error: {path} cannot be changed: {error}') from None
    print(
        f'removed {path}'
        if remove
        else 'mmcv has compiled ops, nothing to do'
        if has_compiled_ops()
        else f'wrote {path}'
    )


if __name__ == '__main__':
    main()
else:
    provide_ops()
