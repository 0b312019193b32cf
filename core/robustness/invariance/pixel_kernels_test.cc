#include "core/robustness/invariance/pixel_kernels.h"

#include <cstdint>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace tightrope {
namespace {

TEST(PixelKernelsTest, SquaredDistancesAreExactAtEveryLengthAndAtTheLargest) {
  std::mt19937 generator(1);
  for (const int64_t elements : {1, 7, 63, 64, 65, 784, 3072, 16384, 16385, 200000}) {
    std::vector<uint8_t> a(static_cast<size_t>(elements)), b(a.size());
    int64_t expected = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      a[i] = static_cast<uint8_t>(generator());
      b[i] = static_cast<uint8_t>(generator());
      expected += (a[i] - b[i]) * (a[i] - b[i]);
    }
    EXPECT_EQ(SquaredDistance(elements, a.data(), b.data()), expected) << elements;
    a.assign(a.size(), 255);
    b.assign(b.size(), 0);
    EXPECT_EQ(SquaredDistance(elements, a.data(), b.data()), elements * 255 * 255);
    EXPECT_EQ(SquaredDistance(elements, b.data(), a.data()), elements * 255 * 255);
  }
}

TEST(PixelKernelsTest, ChunksOfImagesAreTransformedTransposedAndComparedBitByBit) {
  std::mt19937_64 generator(4);
  for (const int64_t pixels : {1, 63, 64, 70, 784}) {
    const auto pixel_of = [](const std::vector<uint64_t>& chunk, int64_t pixel, int64_t image) {
      return static_cast<int>(chunk[static_cast<size_t>(pixel * kChunkWords + image / 64)] >> image % 64 & 1);
    };
    std::vector<uint64_t> chunk(static_cast<size_t>(pixels * kChunkWords)), moved(chunk.size());
    for (uint64_t& word : chunk) word = generator();
    std::vector<PixelFunction> functions(static_cast<size_t>(pixels));
    for (PixelFunction& function : functions) {
      const int threshold = static_cast<int>(generator() % 12);
      int weights[4];
      for (size_t i = 0; i < 4; ++i) {
        function.pixel[i] = static_cast<int32_t>(generator() % static_cast<uint64_t>(pixels));
        weights[i] = static_cast<int>(generator() % 6);
      }
      for (int entry = 0; entry < 16; ++entry) {
        int sum = 0;
        for (int i = 0; i < 4; ++i) sum += weights[i] * (entry >> i & 1);
        if (sum > threshold) function.table = static_cast<uint16_t>(function.table | 1 << entry);
      }
    }
    ApplyToChunk(functions, chunk.data(), moved.data());
    const int64_t words = (pixels + 63) / 64;
    std::vector<uint64_t> images(static_cast<size_t>(kChunkImages * words)), query(static_cast<size_t>(words));
    TransposeChunk(pixels, moved.data(), images.data());
    for (int64_t p = 0; p < pixels; ++p) query[static_cast<size_t>(p / 64)] |= (generator() & 1) << p % 64;
    std::vector<uint16_t> distances(kChunkImages);
    HammingDistances(words, query.data(), images.data(), distances.data());
    for (int64_t image = 0; image < kChunkImages; ++image) {
      int differing = 0;
      for (int64_t p = 0; p < pixels; ++p) {
        const PixelFunction& function = functions[static_cast<size_t>(p)];
        int entry = 0;
        for (int i = 0; i < 4; ++i) entry |= pixel_of(chunk, function.pixel[static_cast<size_t>(i)], image) << i;
        const int value = function.table >> entry & 1;
        ASSERT_EQ(pixel_of(moved, p, image), value);
        differing += value != static_cast<int>(query[static_cast<size_t>(p / 64)] >> p % 64 & 1);
      }
      ASSERT_EQ(distances[static_cast<size_t>(image)], differing) << pixels << " pixels, image " << image;
    }
  }
}

}  // namespace
}  // namespace tightrope
