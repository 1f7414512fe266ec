// Bipolar attention of spikes on a CPU: (q k^T) as sums of bytes, 2^score as bits, and products with v in registers.
//
// A query names the few channels in which it fires. Its scores are the rows of k^T of these channels, added and subtracted
// as bytes, 32 keys per instruction. The exponent of a weight, x + 127, is such a byte too: shifted by 23 it is the float
// 2^x. What is left is one dense product (weights v) forward, and two backward (dout v^T, weights^T dout); dq and dk are
// again sums of rows, those where k and q fire.
//
// g is exact. A float sum of powers of two is exact below 2^24 times the smallest of them; rows that cannot be told from a
// power of two by a rounded sum are added up again as whole numbers (`settle`).
//
// Results do not depend on the number of threads: every sum has one order.
#include "native.hpp"

#include <algorithm>
#include <cmath>
#include <type_traits>
#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

using namespace mmbsa;

namespace {

constexpr int64_t ROWS = 6, LANES = 2 * WIDTH;  // of a product kept in registers
// Inlined into something large, the sums of a product may end up in memory.
#define ALONE __attribute__((noinline))
constexpr int64_t STRIP = 32;                   // bytes added at once

typedef float floats __attribute__((vector_size(4 * WIDTH)));
typedef uint32_t ints __attribute__((vector_size(4 * WIDTH)));
typedef uint8_t few __attribute__((vector_size(WIDTH)));
typedef uint8_t bytes __attribute__((vector_size(STRIP)));

template <class V, class T> MMBSA_INLINE V load(const T *from) {
    V v;
    std::memcpy(&v, from, sizeof(V));
    return v;
}

template <class V, class T> MMBSA_INLINE void store(T *to, const V &v) { std::memcpy(to, &v, sizeof(V)); }

MMBSA_INLINE floats splat(float x) { return x - floats{}; }

// a b + c, rounded once where the processor can.
MMBSA_INLINE floats fma(floats a, floats b, floats c) {
#if defined(__AVX512F__)
    return (floats)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    return (floats)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
    return (floats)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

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

// Hands out parts of one memory; counts only, as long as it has none.
struct Arena {
    char *base;
    int64_t used;

    template <class T> T *take(int64_t count) {
        T *part = (T *)(base + used);
        used += rounded(count * int64_t(sizeof(T)), 64);
        return part;
    }
};

// The parts that `layout` takes, in a thread's own memory.
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

// Spikes -------------------------------------------------------------------------------------------------------------

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
// read in its own order, and turned as bytes.
void spikes(const Matrix &m, int64_t first, int64_t count, int64_t d, bool by_token, int8_t *out, int64_t ld, int8_t *room) {
    const bool lies_by_token = std::abs(m.channel) <= std::abs(m.token);
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
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
            eight = __builtin_bswap64(eight);
#endif
            const uint64_t negative = eight >> 1 & lowest, positive = (eight & lowest) ^ negative;
            plus |= (positive * gather >> 56) << start;
            minus |= (negative * gather >> 56) << start;
        }
    }
};

// Where a query fires: offsets of rows of k^T, those to add before those to subtract.
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

// Scores -------------------------------------------------------------------------------------------------------------

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

// ceil(log2 sum 2^(score - lowest)) + lowest of counted scores: carried from the lowest bit up, in whole numbers.
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

// Products -----------------------------------------------------------------------------------------------------------

// c (R, LANES) += a b over `count` steps; b (count, LANES), and a[row * row_step + i * step]. V registers of c's LANES.
template <int V, int R>
ALONE void multiply(const float *a, int64_t row_step, int64_t step, const float *b, int64_t count, float *c) {
    floats sum[R][V];
#pragma GCC unroll 6
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
        for (int v = 0; v < V; v++)
            sum[r][v] = load<floats>(c + r * LANES + v * WIDTH);
    for (int64_t i = 0; i < count; i++) {
        floats right[V];
#pragma GCC unroll 2
        for (int v = 0; v < V; v++)
            right[v] = load<floats>(b + i * LANES + v * WIDTH);
#pragma GCC unroll 6
        for (int r = 0; r < R; r++) {
            const floats left = splat(a[r * row_step + i * step]);
#pragma GCC unroll 2
            for (int v = 0; v < V; v++)
                sum[r][v] = fma(left, right[v], sum[r][v]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
        for (int v = 0; v < V; v++)
            store(c + r * LANES + v * WIDTH, sum[r][v]);
}

// The same for (rows, LANES) of c, rows from 4 to ROWS, one register of each or two.
MMBSA_INLINE void multiply(const float *a, int64_t row_step, int64_t step, const float *b, int64_t count, float *c,
                           int64_t rows, bool narrow) {
    if (rows == 6)
        narrow ? multiply<1, 6>(a, row_step, step, b, count, c) : multiply<2, 6>(a, row_step, step, b, count, c);
    else if (rows == 5)
        narrow ? multiply<1, 5>(a, row_step, step, b, count, c) : multiply<2, 5>(a, row_step, step, b, count, c);
    else
        narrow ? multiply<1, 4>(a, row_step, step, b, count, c) : multiply<2, 4>(a, row_step, step, b, count, c);
}

// (8, 8) to its transpose.
#if defined(__AVX__)
MMBSA_INLINE void transpose_tile(const float *in, int64_t in_ld, float *out, int64_t out_ld) {
    __m256 a[8], b[8];
    for (int i = 0; i < 4; i++) {  // rows i and i + 4 of the left half, then of the right half
        a[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(in + i * in_ld)),
                                    _mm_loadu_ps(in + (i + 4) * in_ld), 1);
        a[i + 4] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(in + i * in_ld + 4)),
                                        _mm_loadu_ps(in + (i + 4) * in_ld + 4), 1);
    }
    for (int i = 0; i < 8; i += 4) {
        b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
        b[i + 2] = _mm256_unpacklo_ps(a[i + 2], a[i + 3]);
        b[i + 3] = _mm256_unpackhi_ps(a[i + 2], a[i + 3]);
    }
    for (int i = 0; i < 8; i += 4) {
        _mm256_storeu_ps(out + i * out_ld, _mm256_shuffle_ps(b[i], b[i + 2], 0x44));
        _mm256_storeu_ps(out + (i + 1) * out_ld, _mm256_shuffle_ps(b[i], b[i + 2], 0xee));
        _mm256_storeu_ps(out + (i + 2) * out_ld, _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44));
        _mm256_storeu_ps(out + (i + 3) * out_ld, _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee));
    }
}
#else
MMBSA_INLINE void transpose_tile(const float *in, int64_t in_ld, float *out, int64_t out_ld) {
    for (int64_t r = 0; r < 8; r++)
        for (int64_t c = 0; c < 8; c++)
            out[c * out_ld + r] = in[r * in_ld + c];
}
#endif

