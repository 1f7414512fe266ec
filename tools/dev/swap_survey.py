"""Trial of the swap on every config of an installed OpenMMLab package."""

import logging
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.utils import track_iter_progress
from swap_trial import build_model, crop_size, run_skeleton, train_step
from swap_trial_maps import feature_shapes, run_features
from swap_trial_maps import train_step as maps_train_step

from mmbsa.apis.swap.level import SwapError
from mmbsa.apis.swap.load import installed_configs, load_config
from mmbsa.apis.swap.maps import SCOPES
from mmbsa.apis.swap.measure import build_skeleton
from mmbsa.apis.swap.swap import swap_backbone
from mmbsa.utils.mmcv_ops import MissingOp
from mmbsa.utils.processes import end_with_parent

#: crops that are tried in this order for the real step: small ones are enough unless a head pools
#: fixed windows.
CROPS = ((64, 64), (128, 128), (416, 416))


@dataclass
class Outcome:
    """Result of one config.

    Attributes:
        family: folder of the config.
        config: path of the config below the zoo.
        status: 'swapped', 'refused' or 'crashed'.
        built: 'yes', or 'no: ...' if the stock config does not build in this environment either; ''
            if not swapped.
        reason: reason of a refusal or a crash.
        params: millions of parameters of the swapped model.
        step: losses of one real training step, the reason why there was none, or ''.
    """

    family: str
    config: str
    status: str
    built: str = ''
    reason: str = ''
    params: float = 0.0
    step: str = ''


def zoo(families: Sequence[str] = (), package: str = 'mmseg') -> list[Path]:
    """Return the paths of all complete configs of an installed package, or of some families."""
    root = installed_configs(package)
    paths = sorted(p for p in root.rglob('*.py') if '_base_' not in p.parts)
    return [p for p in paths if not families or p.relative_to(root).parts[0] in families]


def _short(error: Exception) -> str:
    return f'{type(error).__name__}: {" ".join(str(error).split())}'[:300]


def unbuildable(path: Path) -> str:
    """Return why the stock config itself does not build here; '' if it does."""
    original = Config(load_config(path))
    original.model.pop('pretrained', None)
    scope = original.get('default_scope') or 'mmseg'
    try:
        build_skeleton(original.model, scope)
        if scope != 'mmseg':
            feature_shapes(original)
    except Exception as error:  # a missing package or op may raise any error
        missing = [
            p
            for p in ('mmdet', 'mmpretrain')
            if f"'{p}." in repr(original) and find_spec(p) is None
        ]
        return f'{", ".join(missing)} not installed: {_short(error)}' if missing else _short(error)
    return ''


def _step(cfg: dict, package: str) -> str:
    """Run one real training step, with the smallest crop that the heads can pool."""
    if package != 'mmseg':
        model, losses = maps_train_step(cfg)
        silent = sum(p.requires_grad and p.grad is None for p in model.parameters())
        return f'loss {losses["loss"]:.2f}' + (
            f'; {silent} parameters without gradient' if silent else ''
        )
    model, errors = build_model(cfg), []
    for size in CROPS:
        try:
            losses, silent = train_step(model, cfg, size)
        except RuntimeError as error:  # a window larger than the map
            errors.append(error)
            continue
        note = f'; no gradient: {", ".join(silent)}' if silent else ''
        return f'loss {losses["loss"]:.2f} at {size[0]} x {size[1]}{note}'
    raise errors[-1]


def _params(cfg: Config, path: Path, ran: dict[str, float]) -> float:
    """Return the parameters of a model that builds and runs.

    Without their backbones, configs of one family that differ in depth or schedule often are the
    same model.
    """
    if cfg.get('default_scope') in SCOPES:
        key = repr(cfg['model'])
        if key not in ran:
            ran[key] = run_features(cfg, Config(load_config(path)))
        return ran[key]
    key = repr((cfg['model'], crop_size(cfg)))
    if key not in ran:
        model, _ = run_skeleton(cfg)
        ran[key] = sum(p.numel() for p in model.parameters())
    return ran[key]


def survey_config(
    path: Path,
    backbone: str | dict,
    step: bool = False,
    ran: dict[str, float] | None = None,
    package: str = 'mmseg',
) -> Outcome:
    """Swap, build and run one config; errors of the config are part of the result.

    Args:
        path: path of a config in the zoo.
        backbone: the new backbone.
        step: whether to run one real training step too; False by default.
        ran: models that ran before, by their text; extended. None by default.
        package: package of the zoo; ``'mmseg'`` by default.
    """
    root = installed_configs(package)
    relative = path.relative_to(root)
    row = Outcome(relative.parts[0], str(relative), 'swapped')
    try:
        cfg = swap_backbone(path, backbone)
    except SwapError as error:
        row.status, row.reason = 'refused', str(error)
        return row
    except Exception as error:  # the survey counts these errors
        row.status, row.reason = (
            'crashed',
            _short(error) + ' @ ' + traceback.format_exc(limit=-1).splitlines()[1].strip(),
        )
        return row
    try:
        row.params, row.built = _params(cfg, path, {} if ran is None else ran) / 1e6, 'yes'
        row.step = _step(cfg, package) if step else ''
    except (
        MissingOp
    ) as error:  # the stock config has the same error: mmcv was installed without compiled ops
        row.built = f'no: {_short(error)}'
    except Exception as error:  # an error of the swap only if the stock config builds
        reason = unbuildable(path)
        if reason:
            row.built = f'no: {reason}'
        else:
            row.status, row.reason = 'crashed', _short(error)
    return row


