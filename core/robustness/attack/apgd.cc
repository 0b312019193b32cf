// AutoPGD (Croce and Hein 2020, algorithm 1; for l1, Croce and Hein 2021, algorithm 1), constants as in the authors'
// code where it differs from the papers:
//   * the step size starts at 2ε (l1: ε) and is halved for a row after a period in which at most ρ of the steps raised
//     its loss, or in which, not halved the last time, its best loss stayed; the row then goes back to its best point.
//     The step before the first counts as one from loss 0, so that cross-entropy starts with a raise;
//   * momentum 0.75 from the second step on;
//   * l1: the step goes along the signs of the largest gradients. Their share starts at 0.2; every 4 % of the steps it
//     becomes the best point's share of changed elements over 1.5. Where that number fell by more than 5 % the step
//     size starts over at ε and the row goes back to its best point, else it is divided by 1.5, down to ε/10.
//
// Rows that the model gets wrong leave at once: later steps could not change their verdict.
#include "core/robustness/attack/apgd.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "core/robustness/attack/attack_method.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

constexpr double kMomentum = 0.75;
// l1
constexpr double kFirstShare = 0.2;
constexpr double kShareDivisor = 1.5;
constexpr double kStepDivisor = 1.5;
constexpr double kSmallestStep = 0.1;  // of ε
constexpr double kSparser = 0.95;

// A part of an integer as the authors' code has it: rounded down, at least 1.
uint32_t Part(double share, uint32_t of) { return std::max<uint32_t>(static_cast<uint32_t>(share * of), 1); }

// N float32: how many elements of each row differ.
torch::Tensor CountChanged(const torch::Tensor& points, const torch::Tensor& centers) {
  return (points != centers).flatten(1).sum(1).to(torch::kFloat32);
}

// Of each row the point with the largest loss so far.
struct Best {
  torch::Tensor points, gradient, losses;

  void Begin(const torch::Tensor& at, const ActiveBatch::Slope& slope) {
    points = at.clone();
    gradient = slope.gradient.clone();
    losses = slope.losses;
  }
  void Update(const torch::Tensor& at, const ActiveBatch::Slope& slope) {
    const torch::Tensor better = slope.losses > losses;
    CopyRows(better, at, points);
    CopyRows(better, slope.gradient, gradient);
    losses = torch::where(better, slope.losses, losses);
  }
  // Rows of `back` go back to it.
  void Restore(const torch::Tensor& back, torch::Tensor& at, torch::Tensor& slope) const {
    at = torch::where(PerRow(back), points, at);
    slope = torch::where(PerRow(back), gradient, slope);
  }
};

class Apgd : public AttackMethod {
 public:
  explicit Apgd(const v1::ApgdAttack& options) : options_(options) {}

  uint32_t runs() const override { return options_.restarts() * std::max<uint32_t>(options_.targets(), 1); }
  uint64_t looks() const override { return uint64_t{options_.steps()} + 1; }

  absl::Status Run(ActiveBatch& batch) const override {
    Search search{.batch = batch, .targets = {}, .start = batch.SurfaceStart()};
    if (options_.targets() > 0) {
      // Targets first, so that the likeliest of all restarts comes before the second.
      search.targets = batch.Targets([&](uint32_t run) { return run / options_.restarts(); });
    }
    const auto following = batch.Follow({&search.targets, &search.start});
    if (!options_.larger_radii_first()) return Climb(search, 1, options_.steps());
    // Three tenths of the steps in the ball of three times the radius, three in that of twice, the rest in the ball.
    const uint32_t part = static_cast<uint32_t>(std::ceil(0.3 * options_.steps()));
    search.start = batch.SurfaceStart(3);
    uint32_t done = 0;
    for (const double factor : {3.0, 2.0, 1.0}) {
      const uint32_t steps = factor > 1 ? std::min(part, options_.steps() - done) : options_.steps() - done;
      done += steps;
      batch.ball().Scaled(factor).Project(search.start);
      ABSL_RETURN_IF_ERROR(Climb(search, factor, steps));
      if (batch.empty()) break;
    }
    return absl::OkStatus();
  }

 private:
  struct Search {
    ActiveBatch& batch;
    torch::Tensor targets;  // undefined: untargeted
    torch::Tensor start;    // where the next climb starts; afterwards the best points
  };

  Loss LossOf(const Search& search) const { return MakeLoss(options_.loss(), search.batch.labels(), search.targets); }

  absl::Status Climb(Search& search, double factor, uint32_t steps) const {
    return search.batch.ball().norm() == v1::NORM_L1 ? ClimbSparsely(search, factor, steps)
                                                     : ClimbSteeply(search, steps);
  }

