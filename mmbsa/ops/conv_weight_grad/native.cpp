// Weight gradients of convolutions over channels-last maps.
//
// With positions l of the gradient G and columns j = (tap, c), dW[o, j] = sum over l of G[l, o] X[l at tap, c]. Dense and
// grouped: a product of matrices, whose tiles of dW stay in registers during a block of positions; G is packed
// once per block, X is unfolded a panel of columns at a time and stays in the first-level cache for all outputs.
// Depth-wise: lanes are channels, and a row of taps stays in registers.
//
// A sum runs over one block in registers; blocks are added up in memory. The columns are divided among the
// threads; with too few columns the positions are divided too: each part then has its own sums, added in order at the end.
#include "native.hpp"

#include <algorithm>

using namespace mmbsa;

namespace {

// A tile of dW fills the registers: 12 of 16 or 24 of 32 are sums.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int ROWS = 12;
#else
constexpr int ROWS = 6;
#endif
constexpr int COLUMNS = 2 * WIDTH;
constexpr int64_t POSITIONS = 256;        // of a block: a panel of X takes half of the first-level cache
constexpr int64_t OUTPUTS = 43 * 6;       // of a block: a packed G takes half of the second-level cache
constexpr int TAPS = 7;                   // of a depth-wise kernel in registers
constexpr int64_t CHUNK = 32, BAND = 32;  // columns and rows of a depth-wise block: kh rows fit the first-level cache

// Scratch on a line of the cache: a vector across two lines is two loads.
template <int SLOT> float *aligned_scratch(int64_t count) {
    constexpr uintptr_t LINE = 64;
    float *memory = scratch<SLOT>(size_t(count) + LINE / sizeof(float));
    return memory ? (float *)((uintptr_t(memory) + LINE - 1) / LINE * LINE) : nullptr;
}

struct Conv {
    int64_t n, h, w, c, o, oh, ow, kh, kw, sh, sw, ph, pw, groups;
    int64_t inputs() const { return c / groups; }  // of a group
    int64_t outputs() const { return o / groups; }
    int64_t taps() const { return kh * kw; }
    int64_t columns() const { return taps() * inputs(); }
    int64_t panels() const { return (columns() + COLUMNS - 1) / COLUMNS; }
    int64_t positions() const { return n * oh * ow; }
};

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Range {
    int64_t begin, end;
};

Range share(int64_t count, int64_t part, int64_t parts) { return {count * part / parts, count * (part + 1) / parts}; }

// How many parts the positions are cut into; threads / parts share the columns. A column and a whole position cost what is
// given per position, merging costs `merge` per part.
int64_t position_parts(int64_t positions, int64_t columns, double per_column, double per_position, double merge,
                       int threads) {
    int64_t best = 1;
    double least = 0;
    for (int64_t parts = 1; parts <= threads; parts++) {
        if (threads % parts)
            continue;
        double cost = double(ceil_div(positions, parts)) * (double(ceil_div(columns, threads / parts)) * per_column +
                                                            per_position) + (parts > 1 ? parts * merge : 0);
        if (parts == 1 || cost < least) {
            best = parts;
            least = cost;
        }
    }
    return best;
}

// sum[r] += a[r], rows of COLUMNS.
template <int R> MMBSA_INLINE void add_to(float *sum, const floats (&a)[R][2]) {
#pragma GCC unroll 12
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
            float *to = sum + r * COLUMNS + half * WIDTH;
            store(to, load<floats>(to) + a[r][half]);
        }
}

// sum[r][j] += sum over l of g[l][r] x[l][j].
template <int R> void tile(int64_t n, const float *__restrict g, const float *__restrict x, float *__restrict sum) {
    floats a[R][2] = {};
    for (int r = 0; r < R; r++)
        __builtin_prefetch(sum + r * COLUMNS, 1);
    for (int64_t l = 0; l < n; l++) {
        floats left = load<floats>(x), right = load<floats>(x + WIDTH);
#pragma GCC unroll 12
        for (int r = 0; r < R; r++) {
            floats value = splat(g[r]);
            a[r][0] = fma(value, left, a[r][0]);
            a[r][1] = fma(value, right, a[r][1]);
        }
        x += COLUMNS;
        g += R;
    }
    add_to(sum, a);
}