def _quiet() -> None:
    """Set up a worker process: one thread, no messages."""
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    end_with_parent()


def _survey_family(
    paths: Sequence[Path], backbone: str | dict, step: bool, package: str
) -> list[Outcome]:
    """Survey the configs of one family in one process, so that they share the measured backbones.

    One of them runs a real step.
    """
    rows: list[Outcome] = []
    ran: dict[str, float] = {}
    for path in paths:
        stepped = any(row.step for row in rows)
        rows.append(survey_config(path, backbone, step and not stepped, ran, package))
    return rows


def survey(
    backbone: str | dict,
    families: Sequence[str] = (),
    jobs: int = 1,
    step: bool = False,
    package: str = 'mmseg',
) -> list[Outcome]:
    """Try the swap on the whole zoo.

    Args:
        backbone: the new backbone.
        families: folders of the zoo; all if empty (default).
        jobs: number of processes; 1 by default.
        step: whether to run one real forward and backward for one config of each family; False by
            default.
        package: ``'mmseg'`` (default), ``'mmdet'`` or ``'mmpretrain'``.

    Returns:
        One row per config, in the order of the zoo.
    """
    root = installed_configs(package)
    groups: dict[str, list[Path]] = {}
    for path in zoo(families, package):
        groups.setdefault(path.relative_to(root).parts[0], []).append(path)
    run = partial(_survey_family, backbone=backbone, step=step, package=package)
    if jobs == 1:
        done = [run(paths) for paths in track_iter_progress(list(groups.values()))]
        return sorted((row for rows in done for row in rows), key=lambda row: row.config)
    with ProcessPoolExecutor(jobs, mp_context=get_context('spawn'), initializer=_quiet) as pool:
        largest_first = sorted(groups.values(), key=len, reverse=True)
        futures = [pool.submit(run, paths) for paths in largest_first]
        done = [f.result() for f in track_iter_progress((as_completed(futures), len(futures)))]
    return sorted((row for rows in done for row in rows), key=lambda row: row.config)


def table(rows: Sequence[Outcome]) -> str:
    """Return Markdown: one line per family, totals, and all refusals and crashes."""
    lines = [
        '| family | configs | swapped | built and run | refused | crashed | real training step, or '
        'why not |',
        '|---|---|---|---|---|---|---|',
    ]
    families = sorted({row.family for row in rows})
    for family in families:
        own = [row for row in rows if row.family == family]
        count, built = Counter(row.status for row in own), sum(row.built == 'yes' for row in own)
        notes = dict.fromkeys(
            [r.step for r in own if r.step]
            or [r.reason for r in own if r.reason]
            or [
                f'own backbone does not build here either: {r.built[4:]}'
                for r in own
                if r.built.startswith('no')
            ]
        )
        lines.append(
            f'| {family} | {len(own)} | {count["swapped"]} | {built} | {count["refused"]} | '
            f'{count["crashed"]} | '
            f'{"; ".join(notes) or "-"} |'
        )
    total = Counter(row.status for row in rows)
    swapped = [f for f in families if any(r.status == 'swapped' for r in rows if r.family == f)]
    built = [f for f in families if any(r.built == 'yes' for r in rows if r.family == f)]
    lines += [
        '',
        f'{len(rows)} configs: {total["swapped"]} swapped, {total["refused"]} refused, '
        f'{total["crashed"]} '
        f'crashed. {sum(r.built == "yes" for r in rows)} built and ran at their own crop; '
        f'{sum(r.built.startswith("no") for r in rows)} do not build here with their own backbone '
        'either.',
        f'{len(families)} families: {len(swapped)} swapped '
        f'({100 * len(swapped) / max(1, len(families)):.1f} %), '
        f'{len(built)} of them built and run here.',
    ]
    for status in ('refused', 'crashed'):
        reasons = Counter((row.family, row.reason) for row in rows if row.status == status)
        lines += [
            f'* {status}: {family} ({number} configs): {reason}'
            for (family, reason), number in reasons.items()
        ]
    return '\n'.join(lines)


def as_dicts(rows: Sequence[Outcome]) -> list[dict]:
    """Return the rows as plain data, for JSON."""
    return [asdict(row) for row in rows]
