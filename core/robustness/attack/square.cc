// The Square attack (Andriushchenko et al. 2020): random search over squares whose side shrinks on a schedule, for linf
// (section 3.2), l2 (section 3.3) and l1 (Croce and Hein 2021, section 4.3); schedule and constants as in AutoAttack. A
// proposal is kept where it raises the loss, which so never falls. The place and side of a step's square, and for linf
// its colours, are draws of (seed, job, run, step), the same for all examples; the authors' code never reaches the last
// row and column, this one does.
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "core/robustness/attack/attack_method.h"
#include "core/robustness/attack/square_schedule.h"
#include "core/robustness/model/windowed_logits.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// Draws that belong to no example.
constexpr uint32_t kAllExamples = UINT32_MAX;

class Square : public AttackMethod {
 public:
  explicit Square(const v1::SquareAttack& options) : options_(options) {}

  uint32_t runs() const override { return options_.restarts() * std::max<uint32_t>(options_.targets(), 1); }
  uint64_t looks() const override { return options_.queries() + 1; }
  bool mixes_runs() const override { return false; }

  absl::Status Run(ActiveBatch& batch) const override {
    torch::Tensor targets;
    if (options_.targets() > 0) targets = batch.Targets([&](uint32_t run) { return run / options_.restarts(); });
    const auto following = batch.Follow({&targets});
    // Untargeted the margin, targeted the cross-entropy of the target, as the authors have it.
    const Loss loss =
        MakeLoss(options_.targets() > 0 ? v1::ATTACK_LOSS_CE : v1::ATTACK_LOSS_MARGIN, batch.labels(), targets);
    return batch.ball().norm() == v1::NORM_LINF ? SearchLinf(batch, loss) : SearchSmooth(batch, loss);
  }

 private:
  // The uniform draws of a step that all rows share.
  static std::vector<float> Draws(const ActiveBatch& batch, uint32_t step, size_t count) {
    std::vector<float> draws(count);
    batch.stream().Uniform({.example = kAllExamples, .restart = batch.rows().front().run, .step = step + 1},
                           absl::MakeSpan(draws));
    return draws;
  }
  static int64_t Below(float draw, int64_t count) {
    return std::min<int64_t>(static_cast<int64_t>(draw * static_cast<float>(count)), count - 1);
  }
  // ±1, of shape N×`each`: draws of (example, run, step).
  static torch::Tensor Signs(const ActiveBatch& batch, uint32_t step, std::vector<int64_t> each) {
    each.insert(each.begin(), batch.size());
    torch::Tensor signs = torch::empty(each, torch::kFloat32);
    const size_t elements = static_cast<size_t>(signs.numel() / batch.size());
    float* values = signs.data_ptr<float>();
    for (const ActiveBatch::Row& row : batch.rows()) {
      const absl::Span<float> draws(values, elements);
      batch.stream().Uniform({.example = row.standing->example, .restart = row.run, .step = step}, draws);
      for (float& draw : draws) draw = draw < 0.5f ? -1.0f : 1.0f;
      values += elements;
    }
    return signs.to(batch.labels().device());
  }

  static torch::Tensor Radius(const ActiveBatch& batch) { return batch.ball().epsilon().to(torch::kFloat32); }

  static torch::Tensor Stripes(const ActiveBatch& batch) {
    const torch::Tensor& centers = batch.ball().centers();
    torch::Tensor points = centers + Signs(batch, 0, {centers.size(1), 1, centers.size(3)}) * Radius(batch);
    batch.ball().Project(points);
    return points;
  }

