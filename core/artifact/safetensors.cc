#include "core/artifact/safetensors.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstddef>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/artifact/array_size.h"
#include "nlohmann/json.hpp"

namespace tightrope {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are copied to and from memory as they are");

constexpr uint64_t kMaxHeaderBytes = uint64_t{16} << 20;
constexpr char kMetadata[] = "__metadata__";

// Bytes of one item, or 0 for an unknown type.
uint64_t ItemBytes(absl::string_view dtype) {
  constexpr std::pair<absl::string_view, uint64_t> kTypes[] = {
      {"F64", 8}, {"I64", 8}, {"U64", 8}, {"F32", 4}, {"I32", 4},  {"U32", 4},  {"F16", 2},
      {"I16", 2}, {"U16", 2}, {"I8", 1},  {"U8", 1},  {"BF16", 2}, {"BOOL", 1},
  };
  for (const auto& [name, bytes] : kTypes) {
    if (dtype == name) return bytes;
  }
  return 0;
}

absl::Status Broken(absl::string_view what, absl::string_view value = "") {
  return absl::InvalidArgumentError(
      absl::StrCat("broken safetensors file: ", what, absl::CHexEscape(value.substr(0, 200))));
}

// What the header says of one tensor.
struct Entry {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<int64_t> offsets;  // begin and end in the data
  bool has_dtype = false;
  bool has_shape = false;
  bool has_offsets = false;
};

// Takes the header's JSON event by event and stops at the first thing that does not belong there. Unlike a document
// tree it sees keys that come twice, and memory stays in proportion to the header.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;
  absl::Status status;  // the first mistake

  bool start_object(size_t) override {
    if (depth_ == 0 || (depth_ == 1 && !in_array_)) {
      ++depth_;
      return true;
    }
    return Fail("nested deeper than a header is");
  }

  bool key(std::string& name) override {
    if (depth_ == 1) {
      in_metadata_ = name == kMetadata;
      if (in_metadata_) return !std::exchange(seen_metadata_, true) || Fail("a key that comes twice: ", name);
      entries.emplace_back().name = name;
      return true;
    }
    key_ = name;
    if (in_metadata_) return !metadata.contains(name) || Fail("a key that comes twice: ", name);
    Entry& entry = entries.back();
    bool* const seen = name == "dtype"          ? &entry.has_dtype
                       : name == "shape"        ? &entry.has_shape
                       : name == "data_offsets" ? &entry.has_offsets
                                                : nullptr;
    if (seen == nullptr) return Fail("an unknown key: ", name);
    return !std::exchange(*seen, true) || Fail("a key that comes twice: ", name);
  }

  bool end_object() override {
    --depth_;
    if (depth_ != 1 || in_metadata_) return true;
    const Entry& entry = entries.back();
    if (!entry.has_dtype || !entry.has_shape || !entry.has_offsets) {
      return Fail("a tensor lacks one of dtype, shape, data_offsets: ", entry.name);
    }
    return entry.offsets.size() == 2 || Fail("data_offsets are not two numbers, of tensor ", entry.name);
  }

  bool string(std::string& value) override {
    if (depth_ == 2 && !in_array_ && in_metadata_) {
      metadata.emplace(key_, value);
      return true;
    }
    if (depth_ != 2 || in_array_ || key_ != "dtype") return Fail("a string where none belongs: ", value);
    if (ItemBytes(value) == 0) return Fail("an unknown dtype: ", value);
    entries.back().dtype = value;
    return true;
  }

  bool start_array(size_t) override {
    if (depth_ != 2 || in_array_ || in_metadata_ || key_ == "dtype") return Fail("an array where none belongs");
    in_array_ = true;
    return true;
  }

  bool end_array() override {
    in_array_ = false;
    return true;
  }

  bool number_unsigned(uint64_t value) override {
    if (!in_array_) return Fail("a number where none belongs");
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return Fail("a number beyond 63 bits");
    if (Numbers().size() == kMaxDimensions) return Fail("more dimensions than ", absl::StrCat(kMaxDimensions));
    Numbers().push_back(static_cast<int64_t>(value));
    return true;
  }

  bool null() override { return Fail("null where a string or an array belongs"); }
  bool boolean(bool) override { return Fail("a boolean where a string or an array belongs"); }
  bool number_integer(int64_t) override { return Fail("a negative number"); }
  bool number_float(double, const std::string&) override { return Fail("a number that is not a non-negative integer"); }
  bool binary(nlohmann::json::binary_t&) override { return Fail("binary data in the header"); }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    return Fail("the header is not JSON, at byte ", absl::StrCat(position));
  }

 private:
  std::vector<int64_t>& Numbers() { return key_ == "shape" ? entries.back().shape : entries.back().offsets; }

  bool Fail(absl::string_view what, absl::string_view value = "") {
    status = Broken(what, value);
    return false;
  }

  int depth_ = 0;  // open objects
  bool in_array_ = false;
  bool in_metadata_ = false;
  bool seen_metadata_ = false;
  std::string key_;  // in the object of depth 2
};

