// LIF over blocks of neurons that stay in the first-level cache for all steps: x is read once, spikes are written once.
//
// The backward computes the membranes of its block again from x, then goes through the steps in reverse order. Rounding is
// that of SpikingJelly's float32 operations; only the exponential of the surrogate is a different one.
#include "native.hpp"

#include <cmath>
#include <type_traits>

using namespace mmbsa;

namespace {

constexpr int64_t BLOCK = 1024;  // neurons of a page of float32

enum Leak : int { NONE, PLAIN, HALVES, DIVIDED };  // tau None; decay_input False; decay_input with 1 / tau exact, or not
enum Surrogate : int { SIGMOID, ATAN, PIECEWISE_QUADRATIC, RECT };

struct Neuron {
    float tau, threshold, rest, alpha, reach;  // reach: half the width of the rectangle
    int leak, surrogate;
    bool hard, is_signed, detach;
};

template <int LEAK> MMBSA_INLINE float charge(float x, float v, const Neuron &p, float inverse) {
    if (LEAK == NONE)
        return v + x;
    if (LEAK == PLAIN)
        return v - (v - p.rest) / p.tau + x;
    if (LEAK == HALVES)
        return v + (x - (v - p.rest)) * inverse;
    return v + (x - (v - p.rest)) / p.tau;
}

template <bool SIGNED> MMBSA_INLINE float fire(float h, float threshold) {
    float s = h >= threshold ? 1.f : 0.f;
    return SIGNED ? s - (-h >= threshold ? 1.f : 0.f) : s;
}

// One step of a block: v becomes V, H is written to `charged` and S to `spikes` if these are not null.
template <int LEAK, bool HARD, bool SIGNED, bool KEEP, bool FIRE>
void advance(int64_t n, const float *__restrict x, float *__restrict v, float *__restrict charged,
             float *__restrict spikes, const Neuron &p) {
    const Neuron q = p;
    const float inverse = 1.f / q.tau;
    for (int64_t i = 0; i < n; i++) {
        float h = charge<LEAK>(x[i], v[i], q, inverse);
        float s = fire<SIGNED>(h, q.threshold);
        if (KEEP)
            charged[i] = h;
        if (FIRE)
            spikes[i] = s;
        v[i] = HARD ? (s != 0.f ? q.rest : h) : h - q.threshold * s;
    }
}

using Advance = void (*)(int64_t, const float *, float *, float *, float *, const Neuron &);

template <int LEAK, bool KEEP> Advance advance_of(const Neuron &p) {
    if (p.hard)
        return p.is_signed ? advance<LEAK, true, true, KEEP, !KEEP> : advance<LEAK, true, false, KEEP, !KEEP>;
    return p.is_signed ? advance<LEAK, false, true, KEEP, !KEEP> : advance<LEAK, false, false, KEEP, !KEEP>;
}

template <bool KEEP> Advance advance_of(const Neuron &p) {
    switch (p.leak) {
    case NONE:
        return advance_of<NONE, KEEP>(p);
    case PLAIN:
        return advance_of<PLAIN, KEEP>(p);
    case HALVES:
        return advance_of<HALVES, KEEP>(p);
    default:
        return advance_of<DIVIDED, KEEP>(p);
    }
}

// The surrogate's derivative at a distance z to the threshold.
template <int SURROGATE> MMBSA_INLINE float slope(float z, const Neuron &p) {
    const float alpha = p.alpha;
    if (SURROGATE == SIGMOID) {  // y (1 - y) = e / (1 + e)^2 for e = exp(-|alpha z|)
        float e = exp_of_minus(std::fabs(alpha * z));
        return alpha * e / ((1.f + e) * (1.f + e));
    }
    if (SURROGATE == ATAN) {
        float y = 1.5707963267948966f * alpha * z;
        return alpha * 0.5f / (1.f + y * y);
    }
    float distance = std::fabs(z);
    if (SURROGATE == PIECEWISE_QUADRATIC) {
        float height = 1.f - alpha * distance;
        return height > 0.f ? alpha * height : (height == height ? 0.f : height);
    }
    return distance < p.reach ? alpha : 0.f;
}

// One step back: from dL/dS[t] in `grad`, H[t] in `charged` and dL/dV[t] in `carry` to dL/dX[t] in `out` and dL/dV[t-1].
template <int SURROGATE, bool HARD, bool SIGNED, bool DETACH>
void retreat(int64_t n, const float *__restrict grad, const float *__restrict charged, float *__restrict carry,
             float *__restrict out, const Neuron &p) {
    const Neuron q = p;
    const bool leaks = q.leak != NONE, shares = q.leak == HALVES || q.leak == DIVIDED;
    const float leak = leaks ? 1.f / q.tau : 0.f;
    const float share = shares ? leak : 1.f;
    for (int64_t i = 0; i < n; i++) {
        float h = charged[i];
        float upper = slope<SURROGATE>(h - q.threshold, q), both = upper, across = upper;
        if (SIGNED) {
            float lower = slope<SURROGATE>(h + q.threshold, q);
            both = upper + lower;
            across = upper - lower;
        }
        float through = 1.f;  // dV/dH
        if (HARD) {
            through = (SIGNED ? std::fabs(h) : h) >= q.threshold ? 0.f : 1.f;
            if (!DETACH)
                through += (q.rest - h) * across;
        } else if (!DETACH) {
            through -= q.threshold * both;
        }
        float grad_h = grad[i] * both + carry[i] * through;
        out[i] = grad_h * share;
        carry[i] = grad_h - grad_h * leak;
    }
}

using Retreat = void (*)(int64_t, const float *, const float *, float *, float *, const Neuron &);

template <int SURROGATE> Retreat retreat_of(const Neuron &p) {
    static const Retreat table[2][2][2] = {
        {{retreat<SURROGATE, false, false, false>, retreat<SURROGATE, false, false, true>},
         {retreat<SURROGATE, false, true, false>, retreat<SURROGATE, false, true, true>}},
        {{retreat<SURROGATE, true, false, false>, retreat<SURROGATE, true, false, true>},
         {retreat<SURROGATE, true, true, false>, retreat<SURROGATE, true, true, true>}}};
    return table[p.hard][p.is_signed][p.detach];
}

Retreat retreat_of(const Neuron &p) {
    switch (p.surrogate) {
    case SIGMOID:
        return retreat_of<SIGMOID>(p);
    case ATAN:
        return retreat_of<ATAN>(p);
    case PIECEWISE_QUADRATIC:
        return retreat_of<PIECEWISE_QUADRATIC>(p);
    default:
        return retreat_of<RECT>(p);
    }
}

// n numbers, `stride` apart, as contiguous float32: without a copy if possible, otherwise in `room`.
template <class T> const float *dense(const T *from, int64_t stride, int64_t n, float *room) {
    if constexpr (std::is_same_v<T, float>)
        if (stride == 1)
            return from;
    for (int64_t i = 0; i < n; i++)
        room[i] = widen(from[i * stride]);
    return room;
}

// Where a step writes float32: the result itself, or `room`, from which `deliver` rounds it.
float *target(float *to, float *) { return to; }
float *target(bfloat16 *, float *room) { return room; }
void deliver(float *, const float *, int64_t) {}
void deliver(bfloat16 *to, const float *room, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        narrow(room[i], to[i]);
}

// Calls body(v, start, size) for every block of n neurons; v are its membranes before the first step, those of `v0` or at
// rest where that is null, followed by `blocks` - 1 blocks of free memory.
template <class Body>
int64_t each_block(int64_t n, int64_t blocks, const float *v0, const Neuron &p, int threads, Body body) {
    int64_t failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        float *v = scratch<0>(size_t(blocks * BLOCK));
        if (!v)
            failed = 1;
#pragma omp for schedule(static)
        for (int64_t start = 0; start < n; start += BLOCK) {
            if (!v)
                continue;
            const int64_t size = n - start < BLOCK ? n - start : BLOCK;
            for (int64_t i = 0; i < size; i++)
                v[i] = v0 ? v0[start + i] : p.rest;
            body(v, start, size);
        }
    }
    return failed;
}

