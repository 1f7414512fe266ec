"""Street scenes drawn from a random generator: an image with exact labels, without files.

The scene is drawn from back to front: sky, distant buildings and trees, ground, then objects sorted
by their distance. Every object is a *sprite* (a small picture with its mask), so that occlusion and
cropping at the border follow from the drawing order. Colours hardly identify a class: surfaces use
wide, overlapping palettes (paint of any colour, autumn, brick, meadow and asphalt) under one random
light. Shape, texture, size and position distinguish the classes.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

CLASSES = ('sky', 'ground', 'building', 'tree', 'car', 'person', 'sign')
PALETTE = (
    [110, 170, 230],
    [128, 64, 128],
    [170, 90, 60],
    [60, 150, 60],
    [0, 0, 160],
    [220, 40, 80],
    [230, 200, 30],
)
SKY, GROUND, BUILDING, TREE, CAR, PERSON, SIGN = range(len(CLASSES))
#: seeds of the splits: the same index in two splits gives two unrelated scenes
SPLIT_SEEDS = {'train': 0, 'val': 1, 'test': 2}

Sprite = tuple[np.ndarray, np.ndarray]  # BGR float32 (h, w, 3), mask uint8 (h, w)

#: hue (0..180 as in OpenCV), saturation and value ranges (0..255) of the surfaces of a class
HUES = {
    'sky': ((95, 120, 40, 150, 150, 250), (95, 120, 20, 120, 170, 250), (0, 20, 40, 120, 190, 245)),
    'ground': (
        (35, 60, 40, 130, 60, 140),
        (0, 180, 0, 25, 50, 130),
        (0, 180, 0, 25, 60, 140),
        (12, 26, 50, 120, 100, 190),
    ),
    'building': ((0, 15, 80, 180, 90, 190), (15, 28, 40, 130, 140, 235), (5, 25, 50, 110, 90, 180)),
    'roof': ((0, 12, 100, 200, 60, 150), (0, 180, 0, 30, 40, 110)),
    'glass': ((95, 120, 20, 120, 50, 200), (0, 180, 0, 25, 20, 90), (18, 28, 60, 150, 180, 250)),
    'tree': ((35, 70, 90, 200, 40, 140), (40, 80, 80, 180, 40, 120), (10, 30, 130, 220, 90, 190)),
    'wood': ((8, 20, 50, 140, 30, 100), (0, 180, 0, 30, 40, 110)),
    'warning': (
        (0, 6, 190, 255, 150, 240),
        (105, 118, 180, 255, 130, 230),
        (20, 28, 180, 255, 180, 250),
    ),
    'paint': ((0, 180, 120, 230, 90, 230), (0, 180, 0, 30, 170, 240)),
    'cloth': ((130, 178, 90, 230, 60, 220), (90, 130, 110, 230, 50, 180), (0, 180, 0, 30, 20, 70)),
}


def pick_colour(rng: np.random.Generator, kind: str) -> np.ndarray:
    """Draw one BGR colour (float32, 0..255) from the palette ``kind`` of ``HUES``."""
    ranges = HUES[kind]
    h0, h1, s0, s1, v0, v1 = ranges[rng.integers(len(ranges))]
    hsv = np.array(
        [[[rng.uniform(h0, h1) % 180, rng.uniform(s0, s1), rng.uniform(v0, v1)]]], np.uint8
    )
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].astype(np.float32)


def grain(
    rng: np.random.Generator, height: int, width: int, cell: float, strength: float
) -> np.ndarray:
    """Return smooth noise, float32 (height, width, 1).

    Args:
        rng: random generator.
        height, width: size in pixels.
        cell: size of a blob in pixels.
        strength: approximate standard deviation.
    """
    rows, cols = (max(2, int(np.ceil(n / cell))) for n in (height, width))
    coarse = rng.standard_normal((rows, cols), dtype=np.float32) * strength
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]


def plain(colour: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a float32 picture (height, width, 3) whose pixels all have the given colour (3,)."""
    return np.tile(colour, (height, width, 1))


