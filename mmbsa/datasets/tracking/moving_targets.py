"""An event-tracking dataset that needs no download: textured targets move in front of moving
clutter.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from mmbsa.datasets.tracking.base import BaseTrackingDataset
from mmbsa.datasets.tracking.event_camera import EventCamera
from mmbsa.events import draw_trajectory
from mmbsa.registry import DATASETS
from mmbsa.structures import FrameSequence

#: seeds of the splits: the same index in two splits is two unrelated scenes.
SPLIT_SEEDS = {'train': 0, 'val': 1, 'test': 2}
#: microseconds per frame, and pictures that the camera sees per sub-frame.
FRAME_TIME, PICTURES = 20_000, 4
#: side of an object's texture in pixels.
TEXTURE = 48
#: mean brightness of a texture, whose range is 0.05..1.
MIDDLE_GREY = 0.525


def _texture(rng: np.random.Generator, grain: float) -> np.ndarray:
    """Smooth noise (TEXTURE, TEXTURE) in 0.05..1."""
    noise = cv2.GaussianBlur(rng.normal(size=(TEXTURE, TEXTURE)), (0, 0), grain)
    low, high = np.percentile(noise, (5, 95))
    return np.clip((noise - low) / (high - low), 0, 1) * 0.95 + 0.05


class MovingObject:
    """A textured star-shaped polygon on a smooth path that stays inside a picture.

    Args:
        rng: generator of shape, texture and path.
        size: (height, width) of the picture in pixels.
        side: mean side of the object in pixels.
        speed: approximate number of periods of the path per frame.
        contrast: contrast of the texture from 0 (uniform grey) to 1 (default).
    """

    def __init__(
        self,
        rng: np.random.Generator,
        size: tuple[int, int],
        side: float,
        speed: float,
        contrast: float = 1.0,
    ):
        corners = int(rng.integers(4, 11))
        angle = np.sort(
            rng.uniform(0, 2 * np.pi / corners, corners) + np.arange(corners) * 2 * np.pi / corners
        )
        radius = rng.uniform(0.6, 1.0, corners)
        self.outline = np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None]  # within -1..1
        texture = _texture(rng, rng.uniform(1.5, 4))
        self.texture = MIDDLE_GREY + contrast * (texture - MIDDLE_GREY)
        self.mask = np.zeros((TEXTURE, TEXTURE), np.uint8)
        cv2.fillPoly(
            self.mask,
            [np.round((self.outline + 1) * (TEXTURE - 1) / 2 * 16).astype(np.int32)],
            255,
            cv2.LINE_AA,
            4,
        )
        self.half = side / 2 * np.sqrt(np.array([1 / (ratio := rng.uniform(0.7, 1.4)), ratio]))
        room = np.maximum(np.array(size[::-1]) / 2 - 1.3 * self.half.max(), 1)
        self.middle = np.array(size[::-1]) / 2 + rng.uniform(-0.15, 0.15, 2) * room
        self.reach = room * rng.uniform(0.55, 0.85, 2)
        self.rate = 2 * np.pi * speed * rng.uniform(0.7, 1.3, (2, 2)) * [[1], [2.3]]
        self.phase = rng.uniform(0, 2 * np.pi, (2, 2))
        self.turn, self.grow = rng.uniform(-0.5, 0.5), rng.uniform(0, 0.2)

    def pose(self, t: float) -> np.ndarray:
        """Affine map (2, 3) from the outline's coordinates to pixels at time ``t`` in frames."""
        wave = np.sin(self.rate * t + self.phase)
        centre = self.middle + self.reach * (0.75 * wave[0] + 0.25 * wave[1])
        angle = self.turn * np.sin(self.rate[0, 0] * t)
        half = self.half * (1 + self.grow * np.sin(self.rate[0, 1] * t + self.phase[0, 0]))
        cos, sin = np.cos(angle), np.sin(angle)
        return np.array(
            [[cos * half[0], -sin * half[1], centre[0]], [sin * half[0], cos * half[1], centre[1]]]
        )

    def box(self, t: float) -> np.ndarray:
        """x, y, w, h around the outline."""
        pose = self.pose(t)
        points = self.outline @ pose[:, :2].T + pose[:, 2]
        low = points.min(0)
        return np.concatenate([low, points.max(0) - low])

    def draw(self, picture: np.ndarray, t: float) -> None:
        """Draw the object into a picture (H, W), in place."""
        pose = self.pose(t)
        scale = 2 / (TEXTURE - 1)
        to_pixels = np.concatenate(
            [pose[:, :2] * scale, (pose[:, 2] - pose[:, :2].sum(1))[:, None]], 1
        )
        size = picture.shape[::-1]
        cover = cv2.warpAffine(self.mask, to_pixels, size).astype(np.float64) / 255
        texture = cv2.warpAffine(self.texture, to_pixels, size, borderMode=cv2.BORDER_REPLICATE)
        picture += cover * (texture - picture)


