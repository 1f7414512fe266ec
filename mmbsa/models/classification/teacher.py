"""Distillation from a timm model."""

from copy import deepcopy

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbsa.registry import MODELS


@MODELS.register_module()
class TimmTeacher:
    r"""A frozen timm classifier, and what a student loses by disagreeing with it (Touvron et al.,
    ICML 2021).

    .. math:: hard: CE(z, \arg\max z_{teacher}), \quad soft: \tau^2
        KL(softmax(z_{teacher}/\tau)\,||\,softmax(z/\tau))

    It is no module of the student: it stays in evaluation mode, no optimizer, checkpoint or process
    group sees it, and a moving average shares it.

    Args:
        model: name of a timm model with the student's classes.
        mode: ``'hard'`` or ``'soft'``.
        alpha: weight of the distillation, in [0, 1]; the loss on the labels weighs 1 - alpha.
        temperature: tau of ``'soft'``.
        mean, std: what the teacher's images are normalised by, for pixels in [0, 1]; None is what
            timm says of the model.
        options: for ``timm.create_model``: ``pretrained=True`` downloads weights,
            ``checkpoint_path='file'`` reads them.

    Raises:
        ValueError: an unknown mode, or alpha outside [0, 1].
    """

    def __init__(
        self,
        model: str,
        mode: str = 'hard',
        alpha: float = 0.5,
        temperature: float = 1.0,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        **options,
    ):
        if mode not in ('hard', 'soft'):
            raise ValueError(f"teacher.mode must be 'hard' or 'soft', got {mode!r}")
        if not 0 <= alpha <= 1:
            raise ValueError(f'teacher.alpha must lie in [0, 1], got {alpha}')
        self.name, self.mode, self.alpha, self.temperature = model, mode, alpha, temperature
        self.model = timm.create_model(model, **deepcopy(options)).eval().requires_grad_(False)
        known = self.model.pretrained_cfg
        self.mean = torch.tensor(known['mean'] if mean is None else mean).view(-1, 1, 1)
        self.std = torch.tensor(known['std'] if std is None else std).view(-1, 1, 1)

    def __deepcopy__(self, memo: dict) -> 'TimmTeacher':
        return self

    @torch.no_grad()
    def logits(self, images: Tensor, preprocessor: nn.Module) -> Tensor:
        """Images (B, 3, H, W) as the student's ``data_preprocessor`` leaves them -> the teacher's
        logits (B, K)."""
        if self.mean.device != images.device:
            self.model.to(images.device)
            self.mean, self.std = self.mean.to(images.device), self.std.to(images.device)
        if getattr(preprocessor, '_enable_normalize', False):
            images = images * preprocessor.std + preprocessor.mean
        return self.model((images / 255 - self.mean) / self.std)

    def loss(self, logits: Tensor, taught: Tensor) -> Tensor:
        """Logits of the student and of the teacher, (B, K) each -> distillation loss, without its
        weight."""
        if logits.shape != taught.shape:
            raise ValueError(
                f'teacher {self.name!r} has {taught.shape[1]} classes, the student '
                f'{logits.shape[1]} '
                '(model.head.num_classes); give teacher.num_classes with weights for it'
            )
        if self.mode == 'hard':
            return F.cross_entropy(logits, taught.argmax(1))
        temperature = self.temperature
        return temperature**2 * F.kl_div(
            (logits / temperature).log_softmax(1),
            (taught / temperature).log_softmax(1),
            reduction='batchmean',
            log_target=True,
        )
