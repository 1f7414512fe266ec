"""The figures of one layer, and what identifies it."""

from dataclasses import dataclass, field, fields


@dataclass(slots=True)
class Counts:
    """What a layer does, as whole numbers over all samples and steps that were seen.

    A *pair* is an input element and a weight tap that lies on the map; padding is no input.

    Attributes:
        dense: multiply-adds of the dense layer, padded taps included.
        valid: pairs.
        events: pairs whose input is not zero.
        outputs: output elements.
        mac: multiply-accumulates: dense, of real-valued inputs; T equal steps are computed once.
        mac_valid, mac_nonzero: of these, the pairs, and the pairs whose input is not zero.
        mac_repeated: mac, if each of T equal steps is computed.
        ac: accumulates by counts: a spike of either sign is 1, a count k is k. The first
            contribution is one too.
        ac_events: accumulates by events: a count is 1.
        ac_dense: bit by bit without skipping zeros: bits times dense.
        one_bits: of the inputs that are taken bit by bit.
        shifts: of accumulated values, by powers of two (Shiftmax).
        comparisons: of max pools, maxima, neurons' thresholds are apart.
        gates: masks of spikes: elements that pass.
        muls: multiplications without an accumulation.
        specials: exponentials, roots, divisions and the like.
        bias_adds: outputs of layers with a bias; in no total.
        norm_macs: of norms that can be folded into the layer before them; in no total.
        updates, leaks, thresholds, resets, spikes: of neurons: membranes updated, decayed,
            compared and reset.
        state_reads, state_writes: membrane words.
        words_event, words_once, words_step, words_dense: weight words: one read per event, once
            per image, once per step, or per dense multiply-add.
        in_values, in_counts, in_events: elements of the input, their sum of |k|, and those that
            are not zero.
        in_bits, out_bits: bits of activations read and written once.
        event_bits: bits of those input values that are not zero.
        calls: how often it ran.
    """

    dense: int = 0
    valid: int = 0
    events: int = 0
    outputs: int = 0
    mac: int = 0
    mac_valid: int = 0
    mac_nonzero: int = 0
    mac_repeated: int = 0
    ac: int = 0
    ac_events: int = 0
    ac_dense: int = 0
    one_bits: int = 0
    shifts: int = 0
    comparisons: int = 0
    gates: int = 0
    muls: int = 0
    specials: int = 0
    bias_adds: int = 0
    norm_macs: int = 0
    updates: int = 0
    leaks: int = 0
    thresholds: int = 0
    resets: int = 0
    spikes: int = 0
    state_reads: int = 0
    state_writes: int = 0
    words_event: int = 0
    words_once: int = 0
    words_step: int = 0
    words_dense: int = 0
    in_values: int = 0
    in_counts: int = 0
    in_events: int = 0
    in_bits: int = 0
    out_bits: int = 0
    event_bits: int = 0
    calls: int = 0

    def __iadd__(self, other: 'Counts') -> 'Counts':
        for name in NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    def as_dict(self, zeros: bool = True) -> dict[str, int]:
        """Name -> figure."""
        found = {name: getattr(self, name) for name in NAMES}
        return found if zeros else {name: value for name, value in found.items() if value}


NAMES = tuple(f.name for f in fields(Counts))


@dataclass(slots=True)
class Row:
    """One layer: an op of a module.

    Attributes:
        module: full name; empty for ops outside of all submodules.
        op: name with the namespace, or the class of a neuron.
        index: which call of this op within one call of the module.
        kind: ``conv``, ``linear``, ``matmul``, ``attention``, ``neuron``, ``add``, ``pool``,
            ``norm``, ``elementwise``, ``reduction``, ``resize`` or ``backward``.
        component: ``stem``, ``attention``, ``mlp``, ``head``, ``neck`` or ``body``.
        operands: (role, kind, domain or empty, origin) of every operand.
        steps: T at this layer; 0 if unknown.
        levels: D of the input's domain, 1 for unit spikes, 0 for real values.
        counts: its figures.
        detail: what only some kinds have, such as the orders of an attention.
    """

    module: str
    op: str
    index: int
    kind: str
    component: str = 'body'
    operands: tuple = ()
    steps: int = 0
    levels: int = 0
    counts: Counts = field(default_factory=Counts)
    detail: dict = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Module and op, as tables print it."""
        op = self.op.split('::')[-1]
        label = (
            self.module
            if self.kind in ('conv', 'linear', 'neuron') and self.module
            else f'{self.module}:{op}'
        )
        return label + (f'[{self.index}]' if self.index else '')

    @property
    def input(self) -> str:
        """Kind of the first operand that is no weight."""
        return next(
            (kind for _, kind, *_ in self.operands if kind != 'weight'),
            'weight' if self.operands else '',
        )

    @property
    def key(self) -> tuple:
        """What identifies it."""
        return self.module, self.op, self.index, self.kind
