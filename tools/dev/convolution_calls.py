"""Worker of ``check_convolutions.py``: reads cases from stdin and writes errors.

A case contains everything but the numbers, which its seed draws: see ``draw_case`` there. The
answer is a dict from the wrong part (output, input, weight or bias: the last three are gradients)
to its largest error divided by the largest value.
"""

import json
import os
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

DTYPES = {name: getattr(torch, name) for name in ('float32', 'bfloat16', 'float16', 'float64')}
#: errors that rounding explains: relative to the largest value, and to the largest sum of
#: magnitudes; torch's kernels add the taps of a window in bfloat16
ROUNDING = dict(
    float32=(1e-6, 5e-6), bfloat16=(2.0**-5, 1e-5), float16=(2.0**-8, 1e-5), float64=(1e-14, 1e-14)
)
LAYOUTS = dict(last=torch.channels_last, contiguous=torch.contiguous_format)


def operands(case: dict) -> dict[str, Tensor]:
    """Return input, weight and bias of the call, in float64 with values of the case's dtype."""
    numbers = torch.Generator().manual_seed(case['seed'])
    shapes = {'input': (case['batch'], case['channels'], *case['size'])}
    if case['op'] == 'linear':
        shapes = {
            'input': (case['batch'], *case['size'], case['channels']),
            'weight': (case['outputs'], case['channels']),
            'bias': (case['outputs'],),
        }
    elif case['op'] == 'batch_norm':
        shapes |= {'weight': (case['channels'],), 'bias': (case['channels'],)}
    elif 'outputs' in case:
        ends = [case['outputs'], case['channels']]
        ends = ends[::-1] if case['op'] == 'conv_transpose2d' else ends
        shapes['weight'] = ends[0], ends[1] // case['groups'], *case['kernel']
        if case['bias']:
            shapes['bias'] = (case['outputs'],)
    return {
        name: torch.randn(shape, generator=numbers).to(DTYPES[case['dtype']]).double()
        for name, shape in shapes.items()
    }


def arrange(x: Tensor, layout: str) -> Tensor:
    """Return x (contiguous) in one of the layouts.

    They are channels-last, contiguous, or every other pixel of a map of either.
    """
    if layout == 'sliced':
        big = x.new_zeros(*x.shape[:2], *(2 * side for side in x.shape[2:]))
        if x.dim() == 4 and x.size(0) % 2:
            big = big.contiguous(memory_format=torch.channels_last)
        view = big[(..., *(slice(None, None, 2),) * (x.dim() - 2))]
        return view.copy_(x)
    if x.dim() == 3 and layout == 'last':
        return x.transpose(1, 2).contiguous().transpose(1, 2)
    return x.contiguous(memory_format=LAYOUTS[layout]) if x.dim() == 4 else x


def function_of(case: dict, ours: bool) -> Callable[..., Tensor]:
    """Return the call as a function of input, weight and bias."""
    op, options = (
        case['op'],
        {key: case[key] for key in ('stride', 'padding', 'dilation') if key in case},
    )
    if op == 'linear':
        return F.linear
    if op == 'batch_norm':
        return lambda x, weight, bias: F.batch_norm(x, None, None, weight, bias, True)
    if op == 'adaptive_avg_pool2d':
        return lambda x: F.adaptive_avg_pool2d(x, 1)
    if op.endswith('pool2d'):
        extra = dict(dilation=options['dilation']) if op == 'max_pool2d' else {}
        return lambda x: getattr(F, op)(x, case['kernel'], case['stride'], case['padding'], **extra)
    if ours:
        from mmbsa.models.layers import Conv2d

        layer = Conv2d(
            case['channels'],
            case['outputs'],
            case['kernel'],
            groups=case['groups'],
            bias=case['bias'],
            **options,
        )
        return lambda x, *parameters: torch.func.functional_call(
            layer, dict(zip(('weight', 'bias'), parameters)), x
        )
    call = getattr(F, op)
    return lambda x, weight, bias=None: call(x, weight, bias, groups=case['groups'], **options)


def results(
    function: Callable,
    inputs: dict[str, Tensor],
    grad: Callable[[Tensor], Tensor],
    only: str | None,
) -> dict[str, Tensor]:
    """Return output and gradients by name, or only one of them."""
    wanted = [name for name in inputs if only in (None, name)]
    tensors = {name: x.detach().requires_grad_(name in wanted) for name, x in inputs.items()}
    out = function(*tensors.values())
    if only == 'output':
        return {'output': out.detach()}
    grads = (
        torch.autograd.grad(out, [tensors[name] for name in wanted], grad(out)) if wanted else ()
    )
    return {'output': out.detach(), **dict(zip(wanted, grads))}


def sums_of_magnitudes(
    case: dict, inputs: dict[str, Tensor], grad: Callable, reference: dict[str, Tensor]
) -> dict:
    """Return the largest sums of magnitudes, to which rounding errors are proportional."""
    if case['op'] not in ('conv2d', 'conv1d', 'conv_transpose2d', 'linear'):
        return reference
    positive = {name: x.abs() for name, x in inputs.items()}
    return results(function_of(case, False), positive, lambda out: grad(out).abs(), None)


def compare(case: dict, ours: bool) -> dict[str, float]:
    """Return result -> largest relative error, for errors that rounding does not explain."""
    values, only, dtype = operands(case), case.get('only'), DTYPES[case['dtype']]
    if only is not None and only != 'output' and only not in values:
        return {}

    def grad(out: Tensor) -> Tensor:
        """Return the same gradient of the output for all, with values of the case's dtype."""
        layout = case.get('grad_layout', 'contiguous')
        if layout == 'expanded':
            return torch.full((), 0.75, dtype=out.dtype).expand(out.shape)
        numbers = torch.Generator().manual_seed(case['seed'] + 1)
        drawn = torch.randn(out.shape, generator=numbers).to(dtype).to(out.dtype)
        return arrange(drawn, layout) if out.dim() > 2 else drawn

    torch.set_num_threads(1)
    with torch.backends.mkldnn.flags(enabled=False):
        reference = results(function_of(case, False), values, grad, only)
        sums = sums_of_magnitudes(case, values, grad, reference)
    torch.set_num_threads(case['threads'])
    given = {name: x.to(dtype) for name, x in values.items()}
    if case['op'] != 'linear':
        given['input'] = arrange(given['input'], case['layout'])
        if given.get('weight', given['input']).dim() == 4 and case.get('weight_layout') == 'last':
            given['weight'] = given['weight'].contiguous(memory_format=torch.channels_last)
    wrong = {}
    for name, found in results(function_of(case, ours), given, grad, only).items():
        error, most = (
            (found.double() - reference[name]).abs().max().item(),
            reference[name].abs().max().item(),
        )
        of_value, of_sum = ROUNDING[case['dtype']]
        if (
            found.shape != reference[name].shape
            or not error <= of_value * most + of_sum * sums[name].abs().max().item()
        ):
            wrong[name] = round(error / max(most, 1e-30), 6)
    return wrong


def main() -> None:
    """Read cases from stdin and write answers to stdout."""
    ours = sys.argv[1:] == ['--ours']
    with os.fdopen(os.dup(1), 'w') as answers:
        os.dup2(2, 1)  # libraries may print while they are imported
        for line in sys.stdin:
            print(json.dumps(compare(json.loads(line), ours)), file=answers, flush=True)


if __name__ == '__main__':
    main()