def building(rng: np.random.Generator, height: int, width: int) -> Sprite:
    """Draw a building: a wall with bricks or panels, windows, and a flat or pitched roof.

    Args:
        rng: random generator.
        height, width: size of the sprite in pixels.
    """
    img = plain(pick_colour(rng, 'building'), height, width) + grain(rng, height, width, 2, 6)
    mask = np.full((height, width), 1, np.uint8)
    roof = int(height * rng.uniform(0.12, 0.3)) if rng.random() < 0.5 else 0
    if roof:
        gable = np.array(
            [[0, roof], [int(width * rng.uniform(0.3, 0.7)), 0], [width - 1, roof]], np.int32
        )
        mask[:roof] = 0
        cv2.fillPoly(mask, [gable], 1)
        img[:roof] = pick_colour(rng, 'roof') + grain(rng, roof, width, 2, 10)
    cols, pane = (
        max(2, int(width / max(5, height * rng.uniform(0.09, 0.16)))),
        pick_colour(rng, 'glass'),
    )
    step = width / cols
    tall = step * rng.uniform(0.8, 1.6)
    for y in np.arange(roof + 0.35 * tall, height - 0.4 * tall, tall):
        for x in np.arange(cols) * step:
            lit = rng.uniform(0.5, 1.4)
            top, left = int(y), int(x + 0.25 * step)
            img[top : int(y + 0.55 * tall) + 1, left : int(x + 0.75 * step) + 1] = np.clip(
                pane * lit, 0, 255
            )
    return img, mask


