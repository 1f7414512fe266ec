"""Neurons that SpikingJelly does not have: a mixture of four, an asymmetric ternary one, Hodgkin
and Huxley's."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmbsa.models.neurons.surrogates import build_surrogate
from mmbsa.ops.registration import working_dtype
from mmbsa.registry import MODELS
from mmbsa.spiking import BINARY, TERNARY, SpikeDomain, SpikingNeuron


class OwnNode(SpikingNeuron):
    """What our spiking nodes share: binary spikes with a surrogate of their own.

    Args:
        surrogate_function: a name, a config or a module, see :func:`build_surrogate`; None is a
            sigmoid, alpha 4.
        detach_reset: whether the reset is cut out of the graph.
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
        """Binary; real-valued where the surrogate computes its primitive function."""
        return BINARY if self.surrogate_function.spiking else None


@MODELS.register_module()
class HDLIFNode(OwnNode):
    r"""Heterogeneous dynamics: the membranes of four kinds of neuron, mixed by a gate over time
    (HD-LIF of STEP).

    .. math:: H[t] = \sum_k g_k[t]\, H_k[t], \quad S = \Theta(H - V_{th}), \quad V = H (1 - S)

    with the charges of IF, LIF, parametric LIF (learnable decay) and exponential IF neurons:

    .. math:: V + X, \quad V + \frac{X - V}{\tau}, \quad V + \sigma(w)(X - V),
              \quad V + \frac{X - V + \Delta e^{(V - \theta_{rh})/\Delta}}{\tau}

    The gate is a softmax of a causal convolution over T of the mean input of a sample. STEP's
    convolution mixes T and channels, so that a neuron has to know its map, and its evaluation keeps
    two of four dynamics that training mixed; **[ours]** the gate has no channels, and training and
    evaluation compute the same.

    Args:
        tau: of LIF and exponential IF, and at first of the parametric LIF; > 1.
        v_threshold: threshold (0.2 in STEP).
        delta_t, theta_rh: of the exponential IF.
        kernel_size: steps that the gate sees, the present one included.
        top_k: how many dynamics keep their share, the largest first; None keeps all four.
        surrogate_function, detach_reset: see :class:`OwnNode`.

    Raises:
        ValueError: tau <= 1, or a top_k outside 1..4.
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
            raise ValueError(f'HDLIFNode: top_k must lie in 1..4, got {top_k}')
        self.tau, self.v_threshold, self.delta_t, self.theta_rh = (
            float(tau),
            float(v_threshold),
            delta_t,
            theta_rh,
        )
        self.top_k = top_k
        self.w = nn.Parameter(-torch.tensor(self.tau - 1).log())
        self.gate = nn.Conv1d(1, 4, kernel_size)
        nn.init.zeros_(self.gate.weight)  # all dynamics weigh the same at first
        nn.init.zeros_(self.gate.bias)

    def shares(self, means: Tensor, steps: int) -> Tensor:
        """Mean inputs of the K - 1 steps before and of the present ones (K - 1 + T, B) -> weights
        (T, 4, B)."""
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
        """Membranes of the four dynamics before the spike."""
        # far above threshold, where the neuron fires anyway, the exponential would overflow
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
        """(T, B, *) input current -> (T, B, *) spikes, and the membrane (B, *) with the last K - 1
        mean inputs."""
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
        """Dynamics."""
        return f'tau={self.tau:g}, v_threshold={self.v_threshold:g}, top_k={self.top_k}'


@MODELS.register_module()
class AsymmetricIFNode(OwnNode):
    r"""Ternary integrate-and-fire neuron with a threshold of its own for each sign, of SWFormer
    (ECCV 2024).

    .. math:: H = V + X, \quad S = \Theta(H - V_{th}) - \Theta(-(H + V_{neg} + \epsilon)), \quad V =
        H (1 - |S|)

    SpikingJelly's ternary neurons have one threshold for both signs.

    Args:
        v_threshold: of positive spikes.
        v_negative: of negative spikes, as a positive number.
        inhibit: :math:`\epsilon`, added to it.
        surrogate_function, detach_reset: see :class:`OwnNode`; the reset is in the graph, as
            officially.

    Raises:
        ValueError: a threshold that is not positive.
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
        """Ternary; real-valued where the surrogate computes its primitive function."""
        return TERNARY if self.surrogate_function.spiking else None

    def run(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(T, *) input current -> (T, *) spikes, and the membrane (*), in float32 at least."""
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
        """Thresholds."""
        thresholds = f'v_threshold={self.v_threshold:g}, v_negative={self.v_negative:g}'
        return f'{thresholds}, inhibit={self.inhibit:g}'


@MODELS.register_module()
class HodgkinHuxleyNode(OwnNode):
    r"""Hodgkin and Huxley's neuron (J. Physiol. 1952) with the constants of the squid's axon.

    .. math:: C \dot V = I - \bar g_{Na} m^3 h (V - E_{Na}) - \bar g_K n^4 (V - E_K) - g_L (V - E_L)

    One step of the network is ``substeps`` of ``dt`` milliseconds; gates and membrane are
    integrated by the exponential Euler method, which is stable at any ``dt``. A step has a spike if
    its highest potential passes ``spike_threshold`` and the step did not begin above it. There is
    no reset: the potassium current is one. The surrogate sees the distance to the threshold in
    units of ``scale``.

    Args:
        gain: current in uA / cm^2 of an input of 1; the axon fires periodically above about 6.
        substeps, dt: numerical integration; the default step lasts 5 ms.
        spike_threshold, scale: mV.
        surrogate_function, detach_reset: see :class:`OwnNode`; ``detach_reset`` cuts the beginning
            of a step out of its spike's graph.

    Raises:
        ValueError: substeps < 1, or dt or scale that is not positive.
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
        """Potential (mV) -> opening and closing rates (1 / ms) of the gates m, h and n."""

        def linoid(u: Tensor, width: float) -> Tensor:
            """u / (1 - exp(-u / width)), which is ``width`` at 0."""
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
        """Potential (mV), gates and current (uA / cm^2) -> potential and gates ``dt`` later."""
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
        """Scales."""
        return (
            f'gain={self.gain:g}, substeps={self.substeps}, dt={self.dt:g}, '
            f'spike_threshold={self.spike_threshold:g}'
        )
