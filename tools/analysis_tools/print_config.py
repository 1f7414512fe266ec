"""Print a config with its bases merged.

python tools/analysis_tools/print_config.py configs/bsa_quickstart.py --key model.backbone
"""

import argparse
import sys
from pathlib import Path

from mmengine import Config, DictAction

from mmbsa.apis import find_config


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file, or the name of one without folder and suffix')
    parser.add_argument('--key', help='print only this entry, e.g. model.backbone')
    parser.add_argument('--out', type=Path, help='save the whole config too, as .py, .json or .yml')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='override the config, key=value'
    )
    return parser.parse_args(argv)


def part(cfg: Config, key: str):
    """Return the value of a dotted key; numbers are indices of lists.

    Raises:
        KeyError: the config has no such key; the message lists the existing ones.
    """
    value, seen = cfg, []
    for name in key.split('.'):
        if isinstance(value, list | tuple):
            names = [str(i) for i in range(len(value))]
        else:
            names = list(value) if hasattr(value, 'keys') else []
        if name not in names:
            where = '.'.join(seen) or 'the config'
            raise KeyError(f'{where} has no {name!r}; it has: {", ".join(names) or "no keys"}')
        value = value[int(name)] if isinstance(value, list | tuple) else value[name]
        seen.append(name)
    return value


def main(argv=None) -> int:
    args = parse_args(argv)
    try:
        cfg = Config.fromfile(find_config(args.config))
        if args.cfg_options is not None:
            cfg.merge_from_dict(args.cfg_options)
        chosen = cfg if args.key is None else part(cfg, args.key)
    except (FileNotFoundError, KeyError) as error:
        print(f'error: {error.args[0]}', file=sys.stderr)
        return 1
    if args.key is None:
        print(cfg.pretty_text)
    else:
        print(Config({args.key.rpartition('.')[2]: chosen}).pretty_text)
    if args.out is not None:
        if args.out.suffix not in ('.py', '.json', '.yml', '.yaml'):
            print(f'error: --out {args.out}: must end with .py, .json or .yml', file=sys.stderr)
            return 1
        args.out.parent.mkdir(parents=True, exist_ok=True)
        cfg.dump(args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