// (rows, columns), both rounded up to multiples of 8, to (columns, rows).
void transpose(const float *in, int64_t in_ld, int64_t rows, int64_t columns, float *out, int64_t out_ld) {
    for (int64_t r = 0; r < rows; r += 8)
        for (int64_t c = 0; c < columns; c += 8)
            transpose_tile(in + r * in_ld + c, in_ld, out + c * out_ld + r, out_ld);
}

// to[c, r] = from[r, c] of whole tiles, and the rest one by one.
void turn(const float *from, int64_t from_ld, int64_t rows, int64_t columns, float *to, int64_t to_ld) {
    const int64_t whole_rows = rows / 8 * 8, whole_columns = columns / 8 * 8;
    transpose(from, from_ld, whole_rows, whole_columns, to, to_ld);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = r < whole_rows ? whole_columns : 0; c < columns; c++)
            to[c * to_ld + r] = from[r * from_ld + c];
}

// Panels of LANES columns: what rows of `width` numbers are cut into.
struct Panels {
    int64_t width;
    int64_t count() const { return (width + LANES - 1) / LANES; }
    bool narrow(int64_t p) const { return width - p * LANES <= WIDTH; }
    int64_t columns(int64_t p) const { return std::min(LANES, width - p * LANES); }
};

template <class T>
void copy(const T *from, int64_t row_step, int64_t column_step, int64_t rows, int64_t columns, float *to) {
    if (std::is_same<T, float>::value && row_step == 1)
        turn((const float *)from, column_step, columns, rows, to, LANES);
    else if (column_step == 1 && columns == LANES)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < LANES; c++)
                to[r * LANES + c] = widen(from[r * row_step + c]);
    else
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < columns; c++)
                to[r * LANES + c] = widen(from[r * row_step + c * column_step]);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = columns; c < LANES; c++)
            to[r * LANES + c] = 0.f;
}

// (rows, LANES) of a matrix, zero beyond its columns.
void panel(const Matrix &m, int64_t row, int64_t rows, int64_t column, int64_t columns, float *to) {
    const int64_t first = row * m.token + column * m.channel;
    if (m.type == BFLOAT16)
        copy((const bfloat16 *)m.data + first, m.token, m.channel, rows, columns, to);
    else
        copy((const float *)m.data + first, m.token, m.channel, rows, columns, to);
}

// Forward ------------------------------------------------------------------------------------------------------------

constexpr int64_t KEYS = 256;     // of a block whose panel of v and whose weights of ROWS queries fit the first-level cache
constexpr int64_t QUERIES = 96;   // of a block whose weights fit the second-level cache
constexpr int64_t SMALL = 64;     // scores whose powers and sums fit float32 without a reference
constexpr double BAND = 1. / (1 << 18);  // of a row's sum: floats add up a block of keys, doubles the blocks

struct Sizes {
    int64_t n_q, n_k, d, d_v;
};

struct Forward {
    Sizes size;
    Panels panels;
    int64_t padded_d;
    int8_t *keys, *rows, *room;       // (blocks, d, KEYS), (QUERIES, padded d), what turning bytes takes
    float *values, *sum;              // (panels, n_k, LANES), (panels, LANES): of all keys, for silent queries
    int32_t *lists;                   // (QUERIES, d)
    Query *queries;                   // (QUERIES): those that fire, at their place in the block
    int64_t *place, *reference;       // (QUERIES)
    double *total;                    // (QUERIES)
    float *weights, *products;        // (QUERIES, KEYS), (panels, QUERIES, LANES)
    int64_t *counts;                  // (2 d + 1)
    int16_t *scores;                  // (KEYS)
    uint8_t *exponent;                // (KEYS)

    void layout(Arena &a) {
        const int64_t blocks = (size.n_k + KEYS - 1) / KEYS;
        keys = a.take<int8_t>(blocks * padded_d * KEYS);
        rows = a.take<int8_t>(QUERIES * padded_d);
        room = a.take<int8_t>(KEYS * padded_d);
        values = a.take<float>(panels.count() * size.n_k * LANES);
        sum = a.take<float>(panels.count() * LANES);
        lists = a.take<int32_t>(QUERIES * padded_d + 1);
        queries = a.take<Query>(QUERIES);
        place = a.take<int64_t>(QUERIES);
        reference = a.take<int64_t>(QUERIES);
        total = a.take<double>(QUERIES);
        weights = a.take<float>(QUERIES * KEYS);
        products = a.take<float>(panels.count() * QUERIES * LANES);
        counts = a.take<int64_t>(2 * size.d + 1);
        scores = a.take<int16_t>(KEYS);
        exponent = a.take<uint8_t>(KEYS);
    }

