// The backward of bipolar attention.
#pragma once
#include "forward.hpp"

using namespace mmbsa;

namespace {

constexpr int64_t BQ = 120, BK = 128;  // queries and keys of a block; three maps of a block fit the second-level cache
constexpr int64_t LD = 136;            // of such a map, so that rows do not collide in the cache
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
    int64_t *live;          // (blocks): queries with spikes; the following arrays hold only these, in their order
    int64_t *place;         // (n_q): index of a query in its block
    int64_t *bias;          // (n_q): of the exponent of a score, 127 - g
    Term *query_terms;      // n_q d
    Term **query_channels;  // (blocks, d + 1): where the terms of a channel begin
    float *upstream;        // (blocks, panels, BQ, LANES)
    float *delta;           // (blocks, BQ)
    float *grad_q;          // (blocks, padded d, BK)
    float *result;          // (blocks, BQ, padded d): the gradient of all queries, those without spikes first
    float *silent;          // (panels, LANES): contribution of queries without spikes to the gradient of each value
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

    void pack_queries(const Matrix &q, const Matrix &grad_out, const Matrix &out, const float *g, const float *weight_sum);
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

// The spikes of each channel of (channels, BK) as terms, one after the other from `terms` on; returns their end.
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

// Moves the queries of a block that have spikes together; returns their number.
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

// For a query without spikes all weights are one number w: dq = w (dout v^T k - delta sum_j k_j), in O(d d_v).
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

// `weight_sum` is null if the gradient treats g as a constant.
void Backward::pack_queries(const Matrix &q, const Matrix &grad_out, const Matrix &out, const float *g, const float *weight_sum) {
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
            if (weight_sum) {
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
            const float pivot = weight_sum ? row[i] / weight_sum[first + i] : 0.f;
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

// A block of the gradient of q or k, from (channels, tokens) to (tokens, channels), times the factor of the scores' base 2.
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
                 const float *g, const float *weight_sum, const Operand &grad_q, const Operand &grad_k, const Operand &grad_v,
                 const Call &call) {
    const Sizes s = call.size;
    // Both halves of a head's work compute its scores; the split is only faster if threads would be idle.
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
                           weight_sum ? weight_sum + rows : nullptr);
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