  // linf and l2.
  absl::Status ClimbSteeply(Search& search, uint32_t steps) const {
    ActiveBatch& batch = search.batch;
    const Loss loss = LossOf(search);
    Best best;
    torch::Tensor points = search.start, before, gradient, step, best_at_check, last_loss, raised, was_halved;
    const auto following = batch.Follow({&points, &before, &gradient, &best.points, &best.gradient, &best.losses, &step,
                                         &best_at_check, &last_loss, &raised, &was_halved});
    ABSL_ASSIGN_OR_RETURN(ActiveBatch::Slope slope, batch.Gradient(points, loss, options_.eot()));
    if (batch.empty()) return absl::OkStatus();
    best.Begin(points, slope);
    gradient = slope.gradient;
    best_at_check = best.losses;
    last_loss = torch::zeros_like(best.losses);
    raised = torch::zeros_like(best.losses);
    was_halved = torch::ones_like(best.losses, torch::kBool);
    before = points;
    step = (batch.ball().epsilon() * 2).to(torch::kFloat32);

    const std::vector<uint32_t> checkpoints = ApgdCheckpoints(steps);
    auto checkpoint = checkpoints.begin();
    uint32_t period_begin = 0;
    for (uint32_t i = 1; i <= steps; ++i) {
      const double a = i > 1 ? kMomentum : 1.0;
      torch::Tensor next = batch.ball().AscendWithMomentum(points, before, gradient, step, a);
      before = points;
      points = std::move(next);
      ABSL_ASSIGN_OR_RETURN(slope, batch.Gradient(points, loss, options_.eot()));
      if (batch.empty()) return absl::OkStatus();
      gradient = slope.gradient;
      best.Update(points, slope);
      raised = raised + (slope.losses > last_loss);
      last_loss = slope.losses;

      if (checkpoint == checkpoints.end() || i != *checkpoint) continue;
      ++checkpoint;
      const double most = options_.rho() * (i - period_begin);
      period_begin = i;
      const torch::Tensor halve =
          (raised <= most).logical_or(was_halved.logical_not().logical_and(best_at_check >= best.losses));
      step = torch::where(PerRow(halve), step / 2, step);
      best.Restore(halve, points, gradient);
      was_halved = halve;
      best_at_check = best.losses;
      raised = torch::zeros_like(raised);
    }
    search.start = best.points;
    return absl::OkStatus();
  }

  // l1, in the ball of `factor` times the radius.
  absl::Status ClimbSparsely(Search& search, double factor, uint32_t steps) const {
    ActiveBatch& batch = search.batch;
    const Loss loss = LossOf(search);
    const double elements = static_cast<double>(batch.ball().centers()[0].numel());
    Best best;
    torch::Tensor points = search.start, gradient, step, share, changed;
    const auto following =
        batch.Follow({&points, &gradient, &best.points, &best.gradient, &best.losses, &step, &share, &changed});
    ABSL_ASSIGN_OR_RETURN(ActiveBatch::Slope slope, batch.Gradient(points, loss, options_.eot()));
    if (batch.empty()) return absl::OkStatus();
    best.Begin(points, slope);
    gradient = slope.gradient;
    step = (batch.ball().epsilon() * factor).to(torch::kFloat32);
    if (options_.larger_radii_first()) {
      changed = CountChanged(points, batch.ball().centers());
      share = changed / elements / kShareDivisor;
    } else {
      changed = torch::full_like(best.losses, elements);
      share = torch::full_like(best.losses, kFirstShare);
    }
    const uint32_t period = Part(0.04, steps);
    for (uint32_t i = 1; i <= steps; ++i) {
      points = points + SparseSigns(gradient.clone(), share) * step;
      batch.ball().Scaled(factor).Project(points);
      ABSL_ASSIGN_OR_RETURN(slope, batch.Gradient(points, loss, options_.eot()));
      if (batch.empty()) return absl::OkStatus();
      gradient = slope.gradient;
      best.Update(points, slope);

      if (i % period != 0) continue;
      const torch::Tensor now = CountChanged(best.points, batch.ball().centers());
      const torch::Tensor sparser = now / changed.clamp_min(1) < kSparser;
      share = now / elements / kShareDivisor;
      changed = now;
      const torch::Tensor longest = (batch.ball().epsilon() * factor).to(torch::kFloat32);
      step = torch::where(PerRow(sparser), longest, torch::maximum(step / kStepDivisor, longest * kSmallestStep));
      best.Restore(sparser, points, gradient);
    }
    search.start = best.points;
    return absl::OkStatus();
  }

  v1::ApgdAttack options_;
};

}  // namespace

std::vector<uint32_t> ApgdCheckpoints(uint32_t steps) {
  const uint32_t shortest = Part(0.06, steps);
  const uint32_t shrink = Part(0.03, steps);
  std::vector<uint32_t> checkpoints;
  uint32_t period = Part(0.22, steps);
  for (uint32_t at = period; at <= steps; at += period) {
    checkpoints.push_back(at);
    period = std::max(period > shrink ? period - shrink : 0, shortest);
  }
  return checkpoints;
}

std::unique_ptr<AttackMethod> MakeApgd(const v1::ApgdAttack& options) { return std::make_unique<Apgd>(options); }

}  // namespace tightrope
