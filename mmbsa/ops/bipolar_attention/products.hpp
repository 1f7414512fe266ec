// Products of float32 whose sums stay in registers, and transposed copies.
#pragma once
#include "spikes.hpp"

using namespace mmbsa;

namespace {

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

}  // namespace
