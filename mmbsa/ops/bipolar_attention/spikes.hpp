// Operands of any strides, spikes as bytes, and scores as sums of bytes.
#pragma once
#include "native.hpp"
#include <algorithm>
#include <cmath>
#include <type_traits>

using namespace mmbsa;

namespace {

constexpr int64_t ROWS = 6, LANES = 2 * WIDTH;  // of a product kept in registers
// Inlined into something large, the sums of a product may end up in memory.
#define ALONE __attribute__((noinline))
constexpr int64_t STRIP = 32;                   // bytes added at once

typedef uint32_t ints __attribute__((vector_size(4 * WIDTH)));
typedef uint8_t few __attribute__((vector_size(WIDTH)));
typedef uint8_t bytes __attribute__((vector_size(STRIP)));

// 2^(e - 127) of bytes e; 0 for e = 0.
MMBSA_INLINE floats powers(const uint8_t *e) {
#if defined(__AVX512F__)
    ints wide = (ints)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)e));
#elif defined(__AVX2__)
    ints wide = (ints)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)e));
#else
    ints wide = __builtin_convertvector(load<few>(e), ints);
#endif
    return (floats)(wide << 23);
}

// An operand of any strides, and one head of it.
enum Type : int64_t { FLOAT32, BFLOAT16, INT8 };

struct Matrix {
    char *data;
    int64_t token, channel, type;

    Matrix turned() const { return {data, channel, token, type}; }
};

struct Operand {
    void *data;
    int64_t batch, head, token, channel, type;

    Matrix at(int64_t b, int64_t h) const {
        const int64_t size = type == FLOAT32 ? 4 : type == BFLOAT16 ? 2 : 1;
        return {(char *)data + (b * batch + h * head) * size, token, channel, type};
    }
};

int64_t rounded(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Allocates parts of one memory; without memory it only counts their size.
struct Arena {
    char *base;
    int64_t used;

    template <class T> T *take(int64_t count) {
        T *part = (T *)(base + used);
        used += rounded(count * int64_t(sizeof(T)), 64);
        return part;
    }
};

// The parts that `layout` allocates, in a thread's own memory.
template <int SLOT, class Layout> bool furnish(Layout layout) {
    Arena counter{nullptr, 0};
    layout(counter);
    char *memory = (char *)scratch<SLOT>(size_t(counter.used / 4 + 16));
    if (!memory)
        return false;
    Arena arena{memory + (64 - (uintptr_t)memory % 64) % 64, 0};
    layout(arena);
    return true;
}

MMBSA_INLINE int8_t sign(int8_t x) { return int8_t((x > 0) - (x < 0)); }
template <class T> MMBSA_INLINE int8_t sign(T x) { return int8_t((widen(x) > 0.f) - (widen(x) < 0.f)); }

template <class T> void signs_of(const T *__restrict from, int64_t count, int8_t *__restrict to) {
    for (int64_t i = 0; i < count; i++)
        to[i] = sign(from[i]);
}

#if defined(__AVX2__)
template <> void signs_of(const float *__restrict from, int64_t count, int8_t *__restrict to) {
    int64_t i = 0;
    for (; i + 32 <= count; i += 32) {
        __m256i part[4];
        for (int p = 0; p < 4; p++) {
            const __m256 x = _mm256_loadu_ps(from + i + 8 * p), zero = _mm256_setzero_ps();
            part[p] = _mm256_sub_epi32(_mm256_castps_si256(_mm256_cmp_ps(x, zero, _CMP_LT_OQ)),
                                       _mm256_castps_si256(_mm256_cmp_ps(x, zero, _CMP_GT_OQ)));
        }
        const __m256i all = _mm256_packs_epi16(_mm256_packs_epi32(part[0], part[1]), _mm256_packs_epi32(part[2], part[3]));
        const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        _mm256_storeu_si256((__m256i *)(to + i), _mm256_permutevar8x32_epi32(all, order));
    }
    for (; i < count; i++)
        to[i] = sign(from[i]);
}
#endif

template <class T>
void signs(const T *x, int64_t outer, int64_t inner, int64_t outer_step, int64_t inner_step, int8_t *out, int64_t ld) {
    for (int64_t o = 0; o < outer; o++) {
        const T *from = x + o * outer_step;
        int8_t *to = out + o * ld;
        if (inner_step == 1)
            signs_of(from, inner, to);
        else
            for (int64_t i = 0; i < inner; i++)
                to[i] = sign(from[i * inner_step]);
        if (ld > inner)
            std::memset(to + inner, 0, size_t(ld - inner));
    }
    std::memset(out + outer * ld, 0, size_t((rounded(outer, 8) - outer) * ld));
}

void signs(const Matrix &m, int64_t first, int64_t count, int64_t d, bool by_token, int8_t *out, int64_t ld) {
    const int64_t outer = by_token ? count : d, inner = by_token ? d : count;
    const int64_t outer_step = by_token ? m.token : m.channel, inner_step = by_token ? m.channel : m.token;
    if (m.type == INT8)
        signs((const int8_t *)m.data + first * m.token, outer, inner, outer_step, inner_step, out, ld);
    else if (m.type == BFLOAT16)
        signs((const bfloat16 *)m.data + first * m.token, outer, inner, outer_step, inner_step, out, ld);
    else
        signs((const float *)m.data + first * m.token, outer, inner, outer_step, inner_step, out, ld);
}

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "bytes are turned and gathered as parts of whole numbers");