absl::Status CheckLayout(std::vector<Entry>& entries, uint64_t data_bytes) {
  for (const Entry& entry : entries) {
    const int64_t begin = entry.offsets[0];
    const int64_t end = entry.offsets[1];
    if (begin > end) return Broken("data_offsets that end before they begin, of tensor ", entry.name);
    if (static_cast<uint64_t>(end) > data_bytes) {
      return Broken("data_offsets beyond the end of the file, of tensor ", entry.name);
    }
    if (ArrayBytes(entry.shape, ItemBytes(entry.dtype)) != static_cast<uint64_t>(end - begin)) {
      return Broken("data_offsets do not fit dtype and shape: ",
                    absl::StrCat(end - begin, " bytes for [", absl::StrJoin(entry.shape, ", "), "] of ", entry.dtype,
                                 ", tensor ", entry.name));
    }
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.offsets < b.offsets; });
  int64_t covered = 0;
  for (const Entry& entry : entries) {
    const int64_t begin = entry.offsets[0];
    if (begin < covered) return Broken("data_offsets overlap, at tensor ", entry.name);
    if (begin > covered) return Broken("data_offsets leave a gap, before tensor ", entry.name);
    covered = entry.offsets[1];
  }
  if (static_cast<uint64_t>(covered) != data_bytes) {
    return Broken("bytes after the last tensor: ", absl::StrCat(data_bytes - static_cast<uint64_t>(covered)));
  }
  return absl::OkStatus();
}

}  // namespace

std::string WriteSafeTensors(const SafeTensors& tensors) {
  // Larger items first, then by name: every tensor is then aligned to its items, without which PyTorch cannot map it.
  std::vector<std::pair<const std::string*, const SafeTensor*>> ordered;
  for (const auto& [name, tensor] : tensors.tensors) ordered.emplace_back(&name, &tensor);
  std::stable_sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) {
    return ItemBytes(a.second->dtype) > ItemBytes(b.second->dtype);
  });

  auto header = nlohmann::ordered_json::object();
  if (!tensors.metadata.empty()) header[kMetadata] = tensors.metadata;
  uint64_t offset = 0;
  for (const auto& [name, tensor] : ordered) {
    assert(*name != kMetadata && ItemBytes(tensor->dtype) > 0);
    assert(ArrayBytes(tensor->shape, ItemBytes(tensor->dtype)) == tensor->data.size());
    auto& entry = header[*name];
    entry["dtype"] = tensor->dtype;
    entry["shape"] = tensor->shape;
    entry["data_offsets"] = {offset, offset + tensor->data.size()};
    offset += tensor->data.size();
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.append((8 - text.size() % 8) % 8, ' ');

  std::string bytes;
  bytes.reserve(8 + text.size() + offset);
  for (int shift = 0; shift < 64; shift += 8) bytes += static_cast<char>(uint64_t{text.size()} >> shift & 0xff);
  bytes += text;
  for (const auto& [name, tensor] : ordered) bytes += tensor->data;
  return bytes;
}

absl::StatusOr<SafeTensors> ParseSafeTensors(absl::string_view bytes) {
  if (bytes.size() < 8) return Broken("shorter than the 8 bytes that give the header's length");
  uint64_t header_bytes = 0;
  for (size_t i = 0; i < 8; ++i) header_bytes |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  if (header_bytes > kMaxHeaderBytes) return Broken("header longer than 16 MiB, bytes: ", absl::StrCat(header_bytes));
  if (header_bytes > bytes.size() - 8)
    return Broken("header longer than the file, bytes: ", absl::StrCat(header_bytes));
  const absl::string_view text = bytes.substr(8, header_bytes);
  const absl::string_view data = bytes.substr(8 + header_bytes);
  if (text.empty() || text.front() != '{') return Broken("the header does not start with '{'");

  // The JSON library takes a zero byte for the end of its input.
  if (const size_t zero = text.find('\0'); zero != absl::string_view::npos) {
    return Broken("the header is not JSON, at byte ", absl::StrCat(zero + 1));
  }

  HeaderReader header;
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &header)) return header.status;
  std::sort(header.entries.begin(), header.entries.end(),
            [](const Entry& a, const Entry& b) { return a.name < b.name; });
  const auto twice = std::adjacent_find(header.entries.begin(), header.entries.end(),
                                        [](const Entry& a, const Entry& b) { return a.name == b.name; });
  if (twice != header.entries.end()) return Broken("a key that comes twice: ", twice->name);
  if (absl::Status status = CheckLayout(header.entries, data.size()); !status.ok()) return status;

  SafeTensors tensors;
  tensors.metadata = std::move(header.metadata);
  for (Entry& entry : header.entries) {
    const auto begin = static_cast<size_t>(entry.offsets[0]);
    const auto size = static_cast<size_t>(entry.offsets[1]) - begin;
    tensors.tensors.emplace(std::move(entry.name), SafeTensor{std::move(entry.dtype), std::move(entry.shape),
                                                              std::string(data.substr(begin, size))});
  }
  return tensors;
}

}  // namespace tightrope
