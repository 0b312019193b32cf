// Random points of the ball: no search, the baseline that every attack must beat.
#include <algorithm>
#include <cmath>
#include <memory>

#include "core/robustness/attack/attack_method.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

class Noise : public AttackMethod {
 public:
  explicit Noise(const v1::NoiseAttack& options) : options_(options) {}

  // A draw a run, so that a batch is filled with draws of whatever examples are left.
  uint32_t runs() const override { return options_.draws(); }
  uint64_t looks() const override { return 1; }

  absl::Status Run(ActiveBatch& batch) const override {
    torch::Tensor points =
        options_.distribution() == v1::NOISE_DISTRIBUTION_GAUSSIAN ? Gaussian(batch) : batch.RandomStart();
    const auto following = batch.Follow({&points});
    return batch.Judge(points).status();
  }

 private:
  static torch::Tensor Gaussian(const ActiveBatch& batch) {
    if (batch.ball().norm() == v1::NORM_L0) return batch.SaltAndPepper();
    const torch::Tensor noise = batch.Normal(0);
    const int64_t elements = noise.numel() / noise.size(0);
    // The standard deviation at which a normal offset is about as long as ε; in linf half of it, most of what is
    // clipped.
    double share = 0.5;
    if (batch.ball().norm() == v1::NORM_L2) share = 1 / std::sqrt(static_cast<double>(elements));
    if (batch.ball().norm() == v1::NORM_L1) share = std::sqrt(std::acos(-1.0) / 2) / static_cast<double>(elements);
    torch::Tensor points = batch.ball().centers() + noise * (batch.ball().epsilon() * share).to(torch::kFloat32);
    batch.ball().Project(points);
    return points;
  }

  v1::NoiseAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeNoise(const v1::NoiseAttack& options) { return std::make_unique<Noise>(options); }

}  // namespace tightrope