using Tile = void (*)(int64_t, const float *, const float *, float *);

template <int R> Tile tile_of(int rows) {
    if constexpr (R == 0)
        return nullptr;
    else
        return rows == R ? tile<R> : tile_of<R - 1>(rows);
}

// n positions of `outputs` channels in tiles of rows, one position after the other.
void pack_outputs(const float *__restrict g, int64_t stride, int64_t n, int64_t outputs, float *__restrict to) {
    constexpr int64_t STRIP = 16;  // reads along the channels meet writes along the positions
    for (int64_t start = 0; start < n; start += STRIP) {
        const int64_t end = std::min(start + STRIP, n);
        int64_t o = 0;
        for (; o + ROWS <= outputs; o += ROWS)
            for (int64_t l = start; l < end; l++)
                std::memcpy(to + o * n + l * ROWS, g + l * stride + o, ROWS * sizeof(float));
        for (int64_t l = start; l < end; l++)
            for (int64_t r = 0; r < outputs - o; r++)
                to[o * n + l * (outputs - o) + r] = g[l * stride + o + r];
    }
}

// `count` pieces of LEN floats into rows of COLUMNS.
template <int LEN>
void copy_pieces(const float *__restrict from, int64_t stride, int64_t count, float *__restrict to) {
    for (int64_t i = 0; i < count; i++)
#pragma GCC unroll 32
        for (int64_t j = 0; j < LEN; j++)
            to[i * COLUMNS + j] = from[i * stride + j];
}

template <int LEN> void pieces(const float *from, int64_t stride, int64_t count, int64_t length, float *to) {
    if constexpr (LEN > 0) {
        if (length == LEN)
            copy_pieces<LEN>(from, stride, count, to);
        else
            pieces<LEN - 1>(from, stride, count, length, to);
    }
}

void pieces(const float *from, int64_t stride, int64_t count, int64_t length, float *to) {
    pieces<COLUMNS>(from, stride, count, length, to);
}

void blanks(int64_t count, int64_t length, float *to) {
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < length; j++)
            to[i * COLUMNS + j] = 0.f;
}

// Pieces `begin` to `end` that reach over an end of the line.
void edges(const float *line, int64_t size, int64_t first, int64_t step, int64_t begin, int64_t end, int64_t length,
           float *to) {
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j < length; j++) {
            const int64_t at = first + i * step + j;
            to[i * COLUMNS + j] = at >= 0 && at < size ? line[at] : 0.f;
        }
}

// Columns that are contiguous in the input: `length` floats of row `ky` of the kernel, `offset` from a window's left end.
//
// A row of the map is one line of w c floats here; a window covers a part of [0, w c).
void unfold(const Conv &p, const float *x, int64_t ky, int64_t offset, int64_t length, int64_t start, int64_t n, float *to) {
    const int64_t line = p.w * p.c, step = p.sw * p.c, base = offset - p.pw * p.c;
    const int64_t inner = base < 0 ? ceil_div(-base, step) : 0;
    const int64_t outer = line - length < base ? 0 : (line - length - base) / step + 1;
    int64_t image = start / (p.oh * p.ow), row = start / p.ow % p.oh, column = start % p.ow;
    while (n > 0) {
        const int64_t count = std::min(p.ow - column, n), y = row * p.sh - p.ph + ky;
        if (y < 0 || y >= p.h) {
            blanks(count, length, to);
        } else {
            const float *from = x + (image * p.h + y) * line;
            const int64_t begin = std::min(std::max(inner - column, int64_t(0)), count);
            const int64_t end = std::max(std::min(outer - column, count), begin);
            edges(from, line, base + column * step, step, 0, begin, length, to);
            if (begin < end)
                pieces(from + base + (column + begin) * step, step, end - begin, length, to + begin * COLUMNS);
            edges(from, line, base + column * step, step, end, count, length, to);
        }
        to += count * COLUMNS;
        n -= count;
        column = 0;
        if (++row == p.oh) {
            row = 0;
            image++;
        }
    }
}

