// Common parts of the native kernels: the calling convention, vectors of floats, 16-bit floats, an exponential.
#pragma once
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <omp.h>
#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define MMBSA_EXPORT extern "C" __attribute__((visibility("default")))
#define MMBSA_INLINE inline __attribute__((always_inline))

namespace mmbsa {

// Floats of one register.
#if defined(__AVX512F__)
constexpr int WIDTH = 16;
#elif defined(__AVX__)
constexpr int WIDTH = 8;
#else
constexpr int WIDTH = 4;
#endif

// Memory that a thread keeps between calls, of the size of its largest call: the first access to new pages costs more than
// the passes over them. Null if there is not enough memory.
template <int SLOT> float *scratch(size_t count) {
    static thread_local std::unique_ptr<float[]> memory;
    static thread_local size_t held = 0;
    if (held < count) {
        memory.reset();
        held = 0;
        if (count <= PTRDIFF_MAX / sizeof(float))  // or `new` throws
            memory.reset(new (std::nothrow) float[count]);
        held = memory ? count : 0;
    }
    return memory.get();
}

struct bfloat16 {
    uint16_t bits;
};

MMBSA_INLINE float as_float(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

MMBSA_INLINE uint32_t as_bits(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}

MMBSA_INLINE float widen(float value) { return value; }
MMBSA_INLINE float widen(bfloat16 value) { return as_float(uint32_t(value.bits) << 16); }

MMBSA_INLINE void narrow(float value, float &out) { out = value; }
// Round to nearest even; a NaN stays one.
MMBSA_INLINE void narrow(float value, bfloat16 &out) {
    uint32_t bits = as_bits(value);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    out.bits = uint16_t(value != value ? 0x7fc0u : rounded);
}

typedef float floats __attribute__((vector_size(4 * WIDTH)));

template <class V, class T> MMBSA_INLINE V load(const T *from) {
    V v;
    std::memcpy(&v, from, sizeof(V));
    return v;
}

template <class V, class T> MMBSA_INLINE void store(T *to, const V &v) { std::memcpy(to, &v, sizeof(V)); }

// x - 0 is x for every x, which lets the compiler broadcast from memory; 0 + x is not, for -0.
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

// e^-u for u >= 0, infinity included, within 2 units of the last place; 0 where that is below the normal range; NaN for NaN.
MMBSA_INLINE float exp_of_minus(float u) {
    float x = u > 87.f ? -87.f : -u;
    float shifted = x * 1.44269504088896341f + 12582912.f;  // the integer is in the low bits
    float k = shifted - 12582912.f;
    float r = x - k * 0.693359375f;
    r = r + k * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.f;
    float power = as_float((as_bits(shifted) - 0x4b400000u + 127u) << 23);
    return u > 87.f ? 0.f : p * power;
}

}  // namespace mmbsa
