"""Operation counts of one layer, and the row that identifies the layer."""

from dataclasses import dataclass, field, fields


@dataclass(slots=True)
class Counts:
    """Operation counts of a layer, as integers over all counted samples and steps.

    A *pair* is an input element and a weight tap inside the map; padding is not an input.

    Attributes:
        dense: multiply-adds of the dense layer, with padded taps.
        valid: pairs.
        events: pairs whose input is not zero.
        outputs: output elements.
        mac: dense multiply-accumulates of real-valued inputs; T equal steps are counted once.
        mac_valid, mac_nonzero: pairs among ``mac``, and pairs whose input is not zero.
        mac_repeated: ``mac`` if each of T equal steps is computed.
        ac: accumulates by counts: a spike of either sign is 1, a count k is k. The first
            contribution to an output is one too.
        ac_events: accumulates by events: a count k is 1.
        ac_dense: accumulates bit by bit without skipping zeros: bits times ``dense``.
        one_bits: one-bits of the inputs that are processed bit by bit.
        shifts: shifts of accumulated values by powers of two (Shiftmax).
        comparisons: comparisons of max pools and maxima; ``thresholds`` counts those of neurons.
        gates: elements that pass a mask of spikes.
        muls: multiplications without an accumulation.
        specials: exponentials, roots, divisions and similar functions.
        bias_adds: outputs of layers with a bias; not part of any total.
        norm_macs: multiply-accumulates of norms that can be folded into the layer before them; not
            part of any total.
        updates, leaks, thresholds, resets, spikes: operations of neurons: membranes that are
            updated, decayed, compared and reset, and emitted spikes.
        state_reads, state_writes: membrane words that are read and written.
        words_event, words_once, words_step, words_dense: weight words that are read under four
            policies: one per event, once per image, once per step, one per dense multiply-add.
        in_values, in_counts, in_events: elements of the input, sum of their |k|, and elements that
            are not zero.
        in_bits, out_bits: bits of the activations, if each is read and written once.
        event_bits: bits of the input values that are not zero.
        calls: number of calls of the layer.
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
        """Return name -> count; ``zeros`` (default True) includes the counts that are 0."""
        found = {name: getattr(self, name) for name in NAMES}
        return found if zeros else {name: value for name, value in found.items() if value}


NAMES = tuple(f.name for f in fields(Counts))


@dataclass(slots=True)
class Row:
    """One layer: an op of a module, with its counts.

    Attributes:
        module: full name of the module; empty for ops outside of all submodules.
        op: name of the op with its namespace, or class of the neuron.
        index: position of the call among the calls of this op within one call of the module.
        kind: ``conv``, ``linear``, ``matmul``, ``attention``, ``neuron``, ``add``, ``pool``,
            ``norm``, ``elementwise``, ``reduction``, ``resize`` or ``backward``.
        component: ``stem``, ``attention``, ``mlp``, ``head``, ``neck`` or ``body``.
        operands: (role, kind, domain or empty, origin) of every operand.
        steps: number of time steps T at this layer; 0 if unknown.
        levels: largest count D of the input's domain: 1 for unit spikes, 0 for real values.
        counts: operation counts.
        detail: values of single kinds only, such as both orders of an attention.
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
        """Name of the module and the op, as tables print it."""
        op = self.op.split('::')[-1]
        label = (
            self.module
            if self.kind in ('conv', 'linear', 'neuron') and self.module
            else f'{self.module}:{op}'
        )
        return label + (f'[{self.index}]' if self.index else '')

    @property
    def input(self) -> str:
        """Kind of the first operand that is not a weight."""
        return next(
            (kind for _, kind, *_ in self.operands if kind != 'weight'),
            'weight' if self.operands else '',
        )

    @property
    def key(self) -> tuple:
        """The values that identify the row."""
        return self.module, self.op, self.index, self.kind
