#include "core/robustness/attack/run_attack.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "core/plan/plan.h"
#include "core/random/random_stream.h"
#include "core/robustness/attack/active_batch.h"
#include "core/robustness/attack/attack_method.h"
#include "core/robustness/attack/ball.h"
#include "core/robustness/attack/dataset_batch.h"
#include "core/robustness/attack/rows_per_batch.h"
#include "core/robustness/torch.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// How far from 1 probabilities may sum up to.
constexpr double kProbabilitySum = 1e-4;

size_t ElementsOf(const Dataset& data) { return size_t{data.channels} * data.height * data.width; }

absl::Status CheckRange(const v1::Shard& range, const Dataset& data) {
  ABSL_RETURN_IF_ERROR(CheckArrays(data));
  if (range.begin() > range.end() || range.end() > data.count) {
    return absl::InvalidArgumentError(absl::StrCat("the range of examples is not inside the data set of ", data.count,
                                                   ": [", range.begin(), ", ", range.end(), ")"));
  }
  return absl::OkStatus();
}

std::vector<uint32_t> Indices(const v1::Shard& range) {
  std::vector<uint32_t> indices(range.end() - range.begin());
  for (size_t i = 0; i < indices.size(); ++i) indices[i] = static_cast<uint32_t>(range.begin() + i);
  return indices;
}

// Logits at the examples as they are, N×classes on the CPU, all finite. `report(n)` is called after every batch with
// the examples done.
absl::StatusOr<torch::Tensor> CleanLogits(const v1::Shard& range, const Dataset& data, Classifier& classifier,
                                          const std::function<absl::Status(size_t)>& report) {
  torch::NoGradGuard no_grad;
  const std::vector<uint32_t> indices = Indices(range);
  const size_t rows = RowsPerBatch(indices.size(), ElementsOf(data), classifier);
  std::vector<torch::Tensor> logits;
  for (size_t begin = 0; begin < indices.size(); begin += rows) {
    const absl::Span<const uint32_t> batch = absl::MakeConstSpan(indices).subspan(begin, rows);
    logits.push_back(classifier.Logits(MakeBatch(data, batch, classifier.device()).inputs).cpu());
    const std::vector<int32_t> predicted = Predictions(logits.back());
    if (predicted.size() != batch.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the model gave ", predicted.size(), " rows of logits for ", batch.size(), " examples"));
    }
    for (size_t i = 0; i < batch.size(); ++i) {
      if (predicted[i] < 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("the model's logits are NaN or infinite on a clean example, so nothing can be said about it; "
                         "first such example: ",
                         batch[i]));
      }
    }
    ABSL_RETURN_IF_ERROR(report(begin + batch.size()));
  }
  return logits.empty() ? torch::empty({0, data.classes}) : torch::cat(logits);
}

absl::Status Cancelled() { return absl::CancelledError("stopped by its caller"); }

// An example's way through the attack.
struct Progress {
  Standing standing;
  int32_t adversarial_prediction = -1;  // at the confirmed witness
  std::string broken_by;
  // Of the member that runs now: at this place among the radii and before, it has failed; -1: at none yet.
  int failed = -1;
  int probe = 0;          // the place it is tried at now
  bool searched = false;  // it has run at all
};

// Runs an attack over a shard's examples and all radii of its job.
//
// A witness counts at every radius that is not smaller than its distance, and a member that failed at a radius counts
// as having failed at the smaller ones; so each example has a place among the radii below which it is open, and a
// member is run only there, by bisection. The first member is tried a quarter of the open radii below the smallest that
// is broken, because a failure costs a whole search and a success little; the others start right below it, because most
// of them find no more. A search for the nearest point runs once. With one radius all this is a plain run.
class AttackRun {
 public:
  AttackRun(const v1::AttackJob& job, const std::string& job_digest, const Dataset& data, Classifier& classifier,
            const EvaluationCallback& progress, Classifier* surrogate)
      : job_(job),
        data_(data),
        classifier_(classifier),
        surrogate_(surrogate),
        progress_(progress),
        stream_(job.seed(), job_digest, "attack"),
        radii_(RadiiOf(job)) {}