def tree(rng: np.random.Generator, height: int, width: int) -> Sprite:
    """Draw a tree: a trunk and a crown of leaves, made of overlapping discs or shaped as a fir.

    Args:
        rng: random generator.
        height, width: size of the sprite in pixels.
    """
    mask = np.zeros((height, width), np.uint8)
    half, crown = width // 2, pick_colour(rng, 'tree')
    if rng.random() < 0.35:  # fir
        for level in range(3):
            top, base = int(height * 0.24 * level), int(height * (0.4 + 0.24 * level))
            reach = int(half * (0.55 + 0.22 * level))
            cv2.fillPoly(
                mask,
                [np.array([[half, top], [half - reach, base], [half + reach, base]], np.int32)],
                1,
            )
    else:
        for _ in range(7):
            centre = (int(width * rng.uniform(0.3, 0.7)), int(height * rng.uniform(0.22, 0.5)))
            cv2.circle(
                mask,
                centre,
                max(2, int(0.3 * min(width, 0.7 * height) * rng.uniform(0.7, 1.1))),
                1,
                -1,
            )
    leaves = grain(rng, height, width, max(1.5, width / 16), 26) + grain(rng, height, width, 1, 14)
    img = plain(crown, height, width) + leaves
    trunk = max(1, int(width * rng.uniform(0.06, 0.12)))
    wood = np.zeros_like(mask)
    wood[height // 2 :, half - trunk : half + trunk] = 1
    bark = (wood > 0) & (mask == 0)
    img[bark] = (pick_colour(rng, 'wood') + grain(rng, height, width, 2, 8))[bark]
    return img, mask | wood


def car(rng: np.random.Generator, height: int, width: int) -> Sprite:
    """Draw a car from the side, with body, cabin, windows, two wheels and a lamp.

    Args:
        rng: random generator.
        height, width: size of the sprite in pixels.
    """
    mask, img = np.zeros((height, width), np.uint8), plain(pick_colour(rng, 'paint'), height, width)
    img *= np.linspace(1.2, 0.75, height, dtype=np.float32)[:, None, None]
    belt, floor = int(height * rng.uniform(0.38, 0.48)), int(height * 0.84)
    wheel = max(2, int(height * 0.2))
    a, b, c, d = (
        int(width * f) for f in (0.14, rng.uniform(0.25, 0.35), rng.uniform(0.62, 0.72), 0.86)
    )
    cabin = np.array([[a, belt], [b, 0], [c, 0], [d, belt]], np.int32)
    cv2.rectangle(mask, (0, belt), (width - 1, floor), 1, -1)
    cv2.fillPoly(mask, [cabin], 1)
    pane = (cabin - cabin.mean(0)) * (0.8, 0.72) + cabin.mean(0)
    glass = np.zeros_like(mask)
    cv2.fillPoly(glass, [pane.astype(np.int32)], 1)
    glass[:, (b + c) // 2 - max(1, width // 40) : (b + c) // 2 + 1] = 0
    img[glass > 0] = np.float32((110, 95, 80)) * rng.uniform(0.3, 1.9)
    for x in (0.22, 0.78):
        centre = (int(width * x), floor)
        cv2.circle(mask, centre, wheel, 1, -1)
        tyre = np.zeros_like(mask)
        cv2.circle(tyre, centre, wheel, 1, -1)
        img[tyre > 0] = 28
        cv2.circle(tyre, centre, wheel, 0, -1)
        cv2.circle(tyre, centre, max(1, wheel // 2), 1, -1)
        img[tyre > 0] = 150
    img[belt + 1 : belt + max(3, height // 7), : max(2, width // 14)] = (120, 230, 250)
    img += grain(rng, height, width, 2, 4)
    return (img[:, ::-1], mask[:, ::-1]) if rng.random() < 0.5 else (img, mask)


def person(rng: np.random.Generator, height: int, width: int) -> Sprite:
    """Draw a walking person: head, torso, two legs and two arms in clothes of any colour.

    Args:
        rng: random generator.
        height, width: size of the sprite in pixels.
    """
    img, mask = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.uint8)
    skin = np.float32((110, 145, 200)) * rng.uniform(0.35, 1.2)
    shirt, trousers = pick_colour(rng, 'cloth'), pick_colour(rng, 'cloth')
    mid, limb = width // 2, max(2, int(width * 0.2))
    stride, swing = width * rng.uniform(0.05, 0.3), width * rng.uniform(0.15, 0.42)
    neck, hip, foot = int(height * 0.24), int(height * 0.58), height - 1

    def limb_line(start, end, colour):
        cv2.line(mask, start, end, 1, limb)
        cv2.line(img, start, end, colour.tolist(), limb)

    for side in (-1, 1):
        limb_line((mid + side * limb // 2, hip), (int(mid + side * stride), foot), trousers)
        limb_line(
            (mid + side * limb, neck + limb // 2),
            (int(mid + side * swing), int(height * 0.52)),
            shirt * 0.85,
        )
    for target, colour in ((mask, 1), (img, shirt.tolist())):
        cv2.rectangle(
            target, (mid - int(0.24 * width), neck), (mid + int(0.24 * width), hip), colour, -1
        )
    for target, colour in ((mask, 1), (img, skin.tolist())):
        cv2.circle(target, (mid, int(height * 0.13)), max(2, int(height * 0.11)), colour, -1)
    return img + grain(rng, height, width, 2, 5), mask


def sign(rng: np.random.Generator, height: int, width: int) -> Sprite:
    """Draw a road sign: a disc, triangle or board with a rim on a pole.

    Args:
        rng: random generator.
        height, width: size of the sprite in pixels.
    """
    img = plain(np.full(3, 120 * rng.uniform(0.4, 1.5), np.float32), height, width)
    mask = np.zeros((height, width), np.uint8)
    mid, radius = width // 2, width // 2 - 1
    pole = max(1, width // 8)
    mask[radius:, mid - pole : mid + pole + 1] = 1
    rim, face = pick_colour(rng, 'warning'), np.full(3, rng.uniform(190, 250), np.float32)
    if rng.random() < 0.5:
        rim, face = face, rim
    kind = rng.integers(3)
    for scale, colour in ((1.0, rim), (0.62, face)):
        reach = max(1, int(radius * scale))
        for target, value in ((mask, 1), (img, colour.tolist())):
            if kind == 0:
                cv2.circle(target, (mid, radius), reach, value, -1)
            elif kind == 1:
                corners = [
                    [mid, radius - reach],
                    [mid - reach, radius + reach],
                    [mid + reach, radius + reach],
                ]
                cv2.fillPoly(target, [np.array(corners, np.int32)], value)
            else:
                cv2.rectangle(
                    target, (mid - reach, radius - reach), (mid + reach, radius + reach), value, -1
                )
    return img + grain(rng, height, width, 2, 4), mask


#: class -> (sprite, height as a share of the image for the nearest object, width as a share of the
#: height)
OBJECTS: dict[int, tuple[Callable[..., Sprite], tuple[float, float], tuple[float, float]]] = {
    BUILDING: (building, (0.6, 1.0), (0.5, 1.3)),
    TREE: (tree, (0.5, 0.85), (0.55, 0.85)),
    CAR: (car, (0.28, 0.38), (1.9, 2.4)),
    PERSON: (person, (0.6, 0.8), (0.4, 0.5)),
    SIGN: (sign, (0.6, 0.8), (0.5, 0.65)),
}


def paste(
    img: np.ndarray,
    labels: np.ndarray,
    sprite: Sprite,
    label: int,
    left: int,
    bottom: int,
    numbers: np.ndarray | None = None,
    number: int = 0,
) -> int:
    """Draw a sprite into an image and its label map, in place. Parts outside the image are cropped.

    Args:
        img: image (H, W, 3), changed in place.
        labels: label map (H, W), changed in place.
        sprite: picture (h, w, 3) and mask (h, w); pixels with mask > 0 are drawn.
        label: class number of the sprite.
        left, bottom: position of the lower left corner of the sprite, in pixels.
        numbers: instance map (H, W), changed in place; None if instances are not needed.
        number: instance number of the sprite in ``numbers``.

    Returns:
        Number of pixels that were drawn.
    """
    picture, mask = sprite
    top = bottom - mask.shape[0]
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(bottom, img.shape[0]), min(left + mask.shape[1], img.shape[1])
    if y0 >= y1 or x0 >= x1:
        return 0
    window = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    on = mask[window] > 0
    img[y0:y1, x0:x1][on] = picture[window][on]
    labels[y0:y1, x0:x1][on] = label
    if numbers is not None:
        numbers[y0:y1, x0:x1][on] = number
    return int(on.sum())


def backdrop(
    rng: np.random.Generator, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Draw sky with clouds and textured ground with a lane.

    Args:
        rng: random generator.
        height, width: size of the scene in pixels.

    Returns:
        Image, labels, and row of the horizon.
    """
    horizon = int(height * rng.uniform(0.35, 0.55))
    img, labels = np.empty((height, width, 3), np.float32), np.empty((height, width), np.uint8)
    ramp = np.linspace(0, 1, horizon, dtype=np.float32)[:, None, None]
    img[:horizon] = (1 - ramp) * pick_colour(rng, 'sky') + ramp * pick_colour(rng, 'sky')
    clouds = np.clip(
        grain(rng, horizon, width, width / 6, 1)
        + grain(rng, horizon, width, width / 14, 0.5)
        - 0.4,
        0,
        1,
    )
    img[:horizon] += clouds * rng.uniform(-60, 90)
    labels[:horizon], labels[horizon:] = SKY, GROUND
    below = height - horizon
    img[horizon:] = pick_colour(rng, 'ground')
    img[horizon:] += grain(rng, below, width, 1.5, rng.uniform(6, 16)) + grain(
        rng, below, width, width / 8, 10
    )
    if rng.random() < 0.7:  # a lane from the border to the horizon
        at, low = width * rng.uniform(0.2, 0.8), width * rng.uniform(0.1, 0.9)
        near, far = width * rng.uniform(0.15, 0.4), width * 0.02
        corners = [[at - far, 0], [at + far, 0], [low + near, below], [low - near, below]]
        lane = np.zeros((below, width), np.uint8)
        cv2.fillPoly(lane, [np.array(corners, np.int32)], 1)
        img[horizon:][lane > 0] = (pick_colour(rng, 'ground') + grain(rng, below, width, 2, 5))[
            lane > 0
        ]
    return img, labels, horizon


def light(rng: np.random.Generator, img: np.ndarray) -> np.ndarray:
    """Apply one light to the scene: colour cast, exposure, side shade, sensor noise; uint8.

    Args:
        rng: random generator.
        img: image (H, W, 3), float, 0..255.
    """
    height, width = img.shape[:2]
    img = img * rng.uniform(0.85, 1.15, 3).astype(np.float32) * np.float32(rng.uniform(0.65, 1.25))
    img *= np.linspace(*rng.uniform(0.75, 1.15, 2), width, dtype=np.float32)[None, :, None]
    img = cv2.GaussianBlur(img, (3, 3), 0.6)
    img += rng.standard_normal((height, width, 1), dtype=np.float32) * np.float32(rng.uniform(1, 6))
    return np.clip(img, 0, 255).astype(np.uint8)


def draw_objects(
    rng: np.random.Generator, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[tuple[int, int]]]:
    """Draw one scene with the numbers of its objects.

    Args:
        rng: random generator; the same state gives the same scene.
        size: (height, width) in pixels, each at least 32.

    Returns:
        BGR image, uint8 (height, width, 3); labels, uint8 (height, width), indices into
        ``CLASSES``; numbers of objects, uint8 (height, width), 0 without an object; and for the
        objects 1, 2, ... their label and the number of their pixels before other objects covered
        them.
    """
    height, width = size
    img, labels, horizon = backdrop(rng, height, width)
    numbers, objects = np.zeros_like(labels), []
    far = [(BUILDING, rng.uniform(0.0, 0.15)) for _ in range(rng.integers(2, 5))]
    far += [(TREE, rng.uniform(0.0, 0.35)) for _ in range(rng.integers(1, 4))]
    near = [
        (
            int(rng.choice((TREE, CAR, CAR, PERSON, PERSON, PERSON, SIGN, SIGN))),
            rng.uniform(0.15, 0.85),
        )
        for _ in range(rng.integers(4, 10))
    ]
    for number, (label, depth) in enumerate(sorted(far + near, key=lambda item: item[1]), 1):
        sprite, (low, high), (slim, wide) = OBJECTS[label]
        nearness = 0.6 + 0.4 * depth  # an object at the horizon is smaller than a near one
        tall = max(8, int(height * rng.uniform(low, high) * nearness))
        broad = max(6, int(tall * rng.uniform(slim, wide)))
        bottom = int(horizon + 2 + (height - horizon) * depth)
        picture = sprite(rng, tall, broad)
        left = int(rng.uniform(-0.4 * broad, width - 0.6 * broad))
        objects.append((label, paste(img, labels, picture, label, left, bottom, numbers, number)))
    return light(rng, img), labels, numbers, objects


def draw_scene(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the image and the labels of :func:`draw_objects`.

    Args:
        rng: random generator.
        size: (height, width) in pixels, each at least 32.
    """
    return draw_objects(rng, size)[:2]


def check_scenes(name: str, length: int, size: Sequence[int], split: str) -> tuple[int, int]:
    """Return the checked size (height, width) of a set of scenes.

    Args:
        name: name of the dataset, for messages.
        length: number of scenes.
        size: (height, width) in pixels.
        split: name of the split.

    Raises:
        ValueError: an argument is invalid; the message names it.
    """
    if split not in SPLIT_SEEDS:
        raise ValueError(f'{name}: split must be one of {sorted(SPLIT_SEEDS)}, got {split!r}')
    if not isinstance(length, int) or length < 1:
        raise ValueError(f'{name}: length must be a positive integer, got {length!r}')
    size = tuple(size)
    if len(size) != 2 or min(size) < 32:
        raise ValueError(
            f'{name}: size must be (height, width) of at least 32 pixels, got {size!r}'
        )
    return size
