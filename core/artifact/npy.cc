#include "core/artifact/npy.h"

#include <bit>
#include <cassert>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/artifact/array_size.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

static_assert(std::endian::native == std::endian::little, "arrays are copied to and from memory as they are");

constexpr absl::string_view kMagic("\x93NUMPY", 6);

absl::Status Broken(absl::string_view what, absl::string_view value = "") {
  return absl::InvalidArgumentError(absl::StrCat("broken .npy file: ", what, value));
}

// Text of the file, fit for a message.
std::string Shown(absl::string_view text) { return absl::CHexEscape(text.substr(0, 100)); }

// Bytes of one item, or 0 for a type that is not a plain number.
uint64_t ItemBytes(absl::string_view dtype) {
  for (const absl::string_view known : {"|b1", "|i1", "|u1"}) {
    if (dtype == known) return 1;
  }
  for (const absl::string_view known : {"<i2", "<i4", "<i8", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8"}) {
    if (dtype == known) return static_cast<uint64_t>(known[2] - '0');
  }
  return 0;
}

// The header is a Python dictionary literal of exactly three keys; this reads as much of the grammar as NumPy writes.
class HeaderReader {
 public:
  explicit HeaderReader(absl::string_view text) : rest_(text) {}

  bool Take(char c) {
    SkipSpace();
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  bool Take(absl::string_view word) {
    SkipSpace();
    if (rest_.substr(0, word.size()) != word) return false;
    rest_.remove_prefix(word.size());
    return true;
  }

  std::optional<std::string> TakeString() {
    SkipSpace();
    if (rest_.empty() || (rest_.front() != '\'' && rest_.front() != '"')) return std::nullopt;
    const size_t end = rest_.find(rest_.front(), 1);
    if (end == absl::string_view::npos) return std::nullopt;
    std::string text(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return text;
  }

  std::optional<int64_t> TakeExtent() {
    SkipSpace();
    size_t digits = 0;
    while (digits < rest_.size() && absl::ascii_isdigit(static_cast<unsigned char>(rest_[digits]))) ++digits;
    int64_t extent = 0;
    if (digits == 0 || !absl::SimpleAtoi(rest_.substr(0, digits), &extent)) return std::nullopt;
    rest_.remove_prefix(digits);
    if (!rest_.empty() && rest_.front() == 'L') rest_.remove_prefix(1);  // as Python 2 wrote them
    return extent;
  }

  bool AtEnd() {
    SkipSpace();
    return rest_.empty();
  }

 private:
  void SkipSpace() { rest_ = absl::StripLeadingAsciiWhitespace(rest_); }

  absl::string_view rest_;
};

absl::StatusOr<std::vector<int64_t>> ReadShape(HeaderReader& reader) {
  if (!reader.Take('(')) return Broken("the shape is not a tuple");
  std::vector<int64_t> shape;
  while (!reader.Take(')')) {
    const std::optional<int64_t> extent = reader.TakeExtent();
    if (!extent) return Broken("the shape has an extent that is not a non-negative 64-bit number");
    if (shape.size() == kMaxDimensions) return Broken("more dimensions than ", absl::StrCat(kMaxDimensions));
    shape.push_back(*extent);
    if (reader.Take(',')) continue;
    if (!reader.Take(')')) return Broken("the shape is not a tuple");
    break;
  }
  return shape;
}

absl::StatusOr<std::string> ReadDtype(HeaderReader& reader) {
  std::optional<std::string> dtype = reader.TakeString();
  if (!dtype) return Broken("structured types cannot be read; save one plain array");
  if (dtype->find('O') != std::string::npos) {
    return Broken("arrays of Python objects are never loaded; save numbers, got type ", Shown(*dtype));
  }
  if (dtype->substr(0, 1) == ">") {
    return Broken("big-endian numbers cannot be read; save with astype of the '<' type, got type ", Shown(*dtype));
  }
  if (ItemBytes(*dtype) == 0) {
    return Broken("unknown type; save booleans, integers or floats of at most 64 bits, got type ", Shown(*dtype));
  }
  return *std::move(dtype);
}

struct Header {
  std::optional<std::string> dtype;
  std::optional<bool> fortran_order;
  std::optional<std::vector<int64_t>> shape;
};

absl::StatusOr<Header> ReadHeader(absl::string_view text) {
  HeaderReader reader(text);
  Header header;
  if (!reader.Take('{')) return Broken("the header is not a dictionary");
  while (!reader.Take('}')) {
    const std::optional<std::string> key = reader.TakeString();
    if (!key || !reader.Take(':')) return Broken("the header is not a dictionary");
    if (*key == "descr" && !header.dtype) {
      ABSL_ASSIGN_OR_RETURN(header.dtype, ReadDtype(reader));
    } else if (*key == "fortran_order" && !header.fortran_order) {
      if (reader.Take("True")) {
        header.fortran_order = true;
      } else if (reader.Take("False")) {
        header.fortran_order = false;
      } else {
        return Broken("fortran_order is neither True nor False");
      }
    } else if (*key == "shape" && !header.shape) {
      ABSL_ASSIGN_OR_RETURN(header.shape, ReadShape(reader));
    } else {
      return Broken("the header has an unknown key, or one twice: ", Shown(*key));
    }
    if (reader.Take(',')) continue;
    if (!reader.Take('}')) return Broken("the header is not a dictionary");
    break;
  }
  if (!reader.AtEnd()) return Broken("text after the header's dictionary");
  if (!header.dtype || !header.fortran_order || !header.shape) {
    return Broken("the header lacks one of descr, fortran_order, shape");
  }
  return header;
}

std::string WriteArray(absl::string_view dtype, const std::vector<int64_t>& shape, absl::string_view data) {
  std::string header = absl::StrCat("{'descr': '", dtype, "', 'fortran_order': False, 'shape': (",
                                    absl::StrJoin(shape, ", "), shape.size() == 1 ? ",), }" : "), }");
  // Data starts at a multiple of 64 bytes, so that a mapped file is aligned.
  const size_t unpadded = kMagic.size() + 4 + header.size() + 1;
  header.append((64 - unpadded % 64) % 64, ' ');
  header += '\n';
  std::string bytes(kMagic);
  bytes.append({'\x01', '\x00', static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)});
  bytes += header;
  bytes.append(data.data(), data.size());
  return bytes;
}

}  // namespace

absl::StatusOr<NpyArray> ParseNpy(absl::string_view bytes) {
  if (bytes.substr(0, kMagic.size()) != kMagic) return Broken("it does not start with \\x93NUMPY");
  if (bytes.size() < 10) return Broken("truncated in the header");
  const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<unsigned char>(bytes[i])); };
  const size_t major = byte(6);
  if ((major != 1 && major != 2) || byte(7) != 0) {
    return Broken("format versions 1.0 and 2.0 can be read, got ", absl::StrCat(major, ".", byte(7)));
  }
  const size_t start = major == 1 ? 10 : 12;
  if (bytes.size() < start) return Broken("truncated in the header");
  size_t header_bytes = byte(8) | byte(9) << 8;
  if (major == 2) header_bytes |= byte(10) << 16 | byte(11) << 24;
  if (header_bytes > bytes.size() - start) return Broken("truncated in the header");
  ABSL_ASSIGN_OR_RETURN(Header header, ReadHeader(bytes.substr(start, header_bytes)));
  if (*header.fortran_order) {
    return Broken("Fortran order cannot be read; save numpy.ascontiguousarray of the array");
  }
  const absl::string_view data = bytes.substr(start + header_bytes);
  const std::optional<uint64_t> want = ArrayBytes(*header.shape, ItemBytes(*header.dtype));
  if (want != data.size()) {
    return Broken(
        "the data does not have the size that the header gives: ",
        absl::StrCat(data.size(), " bytes for (", absl::StrJoin(*header.shape, ", "), ") of ", *header.dtype));
  }
  return NpyArray{*std::move(header.dtype), *std::move(header.shape), std::string(data)};
}

std::string WriteNpy(absl::Span<const float> values, const std::vector<int64_t>& shape) {
  assert(ArrayBytes(shape, sizeof(float)) == values.size() * sizeof(float));
  return WriteArray("<f4", shape, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
}

std::string WriteIndexNpy(absl::Span<const int64_t> indices) {
  return WriteArray("<i8", {static_cast<int64_t>(indices.size())},
                    {reinterpret_cast<const char*>(indices.data()), indices.size() * sizeof(int64_t)});
}

}  // namespace tightrope
