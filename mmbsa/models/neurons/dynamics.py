"""Neurons that SpikingJelly does not have: heterogeneous dynamics, asymmetric ternary and
Hodgkin-Huxley."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmbsa.models.neurons.surrogates import build_surrogate
from mmbsa.ops.registration import working_dtype
from mmbsa.registry import MODELS
from mmbsa.spiking import BINARY, TERNARY, SpikeDomain, SpikingNeuron


class OwnNode(SpikingNeuron):
    """Base class of the neurons in this file: binary spikes, with one surrogate gradient per
    neuron.

    Args:
        surrogate_function: a name, a config or a module, see :func:`build_surrogate`; None
            (default) is a sigmoid with alpha 4.
        detach_reset: whether the reset has no gradient; default True.
    """

    def __init__(
        self, surrogate_function: dict | str | nn.Module | None = None, detach_reset: bool = True
    ):
        super().__init__()
        self.surrogate_function = build_surrogate(
            surrogate_function or dict(type='Sigmoid', alpha=4.0)
        )
        self.detach_reset = detach_reset

    @property
    def domain(self) -> SpikeDomain | None:
        """Binary; None (real-valued) if the surrogate computes its primitive function."""
        return BINARY if self.surrogate_function.spiking else None


@MODELS.register_module()
class HDLIFNode(OwnNode):
    r"""Neuron with heterogeneous dynamics (HD-LIF of STEP): a gate mixes the membrane potentials of
    four neuron models.

    .. math:: H[t] = \sum_k g_k[t]\, H_k[t], \quad S = \Theta(H - V_{th}), \quad V = H (1 - S)

    with the charges of IF, LIF, parametric LIF (learnable decay) and exponential IF neurons:

    .. math:: V + X, \quad V + \frac{X - V}{\tau}, \quad V + \sigma(w)(X - V),
              \quad V + \frac{X - V + \Delta e^{(V - \theta_{rh})/\Delta}}{\tau}

    The gate is a softmax of a causal convolution over T of the mean input of a sample. In STEP the
    convolution also mixes channels, so that its size depends on the feature map, and evaluation
    keeps only two of the four models that training mixes. **[ours]**: the gate has no channels, and
    training and evaluation compute the same.

    Args:
        tau: time constant, in steps, of LIF and exponential IF, and initial value for the
            parametric LIF; > 1; default 2.
        v_threshold: threshold; default 1 (0.2 in STEP).
        delta_t: sharpness of the exponential IF; default 1.
        theta_rh: rheobase threshold of the exponential IF; default 0.8.
        kernel_size: K, the number of steps in the gate's convolution, with the present one; default
            3.
        top_k: number of models that are mixed, those with the largest weights; None (default) mixes
            all four.
        surrogate_function: surrogate gradient, see :class:`OwnNode`.
        detach_reset: whether the reset has no gradient; default True.

    Raises:
        ValueError: ``tau`` <= 1, or ``top_k`` is outside 1..4.
    """

    def __init__(
        self,
        tau: float = 2.0,
        v_threshold: float = 1.0,
        delta_t: float = 1.0,
        theta_rh: float = 0.8,
        kernel_size: int = 3,
        top_k: int | None = None,
        detach_reset: bool = True,
        surrogate_function: dict | str | nn.Module | None = None,
    ):
        super().__init__(surrogate_function, detach_reset)
        if tau <= 1:
            raise ValueError(f'HDLIFNode: tau must be larger than 1, got {tau}')
        if top_k is not None and not 1 <= top_k <= 4:
            raise ValueError(f'HDLIFNode: top_k must be in 1..4, got {top_k}')
        self.tau, self.v_threshold, self.delta_t, self.theta_rh = (
            float(tau),
            float(v_threshold),
            delta_t,
            theta_rh,
        )
        self.top_k = top_k
        self.w = nn.Parameter(-torch.tensor(self.tau - 1).log())
        self.gate = nn.Conv1d(1, 4, kernel_size)
        nn.init.zeros_(self.gate.weight)  # equal weights at the start
        nn.init.zeros_(self.gate.bias)

    def shares(self, means: Tensor, steps: int) -> Tensor:
        """Return the weights (T, 4, B) of the four models.

        Args:
            means: mean input per sample (K - 1 + T, B) of the K - 1 previous steps and the T
                present ones.
            steps: T.
        """
        logits = self.gate.bias.view(1, 4, 1)
        for k in range(
            self.gate.kernel_size[0]
        ):  # step by step, so that the sum does not depend on T
            logits = logits + self.gate.weight[:, 0, k].view(1, 4, 1) * means[
                k : k + steps
            ].unsqueeze(1)
        if self.top_k is not None:
            least = logits.topk(self.top_k, dim=1).values[:, -1:]
            logits = logits.masked_fill(logits < least, float('-inf'))
        return logits.softmax(1)

    def charges(self, v: Tensor, x: Tensor) -> Sequence[Tensor]:
        """Return the membrane potentials of the four models before the spike.

        Args:
            v: membrane potential (B, *) after the previous step.
            x: input current (B, *).
        """
        # the exponential would overflow far above the threshold, where the neuron emits a spike in
        # any case
        upswing = self.delta_t * ((v - self.theta_rh) / self.delta_t).clamp(max=5).exp()
        return (
            v + x,
            v + (x - v) / self.tau,
            v + (x - v) * self.w.sigmoid(),
            v + (x - v + upswing) / self.tau,
        )

    def run(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Run the neuron over T time steps.

        Args:
            x: input current (T, B, *).
            state: the membrane potential (B, *) and the last K - 1 mean inputs; None (default)
                starts at rest.

        Returns:
            Spikes (T, B, *), and the state after the last step.
        """
        window = self.gate.kernel_size[0] - 1
        v, before = (
            (torch.zeros_like(x[0]), x.new_zeros(window, x.size(1))) if state is None else state
        )
        now = torch.stack([x_t.flatten(1).mean(1) for x_t in x]) if x.ndim > 2 else x
        means = torch.cat([before, now])
        spikes = []
        for x_t, share in zip(x, self.shares(means, len(x))):
            share = share.view(4, -1, *[1] * (x.ndim - 2))
            h = sum(g * charge for g, charge in zip(share, self.charges(v, x_t)))
            spike = self.surrogate_function(h - self.v_threshold)
            spikes.append(spike)
            v = h * (1 - (spike.detach() if self.detach_reset else spike))
        return torch.stack(spikes), (v, means[len(means) - window :])

    def extra_repr(self) -> str:
        """Return the parameters for ``repr``."""
        return f'tau={self.tau:g}, v_threshold={self.v_threshold:g}, top_k={self.top_k}'


