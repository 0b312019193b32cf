// Rotations and translations (Engstrom et al. 2019): all of a grid, or the worst of a few random ones. The distance is
// the largest of |angle| / max_rotation, |dx| / max_translation and |dy| / max_translation.
#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <vector>

#include "core/robustness/attack/attack_method.h"
#include "core/robustness/attack/spatial_transform.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

double SizeOf(const std::array<double, 3>& shares) {
  return std::max({std::abs(shares[0]), std::abs(shares[1]), std::abs(shares[2])});
}

class Spatial : public AttackMethod {
 public:
  explicit Spatial(const v1::SpatialAttack& options) : options_(options) {
    if (!random()) grid_ = SpatialGrid(options);
  }

  // At random, a draw a run, so that a batch is filled with draws of whatever examples are left.
  uint32_t runs() const override { return random() ? options_.draws() : 1; }
  uint64_t looks() const override { return std::max<uint64_t>(grid_.size(), 1); }
  bool minimizes() const override { return true; }

  absl::Status Run(ActiveBatch& batch) const override {
    if (random()) return Look(batch, RandomShares(batch)).status();
    for (const std::array<double, 3>& point : grid_) {
      // Nothing of use to a row is milder than what it has found, or than its radius.
      batch.End(batch.ball().epsilon().view({-1}) < SizeOf(point));
      if (batch.empty()) return absl::OkStatus();
      const torch::Tensor shares = torch::tensor({{point[0], point[1], point[2]}}, torch::kFloat64);
      ABSL_ASSIGN_OR_RETURN(const torch::Tensor wrong, Look(batch, shares.expand({batch.size(), 3})));
      if (batch.empty()) return absl::OkStatus();
      batch.End(wrong);
      if (batch.empty()) return absl::OkStatus();
    }
    return absl::OkStatus();
  }

 private:
  bool random() const { return options_.search() == v1::SPATIAL_SEARCH_RANDOM; }

  // N×3 in [-ε, ε].
  torch::Tensor RandomShares(const ActiveBatch& batch) const {
    torch::Tensor shares = torch::empty({batch.size(), 3}, torch::kFloat64);
    double* share = shares.data_ptr<double>();
    for (const ActiveBatch::Row& row : batch.rows()) {
      std::array<float, 3> draws;
      batch.stream().Uniform({.example = row.standing->example, .restart = row.run}, absl::MakeSpan(draws));
      share[0] = options_.max_rotation() > 0 ? 2 * double{draws[0]} - 1 : 0;
      share[1] = options_.max_translation() > 0 ? 2 * double{draws[1]} - 1 : 0;
      share[2] = options_.max_translation() > 0 ? 2 * double{draws[2]} - 1 : 0;
      share += 3;
    }
    return shares * batch.ball().epsilon().view({-1, 1}).cpu();
  }

  // Which rows the model gets wrong at these shares.
  absl::StatusOr<torch::Tensor> Look(ActiveBatch& batch, const torch::Tensor& shares) const {
    const torch::Tensor largest = torch::tensor(
        {options_.max_rotation(), options_.max_translation(), options_.max_translation()}, torch::kFloat64);
    torch::Tensor points = Transformed(batch.ball().centers(), shares * largest);
    const auto following = batch.Follow({&points});
    ABSL_ASSIGN_OR_RETURN(const ActiveBatch::Look look, batch.Judge(points, shares.abs().amax(1)));
    return look.wrong;
  }

  v1::SpatialAttack options_;
  std::vector<std::array<double, 3>> grid_;
};

}  // namespace

torch::Tensor Transformed(const torch::Tensor& images, const torch::Tensor& moves) {
  // Of each pixel of the result, where it is from: turned back after it is moved back. affine_grid's coordinates run
  // from -1 to 1 over the width and over the height.
  const double to_x = 2 / static_cast<double>(images.size(3)), to_y = 2 / static_cast<double>(images.size(2));
  const torch::Tensor angle = moves.select(1, 0) * (M_PI / 180);
  const torch::Tensor right = moves.select(1, 1), down = moves.select(1, 2), cosine = angle.cos(), sine = angle.sin();
  const torch::Tensor from_x = torch::stack({cosine, sine * (to_x / to_y), -(cosine * right + sine * down) * to_x}, 1);
  const torch::Tensor from_y = torch::stack({-sine * (to_y / to_x), cosine, (sine * right - cosine * down) * to_y}, 1);
  const torch::Tensor from = torch::stack({from_x, from_y}, 1).to(images.device());
  const torch::Tensor grid = torch::affine_grid_generator(from, images.sizes(), /*align_corners=*/false);
  const torch::Tensor sampled =
      torch::grid_sampler(images.to(torch::kFloat64), grid, /*interpolation_mode: bilinear=*/0,
                          /*padding_mode: zeros=*/0, /*align_corners=*/false);
  // Rounding would let a pixel see its neighbours even where nothing moves.
  const torch::Tensor still = (moves == 0).all(1).to(images.device());
  return torch::where(still.view({-1, 1, 1, 1}), images, sampled.clamp_(0, 1).to(torch::kFloat32));
}

std::vector<std::array<double, 3>> SpatialGrid(const v1::SpatialAttack& options) {
  const auto steps = [](uint32_t count, double largest) {
    if (largest == 0) count = 1;
    std::vector<double> shares;
    for (int64_t i = 0; i < count; ++i) {
      shares.push_back(count == 1 ? 0 : static_cast<double>(2 * i - (int64_t{count} - 1)) / (count - 1));
    }
    return shares;
  };
  const std::vector<double> shifts = steps(options.translations(), options.max_translation());
  std::vector<std::array<double, 3>> grid;
  for (const double rotation : steps(options.rotations(), options.max_rotation())) {
    for (const double right : shifts) {
      for (const double down : shifts) grid.push_back({rotation, right, down});
    }
  }
  std::stable_sort(grid.begin(), grid.end(), [](const auto& a, const auto& b) { return SizeOf(a) < SizeOf(b); });
  if (!grid.empty() && SizeOf(grid.front()) == 0) grid.erase(grid.begin());
  return grid;
}

std::unique_ptr<AttackMethod> MakeSpatial(const v1::SpatialAttack& options) {
  return std::make_unique<Spatial>(options);
}

}  // namespace tightrope