  absl::StatusOr<AttackOutcome> Run(const v1::Shard& range) {
    ABSL_RETURN_IF_ERROR(CheckRadii());
    ABSL_ASSIGN_OR_RETURN(members_, MakeAttack(job_.attack(), data_.classes));
    ABSL_ASSIGN_OR_RETURN(const torch::Tensor clean, CleanLogits(range, data_, classifier_, [&](size_t) {
                            return progress_({}) ? absl::OkStatus() : Cancelled();
                          }));
    Begin(range, clean);
    for (size_t member = 0; member < members_.size(); ++member) {
      for (Progress& example : examples_) {
        example.failed = -1;
        example.searched = false;
      }
      for (uint32_t round = 0;; ++round) {
        std::vector<Progress*> open = ChooseProbes(member);
        if (open.empty()) break;
        ABSL_RETURN_IF_ERROR(Search(member, round, std::move(open)));
      }
    }
    AttackOutcome outcome = TakeVerdicts(range, Predictions(clean));
    progress_({.fraction = 1, .examples_done = examples_.size()});
    return outcome;
  }

 private:
  absl::Status CheckRadii() const {
    for (size_t i = 0; i < radii_.size(); ++i) {
      if (std::isfinite(radii_[i]) && radii_[i] >= 0 && (i == 0 || radii_[i] > radii_[i - 1])) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("an attack's epsilons must be finite, at least 0 and ascending, not ", radii_[i]));
    }
    return absl::OkStatus();
  }

  void Begin(const v1::Shard& range, const torch::Tensor& clean) {
    const std::vector<int32_t> predictions = Predictions(clean);
    const torch::Tensor rows = clean.contiguous();
    examples_.resize(predictions.size());
    LookForOddOutputs(rows);
    for (size_t i = 0; i < examples_.size(); ++i) {
      Standing& standing = examples_[i].standing;
      standing.example = static_cast<uint32_t>(range.begin() + i);
      standing.label = data_.labels[standing.example];
      standing.forward_passes = 1;
      const float* logits = rows.data_ptr<float>() + static_cast<int64_t>(i) * rows.size(1);
      standing.clean_logits.assign(logits, logits + rows.size(1));
      if (predictions[i] != standing.label) {
        standing.witness.distance = 0;
        standing.nearest.fill(0);
        standing.first_success = 1;
      }
    }
  }

  void LookForOddOutputs(const torch::Tensor& clean) {
    const torch::Tensor odd = (clean >= 0).all(1).logical_and_((clean.sum(1) - 1).abs() < kProbabilitySum);
    diagnostics_.set_probabilities(static_cast<uint64_t>(odd.sum().item<int64_t>()));
    if (clean.size(0) < 2) return;
    diagnostics_.set_same_outputs(static_cast<uint64_t>((clean == clean.slice(0, 0, 1)).all(1).sum().item<int64_t>()));
  }

  // The smallest radius at which the example is broken, as a place; the number of radii where it is at none.
  int BrokenAt(const Progress& example) const {
    return static_cast<int>(std::lower_bound(radii_.begin(), radii_.end(), example.standing.witness.distance) -
                            radii_.begin());
  }

  // The examples that the member may still do something about, with the radii to try.
  std::vector<Progress*> ChooseProbes(size_t member) {
    const bool minimizes = members_[member].method->minimizes();
    std::vector<Progress*> open;
    for (Progress& example : examples_) {
      const int broken = BrokenAt(example);
      if (example.failed >= broken - 1 || OutOfBudget(example) || (minimizes && example.searched)) {
        continue;
      }
      const bool right_below = minimizes || (member > 0 && !example.searched);
      example.probe = broken - (right_below ? 1 : std::max(1, (broken - example.failed) / 4));
      open.push_back(&example);
    }
    return open;
  }

  uint64_t Budget() const { return job_.attack().query_budget() > 0 ? job_.attack().query_budget() : UINT64_MAX; }
  bool OutOfBudget(const Progress& example) const { return example.standing.forward_passes >= Budget(); }

  // Runs a member once over these examples, each at the radius of its probe.
  absl::Status Search(size_t member, uint32_t round, const std::vector<Progress*>& open) {
    const AttackMethod& method = *members_[member].method;
    for (Progress* example : open) {
      Standing& standing = example->standing;
      standing.reach = radii_[BrokenAt(*example) - 1];
      standing.radius = radii_[example->probe];
      standing.goal = method.minimizes() ? radii_.front() : standing.radius;
      standing.decided = false;
      standing.candidate = {};
      example->searched = true;
    }
    // All examples' first runs, then the second ones, so that none is begun in vain where an earlier one succeeds; then
    // those that are due again.
    const size_t planned_rows = open.size() * method.runs();
    std::vector<ActiveBatch::Row> again;
    const auto row_at = [&](size_t i) {
      if (i >= planned_rows) return again[i - planned_rows];
      return ActiveBatch::Row{.standing = &open[i % open.size()]->standing,
                              .run = static_cast<uint32_t>(i / open.size())};
    };
    const size_t limit =
        RowsPerBatch(method.mixes_runs() ? planned_rows : open.size(), ElementsOf(data_), classifier_, surrogate_);
    const size_t examples_open = open.size();
    for (size_t next = 0; next < planned_rows + again.size();) {
      const size_t begin = next;
      std::vector<ActiveBatch::Row> rows;
      std::map<const Standing*, uint64_t> planned;
      for (; next < planned_rows + again.size() && rows.size() < limit; ++next) {
        const ActiveBatch::Row row = row_at(next);
        if (row.standing->decided || row.standing->forward_passes + planned[row.standing] >= Budget()) continue;
        if (!method.mixes_runs() && !rows.empty() && rows.front().run != row.run) break;
        ++planned[row.standing];
        rows.push_back(row);
      }
      if (rows.empty()) break;
      uint64_t looks = 0;
      const auto looked = [&] {
        const double in_batch = std::min(1.0, static_cast<double>(++looks) / static_cast<double>(method.looks()));
        const double in_round = (static_cast<double>(begin) + static_cast<double>(next - begin) * in_batch) /
                                static_cast<double>(planned_rows + again.size());
        return Report(member, round, in_round, examples_open);
      };
      ABSL_RETURN_IF_ERROR(RunBatch(method, rows, looked));
      ABSL_ASSIGN_OR_RETURN(const Dropped dropped, ConfirmCandidates(members_[member].name, open));
      // Runs that a candidate ended which then did not hold are due again.
      for (const ActiveBatch::Row& row : rows) {
        const auto found = dropped.find(row.standing);
        if (found != dropped.end() && row.run != found->second) again.push_back(row);
      }
    }
    for (Progress* example : open) {
      if (BrokenAt(*example) > example->probe || method.minimizes()) example->failed = example->probe;
    }
    return absl::OkStatus();
  }

  // Of one member the first round is the longest; each next one is taken to be half of what is left.
  absl::Status Report(size_t member, uint32_t round, double in_round, size_t examples_open) {
    const double left = radii_.size() == 1 ? 0 : std::pow(0.5, round + 1);
    const double in_member = radii_.size() == 1 ? in_round : 1 - 2 * left + left * in_round;
    const double fraction = (static_cast<double>(member) + in_member) / static_cast<double>(members_.size());
    // A member opens examples again that the one before it was done with.
    reported_.fraction = std::max(reported_.fraction, fraction);
    reported_.examples_done = std::max<uint64_t>(reported_.examples_done, examples_.size() - examples_open);
    return progress_(reported_) ? absl::OkStatus() : Cancelled();
  }

  absl::Status RunBatch(const AttackMethod& method, const std::vector<ActiveBatch::Row>& rows,
                        const std::function<absl::Status()>& looked) {
    const ActiveBatch::Run run{.classifier = classifier_,
                               .surrogate = surrogate_,
                               .stream = stream_,
                               .query_budget = Budget(),
                               .looks = TellsLateOnes(method) ? method.looks() : 0,
                               .looked = looked,
                               .diagnostics = diagnostics_};
    std::vector<uint32_t> indices;
    std::vector<double> radii;
    for (const ActiveBatch::Row& row : rows) {
      indices.push_back(row.standing->example);
      radii.push_back(row.standing->radius);
    }
    Ball ball(job_.attack().norm(), MakeBatch(data_, indices, classifier_.device()).inputs,
              torch::tensor(radii, torch::kFloat64));
    ActiveBatch batch(run, std::move(ball), rows);
    torch::NoGradGuard no_grad;
    return method.Run(batch);
  }

  // Whether witnesses in the last tenth of its searches say that longer ones would find more: later members might find
  // them anyway, and a search for the nearest point goes on after the first.
  bool TellsLateOnes(const AttackMethod& method) const {
    return &method == members_.back().method.get() && !method.minimizes() && method.looks() >= 10;
  }

  // Asks the model once more about the candidates as they are stored, in a batch of their own. One that does not hold
  // there, because the logits' last bits depend on the batch, is dropped.
  using Dropped = std::map<const Standing*, uint32_t>;  // and the runs that had found them
  absl::StatusOr<Dropped> ConfirmCandidates(const std::string& member, const std::vector<Progress*>& open) {
    torch::NoGradGuard no_grad;
    Dropped dropped;
    std::vector<Progress*> found;
    for (Progress* example : open) {
      if (!example->standing.candidate.point.empty()) found.push_back(example);
    }
    const size_t limit = RowsPerBatch(found.size(), ElementsOf(data_), classifier_);
    for (size_t begin = 0; begin < found.size(); begin += limit) {
      const absl::Span<Progress* const> batch = absl::MakeConstSpan(found).subspan(begin, limit);
      torch::Tensor points = torch::empty(
          {static_cast<int64_t>(batch.size()), data_.channels, data_.height, data_.width}, torch::kFloat32);
      float* point = points.data_ptr<float>();
      for (const Progress* example : batch) {
        point = std::copy(example->standing.candidate.point.begin(), example->standing.candidate.point.end(), point);
      }
      const std::vector<int32_t> predictions = Predictions(classifier_.Logits(points.to(classifier_.device())));
      for (size_t k = 0; k < batch.size(); ++k) {
        Standing& standing = batch[k]->standing;
        ++standing.forward_passes;
        if (predictions[k] < 0) return NotFinite(standing.example);
        if (predictions[k] != standing.label) {
          standing.witness = std::move(standing.candidate);
          batch[k]->adversarial_prediction = predictions[k];
          batch[k]->broken_by = member;
        } else {
          if (standing.decided) dropped.emplace(&standing, standing.candidate.run);
          standing.decided = OutOfBudget(*batch[k]);
          if (standing.witness.point.empty()) standing.first_success = 0;
        }
        standing.candidate = {};
      }
    }
    return dropped;
  }

  // Writes down what was found.
  AttackOutcome TakeVerdicts(const v1::Shard& range, const std::vector<int32_t>& clean) const {
    AttackOutcome outcome;
    outcome.diagnostics = diagnostics_;
    for (size_t i = 0; i < examples_.size(); ++i) {
      const Progress& example = examples_[i];
      const Standing& standing = example.standing;
      v1::ExampleRecord& record = outcome.records.emplace_back();
      record.set_index(range.begin() + i);
      record.set_label(static_cast<int32_t>(standing.label));
      record.set_clean_prediction(clean[i]);
      record.set_forward_passes(standing.forward_passes);
      record.set_backward_passes(standing.backward_passes);
      record.set_witness_row(-1);
      if (standing.nearest[0] < Standing::kNever) {
        v1::ExampleRecord::Nearest& nearest = *record.mutable_nearest();
        nearest.set_linf(standing.nearest[0]);
        nearest.set_l2(standing.nearest[1]);
        nearest.set_l1(standing.nearest[2]);
        nearest.set_l0(standing.nearest[3]);
      }
      if (clean[i] != standing.label) {  // broken as it is
        record.set_verdict(v1::VERDICT_BROKEN);
        record.set_adversarial_prediction(clean[i]);
        record.set_broken_at(0);
        record.set_first_success(standing.first_success);
        continue;
      }
      if (standing.witness.point.empty()) {
        record.set_verdict(v1::VERDICT_UNDECIDED);
        record.set_adversarial_prediction(-1);
        continue;
      }
      if (standing.witness.late) outcome.diagnostics.set_late_successes(outcome.diagnostics.late_successes() + 1);
      record.set_verdict(v1::VERDICT_BROKEN);
      record.set_adversarial_prediction(example.adversarial_prediction);
      record.set_distance(standing.witness.distance);
      record.set_broken_at(radii_[BrokenAt(example)]);
      record.set_first_success(standing.first_success);
      record.set_broken_by(example.broken_by);
      record.set_witness_row(static_cast<int32_t>(outcome.witnesses.rows++));
      outcome.witnesses.values.insert(outcome.witnesses.values.end(), standing.witness.point.begin(),
                                      standing.witness.point.end());
    }
    return outcome;
  }

  const v1::AttackJob& job_;
  const Dataset& data_;
  Classifier& classifier_;
  Classifier* const surrogate_;
  const EvaluationCallback& progress_;
  const RandomStream stream_;
  const std::vector<double> radii_;  // ascending
  std::vector<AttackMember> members_;
  std::vector<Progress> examples_;
  EvaluationProgress reported_;
  v1::AttackDiagnostics diagnostics_;
};

}  // namespace