@MODELS.register_module()
class AsymmetricIFNode(OwnNode):
    r"""Ternary integrate-and-fire neuron with one threshold per sign, of SWFormer (ECCV 2024).

    .. math:: H = V + X, \quad S = \Theta(H - V_{th}) - \Theta(-(H + V_{neg} + \epsilon)), \quad V =
        H (1 - |S|)

    SpikingJelly's ternary neurons use the same threshold for both signs.

    Args:
        v_threshold: threshold of positive spikes; default 1.
        v_negative: threshold of negative spikes, as a positive number; default 0.5.
        inhibit: :math:`\epsilon`, added to ``v_negative``; default 0.001.
        surrogate_function: surrogate gradient, see :class:`OwnNode`.
        detach_reset: whether the reset has no gradient; default False, as in the official code.

    Raises:
        ValueError: a threshold is not positive.
    """

    def __init__(
        self,
        v_threshold: float = 1.0,
        v_negative: float = 0.5,
        inhibit: float = 0.001,
        detach_reset: bool = False,
        surrogate_function: dict | str | nn.Module | None = None,
    ):
        super().__init__(surrogate_function, detach_reset)
        if v_threshold <= 0 or v_negative <= 0:
            raise ValueError(
                f'AsymmetricIFNode: v_threshold={v_threshold} and v_negative={v_negative} must be '
                'positive'
            )
        self.v_threshold, self.v_negative, self.inhibit = (
            float(v_threshold),
            float(v_negative),
            float(inhibit),
        )

    @property
    def domain(self) -> SpikeDomain | None:
        """Ternary; None (real-valued) if the surrogate computes its primitive function."""
        return TERNARY if self.surrogate_function.spiking else None

    def run(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run the neuron over T time steps.

        Args:
            x: input current (T, *).
            state: the membrane potential (*) after the previous step; None (default) starts at 0.

        Returns:
            Spikes (T, *), and the membrane potential (*) after the last step, in float32 or
            float64.
        """
        spikes, v = [], state
        for x_t in x.to(working_dtype(x.dtype)):
            h = x_t if v is None else v + x_t
            spike = self.surrogate_function(h - self.v_threshold) - self.surrogate_function(
                -(h + self.v_negative + self.inhibit)
            )
            spikes.append(spike.to(x.dtype))
            v = (1 - (spike.detach() if self.detach_reset else spike).abs()) * h
        return torch.stack(spikes), v

    def extra_repr(self) -> str:
        """Return the thresholds for ``repr``."""
        thresholds = f'v_threshold={self.v_threshold:g}, v_negative={self.v_negative:g}'
        return f'{thresholds}, inhibit={self.inhibit:g}'


@MODELS.register_module()
class HodgkinHuxleyNode(OwnNode):
    r"""Hodgkin-Huxley neuron (J. Physiol. 1952) with the constants of the squid giant axon.

    .. math:: C \dot V = I - \bar g_{Na} m^3 h (V - E_{Na}) - \bar g_K n^4 (V - E_K) - g_L (V - E_L)

    One step of the network consists of ``substeps`` integration steps of ``dt`` milliseconds each.
    Gates and membrane potential are integrated by the exponential Euler method, which is stable for
    every ``dt``. A step has a spike if its highest potential exceeds ``spike_threshold`` and its
    first potential does not. There is no reset, because the potassium current lowers the potential.
    The input of the surrogate is the distance to the threshold divided by ``scale``.

    Args:
        gain: current in uA / cm^2 of an input of 1; default 20. The neuron emits spikes
            periodically above about 6 uA / cm^2.
        substeps: number of integration steps per time step; default 20.
        dt: length of an integration step in ms; default 0.25, so that a time step has 5 ms.
        spike_threshold: potential of a spike in mV; default -20.
        scale: unit of the surrogate's input in mV; default 20.
        surrogate_function: surrogate gradient, see :class:`OwnNode`.
        detach_reset: whether a spike has no gradient with respect to the first potential of its
            step; default True.

    Raises:
        ValueError: ``substeps`` < 1, or ``dt`` or ``scale`` is not positive.
    """

    #: mF, mS and mV: capacity; conductances of sodium, potassium and leak; their potentials; rest.
    CAPACITY, G_NA, G_K, G_L, E_NA, E_K, E_L, REST = (
        1.0,
        120.0,
        36.0,
        0.3,
        50.0,
        -77.0,
        -54.387,
        -65.0,
    )

    def __init__(
        self,
        gain: float = 20.0,
        substeps: int = 20,
        dt: float = 0.25,
        spike_threshold: float = -20.0,
        scale: float = 20.0,
        detach_reset: bool = True,
        surrogate_function: dict | str | nn.Module | None = None,
    ):
        super().__init__(surrogate_function, detach_reset)
        if substeps < 1 or dt <= 0 or scale <= 0:
            raise ValueError(
                f'HodgkinHuxleyNode: substeps={substeps} must be >= 1, dt={dt} and scale={scale} '
                'positive'
            )
        self.gain, self.substeps, self.dt = float(gain), substeps, float(dt)
        self.spike_threshold, self.scale = float(spike_threshold), float(scale)

    @staticmethod
    def rates(v: Tensor) -> Sequence[tuple[Tensor, Tensor]]:
        """Return the opening and closing rates (1 / ms) of the gates m, h and n for a potential
        ``v`` in mV."""

        def linoid(u: Tensor, width: float) -> Tensor:
            """Return u / (1 - exp(-u / width)), which is ``width`` at u = 0."""
            z = u / width
            near = z.abs() < 1e-4
            far = torch.where(near, torch.ones_like(z), z)
            return width * torch.where(near, 1 + z / 2 + z**2 / 12, far / -torch.expm1(-far))

        return (
            (0.1 * linoid(v + 40, 10.0), 4 * (-(v + 65) / 18).exp()),
            (0.07 * (-(v + 65) / 20).exp(), torch.sigmoid((v + 35) / 10)),
            (0.01 * linoid(v + 55, 10.0), 0.125 * (-(v + 65) / 80).exp()),
        )

    def advance(
        self, v: Tensor, gates: Sequence[Tensor], current: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the potential and the gates after one integration step of ``dt``.

        Args:
            v: membrane potential in mV (*).
            gates: gates m, h and n, (*) each, 0 to 1.
            current: current in uA / cm^2 (*).
        """
        moved = []
        for gate, (opening, closing) in zip(gates, self.rates(v)):
            total = opening + closing
            limit = opening / total
            moved.append(limit + (gate - limit) * (-self.dt * total).exp())
        m, h, n = moved
        sodium, potassium = self.G_NA * m**3 * h, self.G_K * n**4
        total = sodium + potassium + self.G_L
        limit = (sodium * self.E_NA + potassium * self.E_K + self.G_L * self.E_L + current) / total
        return limit + (v - limit) * (-self.dt / self.CAPACITY * total).exp(), moved

    def run(
        self, x: Tensor, state: tuple[Tensor, ...] | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run the neuron over T time steps.

        Args:
            x: input current, (T, *), multiplied by ``gain`` to give uA / cm^2.
            state: membrane potential in mV and gates m, h and n after the previous step, (*) each;
                None (default) starts at rest.

        Returns:
            Spikes (T, *), and the state after the last step.
        """
        if state is None:
            v = torch.full_like(x[0], self.REST)
            state = v, *(opening / (opening + closing) for opening, closing in self.rates(v))
        v, *gates = state
        spikes = []
        for x_t in x * self.gain:
            start, peak = v, v
            for _ in range(self.substeps):
                v, gates = self.advance(v, gates, x_t)
                peak = torch.maximum(peak, v)
            spike = self.surrogate_function((peak - self.spike_threshold) / self.scale)
            below = (start.detach() if self.detach_reset else start) < self.spike_threshold
            spikes.append(spike * below)
        return torch.stack(spikes), (v, *gates)

    def extra_repr(self) -> str:
        """Return the parameters for ``repr``."""
        return (
            f'gain={self.gain:g}, substeps={self.substeps}, dt={self.dt:g}, '
            f'spike_threshold={self.spike_threshold:g}'
        )
