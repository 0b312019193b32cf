// Expands one entry of a grid list (an element of `models`, `training`, `attacks`, `alignment` or `invariance`) into
// one entry for every combination of the values it lists: the cross product in the order of the file, the first key
// slowest.
//
//   method: pgd                     method: pgd, epsilon: 0.1, steps: 10
//   epsilon: [0.1, 0.2]       →     method: pgd, epsilon: 0.1, steps: 20
//   steps: [10, 20]                 method: pgd, epsilon: 0.2, steps: 10
//                                   method: pgd, epsilon: 0.2, steps: 20
//
// Only the shape of the text is looked at: values that are wrong pass through, and are reported by the schema reader.
#pragma once

#include <string>
#include <vector>

#include "core/experiment/schema.h"
#include "core/experiment/yaml_document.h"
#include "google/protobuf/descriptor.h"

namespace tightrope {

// One key with one value.
struct EntryKey {
  const YamlNode* key = nullptr;
  const YamlNode* value = nullptr;
  bool swept = false;  // `value` stood in a list

  // Of a kind written with its member, `method: {pgd: {steps: 5}}`: the member's name, what stands behind it (null for
  // `method: pgd`), and where that is a mapping, its keys with one value each.
  const YamlNode* member = nullptr;
  const YamlNode* member_value = nullptr;
  std::vector<EntryKey> member_keys;
};

// One key a value: what an entry of the grid is made of.
using Entry = std::vector<EntryKey>;

// More than this in one list is refused, so that a short file cannot ask for more memory than there is: entries, and
// values in all of them together, since an entry may be large.
inline constexpr size_t kMaxGridEntries = 10'000;
inline constexpr size_t kMaxGridValues = YamlDocument::kMaxNodes;

// What a list expands to. Values are counted with aliases expanded, a long text as several; at least as many as there
// are entries with keys.
struct GridSize {
  size_t entries = 0;
  size_t values = 0;

  bool TooLarge() const { return entries > kMaxGridEntries || values > kMaxGridValues; }
};

// Adds what `mapping` expands to to `size`. All combinations; only the first where `size` is then too large.
// REQUIRES: `mapping` is one.
std::vector<Entry> ExpandEntry(const YamlNode& mapping, const google::protobuf::Descriptor& message, GridSize& size);

// The keys of a mapping that is not part of a grid: lists stay as they are.
Entry WithoutSweeping(const YamlNode& mapping);

}  // namespace tightrope
