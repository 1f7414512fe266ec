"""Track one target in a recording, and save a video, a strip of frames and the boxes.

    python tools/track.py recording.aedat4 configs/bsa_tracking_quickstart.py epoch_12.pth \\
        --box 120 80 30 24 --out track

RECORDING is an event file of any supported format, or a folder of event frames. With --follow it
may still grow. The files are written together at the end; after an error in the recording, none of
them is written.
"""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from mmbsa.apis.tracking import load_tracker, open_source, track_frames
from mmbsa.events.array import TIME_UNITS
from mmbsa.events.formats.aedat import LAYOUTS
from mmbsa.events.formats.source import REPAIR_HELP
from mmbsa.structures.track_files import write_result, write_times
from mmbsa.utils.launch import WITHOUT_BFLOAT16, has_bfloat16
from mmbsa.visualization.tracks import Strip, VideoFile, draw_track


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('recording', help='event file, or folder of frames')
    parser.add_argument('config', help='config of the model')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument(
        '--box',
        type=float,
        nargs=4,
        metavar=('X', 'Y', 'W', 'H'),
        help='target in the first frame; default: first row of the annotation file, if present',
    )
    parser.add_argument(
        '--out',
        required=True,
        metavar='DIR',
        help='folder for video.mp4, strip.png, boxes and times',
    )
    parser.add_argument(
        '--window',
        type=int,
        help='microseconds per frame of an event file; default: an annotated file with frame times '
        'is cut at these times, other files every 20000',
    )
    parser.add_argument(
        '--row-per-frame',
        action='store_true',
        help='draw row i of the annotation in frame i, although the recording does not show that '
        'they belong together',
    )
    parser.add_argument(
        '--follow',
        type=float,
        default=0.0,
        metavar='SECONDS',
        help='seconds without growth after which a growing recording counts as complete',
    )
    parser.add_argument(
        '--sensor-size',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='height and width, for event files that do not state them',
    )
    parser.add_argument('--repair', nargs='+', default=(), metavar='NAME', help=REPAIR_HELP)
    parser.add_argument(
        '--part', help='stream, camera or recording, for event files that have several'
    )
    parser.add_argument(
        '--layout', choices=list(LAYOUTS), help='address layout of AEDAT 1 and 2 files'
    )
    parser.add_argument(
        '--time-unit',
        choices=list(TIME_UNITS),
        help='unit of the times in .npz, .npy and .mat files; default: us',
    )
    parser.add_argument('--max-frames', type=int, help='stop after this number of frames')
    parser.add_argument('--strip', type=int, default=8, metavar='N', help='number of strip frames')
    parser.add_argument('--rate', type=float, default=25.0, help='pictures per second of the video')
    parser.add_argument(
        '--no-video', action='store_true', help='write the strip and the boxes only'
    )
    parser.add_argument('--device', default='cuda:0' if torch.cuda.is_available() else 'cpu')
    parser.add_argument(
        '--fuse',
        action='store_true',
        help='fold norms into convolutions: faster, but rounds differently',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='track in mixed precision; on CPUs bfloat16, if the processor supports it',
    )
    return parser.parse_args()


def check_options(args: argparse.Namespace) -> None:
    """Raise ValueError for a number out of range."""
    if args.max_frames is not None and args.max_frames < 1:
        raise ValueError(f'--max-frames must be at least 1, got {args.max_frames}')
    if args.strip < 2:
        raise ValueError(f'--strip must be at least 2, got {args.strip}')
    if not 0 < args.rate < float('inf'):
        raise ValueError(f'--rate must be above 0, got {args.rate}')


@contextmanager
def files_together(folder: Path, names: list[str]) -> Iterator[Path]:
    """Context that yields a temporary folder, whose files are renamed into ``folder`` at the end.

    Args:
        folder: the folder; it is created, and removed after an error if it did not exist.
        names: names of the files.
    """
    created = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for name in names:
            if (folder / name).is_dir():
                raise IsADirectoryError(f'{folder / name} is a folder, expected a file or nothing')
        with TemporaryDirectory(prefix='.track.', dir=folder) as draft:
            yield Path(draft)
            for file in Path(draft).iterdir():
                os.replace(file, folder / file.name)
    except BaseException:
        if created:
            with suppress(OSError):
                folder.rmdir()
        raise


def track(args: argparse.Namespace) -> str:
    """Track the target, and return the line to print."""
    check_options(args)
    if args.amp and args.device == 'cpu' and not has_bfloat16():
        print(WITHOUT_BFLOAT16)
        args.amp = False
    model = load_tracker(args.config, args.checkpoint, args.device, args.fuse)
    source = open_source(
        args.recording,
        model.num_steps,
        args.window,
        args.follow,
        args.sensor_size,
        args.repair,
        args.row_per_frame,
        int(args.part) if args.part and args.part.isdecimal() else args.part,
        args.layout,
        args.time_unit,
    )
    start = args.box or source.start
    if start is None:
        raise ValueError(
            f'{args.recording}: there is no annotation file; give the target with --box X Y W H'
        )
    if source.note:
        print(source.note)
    out, result, times = Path(args.out), f'{source.name}.txt', f'{source.name}_time.txt'
    strip, boxes, seconds = Strip(args.strip), [], []
    with files_together(out, ['video.mp4', 'strip.png', result, times]) as draft:
        video = VideoFile(draft / 'video.mp4', args.rate)
        try:
            for row, step in enumerate(track_frames(model, source.frames, start, args.amp)):
                true = (
                    source.boxes[row]
                    if source.boxes is not None and row < len(source.boxes)
                    else None
                )
                picture = draw_track(step.frame, step.box, true, f'{row}  {step.score:.2f}')
                strip.add(picture)
                if not args.no_video:
                    video.add(picture)
                boxes.append(step.box)
                seconds.append(step.seconds)
                if len(boxes) == args.max_frames:
                    break
        except (OSError, ValueError) as error:
            if boxes:
                raise ValueError(
                    f'{error}; the results of the {len(boxes)} frames before the error are not '
                    'written'
                ) from error
            raise
        finally:
            has_video = video.close()
        if not boxes:
            raise ValueError(f'{args.recording}: it contains no complete frame')
        strip.write(draft / 'strip.png')
        write_result(draft / result, np.stack(boxes))
        write_times(draft / times, np.array(seconds))
    rate = (len(boxes) - 1) / sum(seconds) if sum(seconds) else 0.0
    return (
        f'{len(boxes)} frames, {rate:.1f} frames per second on {args.device} (without reading '
        f'and drawing); {"video.mp4, " if has_video else ""}strip.png and {result} are in {out}'
    )


def main() -> None:
    args = parse_args()
    try:
        print(track(args))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise SystemExit(f'error: {error}') from None


if __name__ == '__main__':
    main()
