// The forward of bipolar attention.
#pragma once
#include "products.hpp"

using namespace mmbsa;

namespace {

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
    int8_t *keys, *rows, *room;       // (blocks, d, KEYS), (QUERIES, padded d), memory for transposing bytes
    float *values, *sum;              // (panels, n_k, LANES), (panels, LANES): of all keys, for queries without spikes
    int32_t *lists;                   // (QUERIES, d)
    Query *queries;                   // (QUERIES): those with spikes, at their place in the block
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
    int64_t exact_exponent(const Query &q);
    ALONE void weigh(int64_t live, int64_t block);
    int64_t normaliser(int64_t row, float &weight_sum);
    template <class T> void block(const Matrix &q, int64_t first, int64_t count, T *out, float *g, float *weight_sum);
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

// Gathers the queries with spikes, and returns their number.
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

int64_t Forward::exact_exponent(const Query &q) {
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

// Shiftmax's exponent of a row whose sum is known; the sum is below 2^24 of the smallest powers a row can hold, or differs
// from every power of two by more than its error, or it is added again exactly.
int64_t Forward::normaliser(int64_t row, float &weight_sum) {
    uint64_t bits;
    std::memcpy(&bits, &total[row], 8);
    const int64_t floor = int64_t(bits >> 52) - 1023;
    const double mantissa = total[row] * power(-floor);  // in [1, 2)
    int64_t g = floor + (mantissa != 1) + reference[row];
    const bool exact = floor < 24 - queries[row].count() - reference[row];
    if (!exact && (mantissa <= 1 + BAND || mantissa >= 2 - BAND))
        g = exact_exponent(queries[row]);
    weight_sum = float(std::min(1., std::max(0.5, total[row] * power(reference[row] - g))));
    return g;
}

template <class T>
void Forward::block(const Matrix &q, int64_t first, int64_t count, T *out, float *g, float *weight_sum) {
    const int64_t live = pack_queries(q, first, count);
    const int64_t silent_g = size.n_k > 1 ? 64 - __builtin_clzll(uint64_t(size.n_k - 1)) : 0;
    const float share = as_float(uint32_t(127 - silent_g) << 23);
    if (live < count)
        for (int64_t i = 0; i < count; i++) {
            g[first + i] = float(silent_g);
            weight_sum[first + i] = float(size.n_k) * share;
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
            const int64_t exponent = normaliser(next, weight_sum[first + i]);
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

// Number of parts of a head, if there are fewer heads than threads.
int64_t parts_of(const Call &call, int64_t blocks) {
    if (call.threads == 1 || call.maps() >= 2 * call.threads)
        return 1;
    return std::min(blocks, (4 * call.threads + call.maps() - 1) / call.maps());
}

// Blocks of similar size, a multiple of `multiple`.
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
int64_t forward(const Operand &q, const Operand &k, const Operand &v, T *out, float *g, float *weight_sum, const Call &call) {
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
        int64_t packed = -1;  // the map that is in this thread's memory
        failed = !ready;
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t task = 0; task < call.maps() * parts; task++) {
            if (!ready)
                continue;
            const int64_t map = task / parts, part = task % parts, rows = map * s.n_q;
            if (map != packed)
                f.pack(call.head(k, map), call.head(v, map));
            packed = map;
            for (int64_t b = part * blocks.count() / parts; b < (part + 1) * blocks.count() / parts; b++)
                f.block(call.head(q, map), blocks.first(b), blocks.length(b), out + rows * s.d_v, g + rows, weight_sum + rows);
        }
    }
    return failed;
}

}  // namespace