template <class T>
int64_t forward(const T *x, int64_t x_step, const float *v0, T *spikes, float *last, int64_t steps, int64_t n,
                const Neuron &p, int threads) {
    const Advance step = advance_of<false>(p);
    return each_block(n, 3, v0, p, threads, [&](float *v, int64_t start, int64_t size) {
        float *room = v + BLOCK, *fired = room + BLOCK;
        for (int64_t t = 0; t < steps; t++) {
            T *to = spikes + t * n + start;
            float *s = target(to, fired);
            step(size, dense(x + t * x_step + start, 1, size, room), v, nullptr, s, p);
            deliver(to, s, size);
        }
        if (last)
            std::memcpy(last + start, v, size_t(size) * sizeof(float));
    });
}

template <class T>
int64_t backward(const T *grad, int64_t grad_step, int64_t grad_stride, const float *grad_last, const T *x,
                 int64_t x_step, const float *v0, T *out, float *grad_v0, int64_t steps, int64_t n, const Neuron &p,
                 int threads) {
    const Advance step = advance_of<true>(p);
    const Retreat back = retreat_of(p);
    return each_block(n, 3 + steps, v0, p, threads, [&](float *v, int64_t start, int64_t size) {
        float *room = v + BLOCK, *result = room + BLOCK, *charged = result + BLOCK, *carry = v;
        for (int64_t t = 0; t < steps; t++)
            step(size, dense(x + t * x_step + start, 1, size, room), v, charged + t * BLOCK, nullptr, p);
        for (int64_t i = 0; i < size; i++)
            carry[i] = grad_last ? grad_last[start + i] : 0.f;
        for (int64_t t = steps - 1; t >= 0; t--) {
            T *to = out + t * n + start;
            float *o = target(to, result);
            back(size, dense(grad + t * grad_step + start * grad_stride, grad_stride, size, room), charged + t * BLOCK, carry,
                 o, p);
            deliver(to, o, size);
        }
        if (grad_v0)
            std::memcpy(grad_v0 + start, carry, size_t(size) * sizeof(float));
    });
}