// A panel of columns at n positions; groups are apart in the input, taps of a row are contiguous without groups.
void pack_panel(const Conv &p, const float *x, int64_t group, int64_t panel, int64_t start, int64_t n, float *to) {
    const int64_t end = std::min((panel + 1) * COLUMNS, p.columns()), run = p.groups == 1 ? p.kw * p.c : p.inputs();
    int64_t column = panel * COLUMNS, done = 0;
    while (column < end) {
        const int64_t first = column % run, length = std::min(run - first, end - column), index = column / run;
        const int64_t ky = p.groups == 1 ? index : index / p.kw, kx = p.groups == 1 ? 0 : index % p.kw;
        unfold(p, x, ky, kx * p.c + group * p.inputs() + first, length, start, n, to + done);
        column += length;
        done += length;
    }
    if (done < COLUMNS)
        blanks(n, COLUMNS - done, to + done);
}

// Adds the contribution of `positions` to the sums [panel][output][column] of `panels`.
void accumulate(const Conv &p, const float *x, const float *g, Range positions, Range panels, float *room, float *sums) {
    const int64_t outputs = p.outputs(), total = positions.end - positions.begin;
    const int64_t blocks = ceil_div(total, POSITIONS), splits = ceil_div(outputs, OUTPUTS);
    const int64_t most = ceil_div(ceil_div(outputs, splits), ROWS) * ROWS;
    float *packed = room + POSITIONS * COLUMNS;
    for (int64_t block = 0; block < blocks; block++) {
        const Range part = share(total, block, blocks);
        const int64_t start = positions.begin + part.begin, n = part.end - part.begin;
        for (int64_t group = panels.begin / p.panels(); group * p.panels() < panels.end; group++) {
            const int64_t first = std::max(panels.begin, group * p.panels());
            const int64_t last = std::min(panels.end, (group + 1) * p.panels());
            for (int64_t o = 0; o < outputs; o += most) {
                const int64_t height = std::min(most, outputs - o);
                pack_outputs(g + start * p.o + group * outputs + o, p.o, n, height, packed);
                for (int64_t panel = first; panel < last; panel++) {
                    pack_panel(p, x, group, panel - group * p.panels(), start, n, room);
                    float *to = sums + (panel * outputs + o) * COLUMNS;
                    for (int64_t r = 0; r < height; r += ROWS)
                        tile_of<ROWS>(int(std::min(int64_t(ROWS), height - r)))(n, packed + r * n, room, to + r * COLUMNS);
                }
            }
        }
    }
}

// Row `o` of dW from `parts` sums.
void deliver(const Conv &p, const float *sums, int64_t size, int64_t parts, int64_t o, bool channels_last, float *out) {
    const int64_t group = o / p.outputs(), inputs = p.inputs(), taps = p.taps();
    float *row = out + o * p.columns();
    int64_t tap = 0, c = 0;
    for (int64_t panel = 0; panel < p.panels(); panel++) {
        const float *from = sums + ((group * p.panels() + panel) * p.outputs() + o % p.outputs()) * COLUMNS;
        const int64_t count = std::min(int64_t(COLUMNS), p.columns() - panel * COLUMNS);
        float merged[COLUMNS];
        std::memcpy(merged, from, sizeof(merged));
        for (int64_t part = 1; part < parts; part++)
            for (int64_t j = 0; j < COLUMNS; j++)
                merged[j] += from[part * size + j];
        if (channels_last) {
            std::memcpy(row + panel * COLUMNS, merged, size_t(count) * sizeof(float));
            continue;
        }
        for (int64_t j = 0; j < count;) {
            const int64_t run = std::min(inputs - c, count - j);
            for (int64_t i = 0; i < run; i++)
                row[(c + i) * taps + tap] = merged[j + i];
            j += run;
            c += run;
            tap += c == inputs;
            c = c == inputs ? 0 : c;
        }
    }
}