    void pack(const Matrix &k, const Matrix &v);
    int64_t pack_queries(const Matrix &q, int64_t first, int64_t count);
    int64_t top(const Query &q);
    int64_t settle(const Query &q);
    ALONE void weigh(int64_t live, int64_t block);
    int64_t normaliser(int64_t row, float &mass);
    template <class T> void block(const Matrix &q, int64_t first, int64_t count, T *out, float *g, float *mass);
};

void Forward::pack(const Matrix &k, const Matrix &v) {
    for (int64_t first = 0; first < size.n_k; first += KEYS)
        spikes(k, first, std::min(KEYS, size.n_k - first), size.d, false, keys + first * padded_d, KEYS, room);
    for (int64_t p = 0; p < panels.count(); p++) {
        float *to = values + p * size.n_k * LANES, *all = sum + p * LANES;
        panel(v, 0, size.n_k, p * LANES, panels.columns(p), to);
        floats left = {}, right = {};
        for (int64_t j = 0; j < size.n_k; j++) {
            left += load<floats>(to + j * LANES);
            right += load<floats>(to + j * LANES + WIDTH);
        }
        store(all, left);
        store(all + WIDTH, right);
    }
}

// The number of queries that fire; they are gathered.
int64_t Forward::pack_queries(const Matrix &q, int64_t first, int64_t count) {
    spikes(q, first, count, size.d, true, rows, padded_d, room);
    int64_t live = 0;
    int32_t *list = lists;
    for (int64_t i = 0; i < count; i++) {
        queries[live] = query(rows + i * padded_d, padded_d, KEYS, list);
        list += queries[live].count();
        place[live] = i;
        live += queries[live].count() != 0;
    }
    return live;
}

int64_t Forward::top(const Query &q) {
    int16_t top = INT16_MIN;
    for (int64_t first = 0; first < size.n_k; first += KEYS) {
        wide_scores<KEYS / STRIP>(q, keys + first * padded_d, scores);
        for (int64_t j = 0; j < std::min(KEYS, size.n_k - first); j++)
            top = std::max(top, scores[j]);
    }
    return top;
}

int64_t Forward::settle(const Query &q) {
    std::fill(counts, counts + 2 * size.d + 1, 0);
    for (int64_t first = 0; first < size.n_k; first += KEYS) {
        wide_scores<KEYS / STRIP>(q, keys + first * padded_d, scores);
        for (int64_t j = 0; j < std::min(KEYS, size.n_k - first); j++)
            counts[scores[j] + size.d]++;
    }
    return ceil_log2(counts, 2 * size.d + 1, -size.d);
}

// Powers of `count` exponents, and their sum.
double weights_of(const uint8_t *exponent, int64_t count, float *out) {
    constexpr int N = STRIP / WIDTH;
    floats sums[N] = {};
    int64_t j = 0;
    for (; j + STRIP <= count; j += STRIP)
        for (int v = 0; v < N; v++) {
            const floats w = powers(exponent + j + v * WIDTH);
            store(out + j + v * WIDTH, w);
            sums[v] += w;
        }
    for (; j + WIDTH <= count; j += WIDTH) {
        const floats w = powers(exponent + j);
        store(out + j, w);
        sums[0] += w;
    }
    for (int half = N / 2; half; half /= 2)
        for (int v = 0; v < half; v++)
            sums[v] += sums[v + half];
    double sum = 0.;
    for (int l = 0; l < WIDTH; l++)
        sum += sums[0][l];
    for (; j < count; j++) {
        out[j] = as_float(uint32_t(exponent[j]) << 23);
        sum += out[j];
    }
    return sum;
}

// Add a block of keys to the products of a block of queries.
void Forward::weigh(int64_t live, int64_t first) {
    const int64_t count = std::min(KEYS, size.n_k - first);
    const int8_t *own = keys + first * padded_d;
    for (int64_t i = 0; i < live; i++) {
        if (2 * count > KEYS)
            exponents<KEYS / STRIP>(queries[i], own, 127 - reference[i], exponent, scores);
        else
            exponents<KEYS / STRIP / 2>(queries[i], own, 127 - reference[i], exponent, scores);
        total[i] += weights_of(exponent, count, weights + i * KEYS);
    }
    for (int64_t p = 0; p < panels.count(); p++)
        for (int64_t i = 0; i < live; i += ROWS) {
            const float *w = weights + i * KEYS, *v = values + (p * size.n_k + first) * LANES;
            float *to = products + (p * QUERIES + i) * LANES;
            multiply(w, KEYS, 1, v, count, to, ROWS, panels.narrow(p));
        }
}

MMBSA_INLINE double power(int64_t exponent) {
    const uint64_t bits = uint64_t(exponent + 1023) << 52;
    double value;
    std::memcpy(&value, &bits, 8);
    return value;
}

// Shiftmax's exponent of a row whose sum is known; the sum is below 2^24 of the smallest powers a row can hold, or off the
// powers of two by more than it can err, or added up again.
int64_t Forward::normaliser(int64_t row, float &mass) {
    uint64_t bits;
    std::memcpy(&bits, &total[row], 8);
    const int64_t floor = int64_t(bits >> 52) - 1023;
    const double mantissa = total[row] * power(-floor);  // in [1, 2)
    int64_t g = floor + (mantissa != 1) + reference[row];
    const bool exact = floor < 24 - queries[row].count() - reference[row];
    if (!exact && (mantissa <= 1 + BAND || mantissa >= 2 - BAND))
        g = settle(queries[row]);
    mass = float(std::min(1., std::max(0.5, total[row] * power(reference[row] - g))));
    return g;
}

