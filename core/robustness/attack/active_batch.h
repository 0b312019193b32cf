// What an attack sees: searches over the examples of one batch that nothing has decided yet, a row a search, and the
// model through an eye that judges every point it is shown. An attack only says where to look next.
//
//   torch::Tensor points = batch.RandomStart();
//   const auto following = batch.Follow({&points});  // rows that are decided leave these tensors, too
//   while (...) {
//     ABSL_ASSIGN_OR_RETURN(Slope slope, batch.Gradient(points, loss));
//     if (batch.empty()) break;
//     batch.ball().Ascend(points, slope.gradient, step);
//   }
//   return batch.Judge(points).status();
//
// Passes, budgets, witnesses, least distances and first successes are counted here, for every attack alike.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/random/random_stream.h"
#include "core/robustness/attack/ball.h"
#include "core/robustness/attack/loss.h"
#include "core/robustness/model/classifier.h"
#include "core/robustness/torch.h"
#include "tightrope/v1/results.pb.h"

namespace tightrope {

// The class of the largest logit in each row, the first of several; -1 where a logit of the row is not finite.
// REQUIRES: N×classes float32.
std::vector<int32_t> Predictions(const torch::Tensor& logits);

// What an attack ends with where Predictions says -1: INVALID_ARGUMENT, naming the example. Whether such a model is
// robust cannot be said, and a verdict either way would be counted.
absl::Status NotFinite(uint32_t example);

// A feasible point that the model gets wrong.
struct Witness {
  std::vector<float> point;                                   // C×H×W, as stored
  double distance = std::numeric_limits<double>::infinity();  // in the threat model's norm; infinite: there is none
  uint32_t run = 0;                                           // of the search that found it
  bool late = false;                                          // in the last tenth of that search
};

// How an example stands in the attack so far.
struct Standing {
  uint32_t example = 0;  // index in the data set
  int64_t label = 0;
  std::vector<float> clean_logits;
  uint64_t forward_passes = 0;
  uint64_t backward_passes = 0;
  uint64_t first_success = 0;  // forward passes when the first witness was seen; 0: none was
  // The least distances at which the model was seen to be wrong, as Distances orders them; infinite where it never was.
  std::array<double, 4> nearest = {kNever, kNever, kNever, kNever};
  Witness witness;    // the nearest that was confirmed
  Witness candidate;  // nearer than the witness, as seen in a batch; not confirmed yet
  // Of the search that runs now, in the threat model's norm: the radius of its ball; a candidate farther than `reach`
  // is of no use, one within `goal` ends the search.
  double radius = 0;
  double reach = 0;
  double goal = 0;
  bool decided = false;  // the goal is reached or the budget used up

  static constexpr double kNever = std::numeric_limits<double>::infinity();
};

// Not thread-safe. Its methods may throw c10::Error, as Classifier::Logits does; RunAttack turns that into a status.
class ActiveBatch {
 public:
  // What all batches of a run share; must outlive them.
  struct Run {
    Classifier& classifier;
    Classifier* surrogate;  // that gradients and their losses come from; null: the classifier
    const RandomStream& stream;
    uint64_t query_budget;                 // forward passes an example
    uint64_t looks;                        // that a search makes, about; 0: too few or too many to speak of late ones
    std::function<absl::Status()> looked;  // after every look at the model; an error (CANCELLED) ends the attack
    v1::AttackDiagnostics& diagnostics;    // gradients are counted here
  };
  // One search: the `run`th of an example, among restarts and targets.
  struct Row {
    Standing* standing;
    uint32_t run;
  };

  // `rows`: one a row of the ball, of undecided standings, which are updated here.
  ActiveBatch(const Run& run, Ball ball, std::vector<Row> rows);

  bool empty() const { return rows_.empty(); }
  int64_t size() const { return static_cast<int64_t>(rows_.size()); }
  const std::vector<Row>& rows() const { return rows_; }
  const Ball& ball() const { return ball_; }
  const torch::Tensor& labels() const { return labels_; }  // N int64
  const RandomStream& stream() const { return run_.stream; }
  Classifier& classifier() { return run_.classifier; }
  // N×classes, at the examples themselves.
  torch::Tensor CleanLogits() const;
  // N int64: of each row the class with the rank-th largest clean logit, 0 the largest, without the label. `rank` is
  // asked for each row's run.
  torch::Tensor Targets(const std::function<uint32_t(uint32_t run)>& rank) const;
  // The examples themselves, to be changed at will.
  torch::Tensor Inputs() const { return ball_.centers().clone(); }
  // Ball::RandomPoints, and Ball::SurfacePoints of a ball of `factor` times the radius; functions of (seed, job,
  // example, run).
  torch::Tensor RandomStart() const;
  torch::Tensor SurfaceStart(double factor = 1) const;
  // ⌊ε⌋ random elements of each example, 0 or 1. REQUIRES: l0.
  torch::Tensor SaltAndPepper() const;
  // N×C×H×W draws in [0, 1) or of the standard normal distribution, functions of (seed, job, example, run, step). Steps
  // below 2 are those of the starts above.
  torch::Tensor Uniform(uint32_t step) const;
  torch::Tensor Normal(uint32_t step) const;

