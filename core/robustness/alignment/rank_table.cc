#include "core/robustness/alignment/rank_table.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace tightrope {
namespace {

constexpr int kIndexBits = 16;
// In longer intervals a binary search is faster.
constexpr uint32_t kFewElements = 16;

}  // namespace

void RankTable::Assign(absl::Span<const uint32_t> elements) {
  offsets_.resize(elements.size());
  if (elements.empty()) return;
  const auto [least, most] = std::minmax_element(elements.begin(), elements.end());
  lowest_ = *least == 0 ? 0 : *least - 1;
  highest_ = *most == std::numeric_limits<uint32_t>::max() ? *most : *most + 1;
  shift_ = static_cast<uint32_t>(std::max(0, static_cast<int>(std::bit_width(highest_ - lowest_)) - kIndexBits));
  starts_.assign(((highest_ - lowest_) >> shift_) + 2, 0);

  // A counting sort by interval, then each interval by itself.
  for (const uint32_t element : elements) ++starts_[(element - lowest_) >> shift_];
  for (size_t b = 1; b < starts_.size(); ++b) starts_[b] += starts_[b - 1];
  for (const uint32_t element : elements) {
    const uint32_t offset = element - lowest_;
    offsets_[--starts_[offset >> shift_]] = offset;
  }
  if (shift_ == 0) return;
  for (size_t i = 0; i < offsets_.size();) {
    const uint32_t end = starts_[(offsets_[i] >> shift_) + 1];
    if (end - i > 1) std::sort(offsets_.begin() + static_cast<ptrdiff_t>(i), offsets_.begin() + end);
    i = end;
  }
}

RankTable::Comparison RankTable::Compare(absl::Span<const uint32_t> others) {
  if (offsets_.empty()) return {};
  const uint32_t lowest = lowest_, highest = highest_, shift = shift_;
  const uint32_t* const starts = starts_.data();
  uint64_t not_greater = 0;  // sum of elements in intervals up to that of each number
  if (shift == 0) {
    uint64_t less = 0;
    for (const uint32_t other : others) {
      const uint32_t interval = std::clamp(other, lowest, highest) - lowest;
      less += starts[interval];
      not_greater += starts[interval + 1];
    }
    return {.greater = others.size() * offsets_.size() - not_greater, .equal = not_greater - less};
  }
  if (open_.size() < others.size()) open_.resize(others.size());
  uint32_t* const open = open_.data();
  size_t open_count = 0;
  for (const uint32_t other : others) {
    const uint32_t offset = std::clamp(other, lowest, highest) - lowest;
    const uint32_t interval = offset >> shift;
    not_greater += starts[interval + 1];
    open[open_count] = offset;
    open_count += starts[interval] != starts[interval + 1];
  }
  Comparison comparison = CompareInside({open, open_count});
  comparison.greater += others.size() * offsets_.size() - not_greater;
  return comparison;
}

RankTable::Comparison RankTable::CompareInside(absl::Span<const uint32_t> offsets) const {
  Comparison comparison;
  for (const uint32_t offset : offsets) {
    const uint32_t* const begin = offsets_.data() + starts_[offset >> shift_];
    const uint32_t* const end = offsets_.data() + starts_[(offset >> shift_) + 1];
    if (end - begin <= kFewElements) {
      for (const uint32_t* element = begin; element != end; ++element) {
        comparison.greater += *element > offset;
        comparison.equal += *element == offset;
      }
    } else {
      const auto [first, last] = std::equal_range(begin, end, offset);
      comparison.greater += static_cast<uint64_t>(end - last);
      comparison.equal += static_cast<uint64_t>(last - first);
    }
  }
  return comparison;
}

}  // namespace tightrope