template <class T>
void Forward::block(const Matrix &q, int64_t first, int64_t count, T *out, float *g, float *mass) {
    const int64_t live = pack_queries(q, first, count);
    const int64_t silent_g = size.n_k > 1 ? 64 - __builtin_clzll(uint64_t(size.n_k - 1)) : 0;
    const float share = as_float(uint32_t(127 - silent_g) << 23);
    if (live < count)
        for (int64_t i = 0; i < count; i++) {
            g[first + i] = float(silent_g);
            mass[first + i] = float(size.n_k) * share;
        }
    for (int64_t i = 0; i < live; i++) {
        total[i] = 0.;
        reference[i] = queries[i].count() <= SMALL ? 0 : top(queries[i]);
    }
    std::fill(products, products + panels.count() * QUERIES * LANES, 0.f);
    for (int64_t key = 0; live && key < size.n_k; key += KEYS)
        weigh(live, key);
    int64_t next = 0;
    for (int64_t i = 0; i < count; i++) {
        float factor = share;
        const bool fires = next < live && place[next] == i;
        if (fires) {
            const int64_t exponent = normaliser(next, mass[first + i]);
            g[first + i] = float(exponent);
            factor = float(power(reference[next] - exponent));
        }
        for (int64_t p = 0; p < panels.count(); p++) {
            const float *from = fires ? products + (p * QUERIES + next) * LANES : sum + p * LANES;
            T *to = out + (first + i) * size.d_v + p * LANES;
            if (panels.columns(p) == LANES)
                for (int64_t c = 0; c < LANES; c++)
                    narrow(from[c] * factor, to[c]);
            else
                for (int64_t c = 0; c < panels.columns(p); c++)
                    narrow(from[c] * factor, to[c]);
        }
        next += fires;
    }
}

struct Call {
    int64_t batch, heads;
    Sizes size;
    int threads;

    int64_t maps() const { return batch * heads; }
    Matrix head(const Operand &x, int64_t map) const { return x.at(map / heads, map % heads); }
};

// Parts that a head is cut into where there are too few heads for the threads.
int64_t parts_of(const Call &call, int64_t blocks) {
    return call.maps() >= 2 * call.threads ? 1 : std::min(blocks, (4 * call.threads + call.maps() - 1) / call.maps());
}

// Blocks of like size, a multiple of `multiple`.
struct Blocks {
    int64_t n, size;

    Blocks(int64_t n, int64_t most, int64_t multiple) : n(n) {
        const int64_t blocks = (n + most - 1) / most;
        size = std::min(most, rounded((n + blocks - 1) / blocks, multiple));
    }
    int64_t count() const { return (n + size - 1) / size; }
    int64_t first(int64_t block) const { return block * size; }
    int64_t length(int64_t block) const { return std::min(size, n - block * size); }
};

template <class T>
int64_t forward(const Operand &q, const Operand &k, const Operand &v, T *out, float *g, float *mass, const Call &call) {
    const Sizes s = call.size;
    const Blocks blocks(s.n_q, QUERIES, ROWS);
    const int64_t parts = parts_of(call, blocks.count());
    int64_t failed = 0;
#pragma omp parallel num_threads(call.threads) reduction(| : failed)
    {
        Forward f;
        f.size = s;
        f.panels = {s.d_v};
        f.padded_d = rounded(s.d, 8);
        const bool ready = furnish<0>([&](Arena &a) { f.layout(a); });
        failed = !ready;
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t task = 0; task < call.maps() * parts; task++) {
            if (!ready)
                continue;
            const int64_t map = task / parts, part = task % parts, rows = map * s.n_q;
            f.pack(call.head(k, map), call.head(v, map));
            for (int64_t b = part * blocks.count() / parts; b < (part + 1) * blocks.count() / parts; b++)
                f.block(call.head(q, map), blocks.first(b), blocks.length(b), out + rows * s.d_v, g + rows, mass + rows);
        }
    }
    return failed;
}

// Backward -----------------------------------------------------------------------------------------------------------

constexpr int64_t BQ = 120, BK = 128;  // queries and keys of a block; three maps of a block fit the second-level cache
constexpr int64_t LD = 136;            // of such a map, so that rows do not fall on each other in the cache
constexpr float LN2 = 0.69314718055994531f;

// A spike as a term of a sum of rows of a map.
struct Term {
    int32_t offset;
    float sign;
};

// target += the rows of a map, each with its sign; V registers of them.
template <int V> ALONE void add_terms(const float *map, const Term *from, const Term *to, float *target) {
    floats sum[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; v++)
        sum[v] = load<floats>(target + v * WIDTH);
    for (; from != to; from++) {
        const floats sign = splat(from->sign);
        const float *row = map + from->offset;
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
            sum[v] = fma(load<floats>(row + v * WIDTH), sign, sum[v]);
    }
#pragma GCC unroll 8
    for (int v = 0; v < V; v++)
        store(target + v * WIDTH, sum[v]);
}

using AddTerms = void (*)(const float *, const Term *, const Term *, float *);
constexpr AddTerms ADD_TERMS[8] = {add_terms<1>, add_terms<2>, add_terms<3>, add_terms<4>,
                                   add_terms<5>, add_terms<6>, add_terms<7>, add_terms<8>};