// Bytes of (rows, columns), both multiples of 8, to (columns, rows).
void transpose(const int8_t *in, int64_t in_ld, int64_t rows, int64_t columns, int8_t *out, int64_t out_ld) {
    for (int64_t r = 0; r < rows; r += 8)
        for (int64_t c = 0; c < columns; c += 8) {
            uint64_t x[8];
            for (int64_t i = 0; i < 8; i++)
                std::memcpy(&x[i], in + (r + i) * in_ld + c, 8);
            const uint64_t masks[3] = {0x00ff00ff00ff00ffu, 0x0000ffff0000ffffu, 0x00000000ffffffffu};
            for (int stage = 0; stage < 3; stage++)
                for (int i = 0; i < 8; i++)
                    if (!(i >> stage & 1)) {
                        uint64_t &a = x[i], &b = x[i + (1 << stage)];
                        const uint64_t swap = ((a >> (8 << stage)) ^ b) & masks[stage];
                        b ^= swap;
                        a ^= swap << (8 << stage);
                    }
            for (int64_t i = 0; i < 8; i++)
                std::memcpy(out + (c + i) * out_ld + r, &x[i], 8);
        }
}

// Signs of `count` tokens as (tokens, ld) or (channels, ld), zero where padded to multiples of 8; ld is one, too. Memory is
// read in its own order, and transposed as bytes.
void spikes(const Matrix &m, int64_t first, int64_t count, int64_t d, bool by_token, int8_t *out, int64_t ld, int8_t *room) {
    const bool lies_by_token = m.channel <= m.token;
    if (lies_by_token == by_token) {
        signs(m, first, count, d, by_token, out, ld);
        return;
    }
    const int64_t outer = rounded(lies_by_token ? count : d, 8), inner = rounded(lies_by_token ? d : count, 8);
    signs(m, first, count, d, lies_by_token, room, inner);
    transpose(room, inner, outer, inner, out, ld);
    for (int64_t i = 0; i < (by_token ? rounded(count, 8) : d); i++)
        std::memset(out + i * ld + outer, 0, size_t(ld - outer));
}

// Where up to 64 bytes of a row are 1 and where they are -1, as bits. Rows end at multiples of 8.
struct Fired {
    uint64_t plus, minus;