absl::StatusOr<AttackOutcome> RunAttack(const v1::AttackJob& job, const std::string& job_digest, const v1::Shard& range,
                                        const Dataset& data, Classifier& classifier, const EvaluationCallback& progress,
                                        Classifier* surrogate) {
  return WithoutExceptions("the attack cannot be run on this model and data", [&]() -> absl::StatusOr<AttackOutcome> {
    ABSL_RETURN_IF_ERROR(CheckRange(range, data));
    return AttackRun(job, job_digest, data, classifier, progress, surrogate).Run(range);
  });
}

absl::StatusOr<std::vector<v1::ExampleRecord>> RunEvaluation(const v1::Shard& range, const Dataset& data,
                                                             Classifier& classifier,
                                                             const EvaluationCallback& progress) {
  return WithoutExceptions(
      "the model cannot be evaluated on this data", [&]() -> absl::StatusOr<std::vector<v1::ExampleRecord>> {
        ABSL_RETURN_IF_ERROR(CheckRange(range, data));
        const size_t examples = range.end() - range.begin();
        ABSL_ASSIGN_OR_RETURN(const torch::Tensor logits, CleanLogits(range, data, classifier, [&](size_t done) {
                                return progress({.fraction = static_cast<double>(done) / static_cast<double>(examples),
                                                 .examples_done = done})
                                           ? absl::OkStatus()
                                           : Cancelled();
                              }));
        const std::vector<int32_t> predictions = Predictions(logits);
        std::vector<v1::ExampleRecord> records(examples);
        for (size_t i = 0; i < examples; ++i) {
          records[i].set_index(range.begin() + i);
          records[i].set_label(data.labels[range.begin() + i]);
          records[i].set_clean_prediction(predictions[i]);
          records[i].set_adversarial_prediction(-1);
          records[i].set_witness_row(-1);
          records[i].set_forward_passes(1);
        }
        return records;
      });
}

}  // namespace tightrope
