"""Count every network in a file of toy cases, and compare all numbers.

    python tools/dev/check_energy.py FILE [FILE ...]

A file has ``units`` (fJ per MAC, AC and shift) and ``cases``: networks with weights, inputs, and
exact counts per layer. The tool prints one line per network that differs, then the numbers of equal
networks and figures as ``n/n``.
"""

import argparse
import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbsa.energy import Report, count_operations
from mmbsa.energy.counts import Row
from mmbsa.ops import bipolar_attention, integer_spike, lif, ternary_lif
from mmbsa.spiking import BINARY, TERNARY, SpikeDomain, counts

#: keys of a net that are not layers.
OPTIONS = ('T', 'levels', 'a_bits', 'bits')
#: name of a figure in the file -> name in mmbsa.
FIGURES = dict(comparisons='thresholds', bias_adds='bias_adds')
MEMORY = dict(event='words_event', once='words_once', per_step='words_step', dense='words_dense')


class ToyError(ValueError):
    """Raised if the file contains something else than toy cases."""


class Network(nn.Module):
    """The layers of a case in the order of its ``net``.

    Args:
        net: name -> options; names may end in a number.
        impl: implementation of the ops of mmbsa; ``'auto'`` by default.
    """

    def __init__(self, net: dict, impl: str = 'auto'):
        super().__init__()
        self.net, self.impl = {key: value for key, value in net.items() if key not in OPTIONS}, impl
        self.copies = net.get('T', 1)
        self.weights = nn.ParameterDict()
        for name, options in self.net.items():
            for key in ('weight', 'bias'):
                if isinstance(options, dict) and key in options:
                    value = torch.tensor(numbers(options[key]), dtype=torch.float32)
                    self.weights[f'{name}_{key}'] = nn.Parameter(value, requires_grad=False)
        #: name of a layer -> its output.
        self.seen: dict[str, Tensor] = {}

    def forward(self, *inputs: Tensor) -> Tensor:
        """Run inputs of the case -> output of the last layer."""
        x = inputs[0]
        if self.copies > 1:
            x = x.unsqueeze(0).expand(self.copies, *x.shape).flatten(0, 1)
        for name, options in self.net.items():
            x = self.layer(name.rstrip('0123456789'), name, options, x, inputs)
            self.seen[name] = x
        return x

    def layer(self, kind: str, name: str, options: Any, x: Tensor, inputs: tuple) -> Tensor:
        """Run one layer."""
        weight, bias = (
            self.weights[f'{name}_{key}'] if f'{name}_{key}' in self.weights else None
            for key in ('weight', 'bias')
        )
        if kind == 'linear':
            return F.linear(x, weight, bias)
        if kind == 'conv':
            convolve = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[weight.dim()]
            return convolve(
                x,
                weight,
                bias,
                **{
                    key: options[key]
                    for key in ('stride', 'padding', 'dilation', 'groups')
                    if key in options
                },
            )
        if kind in ('lif', 'ternary_lif'):
            return (lif if kind == 'lif' else ternary_lif)(x, **options, impl=self.impl)
        if kind == 'integer_spike':
            return integer_spike(x, **options, impl=self.impl)
        if kind == 'bipolar_attention':
            return bipolar_attention(*inputs, **options, impl=self.impl)
        if kind == 'add':
            return inputs[0] + inputs[1]
        if kind == 'max_pool':
            return F.max_pool2d(x, *options)
        raise ToyError(f'net.{name}: there is no layer of this kind')


def numbers(value: Any) -> Any:
    """Convert nested lists with fractions as text to floats."""
    if isinstance(value, list):
        return [numbers(part) for part in value]
    return float(Fraction(value)) if isinstance(value, str) else value


def tensors(case: dict) -> tuple[Tensor, ...]:
    """Return the inputs of a case: one tensor, or those of a mapping in its order."""
    given = case['inputs']
    parts = given.values() if isinstance(given, dict) else [given]
    return tuple(torch.tensor(numbers(part), dtype=torch.float32) for part in parts)


