#include "core/robustness/invariance/bound_kernels.h"

#include <algorithm>
#include <numeric>

#include "core/for_every_cpu.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define TIGHTROPE_AVX512
#endif

namespace tightrope {
namespace {

// One register of the widest machine, several of the others.
using Doubles = double __attribute__((vector_size(64), aligned(8), may_alias));
using Floats = float __attribute__((vector_size(64), aligned(4), may_alias));
using Flags = int32_t __attribute__((vector_size(64)));
constexpr int64_t kDoubles = 8, kFloats = 16;
static_assert(kPanelRows == 2 * kFloats);

TIGHTROPE_FOR_EVERY_CPU
void ProjectionsAnywhere(int64_t elements, const double* rows, int64_t directions, const double* basis, double* out) {
  for (int64_t j = 0; j < directions; j += 4) {
    Doubles sums[4][4] = {};
    for (int64_t i = 0; i < elements; i += kDoubles) {
      Doubles row[4];
      for (int64_t r = 0; r < 4; ++r) row[r] = *reinterpret_cast<const Doubles*>(rows + r * elements + i);
      for (int64_t d = 0; d < 4; ++d) {
        const Doubles direction = *reinterpret_cast<const Doubles*>(basis + (j + d) * elements + i);
        for (int64_t r = 0; r < 4; ++r) sums[d][r] += direction * row[r];
      }
    }
    for (int64_t d = 0; d < 4; ++d) {
      for (int64_t r = 0; r < 4; ++r) {
        double sum = 0;
        for (int64_t lane = 0; lane < kDoubles; ++lane) sum += sums[d][r][lane];
        out[r * directions + j + d] = sum;
      }
    }
  }
}

// GCC takes vectors of 64 bytes apart in a function that is compiled for several machines; so those for the widest are
// written out.
#if defined(TIGHTROPE_AVX512)
__attribute__((target("avx512f"))) void ProjectionsAvx512(int64_t elements, const double* rows, int64_t directions,
                                                          const double* basis, double* out) {
  for (int64_t j = 0; j < directions; j += 4) {
    __m512d sums[4][4];
    for (auto& of_direction : sums) {
      for (__m512d& sum : of_direction) sum = _mm512_setzero_pd();
    }
    for (int64_t i = 0; i < elements; i += kDoubles) {
      __m512d row[4];
#pragma GCC unroll 4
      for (int64_t r = 0; r < 4; ++r) row[r] = _mm512_loadu_pd(rows + r * elements + i);
#pragma GCC unroll 4
      for (int64_t d = 0; d < 4; ++d) {
        const __m512d direction = _mm512_loadu_pd(basis + (j + d) * elements + i);
#pragma GCC unroll 4
        for (int64_t r = 0; r < 4; ++r) sums[d][r] = _mm512_fmadd_pd(direction, row[r], sums[d][r]);
      }
    }
    for (int64_t d = 0; d < 4; ++d) {
      for (int64_t r = 0; r < 4; ++r) {
        double lanes[kDoubles];
        _mm512_storeu_pd(lanes, sums[d][r]);
        out[r * directions + j + d] = std::accumulate(lanes, lanes + kDoubles, 0.0);
      }
    }
  }
}
#endif

TIGHTROPE_FOR_EVERY_CPU
bool NearPanelAnywhere(int64_t dimensions, int64_t coarse, const Panel& panel, float least,
                       float (*closeness)[kPanelRows], uint32_t* near) {
  Floats sums[kPanelQueries][2];
  for (int64_t half = 0; half < 2; ++half) {
    const Floats offsets = *reinterpret_cast<const Floats*>(panel.candidate_offsets + half * kFloats);
    for (int64_t q = 0; q < kPanelQueries; ++q) sums[q][half] = -offsets - panel.query_offsets[q];
  }
  for (int64_t d = 0; d < coarse; ++d) {
    const Floats first = *reinterpret_cast<const Floats*>(panel.candidates + d * kPanelRows);
    const Floats second = *reinterpret_cast<const Floats*>(panel.candidates + d * kPanelRows + kFloats);
    for (int64_t q = 0; q < kPanelQueries; ++q) {
      const float value = panel.queries[d * kPanelQueries + q];
      sums[q][0] += first * value;
      sums[q][1] += second * value;
    }
  }
  {
    const Floats first = *reinterpret_cast<const Floats*>(panel.candidates + coarse * kPanelRows);
    const Floats second = *reinterpret_cast<const Floats*>(panel.candidates + coarse * kPanelRows + kFloats);
    Flags reached = {};
    for (int64_t q = 0; q < kPanelQueries; ++q) {
      const float value = panel.queries[coarse * kPanelQueries + q];
      reached |= (sums[q][0] + first * value >= least) | (sums[q][1] + second * value >= least);
    }
    int32_t any = 0;
    for (int64_t lane = 0; lane < kFloats; ++lane) any |= reached[lane];
    if (any == 0) return false;
  }
  for (int64_t d = coarse + 1; d < dimensions; ++d) {
    const Floats first = *reinterpret_cast<const Floats*>(panel.candidates + d * kPanelRows);
    const Floats second = *reinterpret_cast<const Floats*>(panel.candidates + d * kPanelRows + kFloats);
    for (int64_t q = 0; q < kPanelQueries; ++q) {
      const float value = panel.queries[d * kPanelQueries + q];
      sums[q][0] += first * value;
      sums[q][1] += second * value;
    }
  }
  for (int64_t q = 0; q < kPanelQueries; ++q) {
    *reinterpret_cast<Floats*>(closeness[q]) = sums[q][0];
    *reinterpret_cast<Floats*>(closeness[q] + kFloats) = sums[q][1];
    uint32_t bits = 0;
    for (int64_t c = 0; c < kPanelRows; ++c) bits |= static_cast<uint32_t>(closeness[q][c] >= least) << c;
    near[q] = bits;
  }
  return true;
}

#if defined(TIGHTROPE_AVX512)
__attribute__((target("avx512f"))) inline void AddProducts(const Panel& panel, int64_t dimension,
                                                           __m512 (&sums)[kPanelQueries][2]) {
  const __m512 first = _mm512_loadu_ps(panel.candidates + dimension * kPanelRows);
  const __m512 second = _mm512_loadu_ps(panel.candidates + dimension * kPanelRows + kFloats);
#pragma GCC unroll 8
  for (int64_t q = 0; q < kPanelQueries; ++q) {
    const __m512 value = _mm512_set1_ps(panel.queries[dimension * kPanelQueries + q]);
    sums[q][0] = _mm512_fmadd_ps(first, value, sums[q][0]);
    sums[q][1] = _mm512_fmadd_ps(second, value, sums[q][1]);
  }
}

__attribute__((target("avx512f"))) inline uint32_t NotBelow(__m512 low, __m512 high, __m512 least) {
  return uint32_t{_mm512_cmp_ps_mask(low, least, _CMP_GE_OQ)} | uint32_t{_mm512_cmp_ps_mask(high, least, _CMP_GE_OQ)}
                                                                    << kFloats;
}

__attribute__((target("avx512f"))) bool NearPanelAvx512(int64_t dimensions, int64_t coarse, const Panel& panel,
                                                        float least, float (*closeness)[kPanelRows], uint32_t* near) {
  __m512 sums[kPanelQueries][2], reached[kPanelQueries][2];
  const __m512 bar = _mm512_set1_ps(least);
#pragma GCC unroll 8
  for (int64_t q = 0; q < kPanelQueries; ++q) {
    const __m512 offset = _mm512_set1_ps(-panel.query_offsets[q]);
    sums[q][0] = _mm512_sub_ps(offset, _mm512_loadu_ps(panel.candidate_offsets));
    sums[q][1] = _mm512_sub_ps(offset, _mm512_loadu_ps(panel.candidate_offsets + kFloats));
  }
  for (int64_t d = 0; d < coarse; ++d) AddProducts(panel, d, sums);
  std::copy(&sums[0][0], &sums[0][0] + 2 * kPanelQueries, &reached[0][0]);
  AddProducts(panel, coarse, reached);
  uint32_t any = 0;
#pragma GCC unroll 8
  for (int64_t q = 0; q < kPanelQueries; ++q) any |= NotBelow(reached[q][0], reached[q][1], bar);
  if (any == 0) return false;
  for (int64_t d = coarse + 1; d < dimensions; ++d) AddProducts(panel, d, sums);
#pragma GCC unroll 8
  for (int64_t q = 0; q < kPanelQueries; ++q) {
    _mm512_storeu_ps(closeness[q], sums[q][0]);
    _mm512_storeu_ps(closeness[q] + kFloats, sums[q][1]);
    near[q] = NotBelow(sums[q][0], sums[q][1], bar);
  }
  return true;
}
#endif

#if defined(TIGHTROPE_AVX512)
bool HasAvx512() {
  static const bool has = __builtin_cpu_supports("avx512f");
  return has;
}
#endif

}  // namespace

TIGHTROPE_FOR_EVERY_CPU
void AddScaled(int64_t elements, double factor, const double* __restrict row, double* __restrict target) {
  for (int64_t i = 0; i < elements; ++i) target[i] += factor * row[i];
}

void Projections(int64_t elements, const double* rows, int64_t directions, const double* basis, double* out) {
#if defined(TIGHTROPE_AVX512)
  if (HasAvx512()) return ProjectionsAvx512(elements, rows, directions, basis, out);
#endif
  ProjectionsAnywhere(elements, rows, directions, basis, out);
}

bool NearPanel(int64_t dimensions, int64_t coarse, const Panel& panel, float least, float (*closeness)[kPanelRows],
               uint32_t* near) {
#if defined(TIGHTROPE_AVX512)
  if (HasAvx512()) return NearPanelAvx512(dimensions, coarse, panel, least, closeness, near);
#endif
  return NearPanelAnywhere(dimensions, coarse, panel, least, closeness, near);
}

}  // namespace tightrope
