"""The ``mmbsa`` namespace of ``torch.library``, and the common code of all ops in it."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

#: The ops of the package are in ``torch.ops.mmbsa`` as long as this object exists.
LIBRARY = torch.library.Library('mmbsa', 'FRAGMENT')


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which sums and exponents of ``dtype`` data are computed: float64 for
    float64, otherwise float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def without_autocast(kernel: Callable) -> Callable:
    """Return the kernel of an op wrapped so that it runs without autocast, which would lower the
    precision of its products.

    torch leaves autocast active inside of a kernel.
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
    """Return tensors with the dimension of ``torch.vmap`` moved to the front; tensors without it
    are expanded.

    Args:
        info: the first argument of a rule of :func:`torch.library.register_vmap`.
        in_dims: the second argument of such a rule: one dimension or None per argument.
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


class Differentiable:
    """Call an autograd function that has ``setup_context``, without its costs in eager mode.

    Such a function works in function transforms (``torch.func``), but torch reads and binds the
    signature of its forward at every call, which takes as long as a small kernel. Outside of
    transforms and compilation this object therefore calls an equal function whose forward gets the
    context.

    Args:
        function: the autograd function; its forward has no default arguments.
    """

    def __init__(self, function: type[torch.autograd.Function]):
        self.function = function

        def forward(ctx, *args):
            output = function.forward(*args)
            function.setup_context(ctx, args, output)
            return output

        self.eager = type(
            function.__name__,
            (torch.autograd.Function,),
            dict(forward=staticmethod(forward), backward=staticmethod(function.backward)),
        )

    def __call__(self, *args):
        """Return the output of the function."""
        general = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
        return (self.function if general else self.eager).apply(*args)


class CustomOp:
    """An op of ``torch.ops.mmbsa``: its kernel, shapes, gradient and rule for ``torch.vmap``.

    Every call is a call of the registered op, so that compilers, exporters, modes, profilers and
    tensor subclasses can intercept it. In eager mode its gradient is a
    :class:`torch.autograd.Function`, because the autograd of torch.library does not support
    function transforms (``torch.func.grad``, ``jacrev``).

    Args:
        schema: schema for ``torch.library.define``, without the namespace.
        kernel: function that computes the op on any device. Its operations are not differentiated,
            and no result may be a view.
        fake: function that returns results with the right shapes, dtypes and strides, without
            values.
        vmap: rule for :func:`torch.library.register_vmap`; it calls this object. Default None.
        backward: function of ``(ctx, *grads)`` that returns a gradient or None per argument; it
            calls another ``CustomOp``. With None (default) the op has no gradient, and a backward
            raises NotImplementedError.
        setup_context: function of ``(ctx, inputs, output)`` that saves the tensors for
            ``backward``. Default None.
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

        self._function = Differentiable(
            type(
                name,
                (torch.autograd.Function,),
                dict(
                    forward=staticmethod(forward),
                    backward=staticmethod(backward),
                    setup_context=staticmethod(setup_context),
                    generate_vmap_rule=True,
                ),
            )
        )

    def __call__(self, *args):
        """Compute the op; the arguments are those of the schema, in its order."""
        # Inside torch.vmap requires_grad of a tensor is hidden, so the autograd function is used
        # whenever a gradient is possible.
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
        if traced or not torch.is_grad_enabled():
            return self.registered(*args)
        return self._function(*args)


def _save_nothing(ctx, inputs, output) -> None:
    """Save nothing: the context of an op without a gradient."""


def _refuse(name: str) -> Callable:
    def backward(ctx, *grads):
        raise NotImplementedError(
            f'mmbsa::{name} has no gradient of its own: double backward is not implemented'
        )

    return backward
