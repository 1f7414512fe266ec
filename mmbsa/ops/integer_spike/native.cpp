// Integer spikes: one read of u, one write of the spikes, of a byte that is 1 where the gradient is 1 / norm, and of the
// count as a byte.
#include "native.hpp"

#include <cmath>

using namespace mmbsa;

namespace {

constexpr int64_t BLOCK = 4096;  // smallest number of elements per thread

enum Keep : int64_t { NOTHING, PASSING, PASSING_AND_COUNTS };

template <class T, bool HALF_UP, bool INCLUSIVE, Keep KEEP>
void forward(const T *__restrict u, T *__restrict spikes, uint8_t *__restrict passing, int8_t *__restrict counts, int64_t n,
             float low, float high, float norm) {
    T bound;  // a clamp of 16-bit membranes has 16-bit bounds
    narrow(low, bound);
    low = widen(bound);
    narrow(high, bound);
    high = widen(bound);
    for (int64_t i = 0; i < n; i++) {
        float x = widen(u[i]);
        float count = x < low ? low : (x > high ? high : x);
        if (KEEP != NOTHING)
            passing[i] = INCLUSIVE ? count == x : (x > low) & (x < high);
        // The reference also rounds a 16-bit membrane to 16 bits between its operations.
        T shifted;
        narrow(HALF_UP ? count + 0.5f : count, shifted);
        float whole = HALF_UP ? std::floor(widen(shifted)) : __builtin_rintf(count);
        narrow(whole / norm, spikes[i]);
        if (KEEP == PASSING_AND_COUNTS)
            counts[i] = int8_t(int32_t(whole));
    }
}

template <class T, bool HALF_UP, bool INCLUSIVE>
void forward(const T *u, T *spikes, uint8_t *passing, int8_t *counts, int64_t n, float low, float high, float norm,
             int64_t keep) {
    (keep == NOTHING   ? forward<T, HALF_UP, INCLUSIVE, NOTHING>
     : keep == PASSING ? forward<T, HALF_UP, INCLUSIVE, PASSING>
                       : forward<T, HALF_UP, INCLUSIVE, PASSING_AND_COUNTS>)(u, spikes, passing, counts, n, low, high, norm);
}

template <class T>
void forward(const T *u, T *spikes, uint8_t *passing, int8_t *counts, int64_t n, float low, float high, float norm,
             bool half_up, bool inclusive, int64_t keep) {
    (half_up ? inclusive ? forward<T, true, true> : forward<T, true, false>
     : inclusive ? forward<T, false, true>
                 : forward<T, false, false>)(u, spikes, passing, counts, n, low, high, norm, keep);
}

template <class T>
void backward(const T *__restrict grad, const uint8_t *__restrict passing, T *__restrict out, int64_t n, float norm) {
    for (int64_t i = 0; i < n; i++)
        narrow(widen(grad[i]) * float(passing[i]) / norm, out[i]);
}

}  // namespace

// `passing` and `counts` are not read or written unless `keep` is PASSING or more, and PASSING_AND_COUNTS.
MMBSA_EXPORT int64_t integer_spike_forward(const void *u, void *spikes, uint8_t *passing, int8_t *counts, int64_t n,
                                           int64_t bf16, double low, double high, double norm, int64_t half_up,
                                           int64_t inclusive, int64_t keep, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(int(threads))
    for (int64_t start = 0; start < n; start += BLOCK) {
        const int64_t size = n - start < BLOCK ? n - start : BLOCK;
        if (bf16)
            forward((const bfloat16 *)u + start, (bfloat16 *)spikes + start, passing + start, counts + start, size, float(low),
                    float(high), float(norm), half_up != 0, inclusive != 0, keep);
        else
            forward((const float *)u + start, (float *)spikes + start, passing + start, counts + start, size, float(low),
                    float(high), float(norm), half_up != 0, inclusive != 0, keep);
    }
    return 0;
}

MMBSA_EXPORT int64_t integer_spike_backward(const void *grad, const uint8_t *passing, void *out, int64_t n, int64_t bf16,
                                            double norm, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(int(threads))
    for (int64_t start = 0; start < n; start += BLOCK) {
        const int64_t size = n - start < BLOCK ? n - start : BLOCK;
        if (bf16)
            backward((const bfloat16 *)grad + start, passing + start, (bfloat16 *)out + start, size, float(norm));
        else
            backward((const float *)grad + start, passing + start, (float *)out + start, size, float(norm));
    }
    return 0;
}
