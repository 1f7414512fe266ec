"""Test a segmentor: ``python tools/test.py CONFIG CHECKPOINT``, or on several processes with ``tools/dist_test.sh``."""
import argparse

from mmengine.config import Config

from mmbsa.utils.launch import add_arguments, load_config, run


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test (and evaluate) a segmentor')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', metavar='DIR', help='folder for the predicted label maps, for offline evaluation')
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument('--show-dir', metavar='DIR', help='folder for pictures of the predictions')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds a shown picture stays')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation (tta_pipeline and tta_model)')
    add_arguments(parser)
    return parser.parse_args()


def draw(cfg: Config, args: argparse.Namespace) -> None:
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise SystemExit('error: --show and --show-dir need default_hooks.visualization, e.g. '
                         "dict(type='SegVisualizationHook')")
    hook.draw = True
    if args.show:
        hook.update(show=True, wait_time=args.wait_time)
    if args.show_dir:
        cfg.visualizer.save_dir = args.show_dir


def augment(cfg: Config) -> None:
    missing = [key for key in ('tta_model', 'tta_pipeline') if key not in cfg]
    if missing:
        raise SystemExit(f'error: --tta needs {" and ".join(missing)} in the config')
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    cfg.tta_model.module = cfg.model
    cfg.model = cfg.tta_model


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.show or args.show_dir:
        draw(cfg, args)
    if args.tta:
        augment(cfg)
    if args.out is not None:
        cfg.test_evaluator.update(output_dir=args.out, keep_results=True)
    run(cfg, 'test')


if __name__ == '__main__':
    main()