    Fired(const int8_t *row, int64_t count) : plus(0), minus(0) {
        const uint64_t lowest = 0x0101010101010101u, gather = 0x0102040810204080u;  // bits of bytes; these, side by side
        for (int64_t start = 0; start < count; start += 8) {
            uint64_t eight;
            std::memcpy(&eight, row + start, 8);
            const uint64_t negative = eight >> 1 & lowest, positive = (eight & lowest) ^ negative;
            plus |= (positive * gather >> 56) << start;
            minus |= (negative * gather >> 56) << start;
        }
    }
};

// The spikes of a query: offsets of rows of k^T, those to add before those to subtract.
struct Query {
    const int32_t *plus, *minus, *end;
    int64_t count() const { return end - plus; }
};

int32_t *offsets(uint64_t fired, int64_t first, int64_t ld, int32_t *list) {
    for (; fired; fired &= fired - 1)
        *list++ = int32_t((first + __builtin_ctzll(fired)) * ld);
    return list;
}

Query query(const int8_t *row, int64_t padded, int64_t ld, int32_t *list) {
    int32_t *minus = list;
    for (int64_t c = 0; c < padded; c += 64)
        minus = offsets(Fired(row + c, std::min<int64_t>(64, padded - c)).plus, c, ld, minus);
    int32_t *end = minus;
    for (int64_t c = 0; c < padded; c += 64)
        end = offsets(Fired(row + c, std::min<int64_t>(64, padded - c)).minus, c, ld, end);
    return {list, minus, end};
}

// start + q k^T modulo 256, for N strips of keys.
template <int N>
MMBSA_INLINE void add_rows(const int32_t *plus, const int32_t *minus, const int32_t *end, const int8_t *keys, uint8_t start,
                           uint8_t *out) {
    bytes sum[N];
#pragma GCC unroll 8
    for (int s = 0; s < N; s++)
        sum[s] = start - bytes{};
    for (; plus != minus; plus++)
#pragma GCC unroll 8
        for (int s = 0; s < N; s++)
            sum[s] += load<bytes>(keys + *plus + s * STRIP);
    for (; minus != end; minus++)
#pragma GCC unroll 8
        for (int s = 0; s < N; s++)
            sum[s] -= load<bytes>(keys + *minus + s * STRIP);
#pragma GCC unroll 8
    for (int s = 0; s < N; s++)
        store(out + s * STRIP, sum[s]);
}

// Scores of any size: bytes hold those of 127 channels at a time.
template <int N> void wide_scores(const Query &q, const int8_t *keys, int16_t *out) {
    uint8_t part[N * STRIP];
    std::memset(out, 0, sizeof(int16_t) * N * STRIP);
    for (const int32_t *from = q.plus; from != q.end;) {
        const int32_t *to = std::min(from + 127, q.end);
        add_rows<N>(from, std::max(from, std::min(q.minus, to)), to, keys, 0, part);
        for (int i = 0; i < N * STRIP; i++)
            out[i] = int16_t(out[i] + int8_t(part[i]));
        from = to;
    }
}

// Exponents x + bias of N strips of keys, 0 where that is negative.
template <int N> ALONE void exponents(const Query &q, const int8_t *keys, int64_t bias, uint8_t *out, int16_t *room) {
    if (bias >= q.count() && bias + q.count() <= 255) {
        add_rows<N>(q.plus, q.minus, q.end, keys, uint8_t(bias), out);
        return;
    }
    wide_scores<N>(q, keys, room);
    for (int i = 0; i < N * STRIP; i++)
        out[i] = uint8_t(std::max(0, std::min(255, room[i] + int(bias))));
}

// ceil(log2 sum 2^(score - lowest)) + lowest of counted scores: carried from the lowest bit up, in integers.
int64_t ceil_log2(const int64_t *counts, int64_t size, int64_t lowest) {
    int64_t top = size - 1, sum = 0;
    while (!counts[top])
        top--;
    bool below = false;
    for (int64_t i = 0; i <= top; i++) {
        below |= sum & 1;
        sum = (sum >> 1) + counts[i];
    }
    const int64_t length = 63 - __builtin_clzll(uint64_t(sum));
    return lowest + top + length + (below || sum != int64_t(1) << length);
}

}  // namespace
