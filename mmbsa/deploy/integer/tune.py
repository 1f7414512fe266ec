"""Preparation of integer networks: calibration of widths, and fine-tuning with rounded weights."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mmbsa.deploy.integer.fixed import Rules, quantize_weight
from mmbsa.deploy.integer.network import IntegerNetwork, fold_scales
from mmbsa.models.layers import fuse

#: values of ``fraction`` (step 2^-fraction) to try, the finest first.
FRACTIONS = (12, 10, 8, 6, 4, 2)


def calibrate(
    model: nn.Module,
    photos: np.ndarray,
    rules: Rules | None = None,
    fractions: Iterable[int] = FRACTIONS,
    batch: int = 4,
) -> IntegerNetwork:
    """Return the integer network with the finest step that leaves one spare bit in all potentials.

    The potentials of all photos are checked.

    Args:
        model: a trained classifier or segmentor with a data preprocessor.
        photos: uint8 (N, C, H, W), with the channel order of the preprocessor's mean.
        rules: bit widths; ``fraction`` is selected here. None (default) uses the defaults.
        fractions: values of ``fraction`` to try, in this order.
        batch: number of photos per run, 4 by default.

    Raises:
        ValueError: there are no photos, or an operation has no integer form.
        OverflowError: the potentials fit at no step; the error of the last step.
    """
    if not len(photos):
        raise ValueError('calibrate: there are no photos')
    rules, problem = rules or Rules(), None
    for fraction in fractions:
        spare = replace(rules, fraction=fraction, spare=rules.spare + 1)
        try:
            network = IntegerNetwork(model, photos[:1], rules=spare)
            for start in range(0, len(photos), batch):
                network.run(photos[start : start + batch])
        except OverflowError as error:
            problem = error
            continue
        network.rules = replace(spare, spare=rules.spare)
        return network
    raise problem


class StraightThrough(nn.Module):
    """Round weights as in the integer network; gradients pass unchanged.

    Args:
        rules: bit widths of the integer network.
    """

    def __init__(self, rules: Rules):
        super().__init__()
        self.rules = rules

    def forward(self, weight: Tensor) -> Tensor:
        """Round weights (O, ...); the shape is the same."""
        integers, scale = quantize_weight(
            weight.detach().double().numpy(), self.rules.weight_bits, self.rules.multiply
        )
        rounded = integers * scale.reshape(-1, *[1] * (integers.ndim - 1))
        return weight + (torch.from_numpy(rounded).to(weight.dtype) - weight).detach()


def fine_tune(
    model: nn.Module,
    batches: Iterable[dict],
    rules: Rules | None = None,
    lr: float = 1e-4,
) -> tuple[nn.Module, list[float]]:
    """Train a folded copy of a model with rounded weights (straight-through estimator).

    The copy has no norms and no layer scales, and its RepConv chains are merged, as in the integer
    network. Weights and biases are trained; parameters of neurons are not, and potentials are not
    rounded. The first convolution is trained without rounding, because the integer network folds
    the standard deviations of the pixels into its weights.

    Args:
        model: a trained model of OpenMMLab's type.
        batches: inputs of its data preprocessor, one training step for each.
        rules: bit widths of the integer network; None (default) uses the defaults.
        lr: learning rate of AdamW, 1e-4 by default.

    Returns:
        The copy, in evaluation mode, and the loss of every step.
    """
    with torch.no_grad():
        copy = fuse(model, merge=True)
        fold_scales(copy)
    layers = [m for m in copy.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    parameters = [p for layer in layers for p in layer.parameters(False)]
    for parameter in parameters:
        parameter.requires_grad_(True)
    rounding = StraightThrough(rules or Rules())
    for layer in layers[1:]:
        parametrize.register_parametrization(layer, 'weight', rounding)
    optimizer, losses = torch.optim.AdamW(parameters, lr, weight_decay=0.0), []
    for batch in batches:
        data = copy.data_preprocessor(batch, training=True)
        loss, values = copy.parse_losses(copy.loss(data['inputs'], data['data_samples']))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.item())
    for layer in layers[1:]:
        parametrize.remove_parametrizations(layer, 'weight', leave_parametrized=False)
    return copy.eval().requires_grad_(False), losses
