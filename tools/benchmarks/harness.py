"""Common parts of the benchmarks: tests, interleaved timing, memory, machine limits, comparison."""

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]


def gate(*files: str) -> None:
    """Run tests of the measured code, and exit if one fails."""
    print('tests first:', *files, flush=True)
    run = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-x', *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if run.returncode:
        sys.exit(
            f'{run.stdout[-6000:]}{run.stderr[-2000:]}\nTests fail on this machine: no speed is '
            'reported.'
        )
    print(run.stdout.strip().splitlines()[-1], flush=True)


def sync(device: str) -> None:
    """Wait for the device."""
    if device.startswith('cuda'):
        torch.cuda.synchronize()


def time_interleaved(
    functions: dict[str, Callable], repeats: int, device: str
) -> dict[str, list[float]]:
    """Return milliseconds per call of every candidate, interleaved in rounds.

    Other programs on the machine slow all candidates in a round by the same factor, so ratios
    within a round hardly change.
    """
    times = {name: [] for name in functions}
    for round_ in range(repeats + 1):
        for name, function in functions.items():
            sync(device)
            start = time.perf_counter()
            function()
            sync(device)
            if round_:
                times[name].append((time.perf_counter() - start) * 1e3)
    return times


def resident() -> int:
    """Return the bytes of this process in memory."""
    return int(Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize()


def _best_seconds(function: Callable, device: str, repeats: int = 15) -> float:
    return min(time_interleaved({'': function}, repeats, device)['']) / 1e3


def copy_bandwidth(device: str, dtype: torch.dtype) -> float:
    """Return bytes per second, read and written, of the fastest copy of a tensor of 256 MiB.

    The tensor is too large for a cache.
    """
    source = torch.zeros((256 << 20) // dtype.itemsize, dtype=dtype, device=device)
    target = torch.zeros_like(source)
    return 2 * source.nbytes / _best_seconds(lambda: target.copy_(source), device)


def matmul_rate(device: str, dtype: torch.dtype) -> float:
    """Return operations per second of the fastest of several square matrix products."""
    n = 8192 if device.startswith('cuda') else 1024
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    return 2 * n**3 / _best_seconds(lambda: a @ b, device)


def machine(device: str, dtype: torch.dtype) -> dict:
    """Return the device and its measured limits."""
    name = (
        torch.cuda.get_device_name()
        if device.startswith('cuda')
        else f'CPU, {torch.get_num_threads()} threads'
    )
    found = dict(
        torch=torch.__version__,
        device=name,
        dtype=str(dtype).removeprefix('torch.'),
        copy_bytes_per_s=copy_bandwidth(device, dtype),
        matmul_flop_per_s=matmul_rate(device, dtype),
    )
    print(
        f'torch {found["torch"]}, {name}, {found["dtype"]}; measured limits: copy '
        f'{found["copy_bytes_per_s"] / 1e9:.1f} '
        f'GB/s, matrix product {found["matmul_flop_per_s"] / 1e9:.0f} GFLOP/s',
        flush=True,
    )
    return found


def spread(times: list[float]) -> dict:
    """Return median and quartiles in ms."""
    low, _, high = statistics.quantiles(times, n=4) if len(times) > 1 else times * 3
    return dict(ms=statistics.median(times), low=low, high=high)


def write(path: Path, report: dict) -> None:
    """Write a report as JSON, completely or not at all."""
    partial = path.with_name(path.name + '.part')
    partial.write_text(json.dumps(report, indent=1))
    partial.replace(path)
    print(f'written: {path}')


def compare(paths: list[Path], key: Callable[[dict], tuple], unit: str = 'ms') -> str:
    """Return a Markdown table of the common rows of two reports: second time over first.

    Args:
        paths: two files of :func:`write`, each with ``rows`` and ``machine``.
        key: function from a row to the values that identify it.
        unit: the field that is compared.

    Raises:
        SystemExit: a file is not such a report, or no row is in both.
    """
    reports = []
    for path in paths:
        try:
            reports.append(json.loads(Path(path).read_text()))
            rows = reports[-1]['rows']
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SystemExit(f'{path} is not a report of a benchmark: {error!r}') from error
        reports[-1]['rows'] = {key(row): row[unit] for row in rows if unit in row}
    first, second = reports
    shared = [name for name in first['rows'] if name in second['rows']]
    if not shared:
        raise SystemExit(f'{paths[0]} and {paths[1]} have no row in common')
    lines = [
        f'A: {paths[0]} ({first["machine"]["device"]}, torch {first["machine"]["torch"]})',
        f'B: {paths[1]} ({second["machine"]["device"]}, torch {second["machine"]["torch"]})',
        '',
        f'| row | A {unit} | B {unit} | B / A |',
        '|---|---|---|---|',
    ]
    for name in shared:
        a, b = first['rows'][name], second['rows'][name]
        lines.append(f'| {" ".join(map(str, name))} | {a:.3g} | {b:.3g} | {b / a:.2f} |')
    return '\n'.join(lines)
