"""Tables and bars of the results of ``models.py``."""

from pathlib import Path

#: code -> heading of its column of ratios.
OTHERS = {
    'spikingjelly': 'SpikingJelly',
    'ann': 'dense twin',
    'beside': 'the code of --beside',
}
CODES = (
    *('ours', 'given back', 'kept', 'spikingjelly', 'ann', 'beside', 'eval', 'beside eval'),
    *('fused', 'graph'),
)


def table(results: list[dict]) -> str:
    """Return a Markdown table; ratios are times of the other models over those of mmbsa.

    A ratio above 1 means that mmbsa is faster.
    """
    present = [code for code in OTHERS if any(code in r for r in results)]
    head = ', '.join(f'x {OTHERS[code]}' for code in present) + '; ' * bool(present) + 'limit'
    memory = ', '.join(OTHERS[code] for code in present if code != 'ann')
    lines = [
        f'| model | params | input | forward units ({head}) | forward + backward units ({head}) | '
        f'MiB{f" ({memory})" if memory else ""} |',
        '|---|---|---|---|---|---|',
    ]
    for r in results:
        cells = []
        for mode in ('forward', 'both'):
            ours = r['ours'][mode]
            ratios = [
                f'{r[other][mode]["ms"] / ours["ms"]:.2f}' if other in r else '-'
                for other in present
            ]
            inside = ', '.join(ratios) + '; ' * bool(ratios) + f'{ours["limit"]:.0%}'
            cells.append(f'{ours["units"]:.2f} ({inside})')
        other = ', '.join(
            f'{r[code]["mib"]:.0f}' if code in r else '-' for code in present if code != 'ann'
        )
        lines.append(
            f'| {r["name"]} | {r["parameters"]:,} | {r["batch"]}x3x{r["size"]} | '
            f'{" | ".join(cells)} | '
            f'{r["ours"]["mib"]:.0f}{f" ({other})" if other else ""} |'
        )
    return '\n'.join(lines)


def kept_table(results: list[dict]) -> str:
    """Return a Markdown table of the speed-up of a step by keeping freed memory."""
    lines = [
        '| model | forward: x given back | forward + backward: x given back | MiB |',
        '|---|---|---|---|',
    ]
    for r in results:
        cells = [
            f'{r["given back"][mode]["ms"] / r["kept"][mode]["ms"]:.2f}'
            for mode in ('forward', 'both')
        ]
        lines.append(f'| {r["name"]} | {" | ".join(cells)} | {r["kept"]["mib"]:.0f} |')
    return '\n'.join(lines)


def inference_table(results: list[dict]) -> str:
    """Return a Markdown table: units of a forward, and the speed-up over training mode.

    Both are without gradients.
    """
    codes = ('eval', 'fused', 'graph', 'beside eval')
    lines = [f'| model | training mode | {" | ".join(codes)} |', '|---|---|---|---|---|']
    for r in results:
        train = r['ours']['forward']
        cells = [
            f'{r[code]["forward"]["units"]:.2f} ({train["ms"] / r[code]["forward"]["ms"]:.2f}x)'
            if code in r
            else '-'
            for code in codes
        ]
        lines.append(f'| {r["name"]} | {train["units"]:.2f} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def profile_table(results: list[dict]) -> str:
    """Return a Markdown table with the shares of a training step."""
    parts = list(dict.fromkeys(part for r in results for part in r['profile']))
    lines = [f'| model | {" | ".join(parts)} |', '|---' * (len(parts) + 1) + '|']
    for r in results:
        total = sum(r['profile'].values())
        lines.append(
            f'| {r["name"]} | '
            + ' | '.join(f'{r["profile"].get(part, 0) / total:.0%}' for part in parts)
            + ' |'
        )
    return '\n'.join(lines)


def rows(results: list[dict]) -> list[dict]:
    """Return one row per model, code and pass, for ``--compare``."""
    return [
        dict(name=r['name'], code=code, mode=mode, **r[code][mode])
        for r in results
        for code in CODES
        if code in r
        for mode in ('forward', 'both')
        if mode in r[code]
    ]


def plot(results: list[dict], path: Path) -> None:
    """Plot forward + backward in units, and memory, as bars."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(12, 0.6 * len(results) + 2), sharey=True)
    for offset, code in enumerate(('ours', *OTHERS)):
        for axis, value in zip(axes, (lambda r: r['both']['units'], lambda r: r.get('mib'))):
            bars = [value(r[code]) if code in r else None for r in results]
            axis.barh(
                [i + 0.2 * offset for i in range(len(bars))],
                [bar or 0 for bar in bars],
                height=0.2,
                label=code,
            )
    axes[0].set_yticks([i + 0.3 for i in range(len(results))], [r['name'] for r in results])
    axes[0].set_xlabel('forward + backward per image, units of a fixed piece of work')
    axes[1].set_xlabel('peak memory, MiB')
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    print(f'drawn: {path}')
