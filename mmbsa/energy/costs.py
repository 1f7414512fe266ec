"""Energy of one operation: cost tables with sources, and user-defined tables."""

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

#: policies for how often weights are read; see :class:`mmbsa.energy.Counts`.
WEIGHT_POLICIES = dict(
    event='words_event', once='words_once', per_step='words_step', dense='words_dense'
)
#: policies for reads and writes of activations: none, every value, or the values that are not zero.
ACTIVATION_POLICIES = ('none', 'dense', 'event')


@dataclass(frozen=True)
class CostTable:
    """Unit costs in pJ, and the rules that turn counts into energy. Memory costs are per bit.

    Attributes:
        name: name of the table, for the report.
        source: publication of the costs, for the report.
        mac, ac: cost of a multiply-accumulate and of an accumulate. Their ratio decides how much a
            spike saves, so reports name both.
        shift: cost of a shift of a value by a power of two.
        compare, mul, special, gate: cost of a comparison, of a multiplication, of an exponential or
            division, and of the mask of a spike.
        update, leak, threshold, reset: cost of these operations on one membrane in one time step.
        weight, state, activation: cost of one bit of a weight, a membrane or an activation that is
            read or written.
        weight_bits, state_bits: bits of a weight and of a membrane. Spikes have the bits of their
            domain, real activations have ``real_bits``.
        real_bits: bits of real activations; 0 uses the width of the counted tensors.
        weights: how often weights are read: ``'once'`` per image, ``'per_step'``, ``'event'`` (no
            reuse) or ``'dense'``.
        activations: which activations are charged: ``'none'``, ``'dense'`` or ``'event'``.
        repeats_equal_steps: whether T equal steps (direct encoding) are charged T times, as papers
            count the stem.
        by_events: whether a count k is one accumulate instead of k.
        folds_norms: whether norms cost nothing.
        counts_bias: whether a bias is an accumulate.
        twin: name -> value of the costs that differ for the quantised twin.
    """

    name: str
    source: str
    mac: float = 0.0
    ac: float = 0.0
    shift: float = 0.0
    compare: float = 0.0
    mul: float = 0.0
    special: float = 0.0
    gate: float = 0.0
    update: float = 0.0
    leak: float = 0.0
    threshold: float = 0.0
    reset: float = 0.0
    weight: float = 0.0
    state: float = 0.0
    activation: float = 0.0
    weight_bits: int = 32
    state_bits: int = 32
    real_bits: int = 0
    weights: str = 'once'
    activations: str = 'none'
    repeats_equal_steps: bool = False
    by_events: bool = False
    folds_norms: bool = True
    counts_bias: bool = False
    twin: dict = field(default_factory=dict)

    def __post_init__(self):
        if self.weights not in WEIGHT_POLICIES:
            raise ValueError(
                f'cost table {self.name}: weights must be one of '
                f'{", ".join(WEIGHT_POLICIES)}, got {self.weights!r}'
            )
        if self.activations not in ACTIVATION_POLICIES:
            raise ValueError(
                f'cost table {self.name}: activations must be one of '
                f'{", ".join(ACTIVATION_POLICIES)}, got '
                f'{self.activations!r}'
            )
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.type is float and not (
                isinstance(value, int | float) and 0 <= value < float('inf')
            ):
                raise ValueError(
                    f'cost table {self.name}: {entry.name} must be a number >= 0, got {value!r}'
                )

    @property
    def pair(self) -> str:
        """The costs of MAC and AC as text, for reports."""
        return f'MAC {self.mac:g} pJ against AC {self.ac:g} pJ'

    @property
    def has_memory(self) -> bool:
        """Whether any memory traffic has a cost."""
        return self.weight > 0 or self.state > 0 or self.activation > 0

    def but(self, **changes: Any) -> 'CostTable':
        """Return a copy of the table with other values."""
        return replace(self, **changes)

    def for_twin(self, **changes: Any) -> 'CostTable':
        """Return the table of unit costs for the quantised twin."""
        return replace(self, **{'twin': {}, **self.twin, **changes})

    def as_dict(self) -> dict:
        """Return the content as a dict of numbers, texts, lists and dicts, for JSON."""
        return asdict(self)


#: additions and multiplications in pJ at 45 nm (M. Horowitz, ISSCC 2014); int16 multiplications
#: are interpolated with the square of the width.
ADD = dict(int8=0.03, int16=0.05, int32=0.1, fp16=0.4, fp32=0.9)
MULT = dict(int8=0.2, int16=3.1 / 4, int32=3.1, fp16=1.1, fp32=3.7)
#: pJ per bit of memory: SRAM of the named size with 64-bit accesses; for DRAM the middle of 1,300
#: to 2,600 pJ per 64 bits.
MEMORY = {'none': 0.0, '8KB': 10 / 64, '32KB': 20 / 64, '1MB': 100 / 64, 'DRAM': 1950 / 64}

FIELD = CostTable(
    'field',
    'the rule of spiking papers: E_MAC = 4.6 and E_AC = 0.9 pJ (fp32 at 45 nm, Horowitz, '
    'ISSCC 2014); a shift is '
    'a twentieth of an AC (BSA, NeurIPS 2025); masks of spikes are ACs (Spike-driven '
    'Transformer, NeurIPS 2023)',
    mac=4.6,
    ac=0.9,
    shift=0.045,
    gate=0.9,
)

