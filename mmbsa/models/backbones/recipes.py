"""Recipes of published classifiers: T and the data that a preset was trained on."""

from dataclasses import dataclass, field

IMAGENET = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
CIFAR10 = dict(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))
CIFAR100 = dict(mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761))
CLASSES = dict(
    in1k=1000,
    cifar10=10,
    cifar100=100,
    cifar10dvs=10,
    dvs128=11,
    hardvs=300,
    ncaltech101=101,
    shd=20,
)


@dataclass(frozen=True)
class Recipe:
    """Settings with which a preset is trained and evaluated.

    Args:
        num_steps: number T of time steps, default 4.
        size: height and width of the input in pixels, default 224.
        crop_pct: share of the shorter image side that the evaluation keeps, default 0.875.
        statistics: name of the data set -> ``mean`` and ``std`` of its normalisation; the first
            entry is the default data set (ImageNet-1k if not given).
    """

    num_steps: int = 4
    size: int = 224
    crop_pct: float = 0.875
    statistics: dict[str, dict] = field(default_factory=lambda: dict(in1k=IMAGENET))

    def data(self, channels: int) -> dict[str, dict]:
        """Return data set -> ``num_classes``, ``input_size`` (C, H, W) in pixels, ``mean``, ``std``
        and ``crop_pct``.

        Args:
            channels: C, channels of the input.
        """
        return {
            name: dict(
                num_classes=CLASSES[name],
                input_size=(channels, self.size, self.size),
                crop_pct=self.crop_pct,
                **(statistics or dict(mean=(0.0,) * channels, std=(1.0,) * channels)),
            )
            for name, statistics in self.statistics.items()
        }


def imagenet(crop_pct: float = 0.875, num_steps: int = 4) -> Recipe:
    """Return the recipe of ImageNet-1k at 224 x 224 pixels.

    Args:
        crop_pct: share of the shorter image side that the evaluation keeps; default 0.875.
        num_steps: T; default 4.
    """
    return Recipe(num_steps, 224, crop_pct)


def cifar(cifar10: dict = CIFAR10, cifar100: dict = CIFAR10, num_steps: int = 4) -> Recipe:
    """Return the recipe of CIFAR-10 and CIFAR-100 at 32 x 32 pixels.

    Args:
        cifar10: ``mean`` and ``std`` for CIFAR-10.
        cifar100: ``mean`` and ``std`` for CIFAR-100; the default is that of CIFAR-10, as in several
            official codes.
        num_steps: T; default 4.
    """
    return Recipe(num_steps, 32, 1.0, dict(cifar10=cifar10, cifar100=cifar100))


def events(num_steps: int, size: int, *names: str) -> Recipe:
    """Return the recipe of event frames, which official codes do not normalise.

    Args:
        num_steps: T.
        size: height and width of the frames in pixels.
        names: names of the data sets.
    """
    return Recipe(num_steps, size, 1.0, {name: {} for name in names})
