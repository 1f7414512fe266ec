// Bipolar attention of spikes on a CPU: (q k^T) as sums of bytes, 2^score as bits, and products with v in registers.
//
// A query is a list of the few channels in which it has spikes. Its scores are the rows of k^T of these channels, added
// and subtracted as bytes, 32 keys per instruction. The exponent of a weight, x + 127, is such a byte too: shifted by
// 23 it is the float 2^x. The rest is one dense product (weights v) forward, and two backward (dout v^T, weights^T
// dout); dq and dk are again sums of rows, those where k and q have spikes.
//
// g is exact. A float sum of powers of two is exact below 2^24 times the smallest of them; rows whose rounded sum is
// too close to a power of two are added again as integers (`exact_exponent`).
//
// Rows of at most 64 spikes keep 2^score as it is until they are divided, so that values times 2^-64 to 2^64, and sums of n
// values, must fit a float32; rows of more have their largest score subtracted first.
//
// Results do not depend on the number of threads: every sum has a fixed order.
#include "backward.hpp"

#define OPERAND(x) void *x, int64_t x##_batch, int64_t x##_head, int64_t x##_token, int64_t x##_channel, int64_t x##_type
#define AS_OPERAND(x) Operand{x, x##_batch, x##_head, x##_token, x##_channel, x##_type}

MMBSA_EXPORT int64_t bipolar_forward(OPERAND(q), OPERAND(k), OPERAND(v), void *out, float *g, float *weight_sum, int64_t batch,
                                     int64_t heads, int64_t n_q, int64_t n_k, int64_t d, int64_t d_v, int64_t threads) {
    const Call call{batch, heads, {n_q, n_k, d, d_v}, int(threads)};
    if (v_type == BFLOAT16)
        return forward(AS_OPERAND(q), AS_OPERAND(k), AS_OPERAND(v), (bfloat16 *)out, g, weight_sum, call);
    return forward(AS_OPERAND(q), AS_OPERAND(k), AS_OPERAND(v), (float *)out, g, weight_sum, call);
}

MMBSA_EXPORT int64_t bipolar_backward(OPERAND(grad_out), OPERAND(q), OPERAND(k), OPERAND(v), OPERAND(out), const float *g,
                                      const float *weight_sum, int64_t through_g, OPERAND(grad_q), OPERAND(grad_k),
                                      OPERAND(grad_v), int64_t batch, int64_t heads, int64_t n_q, int64_t n_k, int64_t d,
                                      int64_t d_v, int64_t threads) {
    const Call call{batch, heads, {n_q, n_k, d, d_v}, int(threads)};
    return backward(AS_OPERAND(grad_out), AS_OPERAND(q), AS_OPERAND(k), AS_OPERAND(v), AS_OPERAND(out), g,
                    through_g ? weight_sum : nullptr, AS_OPERAND(grad_q), AS_OPERAND(grad_k), AS_OPERAND(grad_v), call);
}
