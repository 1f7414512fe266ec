"""The ``mmbsa`` namespace of ``torch.library`` and what every op registered there needs."""

import functools
import inspect
from collections.abc import Callable

import torch
from torch import Tensor

#: The ops of the package are in ``torch.ops.mmbsa`` as long as this object exists.
LIBRARY = torch.library.Library('mmbsa', 'FRAGMENT')


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which sums and exponents of ``dtype`` data are kept.

    float64 for float64, else float32.
    """
    return torch.float64 if dtype == torch.float64 else torch.float32


def without_autocast(kernel: Callable) -> Callable:
    """Run an op's kernel outside autocast, which would take its inner products to a lower
    precision.

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


def batch_first(info, in_dims: tuple, *tensors: Tensor | None) -> list[Tensor | None]:
    """Tensors with the dimension that ``torch.vmap`` maps over in front; those without one are
    expanded.

    Args:
        info, in_dims: what :func:`torch.library.register_vmap` hands to a rule.
        tensors: the first arguments of the op, as the rule gets them.
    """
    return [
        None
        if x is None
        else x.expand(info.batch_size, *x.shape)
        if dim is None
        else x.movedim(dim, 0)
        for x, dim in zip(tensors, in_dims)
    ]


class Op:
    """An op of ``torch.ops.mmbsa``: its kernel, shapes, gradient and rule for ``torch.vmap``.

    Every call reaches the registered op, which compilers, exporters, modes, profilers and
    subclasses of tensors see. In eager mode its gradient is a :class:`torch.autograd.Function`
    around it, because the autograd of torch.library knows no transforms of functions
    (``torch.func.grad``, ``jacrev``).

    Args:
        schema: as ``torch.library.define`` takes it, without the namespace.
        kernel: computes it on any device; what it does is not differentiated, and no result is a
            view.
        fake: says shapes, dtypes and strides of the results.
        vmap: as :func:`torch.library.register_vmap` takes it; it calls this object.
        backward: from ``(ctx, *grads)`` to a gradient or None per argument; it calls an ``Op`` of
            its own. None makes an op without a gradient, which raises NotImplementedError where one
            is asked for, instead of cutting it off.
        setup_context: from ``(ctx, inputs, output)``; saves what ``backward`` needs.
    """

    def __init__(
        self,
        schema: str,
        kernel: Callable,
        fake: Callable,
        vmap: Callable | None = None,
        backward: Callable | None = None,
        setup_context: Callable | None = None,
    ):
        name = schema.partition('(')[0]
        qualified = f'mmbsa::{name}'
        backward, setup_context = backward or _refuse(name), setup_context or _save_nothing
        LIBRARY.define(schema)
        LIBRARY.impl(name, kernel, 'CompositeExplicitAutograd')
        torch.library.register_fake(qualified, fake, lib=LIBRARY)
        torch.library.register_autograd(
            qualified, backward, setup_context=setup_context, lib=LIBRARY
        )
        if vmap is not None:
            torch.library.register_vmap(qualified, vmap, lib=LIBRARY)
        self.registered = getattr(torch.ops.mmbsa, name).default

        def forward(*args):
            return self.registered(*args)

        # torch asks for it at every call
        setattr(forward, '__signature__', inspect.signature(forward))  # noqa: B010
        self._function = type(
            name,
            (torch.autograd.Function,),
            dict(
                forward=staticmethod(forward),
                backward=staticmethod(backward),
                setup_context=staticmethod(setup_context),
                generate_vmap_rule=True,
            ),
        )

    def __call__(self, *args):
        """Compute the op; every argument of the schema, in its order."""
        # Whether a tensor inside torch.vmap wants a gradient is not to be seen: the function
        # decides wherever one may.
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
        if traced or not torch.is_grad_enabled():
            return self.registered(*args)
        return self._function.apply(*args)


def _save_nothing(ctx, inputs, output) -> None:
    """The context of an op without a gradient."""


def _refuse(name: str) -> Callable:
    def backward(ctx, *grads):
        raise NotImplementedError(
            f'mmbsa::{name} has no gradient of its own: double backward is not implemented'
        )

    return backward