def domain_of_inputs(case: dict, inputs: tuple[Tensor, ...]) -> SpikeDomain | None:
    """Return the spike domain that the file states for the inputs."""
    net = case['net']
    if 'a_bits' in net:
        return counts(2 ** net['a_bits'] - 1)
    if (
        'integer_spike' in net
        or 'bipolar_attention' in net
        and net['bipolar_attention'].get('product') == 'real'
    ):
        return None
    named = next((layer['input'] for layer in case['layers'] if 'input' in layer), 'real')
    if 'add' in net:
        return BINARY if 'levels' in net else None
    if named == 'integer':
        return counts(net.get('levels', int(max(x.abs().max() for x in inputs))))
    return dict(binary=BINARY, ternary=TERNARY, real=None)[named]


def count(case: dict, impl: str = 'auto') -> tuple[Report, Network, tuple[Tensor, ...]]:
    """Build the network of a case and count it."""
    net, inputs = case['net'], tensors(case)
    model = Network(net, impl)
    domain = domain_of_inputs(case, inputs)
    if 'integer_spike' in net:  # rows are tokens of one step
        steps = 1
    else:
        steps = 0 if 'T' in net or 'bipolar_attention' in net else len(inputs[0])
    if 'bipolar_attention' in net and net['bipolar_attention'].get('normalizer') != 'none':
        domain = [domain, domain, None]  # values are potentials
    report = count_operations(
        model,
        *inputs,
        images=1,
        domain=domain,
        steps=steps,
        bits=net.get('a_bits'),
        strict=True,
        audit=True,
        attention_order='quadratic',
        both_orders=True,
        fixed_point_bits=net.get('bits'),
    )
    return report, model, inputs


def figures_of(row: Row, wanted: dict) -> dict:
    """Return the figures of a row under the names of the file."""
    figures = row.counts
    found = {'kind': row.kind, 'input': row.input, 'shift': figures.shifts}
    for key in wanted:
        if key in found:
            continue
        if key == 'memory':
            words = {name: getattr(figures, ours) for name, ours in MEMORY.items()}
            found[key] = dict(weight_words=words, bias_adds=figures.bias_adds)
        elif key == 'state_words':
            found[key] = dict(read=figures.state_reads, write=figures.state_writes)
        elif key == 'detail':
            found[key] = {name: row.detail.get(name) for name in wanted[key]}
        elif key == 'bit_density':
            found[key] = Fraction(figures.one_bits, figures.in_bits)
        elif key == 'comparisons' and row.kind == 'neuron':
            found[key] = figures.thresholds
        else:
            found[key] = getattr(figures, key, None)
    return {key: found[key] for key in wanted}


def extras_of(
    case: dict, report: Report, model: Network, inputs: tuple[Tensor, ...], units: dict
) -> dict:
    """Return the figures of a whole case."""
    total, rows = report.total, report.counted()
    first = next((row for row in rows if row.kind in ('conv', 'linear')), rows[0]).counts
    found = {
        'total': dict(mac=total.mac, ac=total.ac, shift=total.shifts),
        'compute_energy_fj': total.mac * units['mac_fj']
        + total.ac * units['ac_fj']
        + total.shifts * units['shift_fj'],
        'mac_if_repeated': total.mac_repeated,
        'output': next(reversed(model.seen.values())),
        'rate_times_dense': Fraction(first.in_events, max(first.in_values, 1)) * first.dense,
        'rate_in': Fraction(int(inputs[0].count_nonzero()), inputs[0].numel()),
    }
    neuron = next((name for name in model.seen if 'lif' in name), None)
    found['spikes'] = model.seen[neuron] if neuron else first.in_events
    if 'max_pool' in case['net']:
        pooled = model.seen['max_pool']
        found['rate_pooled'] = Fraction(int(pooled.count_nonzero()), pooled.numel())
    if 'integer_spike' in case['net']:
        levels = (model.seen['integer_spike'] * case['net']['integer_spike'].get('norm', 1)).round()
        bits = sum(int(k).bit_count() for k in levels.abs().flatten().tolist())
        found.update(
            counts=levels,
            bits=bits,
            bits_per_fanout=bits * first.outputs // len(levels.flatten(0, -2)),
        )
    if 'published_rule' in case:
        found['published_rule'] = dict(
            rates=[Fraction(int(x.count_nonzero()), x.numel()) for x in inputs]
        )
    return found


