"""Published energies, computed from the released operation counts by the rule of each paper.

All figures come from logs, tables and sheets of the authors' repositories, or from tables of
other papers that quote them; docs/energy.md names the source of each figure and its value under
one common rule.
"""

from dataclasses import dataclass

#: pJ of a multiply-accumulate and of an accumulate in all of these papers.
E_MAC, E_AC = 4.6, 0.9
#: multiply-adds of a 3 x 3 stem from 3 to C / 8 channels at 224 x 224 over all T = 4 steps, per
#: channel of C / 8.
STEM_PER_CHANNEL = 4 * 27 * 224 * 224
#: multiply-adds of the classification head after the mean over time, per channel; the biases of
#: the 1000 classes are separate.
HEAD_CLASSES = 1000


def field_rule(macs: float, acs: float) -> float:
    """Return mJ of these operations: 4.6 pJ per multiply-accumulate, 0.9 pJ per accumulate.

    Args:
        macs: number of multiply-accumulates.
        acs: number of accumulates.
    """
    return (E_MAC * macs + E_AC * acs) * 1e-9


def linear_attention_bound(
    steps: int, heads: int, tokens: int, width: int, rate_q: float, rate_k: float, rate_v: float
) -> float:
    """Return the bound of Spikingformer's script for the accumulates of q (k^T v).

    The bound is T h N d^2 (min(f_k, f_v) + f_q) with d = width / h.

    Args:
        steps: number of time steps T.
        heads: number of heads h.
        tokens: number of tokens N.
        width: number of channels.
        rate_q, rate_k, rate_v: firing rates f of q, k and v, 0 to 1.
    """
    return steps * heads * tokens * (width // heads) ** 2 * (min(rate_k, rate_v) + rate_q)


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer of a released log.

    It has the multiply-accumulates and accumulates of one image over all time steps.
    """

    name: str
    macs: float
    acs: float


#: Spikingformer-8-512's log: accumulates of the tokenizer, and per block those of q (equal for k
#: and v), projection, fc1 and fc2.
_TOKENIZER = dict(
    proj_conv1=955595335.05072,
    proj_conv2=567352732.32666,
    proj_conv3=484860113.01378,
    rpe_conv=239640649.6176,
)
_BLOCKS = (
    (36294116.91444, 61324280.75375191, 220482576.19735593, 27049144.073178384),
    (69456408.22904, 63750386.15326336, 271977240.84957564, 24382872.691673774),
    (70333974.93444, 64698661.28045004, 286069780.50631315, 21054240.395625938),
    (70753376.34792, 59901309.59394832, 285499925.3133169, 15866866.748259844),
    (70549708.47512, 43220095.10245547, 296846249.11044466, 11686697.009903518),
    (73840965.22404, 34119884.97298336, 296114600.2453734, 7834684.814281684),
    (70347337.75776, 21999470.950397637, 265800897.65919375, 4679459.348576994),
    (65288232.60764, 19515506.85684756, 246475019.74431655, 11324371.15425487),
)
#: Spikingformer-8-512's log: firing rates of q, k and v per block.
_RATES = (
    (0.17230188630104062, 0.03626344770312309, 0.06957707978010177),
    (0.11627475060462952, 0.040295450145006184, 0.07173207724809647),
    (0.10669307922124864, 0.044414592387676234, 0.07524623577594756),
    (0.08188644799470902, 0.05000199048876763, 0.0768778057050705),
    (0.06365273276925086, 0.04325467040181161, 0.07054187965631485),
    (0.07711239219903945, 0.0311313860142231, 0.07321582739830017),
    (0.07023756886482238, 0.024202287513613703, 0.07348622434139251),
    (0.09727698216676713, 0.02812242347121239, 0.07954712931871415),
)


def spikingformer_8_512() -> list[Layer]:
    """Return the 54 layers of the released log of Spikingformer-8-512 (224 x 224, T = 4)."""
    layers = [Layer('patch_embed.proj_conv', STEM_PER_CHANNEL * 64, 0.0)]
    layers += [Layer(f'patch_embed.{name}', 0.0, acs) for name, acs in _TOKENIZER.items()]
    for index, (projection, out, fc1, fc2) in enumerate(_BLOCKS):
        layers += [
            Layer(f'block[{index}].attn.{name}', 0.0, projection)
            for name in ('q_conv', 'k_conv', 'v_conv')
        ]
        layers += [
            Layer(f'block[{index}].attn.proj_conv', 0.0, out),
            Layer(f'block[{index}].mlp.fc1_conv', 0.0, fc1),
            Layer(f'block[{index}].mlp.fc2_conv', 0.0, fc2),
        ]
    return [*layers, Layer('head', (512 + 1) * HEAD_CLASSES, 0.0)]


def spikingformer_8_512_attention() -> float:
    """Return the accumulates of the eight attentions of this log."""
    return sum(linear_attention_bound(4, 8, 196, 512, *rates) for rates in _RATES)


@dataclass(frozen=True)
class Quoted:
    """A published energy with its operation counts.

    Attributes:
        model: name and size of the model.
        width: number of channels C.
        giga_acs: accumulates in 10^9, as published.
        mj: energy in mJ, as published.
        stem: width of the stem in the paper's figure; C where the paper followed its own rule.
        head: whether the head is counted as multiply-accumulates.
    """

    model: str
    width: int
    giga_acs: float
    mj: float
    stem: int
    head: bool

    @property
    def macs(self) -> float:
        """Multiply-accumulates that the published figure contains."""
        return STEM_PER_CHANNEL * self.stem // 8 + (self.stem + 1) * HEAD_CLASSES * self.head

    @property
    def by_its_rule(self) -> float:
        """Energy in mJ from the operations, with the stem that the paper counted."""
        return field_rule(self.macs, self.giga_acs * 1e9)

    @property
    def by_own_stem(self) -> float:
        """Energy in mJ with the stem of the model's own width."""
        macs = STEM_PER_CHANNEL * self.width // 8 + (self.width + 1) * HEAD_CLASSES * self.head
        return field_rule(macs, self.giga_acs * 1e9)

    @property
    def stem_once(self) -> float:
        """Energy in mJ with the model's own stem, whose T = 4 equal steps are computed once."""
        macs = STEM_PER_CHANNEL // 4 * self.width // 8 + (self.width + 1) * HEAD_CLASSES * self.head
        return field_rule(macs, self.giga_acs * 1e9)


#: README of Spikingformer (its "FLOPs" are accumulates; those of 8-384 are rounded to two digits).
SPIKINGFORMER = (
    Quoted('Spikingformer-8-384', 384, 3.88, 4.69, 384, True),
    Quoted('Spikingformer-8-512', 512, 6.52, 7.46, 512, True),
    Quoted('Spikingformer-8-768', 768, 12.54, 13.68, 768, True),
)
#: Spikformer (ICLR 2023): every row contains the stem of the 512-wide models.
SPIKFORMER = (
    Quoted('Spikformer-8-384', 384, 6.82, 7.734, 512, False),
    Quoted('Spikformer-6-512', 512, 8.69, 9.417, 512, False),
    Quoted('Spikformer-8-512', 512, 11.09, 11.577, 512, False),
    Quoted('Spikformer-10-512', 512, 13.67, 13.899, 512, False),
    Quoted('Spikformer-8-768', 768, 22.09, 21.477, 512, False),
)
#: Spikingformer-8-768's own log: accumulates in 10^9, and mJ; its attention was counted for 12
#: heads instead of 8.
SPIKINGFORMER_768_LOG = (12.513660, 13.6589)

#: BICLab's sheet for SpikeYOLO-23.1M: its sum, and two cells.
SPIKEYOLO_SHEET = 34.489
#: pJ per operation of the first convolution in the sheet: the sheet uses the cost 4.6 in the place
#: of a rate.
SPIKEYOLO_FIRST = 0.9 * 4.6
#: mJ of the last convolution of block 12 at 20 x 20, as in the sheet; the block runs at 40 x 40.
SPIKEYOLO_BLOCK_12, SPIKEYOLO_SIDES = 0.115, (20, 40)


def spikeyolo_block_12() -> float:
    """Return mJ of the convolution at its real size; operations grow with the number of pixels."""
    wrong, right = SPIKEYOLO_SIDES
    return SPIKEYOLO_BLOCK_12 * (right / wrong) ** 2


def markdown() -> str:
    """Return a Markdown table: published energies, energies from the operations, and one rule."""
    lines = [
        "| model | published, mJ | by the paper's rule | with its own stem T times | stem once |",
        '|---|---|---|---|---|',
    ]
    for entry in (*SPIKINGFORMER, *SPIKFORMER):
        lines.append(
            f'| {entry.model} | {entry.mj:g} | {entry.by_its_rule:.3f} | {entry.by_own_stem:.3f} | '
            f'{entry.stem_once:.3f} |'
        )
    return '\n'.join(lines) + '\n'