  // A step changes one square, so only what the square reaches is computed again where the model can do that.
  absl::Status SearchLinf(ActiveBatch& batch, const Loss& loss) const {
    torch::Tensor points = Stripes(batch), reached, before, places;
    const auto following = batch.Follow({&points, &reached, &before, &places});
    ABSL_ASSIGN_OR_RETURN(ActiveBatch::Look look, batch.Judge(points));
    if (batch.empty()) return absl::OkStatus();
    reached = loss(look.logits);
    const std::unique_ptr<WindowedLogits> windowed = batch.classifier().InWindows(points);
    const int64_t channels = points.size(1), height = points.size(2), width = points.size(3);
    for (uint32_t i = 0; i < options_.queries(); ++i) {
      const int64_t side = SquareSide(Share(i), height, width);
      const std::vector<float> draws = Draws(batch, i, 2 + channels);
      const Window window{.row = Below(draws[0], height - side + 1),
                          .column = Below(draws[1], width - side + 1),
                          .height = side,
                          .width = side};
      std::vector<float> signs;
      for (int64_t c = 0; c < channels; ++c) signs.push_back(draws[2 + c] < 0.5f ? -2.0f : 2.0f);
      const torch::Tensor change = torch::tensor(signs).view({1, channels, 1, 1}).to(points.device()) * Radius(batch);
      before = window.Of(points).clone();
      window.Of(points).copy_(
          (before + change).clamp_(window.Of(batch.ball().lower()), window.Of(batch.ball().upper())));
      places = torch::arange(batch.size(), batch.labels().options());
      const int64_t rows = batch.size();
      if (windowed != nullptr) {
        ABSL_ASSIGN_OR_RETURN(look, batch.JudgeLogits(points, windowed->Try(points, window)));
      } else {
        ABSL_ASSIGN_OR_RETURN(look, batch.Judge(points));
      }
      if (batch.empty()) return absl::OkStatus();
      if (windowed != nullptr && batch.size() < rows) windowed->Keep(places);
      const torch::Tensor now = loss(look.logits);
      const torch::Tensor better = now > reached;
      reached = torch::where(better, now, reached);
      window.Of(points).copy_(torch::where(PerRow(better), window.Of(points), before));
      if (windowed != nullptr) windowed->Accept(better);
    }
    return absl::OkStatus();
  }

  absl::Status SearchSmooth(ActiveBatch& batch, const Loss& loss) const {
    torch::Tensor best = Tiles(batch), proposal, reached;
    const auto following = batch.Follow({&best, &proposal, &reached});
    ABSL_ASSIGN_OR_RETURN(ActiveBatch::Look look, batch.Judge(best));
    if (batch.empty()) return absl::OkStatus();
    reached = loss(look.logits);
    for (uint32_t i = 0; i < options_.queries(); ++i) {
      proposal = ProposeSmooth(batch, best, i);
      ABSL_ASSIGN_OR_RETURN(look, batch.Judge(proposal));
      if (batch.empty()) return absl::OkStatus();
      const torch::Tensor now = loss(look.logits);
      const torch::Tensor better = now > reached;
      best = torch::where(PerRow(better), proposal, best);
      reached = torch::where(better, now, reached);
    }
    return absl::OkStatus();
  }

  double Share(uint32_t step) const {
    return SquareShare(options_.p_init(), step, options_.queries(), options_.rescale_schedule());
  }

  // l2 and l1: tiles of a fifth of the shorter side, each a pair of hills of opposite sign, per example and channel.
  torch::Tensor Tiles(const ActiveBatch& batch) const {
    const torch::Tensor& centers = batch.ball().centers();
    const int64_t channels = centers.size(1), height = centers.size(2), width = centers.size(3);
    const int64_t side = std::max<int64_t>(std::min(height, width) / 5, 1);
    torch::Tensor offsets = torch::zeros_like(centers);
    const int64_t rows = height / side, columns = width / side;
    const torch::Tensor signs = Signs(batch, 0, {rows * columns, channels, 1, 1});
    const std::vector<float> turns = Draws(batch, UINT32_MAX - 1, static_cast<size_t>(rows * columns));
    for (int64_t tile = 0; tile < rows * columns; ++tile) {
      const Window window{.row = tile / columns * side, .column = tile % columns * side, .height = side, .width = side};
      window.Of(offsets).add_(TwoHills(batch, side, turns[tile]) * signs.select(1, tile));
    }
    return AtRadius(batch, offsets);
  }