@dataclass(frozen=True)
class Scene:
    """Scene ``index`` of a split: the same on every machine.

    Attributes:
        seed: seed of the split.
        index: index of the scene in the split.
        size: (height, width) of the picture in pixels.
        length: number of frames.
        steps: number of sub-frames T per frame.
        clutter: number of objects behind the target.
        clutter_contrast: contrast of their textures; 1 is the contrast of the target.
        threshold_noise: see :class:`EventCamera`.
        noise_rate: see :class:`EventCamera`.
    """

    seed: int
    index: int
    size: tuple[int, int]
    length: int
    steps: int
    clutter: int
    clutter_contrast: float
    threshold_noise: float
    noise_rate: float

    def objects(self, rng: np.random.Generator) -> list[MovingObject]:
        """Clutter, then the target, which is drawn over it."""
        short = min(self.size)
        clutter = [
            MovingObject(
                rng,
                self.size,
                short * rng.uniform(0.12, 0.3),
                rng.uniform(0.004, 0.012),
                self.clutter_contrast,
            )
            for _ in range(self.clutter)
        ]
        return [
            *clutter,
            MovingObject(rng, self.size, short * rng.uniform(0.22, 0.34), rng.uniform(0.008, 0.02)),
        ]

    def boxes(self) -> np.ndarray:
        """Boxes of the target (N, 4) in the middle of every frame's time."""
        target = self.objects(np.random.default_rng((self.seed, self.index)))[-1]
        return np.stack([target.box(frame + 0.5) for frame in range(self.length)])

    def events(self) -> Iterator[np.ndarray]:
        """Events of every sub-frame, ``length * steps`` arrays."""
        rng = np.random.default_rng((self.seed, self.index))
        objects = self.objects(rng)
        ground = cv2.resize(_texture(rng, 6.0), self.size[::-1])
        per_frame = PICTURES * self.steps

        def picture(number: int) -> np.ndarray:
            canvas = ground.copy()
            for thing in objects:
                thing.draw(canvas, number / per_frame)
            return np.clip(canvas, 0, 1)

        camera = EventCamera(
            picture(0), rng, threshold_noise=self.threshold_noise, noise_rate=self.noise_rate
        )
        for part in range(self.length * self.steps):
            numbers = range(part * PICTURES, (part + 1) * PICTURES)
            yield np.concatenate(
                [
                    camera.see(
                        picture(number + 1),
                        number * FRAME_TIME // per_frame,
                        (number + 1) * FRAME_TIME // per_frame,
                    )
                    for number in numbers
                ]
            )


@lru_cache(maxsize=256)
def _render(scene: Scene) -> np.ndarray:
    """Event pictures (N, T, H, W, 3) uint8: trajectory, darker, brighter."""
    pictures = np.stack(list(draw_trajectory(scene.events(), scene.size)))
    pictures = pictures.transpose(0, 2, 3, 1)[
        ..., ::-1
    ]  # as loaders of the benchmarks' files see them
    return np.ascontiguousarray(pictures).reshape(scene.length, scene.steps, *scene.size, 3)


def read_frame(scene: Scene, row: int) -> np.ndarray:
    """Frame (T, H, W, 3) uint8 of a scene, which is drawn once per process and kept."""
    return _render(scene)[row]


@DATASETS.register_module()
class MovingTargets(BaseTrackingDataset):
    """Generated event frames of one target that moves in front of moving clutter.

    Every object, the target too, is a random polygon with a random texture on a random smooth path.
    Only the template defines which object is the target. The target is drawn in front, is larger
    than most other objects, and its texture has more contrast. Scene i of a split is the same on
    every machine. Frames are Global Trajectory Prompts.

    Args:
        length: number of scenes; default 32.
        frames: number of frames per scene; default 60.
        size: (height, width) of the picture in pixels, at least 48 each; default (96, 128).
        split: ``'train'`` (default), ``'val'`` or ``'test'``; splits never share a scene.
        num_steps: number of sub-frames T per frame; default 1.
        clutter: number of objects behind the target; default 3.
        clutter_contrast: contrast of their textures, from 0 to 1 (as the target); default 0.4.
        threshold_noise: standard deviation of the pixels' thresholds as a fraction of their mean;
            default 0.15.
        noise_rate: random events per pixel and second; default 0.5.
        kwargs: see :class:`BaseTrackingDataset`.

    Raises:
        ValueError: an argument outside of these.
    """

    METAINFO = dict(classes=('target',))

    def __init__(
        self,
        length: int = 32,
        frames: int = 60,
        size: Sequence[int] = (96, 128),
        split: str = 'train',
        num_steps: int = 1,
        clutter: int = 3,
        clutter_contrast: float = 0.4,
        threshold_noise: float = 0.15,
        noise_rate: float = 0.5,
        **kwargs,
    ):
        if split not in SPLIT_SEEDS:
            raise ValueError(
                f'mmbsa.MovingTargets: split must be one of {sorted(SPLIT_SEEDS)}, got {split!r}'
            )
        if min(length, frames, num_steps) < 1 or clutter < 0:
            raise ValueError(
                f'mmbsa.MovingTargets: length={length}, frames={frames} and num_steps={num_steps} '
                f'must be positive, clutter={clutter} not negative'
            )
        if not 0 <= clutter_contrast <= 1:
            raise ValueError(
                f'mmbsa.MovingTargets: clutter_contrast must be in 0..1, got {clutter_contrast!r}'
            )
        size = tuple(size)
        if len(size) != 2 or min(size) < 48:
            raise ValueError(
                f'mmbsa.MovingTargets: size must be (height, width) of at least 48, got {size!r}'
            )
        self.length, self.split = length, split
        self.shape = dict(
            size=size,
            length=frames,
            steps=num_steps,
            clutter=clutter,
            clutter_contrast=clutter_contrast,
            threshold_noise=threshold_noise,
            noise_rate=noise_rate,
        )
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """Describe every scene; its boxes are known before it is drawn."""
        scenes = [
            Scene(SPLIT_SEEDS[self.split], index, **self.shape) for index in range(self.length)
        ]
        return [
            dict(
                sequence=f'{self.split}{scene.index:04d}',
                gt_boxes=scene.boxes(),
                frames=FrameSequence(read_frame, scene, scene.length),
                absent=np.zeros(scene.length, bool),
                attributes=(),
            )
            for scene in scenes
        ]