// target (d, BK) += for each channel its terms; the map's strips stay in the first-level cache for all channels.
void add_all_terms(const float *map, Term *const *terms, int64_t d, int64_t columns, float *target) {
    const int64_t registers = (columns + WIDTH - 1) / WIDTH, strips = (registers + 7) / 8;
    for (int64_t s = 0; s < strips; s++) {
        const int64_t start = s * registers / strips, count = (s + 1) * registers / strips - start;
        for (int64_t c = 0; c < d; c++)
            ADD_TERMS[count - 1](map + start * WIDTH, terms[c], terms[c + 1], target + c * BK + start * WIDTH);
    }
}

struct Backward {
    Sizes size;
    Panels panels;
    int64_t padded_d;
    Blocks queries{1, BQ, 24}, keys{1, BK, LANES};
    // Of the queries of a head, block by block:
    int32_t *lists;         // n_q d offsets into a block of k^T
    Query *query_of;        // (n_q)
    int64_t *live;          // (blocks): queries that fire; what follows holds only these, in their order
    int64_t *place;         // (n_q): where in its block a query lies
    int64_t *bias;          // (n_q): of the exponent of a score, 127 - g
    Term *query_terms;      // n_q d
    Term **query_channels;  // (blocks, d + 1): where the terms of a channel begin
    float *upstream;        // (blocks, panels, BQ, LANES)
    float *delta;           // (blocks, BQ)
    float *grad_q;          // (blocks, padded d, BK)
    float *result;          // (blocks, BQ, padded d): the gradient of all queries, the silent ones first
    float *silent;          // (panels, LANES): what silent queries give to the gradient of each value
    // Of its keys:
    int8_t *key_bytes;     // (blocks, padded d, BK)
    Term *key_terms;       // n_k d
    Term **key_channels;   // (blocks, d + 1)
    float *values;         // (blocks, BK / LANES, d_v, LANES): v^T
    float *grad_k;         // (blocks, padded d, BK)
    float *grad_v;         // (blocks, panels, BK, LANES)
    float *moments;        // (d_v, padded d): v^T k
    float *key_sum;        // (padded d)
    // Of a block:
    float *weight, *grad, *turned;  // (BK / LANES, BQ, LANES), (BQ, LD), (BK, LD)
    float *tokens;                  // (BK, padded d)
    float *lanes;                   // (BQ, LANES)
    uint8_t *exponent;              // (BQ, BK)
    int16_t *scores;                // (BK)
    int8_t *rows, *columns, *room;  // (BQ, padded d), (padded d, BK), (BK, padded d)

    void layout(Arena &a) {
        const int64_t n_q = queries.count(), n_k = keys.count();
        lists = a.take<int32_t>(size.n_q * size.d + 1);
        query_of = a.take<Query>(size.n_q);
        live = a.take<int64_t>(n_q);
        place = a.take<int64_t>(size.n_q);
        bias = a.take<int64_t>(size.n_q);
        query_terms = a.take<Term>(size.n_q * size.d + 1);
        query_channels = a.take<Term *>(n_q * (size.d + 1));
        upstream = a.take<float>(n_q * panels.count() * BQ * LANES);
        delta = a.take<float>(n_q * BQ);
        grad_q = a.take<float>(n_q * padded_d * BK);
        result = a.take<float>(n_q * BQ * padded_d);
        silent = a.take<float>(panels.count() * LANES);
        key_bytes = a.take<int8_t>(n_k * padded_d * BK);
        key_terms = a.take<Term>(size.n_k * size.d + 1);
        key_channels = a.take<Term *>(n_k * (size.d + 1));
        values = a.take<float>(n_k * BK * size.d_v + 8 * LANES);
        grad_k = a.take<float>(n_k * padded_d * BK);
        grad_v = a.take<float>(n_k * panels.count() * BK * LANES);
        moments = a.take<float>(rounded(size.d_v, BK) * padded_d);
        key_sum = a.take<float>(padded_d);
        weight = a.take<float>(BK * BQ);
        grad = a.take<float>(BQ * LD);
        turned = a.take<float>(BK * LD);
        tokens = a.take<float>(BK * padded_d);
        lanes = a.take<float>(BQ * LANES);
        exponent = a.take<uint8_t>(BQ * BK);
        scores = a.take<int16_t>(BK);
        rows = a.take<int8_t>(BQ * padded_d);
        columns = a.take<int8_t>(padded_d * BK);
        room = a.take<int8_t>(BK * padded_d);
    }

    void pack_queries(const Matrix &q, const Matrix &grad_out, const Matrix &out, const float *g, const float *mass);
    int64_t gather(int64_t block, const float *g, int32_t *&list);
    void sum_moments();
    void pack_keys(const Matrix &k, const Matrix &v);
    ALONE void block(int64_t query, int64_t key, bool for_queries, bool for_keys);
    ALONE void grads(int64_t query, int64_t key);
    void tokens_of(const float *from, int64_t count, float *to);
    void write_queries(const Matrix &to, int64_t block);
    void write_keys(const Matrix &to, int64_t block);
    void write_values(const Matrix &to, int64_t block);
};

// The spikes of each channel of (channels, BK) as terms, behind each other from `terms` on; returns where they end.
Term *terms_of(const int8_t *columns, int64_t d, int64_t count, Term *terms, Term **channels) {
    for (int64_t c = 0; c < d; c++) {
        channels[c] = terms;
        for (int64_t first = 0; first < count; first += 64) {
            const Fired fired(columns + c * BK + first, std::min<int64_t>(64, count - first));
            for (uint64_t left = fired.plus | fired.minus; left; left &= left - 1) {
                const int bit = __builtin_ctzll(left);
                *terms++ = {int32_t((first + bit) * LD), as_float(0x3f800000u | uint32_t(fired.minus >> bit) << 31)};
            }
        }
    }
    return channels[d] = terms;
}