def same(wanted: Any, found: Any, path: str, wrong: list[str]) -> int:
    """Compare values, append differences to ``wrong``, and return their number."""
    if isinstance(wanted, dict):
        return sum(
            same(value, (found or {}).get(key), f'{path}.{key}', wrong)
            for key, value in wanted.items()
        )
    if isinstance(found, Tensor):
        found = found.tolist()
    if isinstance(wanted, list):
        while isinstance(found, list) and len(found) == 1 and len(wanted) != 1:
            found = found[0]
        if not isinstance(found, list | tuple) or len(found) != len(wanted):
            wrong.append(f'{path}: expected {wanted}, got {found}')
            return 1
        return sum(same(a, b, f'{path}[{i}]', wrong) for i, (a, b) in enumerate(zip(wanted, found)))
    exact = wanted if isinstance(wanted, str) and '/' not in wanted else Fraction(wanted)
    if (
        found is None
        or isinstance(found, str) != isinstance(exact, str)
        or exact != (found if isinstance(found, str) else Fraction(found))
    ):
        wrong.append(f'{path}: expected {wanted}, got {found}')
    return 1


def check(case: dict, units: dict, impl: str = 'auto') -> tuple[int, list[str]]:
    """Return the number of compared numbers of a case, and the differences."""
    report, model, inputs = count(case, impl)
    wrong = [f'violation: {text}' for text in report.violations] + [
        f'without a rule: {name}' for name in report.unknown
    ]
    # the file describes LIF neurons; for integer neurons it has only the counts
    rows = [
        row
        for row in report.counted()
        if not (row.kind == 'neuron' and row.op == 'mmbsa::integer_spike')
    ]
    if [row.kind for row in rows] != [layer['kind'] for layer in case['layers']]:
        wrong.append(
            f'layers: expected {[layer["kind"] for layer in case["layers"]]}, got '
            f'{[row.kind for row in rows]}'
        )
        return len(case['layers']), wrong
    numbers_compared = 0
    for index, (row, layer) in enumerate(zip(rows, case['layers'])):
        numbers_compared += same(layer, figures_of(row, layer), f'layers[{index}]', wrong)
    rest = {
        key: value
        for key, value in case.items()
        if key not in ('name', 'note', 'net', 'inputs', 'layers')
    }
    numbers_compared += same(rest, extras_of(case, report, model, inputs, units), 'case', wrong)
    return numbers_compared, wrong


def check_file(path: Path, impl: str = 'auto') -> tuple[int, int, int, list[str]]:
    """Check a file.

    Returns:
        Number of equal networks, of all networks, of compared numbers, and lines with differences.

    Raises:
        ToyError: the file cannot be read, or is not a file of toy cases.
    """
    try:
        data = json.loads(path.read_text())
        units, cases = data['units'], data['cases']
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ToyError(f'{path}: expected JSON with "units" and "cases": {error!r}') from error
    good, compared, lines = 0, 0, []
    for case in cases:
        try:
            figures, wrong = check(case, units, impl)
        except ToyError as error:
            raise ToyError(f'{path}: case {case.get("name")}: {error}') from error
        compared += figures
        good += not wrong
        lines += [f'{case["name"]}: {text}' for text in wrong]
    return good, len(cases), compared, lines


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('files', nargs='+', type=Path, metavar='FILE', help='JSON of toy cases')
    parser.add_argument('--impl', default='auto', help="implementation of the ops; default 'auto'")
    args = parser.parse_args(argv)
    failed = False
    for path in args.files:
        try:
            good, total, compared, lines = check_file(path, args.impl)
        except ToyError as error:
            print(f'error: {error}', file=sys.stderr)
            return 2
        for line in lines:
            print(line)
        print(
            f'{path.name}: {good}/{total} networks agree, {compared - len(lines)}/{compared} '
            'numbers'
        )
        failed |= good < total
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
