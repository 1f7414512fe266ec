"""Distillation from a timm model."""

from copy import deepcopy

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbsa.registry import MODELS


@MODELS.register_module()
class TimmTeacher:
    r"""A frozen timm classifier as a teacher, and the distillation loss of a student (Touvron et
    al., ICML 2021).

    .. math:: hard: CE(z, \arg\max z_{teacher}), \quad soft: \tau^2
        KL(softmax(z_{teacher}/\tau)\,||\,softmax(z/\tau))

    It is not a submodule of the student. It stays in evaluation mode, it is not part of optimizers,
    checkpoints or process groups, and a moving average of the student uses the same teacher.

    Args:
        model: name of a timm model with the classes of the student.
        mode: ``'hard'`` (default) or ``'soft'``.
        alpha: weight of the distillation loss, in [0, 1]; the loss of the labels has the weight 1 -
            alpha. Default 0.5.
        temperature: tau in the formula of ``'soft'``; default 1.
        mean: mean per channel of the teacher's normalisation, for pixels in [0, 1]; None (default)
            is that of the timm model.
        std: standard deviation per channel of the teacher's normalisation; None (default) is that
            of the timm model.
        options: arguments of ``timm.create_model``: ``pretrained=True`` downloads weights,
            ``checkpoint_path='file'`` reads them from a file.

    Raises:
        ValueError: ``mode`` is unknown, or ``alpha`` is outside [0, 1].
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
            raise ValueError(f'teacher.alpha must be in [0, 1], got {alpha}')
        self.name, self.mode, self.alpha, self.temperature = model, mode, alpha, temperature
        self.model = timm.create_model(model, **deepcopy(options)).eval().requires_grad_(False)
        known = self.model.pretrained_cfg
        self.mean = torch.tensor(known['mean'] if mean is None else mean).view(-1, 1, 1)
        self.std = torch.tensor(known['std'] if std is None else std).view(-1, 1, 1)

    def __deepcopy__(self, memo: dict) -> 'TimmTeacher':
        return self

    @torch.no_grad()
    def logits(self, images: Tensor, preprocessor: nn.Module) -> Tensor:
        """Return the teacher's logits (B, K).

        Args:
            images: images (B, 3, H, W), normalised by the student's data preprocessor.
            preprocessor: the ``data_preprocessor`` of the student, whose normalisation is undone.
        """
        if self.mean.device != images.device:
            self.model.to(images.device)
            self.mean, self.std = self.mean.to(images.device), self.std.to(images.device)
        if getattr(preprocessor, '_enable_normalize', False):
            images = images * preprocessor.std + preprocessor.mean
        return self.model((images / 255 - self.mean) / self.std)

    def loss(self, logits: Tensor, taught: Tensor) -> Tensor:
        """Return the distillation loss without its weight, a scalar.

        Args:
            logits: logits of the student (B, K).
            taught: logits of the teacher (B, K).

        Raises:
            ValueError: the numbers of classes differ.
        """
        if logits.shape != taught.shape:
            raise ValueError(
                f'teacher {self.name!r} has {taught.shape[1]} classes, the student '
                f'{logits.shape[1]} '
                '(model.head.num_classes); set teacher.num_classes and use weights for it'
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