// The queries of a block that fire move together; returns their number.
int64_t Backward::gather(int64_t block, const float *g, int32_t *&list) {
    const int64_t first = queries.first(block);
    int64_t count = 0;
    for (int64_t i = 0; i < queries.length(block); i++) {
        const int8_t *row = rows + i * padded_d;
        const Query q = query(row, padded_d, BK, list);
        if (!q.count())
            continue;
        if (count < i)
            std::memcpy(rows + count * padded_d, row, size_t(padded_d));
        list += q.count();
        query_of[first + count] = q;
        bias[first + count] = 127 - int64_t(g[first + i]);
        place[first + count++] = i;
    }
    std::memset(rows + count * padded_d, 0, size_t((rounded(count, 8) - count) * padded_d));
    return count;
}

// For a silent query all weights are one number w: dq = w (dout v^T k - delta sum_j k_j), in O(d d_v).
void Backward::sum_moments() {
    float *sums = grad_k;  // (padded d, BK), not in use yet
    for (int64_t start = 0; start < size.d_v; start += BK) {
        const int64_t columns = std::min(BK, size.d_v - start);
        std::fill(sums, sums + padded_d * BK, 0.f);
        for (int64_t b = 0; b < keys.count(); b++) {
            for (int64_t j = 0; j < keys.length(b); j += LANES)
                transpose(values + (b * BK + j) * size.d_v + start * LANES, LANES, columns, LANES, turned + j * LD, LD);
            add_all_terms(turned, key_channels + b * (size.d + 1), size.d, columns, sums);
        }
        transpose(sums, BK, padded_d, columns, moments + start * padded_d, padded_d);
    }
    std::fill(key_sum, key_sum + padded_d, 0.f);
    for (int64_t b = 0; b < keys.count(); b++)
        for (int64_t c = 0; c < size.d; c++) {
            Term *const *channel = key_channels + b * (size.d + 1) + c;
            for (const Term *term = channel[0]; term != channel[1]; term++)
                key_sum[c] += term->sign;
        }
}

// `mass` is null where the gradient takes g for a constant.
void Backward::pack_queries(const Matrix &q, const Matrix &grad_out, const Matrix &out, const float *g, const float *mass) {
    int32_t *list = lists;
    Term *terms = query_terms;
    bool summed = false;
    std::fill(silent, silent + panels.count() * LANES, 0.f);
    for (int64_t b = 0; b < queries.count(); b++) {
        const int64_t first = queries.first(b), count = queries.length(b);
        spikes(q, first, count, size.d, true, rows, padded_d, room);
        const int64_t fire = live[b] = gather(b, g, list);
        transpose(rows, padded_d, rounded(fire, 8), padded_d, columns, BK);
        terms = terms_of(columns, size.d, fire, terms, query_channels + b * (size.d + 1));
        float *to = upstream + b * panels.count() * BQ * LANES, *row = delta + b * BQ, *all = result + b * BQ * padded_d;
        std::fill(row, row + BQ, 0.f);
        if (fire < count) {
            if (!summed)
                sum_moments();
            summed = true;
            std::fill(all, all + count * padded_d, 0.f);
        }
        for (int64_t p = 0; p < panels.count(); p++, to += BQ * LANES) {
            panel(grad_out, first, count, p * LANES, panels.columns(p), to);
            if (mass) {
                panel(out, first, count, p * LANES, panels.columns(p), lanes);
                for (int64_t i = 0; i < count; i++) {
                    floats sum = load<floats>(to + i * LANES) * load<floats>(lanes + i * LANES);
                    sum = fma(load<floats>(to + i * LANES + WIDTH), load<floats>(lanes + i * LANES + WIDTH), sum);
                    for (int l = 0; l < WIDTH; l++)
                        row[i] += sum[l];
                }
            }
            for (int64_t i = 0, next = 0; i < count; i++) {
                const float *from = to + i * LANES;
                if (next < fire && place[first + next] == i) {
                    if (next < i)
                        std::memcpy(to + next * LANES, from, sizeof(float) * LANES);
                    next++;
                    continue;
                }
                const float weight = as_float(uint32_t(127 - int64_t(g[first + i])) << 23);
                for (int64_t c = 0; c < LANES; c++)
                    silent[p * LANES + c] += weight * from[c];
                for (int64_t c = 0; c < panels.columns(p); c++)
                    for (int64_t e = 0; e < padded_d; e++)
                        all[i * padded_d + e] += from[c] * moments[(p * LANES + c) * padded_d + e];
            }
            std::fill(to + fire * LANES, to + BQ * LANES, 0.f);
        }
        for (int64_t i = 0, next = 0; i < count; i++) {
            const float pivot = mass ? row[i] / mass[first + i] : 0.f;
            if (next < fire && place[first + next] == i) {
                row[next++] = pivot;
                continue;
            }
            const float weight = LN2 * as_float(uint32_t(127 - int64_t(g[first + i])) << 23);
            for (int64_t e = 0; e < padded_d; e++)
                all[i * padded_d + e] = weight * (all[i * padded_d + e] - pivot * key_sum[e]);
        }
    }
    std::fill(grad_q, grad_q + queries.count() * padded_d * BK, 0.f);
    std::fill(grad_k, grad_k + keys.count() * padded_d * BK, 0.f);
    for (int64_t b = 0; b < keys.count(); b++)
        for (int64_t p = 0; p < panels.count(); p++)
            for (int64_t j = 0; j < BK; j++)
                std::memcpy(grad_v + ((b * panels.count() + p) * BK + j) * LANES, silent + p * LANES, sizeof(float) * LANES);
}

