"""The ``mmbsa`` namespace of ``torch.library`` and what every op registered there needs."""
import functools
from collections.abc import Callable

import torch
from torch import _C, Tensor, nn

#: Ops of the package live in ``torch.ops.mmbsa``; the object must outlive them.
LIBRARY = torch.library.Library('mmbsa', 'FRAGMENT')


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which sums and exponents of ``dtype`` data are kept: float64 for float64, float32 otherwise."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def without_autocast(kernel: Callable) -> Callable:
    """Run an op's kernel outside autocast, which would take its inner products to a lower precision.

    Dispatch passes autocast before it reaches a kernel, but leaves it switched on inside.
    """
    @functools.wraps(kernel)
    def wrapped(tensor, *args):
        device = tensor.device.type
        if torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return kernel(tensor, *args)
        return kernel(tensor, *args)
    return wrapped


class Op:
    """An op of ``torch.ops.mmbsa``, and the short way to it.

    torch.library's dispatch of a Python kernel, its autograd and its backward cost about 0.1 ms of a forward and backward,
    as much as a layer of small maps. Plain tensors in eager mode that nothing watches take the kernel directly, through a
    ``torch.autograd.Function`` where a gradient is wanted; compilers, tracers, modes, transforms of functions, profilers
    and subclasses of tensors meet the registered op.

    Args:
        schema: as ``torch.library.define`` takes it, without the namespace.
        kernel: computes it on any device; what it does is not differentiated.
        fake: says shapes, dtypes and strides of the results.
        backward: from ``(ctx, *grads)`` to a gradient or None per argument; it calls an ``Op`` of its own. None makes an op
            without a gradient, which raises NotImplementedError where one is asked for, instead of cutting it off.
        setup_context: from ``(ctx, arguments, results)``; saves what ``backward`` needs.
    """

    def __init__(self, schema: str, kernel: Callable, fake: Callable, backward: Callable | None = None,
                 setup_context: Callable | None = None):
        name, kernel = schema.partition('(')[0], _apart(kernel)
        LIBRARY.define(schema)
        LIBRARY.impl(name, kernel, 'CompositeExplicitAutograd')
        torch.library.register_fake(f'mmbsa::{name}', fake, lib=LIBRARY)
        torch.library.register_autograd(f'mmbsa::{name}', backward or _refuse(name), setup_context=setup_context,
                                        lib=LIBRARY)
        self.registered = getattr(torch.ops.mmbsa, name).default
        self._kernel = kernel
        self._function = backward and _function(name, kernel, backward, setup_context)

    def __call__(self, *args):
        """Compute the op; every argument of the schema, in its order."""
        if not _plain(args):
            return self.registered(*args)
        if torch.is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in args):
            return (self._function.apply if self._function else self.registered)(*args)
        return self._kernel(*args)


def _apart(kernel: Callable) -> Callable:
    """The kernel out of autograd's sight: it records nothing, and results that are views inside can be changed in place."""
    views = _C.DispatchKeySet(_C.DispatchKey.ADInplaceOrView)

    def wrapped(*args):
        with _C._AutoDispatchBelowAutograd(), _C._ExcludeDispatchKeyGuard(views):
            return kernel(*args)
    return wrapped


def _plain(args: tuple) -> bool:
    """Whether nothing but eager mode looks at these arguments."""
    return not (torch.compiler.is_compiling() or _C._len_torch_dispatch_stack() or _C._are_functorch_transforms_active()
                or torch.jit.is_tracing() or torch.autograd._profiler_enabled()
                or any(isinstance(x, Tensor) and type(x) not in (Tensor, nn.Parameter) for x in args))


def _function(name: str, kernel: Callable, backward: Callable, setup_context: Callable) -> type[torch.autograd.Function]:
    def forward(ctx, *args):
        results = kernel(*args)
        setup_context(ctx, args, results)
        return results

    return type(name, (torch.autograd.Function,), dict(forward=staticmethod(forward), backward=staticmethod(backward)))


def _refuse(name: str) -> Callable:
    def backward(ctx, *grads):
        raise NotImplementedError(f'mmbsa::{name} has no gradient of its own: double backward is not implemented')
    return backward