Neuron neuron(double tau, double threshold, double rest, double alpha, int64_t leak, int64_t surrogate, int64_t hard,
              int64_t is_signed, int64_t detach) {
    return {float(tau), float(threshold), float(rest), float(alpha), float(0.5 / alpha),
            int(leak),  int(surrogate),   hard != 0,   is_signed != 0, detach != 0};
}

}  // namespace

MMBSA_EXPORT int64_t lif_forward(const void *x, int64_t x_step, const float *v0, void *spikes, float *last,
                                 int64_t steps, int64_t n, int64_t bf16, double tau, double threshold, double rest,
                                 double alpha, int64_t leak, int64_t surrogate, int64_t hard, int64_t is_signed,
                                 int64_t detach, int64_t threads) {
    const Neuron p = neuron(tau, threshold, rest, alpha, leak, surrogate, hard, is_signed, detach);
    if (bf16)
        return forward((const bfloat16 *)x, x_step, v0, (bfloat16 *)spikes, last, steps, n, p, int(threads));
    return forward((const float *)x, x_step, v0, (float *)spikes, last, steps, n, p, int(threads));
}

MMBSA_EXPORT int64_t lif_backward(const void *grad, int64_t grad_step, int64_t grad_stride, const float *grad_last,
                                  const void *x, int64_t x_step, const float *v0, void *out, float *grad_v0,
                                  int64_t steps, int64_t n, int64_t bf16, double tau, double threshold, double rest,
                                  double alpha, int64_t leak, int64_t surrogate, int64_t hard, int64_t is_signed,
                                  int64_t detach, int64_t threads) {
    const Neuron p = neuron(tau, threshold, rest, alpha, leak, surrogate, hard, is_signed, detach);
    if (bf16)
        return backward((const bfloat16 *)grad, grad_step, grad_stride, grad_last, (const bfloat16 *)x, x_step, v0,
                        (bfloat16 *)out, grad_v0, steps, n, p, int(threads));
    return backward((const float *)grad, grad_step, grad_stride, grad_last, (const float *)x, x_step, v0, (float *)out,
                    grad_v0, steps, n, p, int(threads));
}
