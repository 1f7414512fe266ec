"""Track one target in a recording, and save a video, a strip of frames and the boxes.

    python tools/track.py recording.aedat4 configs/bsa_tracking_quickstart.py epoch_12.pth \\
        --box 120 80 30 24 --out track

RECORDING is an event file of any supported format, or a folder of event frames. With --follow it
may still grow.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from mmbsa.apis.tracking import load_tracker, open_source, track_frames
from mmbsa.structures.track_files import write_result, write_times
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
        '--out', required=True, metavar='DIR', help='folder for video.mp4, strip.png and the boxes'
    )
    parser.add_argument(
        '--window', type=int, default=20_000, help='microseconds per frame of an event file'
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
    parser.add_argument('--repair', nargs='+', default=(), help='faults of an event file to repair')
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
    return parser.parse_args()


def track(args: argparse.Namespace) -> str:
    """Track the target, and return the line to print."""
    model = load_tracker(args.config, args.checkpoint, args.device, args.fuse)
    source = open_source(
        args.recording, model.num_steps, args.window, args.follow, args.sensor_size, args.repair
    )
    if args.box is None and source.boxes is None:
        raise ValueError(
            f'{args.recording}: there is no annotation file; give the target with --box X Y W H'
        )
    out = Path(args.out)
    video, strip = VideoFile(out / 'video.mp4', args.rate), Strip(args.strip)
    boxes, seconds, done = [], [], False
    try:
        for row, step in enumerate(track_frames(model, source.frames, args.box or source.boxes[0])):
            true = (
                source.boxes[row] if source.boxes is not None and row < len(source.boxes) else None
            )
            picture = draw_track(step.frame, step.box, true, f'{row}  {step.score:.2f}')
            strip.add(picture)
            if not args.no_video:
                video.add(picture)
            boxes.append(step.box)
            seconds.append(step.seconds)
            if len(boxes) == args.max_frames:
                break
        done = bool(boxes)
    finally:
        has_video = video.close(done)
    if not done:
        raise ValueError(f'{args.recording}: it contains no complete frame')
    strip.write(out / 'strip.png')
    write_result(out / f'{source.name}.txt', np.stack(boxes))
    write_times(out / f'{source.name}_time.txt', np.array(seconds))
    rate = (len(boxes) - 1) / sum(seconds) if sum(seconds) else 0.0
    return (
        f'{len(boxes)} frames, {rate:.1f} frames per second on {args.device} (without reading '
        f'and drawing); {"video.mp4, " if has_video else ""}strip.png and {source.name}.txt are '
        f'in {out}'
    )


def main() -> None:
    args = parse_args()
    try:
        print(track(args))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise SystemExit(f'error: {error}') from None


if __name__ == '__main__':
    main()