STEP = CostTable(
    'step',
    'STEP (arXiv 2505.11151): E_MAC 4.6, E_AC 0.9, memory 3.12 pJ per bit, as cited; the '
    'traffic is ours: weights '
    'once per image, a membrane read and written per step and neuron, 32 bits each',
    mac=4.6,
    ac=0.9,
    shift=0.045,
    gate=0.9,
    weight=3.12,
    state=3.12,
    twin=dict(activation=3.12, activations='dense'),
)


def horowitz(kind: str = 'int8', memory: str = 'none', weights: str = 'once') -> CostTable:
    """Return a cost table with one number format for spikes and real values.

    Args:
        kind: number format: ``'int8'`` (default), ``'int16'``, ``'int32'``, ``'fp16'`` or
            ``'fp32'``.
        memory: memory that stores weights, membranes and activations: ``'none'`` (default),
            ``'8KB'``, ``'32KB'``, ``'1MB'`` or ``'DRAM'``.
        weights: how often weights are read, see :class:`CostTable`; ``'once'`` by default.

    Raises:
        ValueError: unknown ``kind`` or ``memory``.
    """
    if kind not in ADD or memory not in MEMORY:
        raise ValueError(
            f'horowitz: kind must be one of {", ".join(ADD)} and memory one of '
            f'{", ".join(MEMORY)}, got '
            f'{kind!r} and {memory!r}'
        )
    add, mult, bits = ADD[kind], MULT[kind], int(kind.lstrip('intfp'))
    name = f'horowitz-{kind}' + ('' if memory == 'none' else f'-{memory}')
    return CostTable(
        name,
        f'{kind} at 45 nm: add {add:g}, multiply {mult:g} pJ (Horowitz, ISSCC 2014); '
        'comparisons, resets '
        f'and updates are adds, leaks and functions multiplications [ours]; memory {memory}',
        mac=add + mult,
        ac=add,
        shift=add / 20,
        compare=add,
        mul=mult,
        special=mult,
        gate=0.0,
        update=add,
        leak=mult,
        threshold=add,
        reset=add,
        weight=MEMORY[memory],
        state=MEMORY[memory],
        activation=MEMORY[memory],
        weight_bits=bits,
        state_bits=bits,
        real_bits=bits,
        weights=weights,
        activations='none' if memory == 'none' else 'dense',
    )


def accumulate(bits: int) -> float:
    """Return pJ of an addition of ``bits`` bits: linear, with 0.9 pJ for 32 bits (spyx)."""
    return 0.9 * bits / 32


def multiply_accumulate(bits: int) -> float:
    """Return pJ of a multiply-accumulate of ``bits`` bits.

    The cost of the multiplier grows with the square of ``bits`` (spyx).
    """
    return 3.7 * (bits / 32) ** 2 + accumulate(bits)


YAN = CostTable(
    'yan',
    'Yan, Bai and Wong (arXiv 2409.08290), second hand, 22 nm: E_ACC = E_CMP = E_SUB = '
    '0.05448 pJ, spikes 3.0 and dense '
    'data 0.25 pJ per bit and hop, DRAM 20.3 pJ per bit; every event reads its 8-bit weight, '
    'as spyx has it; a MAC is '
    "scaled by spyx's mac(8) / ac(8) [ours]",
    mac=0.05448 * multiply_accumulate(8) / accumulate(8),
    ac=0.05448,
    shift=0.05448 / 20,
    compare=0.05448,
    threshold=0.05448,
    reset=0.05448,
    weight=20.3,
    state=0.25,
    activation=3.0,
    weight_bits=8,
    state_bits=8,
    real_bits=8,
    weights='event',
    activations='event',
    twin=dict(weights='once', activation=0.25, activations='dense'),
)

PRESETS = {
    'field': FIELD,
    'step': STEP,
    'yan': YAN,
    **{f'horowitz-{kind}': horowitz(kind) for kind in ADD},
    **{
        f'horowitz-{kind}-{memory}': horowitz(kind, memory)
        for kind in ADD
        for memory in MEMORY
        if memory != 'none'
    },
}
#: one preset of each kind, for tables.
MAIN = ('field', 'horowitz-int8', 'horowitz-fp32', 'step', 'yan')


def cost_table(name: 'str | Path | dict | CostTable') -> CostTable:
    """Return a table of unit costs.

    Args:
        name: name of a preset, a dict with the keys of :class:`CostTable`, a JSON file with these
            keys, or a table, which is returned unchanged.

    Raises:
        ValueError: the name is neither a preset nor a readable file, or a key is unknown; the
            message names it.
    """
    if isinstance(name, CostTable):
        return name
    if isinstance(name, dict):
        return _from_dict(name, 'the dict', 'own')
    if name in PRESETS:
        return PRESETS[name]
    path = Path(name)
    if not path.is_file():
        raise ValueError(
            f'cost: {str(name)!r} is neither a preset ({", ".join(MAIN)}, ... in '
            'mmbsa.energy.costs.PRESETS) nor a file'
        )
    try:
        data = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f'cost: {path} is not valid JSON: {error}') from error
    return _from_dict(data, str(path), path.stem)


def _from_dict(data: dict, where: str, name: str) -> CostTable:
    known = {entry.name for entry in fields(CostTable)}
    unknown = sorted(set(data) - known) if isinstance(data, dict) else [type(data).__name__]
    if unknown:
        raise ValueError(
            f'cost: {where} has {", ".join(unknown)}; expected {", ".join(sorted(known))}'
        )
    try:
        return CostTable(**{'name': name, 'source': where, **data})
    except TypeError as error:
        raise ValueError(f'cost: {where}: {error}') from error