  torch::Tensor ProposeSmooth(const ActiveBatch& batch, const torch::Tensor& best, uint32_t step) const {
    const int64_t channels = best.size(1), height = best.size(2), width = best.size(3);
    const v1::Norm norm = batch.ball().norm();
    int64_t side = std::max<int64_t>(SquareSide(Share(step), height, width), 3);
    side = std::min({side + (side % 2 == 0 ? 1 : 0), height, width});
    const std::vector<float> draws = Draws(batch, step, 5);
    const auto window = [&](float row, float column) {
      return Window{.row = Below(row, height - side + 1),
                    .column = Below(column, width - side + 1),
                    .height = side,
                    .width = side};
    };
    const Window to = window(draws[0], draws[1]);
    const Window from = window(draws[2], draws[3]);

    // What lies in the two windows, and what the image as a whole has left of the radius, is spent on the first one.
    torch::Tensor offsets = best - batch.ball().centers();
    const torch::Tensor radius = Radius(batch);
    const torch::Tensor whole = Length(norm, offsets, {1, 2, 3});
    torch::Tensor both = torch::zeros_like(offsets);
    to.Of(both).copy_(to.Of(offsets));
    from.Of(both).copy_(from.Of(offsets));
    const torch::Tensor in_windows = Length(norm, both, {2, 3});
    const torch::Tensor old = to.Of(offsets) / (Length(norm, to.Of(offsets), {2, 3}) + 1e-12);
    torch::Tensor hills = TwoHills(batch, side, draws[4]) * Signs(batch, step + 1, {channels, 1, 1}) + old;
    hills = hills / (Length(norm, hills, {2, 3}) + 1e-12);
    const double c = static_cast<double>(channels);
    if (norm == v1::NORM_L2) {
      const torch::Tensor left = (radius.square() - whole.square()).clamp_min(0) / c;
      hills = hills * (left + in_windows.square()).sqrt();
    } else {
      hills = hills * ((radius - whole).clamp_min(0) / c + in_windows) * c;
    }
    from.Of(offsets).zero_();
    to.Of(offsets).copy_(hills);
    return AtRadius(batch, offsets);
  }

  // The examples plus the offsets, l2 scaled to the radius and clipped, l1 projected.
  static torch::Tensor AtRadius(const ActiveBatch& batch, const torch::Tensor& offsets) {
    torch::Tensor points = batch.ball().centers() + offsets;
    if (batch.ball().norm() == v1::NORM_L2) {
      points = batch.ball().centers() + offsets / (Length(v1::NORM_L2, offsets, {1, 2, 3}) + 1e-12) * Radius(batch);
    }
    batch.ball().Project(points);
    return points;
  }

  static torch::Tensor Length(v1::Norm norm, const torch::Tensor& values, std::vector<int64_t> dimensions) {
    return norm == v1::NORM_L1 ? values.abs().sum(dimensions, true) : values.square().sum(dimensions, true).sqrt();
  }

  // side×side of norm 1: a hill in one half and its negative in the other; lying where the draw is at least a half.
  static torch::Tensor TwoHills(const ActiveBatch& batch, int64_t side, float draw) {
    const double power = batch.ball().norm() == v1::NORM_L1 ? 4 : 2;
    torch::Tensor hills = torch::zeros({side, side});
    hills.narrow(0, 0, side / 2).copy_(Hill(side / 2, side, power));
    hills.narrow(0, side / 2, side - side / 2).copy_(-Hill(side - side / 2, side, power));
    hills = hills / Length(batch.ball().norm(), hills, {0, 1});
    if (draw >= 0.5f) hills = hills.t().contiguous();
    return hills.to(batch.labels().device());
  }

  // Nested rectangles around the middle, the m-th of weight 1/m^power, of norm 1 (Andriushchenko et al. 2020, eq. 2).
  static torch::Tensor Hill(int64_t height, int64_t width, double power) {
    torch::Tensor hill = torch::zeros({height, width});
    int64_t top = height / 2, left = width / 2;
    for (int64_t m = 0; m < std::max(height / 2 + 1, width / 2 + 1); ++m, --top, --left) {
      const int64_t first_row = std::max<int64_t>(top, 0), first_column = std::max<int64_t>(left, 0);
      const int64_t end_row = std::min(top + 2 * m + 1, height), end_column = std::min(left + 2 * m + 1, width);
      if (end_row <= first_row || end_column <= first_column) continue;
      hill.narrow(0, first_row, end_row - first_row)
          .narrow(1, first_column, end_column - first_column)
          .add_(1 / std::pow(static_cast<double>(m + 1), power));
    }
    const torch::Tensor length = power == 2 ? hill.square().sum().sqrt() : hill.abs().sum();
    return hill / length.clamp_min(1e-12);
  }

  v1::SquareAttack options_;
};

}  // namespace

double SquareShare(double first, uint64_t step, uint64_t steps, bool rescale) {
  if (rescale) step = static_cast<uint64_t>(static_cast<double>(step) / static_cast<double>(steps) * 10000);
  double share = first;
  for (const uint64_t end : {10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000}) {
    if (step > end) share /= 2;
  }
  return share;
}

int64_t SquareSide(double share, int64_t height, int64_t width) {
  const int64_t side = std::llround(std::sqrt(share * static_cast<double>(height * width)));
  return std::clamp<int64_t>(side, 1, std::min(height, width));
}

std::unique_ptr<AttackMethod> MakeSquare(const v1::SquareAttack& options) { return std::make_unique<Square>(options); }

}  // namespace tightrope