int64_t dense(const Conv &p, const float *x, const float *g, float *out, bool channels_last, int threads) {
    const int64_t panels = p.groups * p.panels(), size = panels * p.outputs() * COLUMNS;
    // In pairs of multiply-adds: unfolding costs as much as 8 outputs, packing an output as much as 1, merging from memory.
    const int64_t parts = position_parts(p.positions(), panels, double(p.outputs() + 8), double(p.outputs()),
                                         double(size) / COLUMNS * 8 / threads, threads);
    float *sums = aligned_scratch<0>(parts * size);
    if (!sums)
        return 1;
    int64_t failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        float *room = aligned_scratch<1>(POSITIONS * (COLUMNS + OUTPUTS + ROWS));
        if (!room)
            failed = 1;
        // A loop instead of the number of the thread: fewer threads must also do all the work.
#pragma omp for schedule(static)
        for (int64_t thread = 0; thread < threads; thread++) {
            if (!room)
                continue;
            const int64_t part = thread % parts;
            const Range mine = share(panels, thread / parts, threads / parts);
            float *own = sums + part * size;
            std::fill(own + mine.begin * p.outputs() * COLUMNS, own + mine.end * p.outputs() * COLUMNS, 0.f);
            accumulate(p, x, g, share(p.positions(), part, parts), mine, room, own);
        }
#pragma omp for schedule(static)
        for (int64_t o = 0; o < p.o; o++)
            deliver(p, sums, size, parts, o, channels_last, out);
    }
    return failed;
}

// sum[tap][lane] += sum over l of g[l] x[l at tap]; x has COLUMNS lanes.
template <int T>
void taps_of(int64_t n, const float *__restrict g, int64_t g_stride, const float *__restrict x, int64_t x_stride,
             float *__restrict sum) {
    floats a[T][2] = {};
    for (int64_t l = 0; l < n; l++) {
        const floats left = load<floats>(g), right = load<floats>(g + WIDTH);
#pragma GCC unroll 7
        for (int t = 0; t < T; t++) {
            a[t][0] = fma(left, load<floats>(x + t * COLUMNS), a[t][0]);
            a[t][1] = fma(right, load<floats>(x + t * COLUMNS + WIDTH), a[t][1]);
        }
        g += g_stride;
        x += x_stride;
    }
    add_to(sum, a);
}

using TapsOf = void (*)(int64_t, const float *, int64_t, const float *, int64_t, float *);

template <int T> TapsOf taps_kernel(int64_t taps) {
    if constexpr (T == 0)
        return nullptr;
    else
        return taps == T ? taps_of<T> : taps_kernel<T - 1>(taps);
}

struct Block {
    int64_t image;
    Range rows, columns;
    int64_t width(const Conv &p) const { return (columns.end - columns.begin - 1) * p.sw + p.kw; }
    int64_t height(const Conv &p) const { return (rows.end - rows.begin - 1) * p.sh + p.kh; }
};

// Prefetches the next channels of `count` positions: their lines are too far apart for the prefetcher of the processor.
void prefetch_next(const float *from, int64_t stride, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        __builtin_prefetch(from + i * stride + COLUMNS);
}

// The input of a block of outputs for `lanes` channels: [height][width][COLUMNS], zero outside of the map.
void pack_input(const Conv &p, const Block &b, const float *x, int64_t lanes, float *to) {
    const int64_t width = b.width(p), height = b.height(p);
    const int64_t left = b.columns.begin * p.sw - p.pw, top = b.rows.begin * p.sh - p.ph;
    const int64_t begin = std::min(std::max(-left, int64_t(0)), width);
    const int64_t end = std::max(std::min(p.w - left, width), begin);
    for (int64_t row = 0; row < height; row++, to += width * COLUMNS) {
        const int64_t y = top + row;
        if (y < 0 || y >= p.h || begin == end) {
            blanks(width, COLUMNS, to);
            continue;
        }
        blanks(begin, COLUMNS, to);
        const float *from = x + ((b.image * p.h + y) * p.w + left + begin) * p.c;
        prefetch_next(from, p.c, end - begin);
        pieces(from, p.c, end - begin, lanes, to + begin * COLUMNS);
        if (lanes < COLUMNS)
            blanks(end - begin, COLUMNS - lanes, to + begin * COLUMNS + lanes);
        blanks(width - end, COLUMNS, to + end * COLUMNS);
    }
}