void Backward::pack_keys(const Matrix &k, const Matrix &v) {
    Term *terms = key_terms;
    for (int64_t b = 0; b < keys.count(); b++) {
        const int64_t first = keys.first(b), count = keys.length(b);
        int8_t *to = key_bytes + b * padded_d * BK;
        spikes(k, first, count, size.d, false, to, BK, room);
        terms = terms_of(to, size.d, count, terms, key_channels + b * (size.d + 1));
        for (int64_t j = 0; j < count; j += LANES)
            panel(v.turned(), 0, size.d_v, first + j, std::min(LANES, count - j), values + (b * BK + j) * size.d_v);
    }
}

// Weights of a block, and weights * (dout v^T - delta).
void Backward::grads(int64_t query, int64_t key) {
    const float *above = upstream + query * panels.count() * BQ * LANES;
    for (int64_t j = 0; j < keys.length(key); j += LANES) {
        const float *v = values + (key * BK + j) * size.d_v;
        for (int64_t i = 0; i < live[query]; i += ROWS) {
            floats sum[ROWS][2];
#pragma GCC unroll 6
            for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
                for (int n = 0; n < 2; n++)
                    sum[r][n] = splat(-delta[query * BQ + i + r]);
            const float *right = v;
            for (int64_t p = 0; p < panels.count(); p++) {
                const float *left = above + (p * BQ + i) * LANES;
                for (int64_t c = 0; c < panels.columns(p); c++, right += LANES) {
                    const floats b[2] = {load<floats>(right), load<floats>(right + WIDTH)};
#pragma GCC unroll 6
                    for (int r = 0; r < ROWS; r++) {
                        const floats a = splat(left[r * LANES + c]);
#pragma GCC unroll 2
                        for (int n = 0; n < 2; n++)
                            sum[r][n] = fma(a, b[n], sum[r][n]);
                    }
                }
            }
#pragma GCC unroll 6
            for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
                for (int n = 0; n < 2; n++) {
                    const floats w = powers(exponent + (i + r) * BK + j + n * WIDTH);
                    store(weight + j * BQ + (i + r) * LANES + n * WIDTH, w);
                    store(grad + (i + r) * LD + j + n * WIDTH, w * sum[r][n]);
                }
        }
    }
}

void Backward::block(int64_t query, int64_t key, bool for_queries, bool for_keys) {
    const int64_t count_q = live[query], count_k = keys.length(key);
    const int8_t *own = key_bytes + key * padded_d * BK;
    for (int64_t i = 0; i < count_q; i++) {
        const int64_t row = queries.first(query) + i;
        exponents<BK / STRIP>(query_of[row], own, bias[row], exponent + i * BK, scores);
    }
    grads(query, key);
    if (for_queries) {
        transpose(grad, LD, count_q, count_k, turned, LD);
        add_all_terms(turned, key_channels + key * (size.d + 1), size.d, count_q, grad_q + query * padded_d * BK);
    }
    if (!for_keys)
        return;
    add_all_terms(grad, query_channels + query * (size.d + 1), size.d, count_k, grad_k + key * padded_d * BK);
    constexpr int64_t GROUPS = (LANES + ROWS - 1) / ROWS;  // of keys, of 4 to ROWS
    for (int64_t p = 0; p < panels.count(); p++)
        for (int64_t j = 0; j < count_k; j += LANES)
            for (int64_t group = 0; group < GROUPS; group++) {
                const int64_t start = group * LANES / GROUPS, rows = (group + 1) * LANES / GROUPS - start;
                const float *above = upstream + (query * panels.count() + p) * BQ * LANES;
                float *to = grad_v + ((key * panels.count() + p) * BK + j + start) * LANES;
                multiply(weight + j * BQ + start, 1, LANES, above, count_q, to, rows, panels.narrow(p));
            }
}

template <class T> void write_rows(T *to, const Matrix &m, int64_t rows, int64_t columns, const float *from, int64_t ld) {
    if (std::is_same<T, float>::value && m.token == 1) {
        turn(from, ld, rows, columns, (float *)to, m.channel);
        return;
    }
    for (int64_t r = 0; r < rows; r++)
        if (m.channel == 1)
            for (int64_t c = 0; c < columns; c++)
                narrow(from[r * ld + c], to[r * m.token + c]);
        else
            for (int64_t c = 0; c < columns; c++)
                narrow(from[r * ld + c], to[r * m.token + c * m.channel]);
}

// (rows, columns) of float32 into the matrix from its token `first` on.
void write_rows(const Matrix &m, int64_t first, int64_t rows, int64_t columns, const float *from, int64_t ld) {
    if (m.type == BFLOAT16)
        write_rows((bfloat16 *)m.data + first * m.token, m, rows, columns, from, ld);
    else
        write_rows((float *)m.data + first * m.token, m, rows, columns, from, ld);
}

// A block of the gradient of q or k, which lies (channels, tokens), as (tokens, channels); the scores' base 2 enters here.
void Backward::tokens_of(const float *from, int64_t count, float *to) {
    transpose(from, BK, padded_d, count, to, padded_d);
    for (int64_t i = 0; i < count * padded_d; i++)
        to[i] *= LN2;
}