  // While it lives, rows that leave the batch leave its tensors, too. Ends in the reverse order of its beginning.
  class Following {
   public:
    Following(const Following&) = delete;
    Following& operator=(const Following&) = delete;
    ~Following() { followed_.resize(before_); }

   private:
    friend class ActiveBatch;
    Following(std::vector<torch::Tensor*>& followed, size_t before) : followed_(followed), before_(before) {}
    std::vector<torch::Tensor*>& followed_;
    size_t before_;
  };
  // `tensors`: their first dimension is the batch's; undefined ones are passed over.
  [[nodiscard]] Following Follow(std::initializer_list<torch::Tensor*> tensors);

  struct Look {
    torch::Tensor logits;  // of the rows that remain
    torch::Tensor wrong;   // N bool: which of them the model gets wrong; only searches for the nearest point keep any
  };
  // Looks at the model at `points` (N×C×H×W in [0, 1], a row a search), one of the followed tensors. A point that the
  // model gets wrong within reach is a candidate; rows of decided examples leave. `distances`, N float64, is of the
  // spatial threat model only, whose distances do not follow from the points. Errors, here and below: NotFinite, and
  // what `looked` returns.
  absl::StatusOr<Look> Judge(const torch::Tensor& points, const torch::Tensor& distances = {});
  // The same of the rows in `asked` (N bool) only. The others are not looked at: they pay nothing, are not wrong, and
  // have logits of 0.
  absl::StatusOr<Look> JudgeSome(const torch::Tensor& points, const torch::Tensor& asked);

  struct Slope {
    torch::Tensor losses;    // N float32
    torch::Tensor gradient;  // of each row's loss at its point; the caller may change it
    torch::Tensor wrong;     // as of a Look
  };
  // The same, with the loss and its gradient, averaged over `passes` looks; a surrogate's where there is one, at which
  // a look is one at it as well. `loss` sees the rows before any leave.
  absl::StatusOr<Slope> Gradient(const torch::Tensor& points, const Loss& loss, uint32_t passes = 1);

  // As Judge, for logits that were computed elsewhere at `points`.
  absl::StatusOr<Look> JudgeLogits(const torch::Tensor& points, torch::Tensor logits,
                                   const torch::Tensor& distances = {});

  // Ends the searches of `rows` (N bool), which have nothing left to try: they leave. Others of their examples go on.
  void End(const torch::Tensor& rows);

 private:
  // Counts a look, at the rows in `asked` where that is defined, and takes its candidates. Returns the rows that
  // remain, or an undefined tensor where all do.
  absl::StatusOr<torch::Tensor> Take(const torch::Tensor& points, const torch::Tensor& logits, torch::Tensor& wrong,
                                     const torch::Tensor& distances = {}, const torch::Tensor& asked = {});
  absl::StatusOr<Look> Remaining(const torch::Tensor& points, torch::Tensor logits, const torch::Tensor& distances,
                                 const torch::Tensor& asked);
  absl::Status TakeCandidates(const torch::Tensor& points, const std::vector<int64_t>& wrong,
                              const torch::Tensor& spatial);
  // Ends the searches of examples that are decided, and those that the budget does not cover where each row's next look
  // costs `passes`. Returns the rows that remain, or an undefined tensor where all do.
  torch::Tensor DropDecided(uint64_t passes = 1);
  // Only these rows stay. Returned are they, as a tensor.
  torch::Tensor Keep(const std::vector<int64_t>& remaining);
  torch::Tensor Draws(uint32_t step, bool normal) const;
  void CountGradients(const torch::Tensor& gradient);
  torch::Tensor Rows(const std::vector<int64_t>& indices) const;
  std::vector<uint32_t> Examples() const;
  std::vector<uint32_t> Runs() const;

  const Run& run_;
  Ball ball_;
  torch::Tensor labels_;
  std::vector<Row> rows_;
  std::vector<torch::Tensor*> followed_;
  uint64_t looks_ = 0;
};

}  // namespace tightrope