// Adds the contribution of a block to the sums [tap][lane] of the channels from `first` on.
void accumulate_channels(const Conv &p, const Block &b, const float *x, const float *g, int64_t first, float *room,
                         float *sums) {
    const int64_t lanes = std::min(int64_t(COLUMNS), p.c - first), width = b.width(p), count = b.columns.end - b.columns.begin;
    float *row_of_g = room, *part = row_of_g + CHUNK * COLUMNS, *packed = part + p.taps() * COLUMNS;
    pack_input(p, b, x + first, lanes, packed);
    std::fill(part, packed, 0.f);
    for (int64_t row = b.rows.begin; row < b.rows.end; row++) {
        const float *from = g + ((b.image * p.oh + row) * p.ow + b.columns.begin) * p.c + first;
        int64_t stride = p.c;
        prefetch_next(from, stride, count);
        if (lanes < COLUMNS) {
            pieces(from, stride, count, lanes, row_of_g);
            blanks(count, COLUMNS - lanes, row_of_g + lanes);
            from = row_of_g;
            stride = COLUMNS;
        }
        for (int64_t ky = 0; ky < p.kh; ky++)
            for (int64_t kx = 0; kx < p.kw; kx += TAPS)
                taps_kernel<TAPS>(std::min(int64_t(TAPS), p.kw - kx))(
                    count, from, stride, packed + (((row - b.rows.begin) * p.sh + ky) * width + kx) * COLUMNS,
                    p.sw * COLUMNS, part + (ky * p.kw + kx) * COLUMNS);
    }
    for (int64_t i = 0; i < p.taps() * COLUMNS; i++)
        sums[i] += part[i];
}

int64_t depthwise(const Conv &p, const float *x, const float *g, float *out, int threads) {
    const int64_t blocks = ceil_div(p.c, COLUMNS), taps = p.taps(), size = blocks * taps * COLUMNS;
    const int64_t bands = ceil_div(p.oh, BAND), chunks = ceil_div(p.ow, CHUNK), units = p.n * bands * chunks;
    const double work = double(p.oh * p.ow / (bands * chunks) + 1) * double(taps);
    const int64_t parts = position_parts(units, blocks, work, 0., double(size) / threads, threads);
    float *sums = aligned_scratch<0>(parts * size);
    if (!sums)
        return 1;
    int64_t failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        const int64_t height = (std::min(BAND, p.oh) - 1) * p.sh + p.kh, width = (std::min(CHUNK, p.ow) - 1) * p.sw + p.kw;
        float *room = aligned_scratch<1>(COLUMNS * (CHUNK + taps + height * width));
        if (!room)
            failed = 1;
#pragma omp for schedule(static)
        for (int64_t thread = 0; thread < threads; thread++) {
            if (!room)
                continue;
            const int64_t part = thread % parts;
            const Range mine = share(blocks, thread / parts, threads / parts), turns = share(units, part, parts);
            float *own = sums + part * size;
            std::fill(own + mine.begin * taps * COLUMNS, own + mine.end * taps * COLUMNS, 0.f);
            for (int64_t unit = turns.begin; unit < turns.end; unit++) {
                const Block b{unit / (bands * chunks), share(p.oh, unit / chunks % bands, bands),
                              share(p.ow, unit % chunks, chunks)};
                for (int64_t block = mine.begin; block < mine.end; block++)
                    accumulate_channels(p, b, x, g, block * COLUMNS, room, own + block * taps * COLUMNS);
            }
        }
#pragma omp for schedule(static)
        for (int64_t c = 0; c < p.c; c++)
            for (int64_t tap = 0; tap < taps; tap++) {
                const float *from = sums + (c / COLUMNS * taps + tap) * COLUMNS + c % COLUMNS;
                float sum = *from;
                for (int64_t part = 1; part < parts; part++)
                    sum += from[part * size];
                out[c * taps + tap] = sum;
            }
    }
    return failed;
}

}  // namespace

// x (n, h, w, c) and g (n, oh, ow, o) in this memory order; out (o, kh, kw, c / groups) or (o, c / groups, kh, kw).
MMBSA_EXPORT int64_t conv_weight_grad(const void *x, const void *g, void *out, int64_t n, int64_t c, int64_t h, int64_t w,
                                      int64_t o, int64_t oh, int64_t ow, int64_t kh, int64_t kw, int64_t sh, int64_t sw,
                                      int64_t ph, int64_t pw, int64_t groups, int64_t channels_last, int64_t threads) {
    const Conv p{n, h, w, c, o, oh, ow, kh, kw, sh, sw, ph, pw, groups};
    if (groups == c && groups == o && groups > 1)
        return depthwise(p, (const float *)x, (const float *)g, (float *)out, int(threads));
    return dense(p, (const float *)x, (const float *)g, (float *)out, channels_last != 0, int(threads));
}