void Backward::write_queries(const Matrix &to, int64_t block) {
    float *all = result + block * BQ * padded_d;
    tokens_of(grad_q + block * padded_d * BK, live[block], tokens);
    const int64_t *row = place + queries.first(block);
    for (int64_t i = 0; i < live[block]; i++)
        std::memcpy(all + row[i] * padded_d, tokens + i * padded_d, sizeof(float) * size_t(padded_d));
    write_rows(to, queries.first(block), queries.length(block), size.d, all, padded_d);
}

void Backward::write_keys(const Matrix &to, int64_t block) {
    tokens_of(grad_k + block * padded_d * BK, keys.length(block), tokens);
    write_rows(to, keys.first(block), keys.length(block), size.d, tokens, padded_d);
}

void Backward::write_values(const Matrix &to, int64_t block) {
    const int64_t size_of = to.type == BFLOAT16 ? 2 : 4;
    for (int64_t p = 0; p < panels.count(); p++) {
        Matrix part = to;
        part.data += p * LANES * to.channel * size_of;
        write_rows(part, keys.first(block), keys.length(block), panels.columns(p),
                   grad_v + (block * panels.count() + p) * BK * LANES, LANES);
    }
}

// What a task computes of its head: gradients of some blocks of queries, of some blocks of keys, or both of all.
struct Share {
    int64_t query, query_end, key, key_end;
    bool for_queries, for_keys;
};

Share share_of(int64_t part, int64_t parts, int64_t queries, int64_t keys) {
    if (parts == 1)
        return {0, queries, 0, keys, true, true};
    const int64_t half = parts / 2;
    if (part < half)
        return {0, queries, part * keys / half, (part + 1) * keys / half, false, true};
    part -= half;
    return {part * queries / half, (part + 1) * queries / half, 0, keys, true, false};
}

int64_t backward(const Operand &grad_out, const Operand &q, const Operand &k, const Operand &v, const Operand &out,
                 const float *g, const float *mass, const Operand &grad_q, const Operand &grad_k, const Operand &grad_v,
                 const Call &call) {
    const Sizes s = call.size;
    // Halves of a head's work repeat its scores; together they are only quicker where threads would be idle.
    const int64_t parts = call.maps() >= call.threads ? 1 : 2 * parts_of(call, (s.n_k + BK - 1) / BK);
    int64_t failed = 0;
#pragma omp parallel num_threads(call.threads) reduction(| : failed)
    {
        Backward b;
        b.size = s;
        b.panels = {s.d_v};
        b.padded_d = rounded(s.d, 8);
        b.queries = Blocks(s.n_q, BQ, 24);
        b.keys = Blocks(s.n_k, BK, LANES);
        const bool ready = furnish<1>([&](Arena &a) { b.layout(a); });
        failed = !ready;
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t task = 0; task < call.maps() * parts; task++) {
            if (!ready)
                continue;
            const int64_t map = task / parts, rows = map * s.n_q;
            const Share share = share_of(task % parts, parts, b.queries.count(), b.keys.count());
            b.pack_keys(call.head(k, map), call.head(v, map));
            b.pack_queries(call.head(q, map), call.head(grad_out, map), call.head(out, map), g + rows,
                           mass ? mass + rows : nullptr);
            for (int64_t key = share.key; key < share.key_end; key++)
                for (int64_t query = share.query; query < share.query_end; query++)
                    b.block(query, key, share.for_queries, share.for_keys);
            for (int64_t i = share.query; share.for_queries && i < share.query_end; i++)
                b.write_queries(call.head(grad_q, map), i);
            for (int64_t i = share.key; share.for_keys && i < share.key_end; i++) {
                b.write_keys(call.head(grad_k, map), i);
                b.write_values(call.head(grad_v, map), i);
            }
        }
    }
    return failed;
}

}  // namespace

#define OPERAND(x) void *x, int64_t x##_batch, int64_t x##_head, int64_t x##_token, int64_t x##_channel, int64_t x##_type
#define AS_OPERAND(x) Operand{x, x##_batch, x##_head, x##_token, x##_channel, x##_type}

MMBSA_EXPORT int64_t bipolar_forward(OPERAND(q), OPERAND(k), OPERAND(v), void *out, float *g, float *mass, int64_t batch,
                                     int64_t heads, int64_t n_q, int64_t n_k, int64_t d, int64_t d_v, int64_t threads) {
    const Call call{batch, heads, {n_q, n_k, d, d_v}, int(threads)};
    if (v_type == BFLOAT16)
        return forward(AS_OPERAND(q), AS_OPERAND(k), AS_OPERAND(v), (bfloat16 *)out, g, mass, call);
    return forward(AS_OPERAND(q), AS_OPERAND(k), AS_OPERAND(v), (float *)out, g, mass, call);
}

MMBSA_EXPORT int64_t bipolar_backward(OPERAND(grad_out), OPERAND(q), OPERAND(k), OPERAND(v), OPERAND(out), const float *g,
                                      const float *mass, int64_t through_g, OPERAND(grad_q), OPERAND(grad_k),
                                      OPERAND(grad_v), int64_t batch, int64_t heads, int64_t n_q, int64_t n_k, int64_t d,
                                      int64_t d_v, int64_t threads) {
    const Call call{batch, heads, {n_q, n_k, d, d_v}, int(threads)};
    return backward(AS_OPERAND(grad_out), AS_OPERAND(q), AS_OPERAND(k), AS_OPERAND(v), AS_OPERAND(out), g,
                    through_g ? mass : nullptr, AS_OPERAND(grad_q), AS_OPERAND(grad_k), AS_OPERAND(grad_v), call);
}
