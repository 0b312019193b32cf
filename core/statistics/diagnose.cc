#include "core/statistics/diagnose.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/experiment/attack_table.h"

namespace tightrope {
namespace {

constexpr double kZeroGradients = 0.05;
constexpr double kLateSuccesses = 0.01;
constexpr double kDifference = 0.002;  // AutoAttack's own check of Square
constexpr uint64_t kFewest = 2;

bool Counts(uint64_t examples, double share, uint64_t n) {
  return examples >= kFewest && static_cast<double>(examples) >= share * static_cast<double>(n);
}

std::string Share(uint64_t part, uint64_t whole) {
  return absl::StrFormat("%d of %d (%.1f %%)", part, whole,
                         100 * static_cast<double>(part) / static_cast<double>(whole));
}

// The radius from which on the balls of all inputs in [0, 1] hold one point together: the middle of the box, or for l0
// any. There a model can be right on the examples of one class at most.
double RadiusOfCommonPoint(v1::Norm norm, const v1::DatasetRef& data) {
  const double elements = static_cast<double>(data.channels()) * data.height() * data.width();
  switch (norm) {
    case v1::NORM_LINF:
      return 0.5;
    case v1::NORM_L2:
      return 0.5 * std::sqrt(elements);
    case v1::NORM_L1:
      return 0.5 * elements;
    case v1::NORM_L0:
      return elements;
    default:
      return std::numeric_limits<double>::infinity();
  }
}

bool IsNoise(const v1::AttackJob& job) { return job.attack().has_noise(); }

// Whether the row's figure comes from an attack that takes gradients: of an ensemble, from one that has such a member.
bool TakesGradients(const v1::AttackJob& job) {
  const AttackFacts* const facts = FindAttack(job.attack());
  return facts != nullptr && facts->needs == AttackNeeds::kGradients;
}

void Add(v1::MetricRow& row, const char* kind, const std::string& message) {
  v1::Diagnostic& diagnostic = *row.add_diagnostics();
  diagnostic.set_kind(kind);
  diagnostic.set_message(message);
}

// What the job says of itself.
void DiagnoseJob(const v1::AttackJob& job, const VerdictCounts& counts, v1::MetricRow& row) {
  const v1::AttackDiagnostics& seen = counts.diagnostics;
  if (seen.gradients() > 0 && Counts(seen.zero_gradients(), kZeroGradients, seen.gradients())) {
    Add(row, "zero_gradients",
        absl::StrCat(Share(seen.zero_gradients(), seen.gradients()),
                     " of the gradients were zero, where the attack is blind; compare loss: dlr or margin, and an "
                     "attack that needs no gradients"));
  }
  if (seen.nonfinite_gradients() > 0) {
    Add(row, "nonfinite_gradients",
        absl::StrCat(Share(seen.nonfinite_gradients(), seen.gradients()),
                     " of the gradients were NaN or infinite somewhere; such elements count as zero"));
  }
  if (Counts(seen.probabilities(), 0.5, counts.n)) {
    Add(row, "probabilities",
        absl::StrCat("the model gives probabilities and not logits on ", Share(seen.probabilities(), counts.n),
                     " examples, which flattens every loss; export it without its softmax"));
  }
  if (seen.same_outputs() == counts.n) {
    Add(row, "constant_outputs", "the model's outputs are the same for every example of a shard");
  }
  if (Counts(seen.late_successes(), kLateSuccesses, counts.n)) {
    Add(row, "still_improving",
        absl::StrCat(Share(seen.late_successes(), counts.n),
                     " examples fell only in the last tenth of the search; with more steps more would"));
  }
  if (job.model().stochastic()) {
    Add(row, "stochastic_model", "the model draws at random, so an example that stood may fall when asked again");
  }
  const uint64_t standing = counts.NotBrokenAt(row.epsilon());
  if (!IsNoise(job) && row.epsilon() >= RadiusOfCommonPoint(job.attack().norm(), job.data()) &&
      standing > counts.largest_class) {
    Add(row, "robust_at_large_radius",
        absl::StrCat(Share(standing, counts.n),
                     " examples stand at a radius where all balls share a point, and no class "
                     "has more than ",
                     counts.largest_class, "; the attack fails to find what is there"));
  }
  if (!job.attack().has_autoattack()) return;
  const auto square = counts.broken_by.find("square");
  if (square == counts.broken_by.end() || !Counts(square->second, kDifference, counts.n)) return;
  bool after_gradients = false;
  for (const EnsembleMember& member : MembersOf(job.attack().autoattack(), job.attack().norm(), job.data().classes())) {
    if (member.name == "square") break;
    after_gradients = true;
  }
  if (after_gradients) {
    Add(row, "queries_beat_gradients",
        absl::StrCat("square, which takes no gradients, broke ", Share(square->second, counts.n),
                     " examples that the attacks before it had left: gradients may mislead"));
  }
}

struct Entry {
  v1::MetricRow* row;
  const v1::AttackJob* job;
  uint64_t broken;
};

// How long an attack searches, and the attack but for that.
struct Effort {
  double looks = 1;  // steps or queries, times restarts or draws
  std::string rest;
};

Effort EffortOf(const v1::AttackJob& job) {
  Effort effort;
  v1::Attack attack = job.attack();
  attack.clear_name();
  const google::protobuf::FieldDescriptor* const method =
      attack.GetReflection()->GetOneofFieldDescriptor(attack, attack.GetDescriptor()->FindOneofByName("method"));
  if (method != nullptr) {
    google::protobuf::Message& options = *attack.GetReflection()->MutableMessage(&attack, method);
    for (const char* const key : {"steps", "queries", "restarts", "draws"}) {
      const google::protobuf::FieldDescriptor* const field = options.GetDescriptor()->FindFieldByName(key);
      if (field == nullptr) continue;
      effort.looks *= options.GetReflection()->GetUInt32(options, field);
      options.GetReflection()->ClearField(&options, field);
    }
  }
  effort.rest = absl::StrCat(job.surrogate_sha256(), attack.SerializeAsString());
  return effort;
}

// Whether the same attack with less effort left more standing; compared with the nearest to it.
void CompareEfforts(const std::vector<Entry>& entries) {
  std::map<std::string, std::map<double, const Entry*>> attacks;  // by effort
  for (const Entry& entry : entries) {
    if (IsNoise(*entry.job)) continue;
    const Effort effort = EffortOf(*entry.job);
    attacks[effort.rest].emplace(effort.looks, &entry);
  }
  for (const auto& [rest, efforts] : attacks) {
    for (auto less = efforts.begin(); less != efforts.end() && std::next(less) != efforts.end(); ++less) {
      const Entry &weaker = *less->second, &stronger = *std::next(less)->second;
      if (weaker.row->n() != stronger.row->n() || stronger.broken <= weaker.broken ||
          !Counts(stronger.broken - weaker.broken, kDifference, stronger.row->n())) {
        continue;
      }
      Add(*stronger.row, "still_improving",
          absl::StrCat("with fewer steps or restarts (", weaker.row->attack(), ") it broke ",
                       stronger.broken - weaker.broken, " examples fewer; with more, others may fall"));
    }
  }
}

// What the attacks on one model in one ball say of each other.
void Compare(const std::vector<Entry>& entries) {
  const Entry *noise = nullptr, *queries = nullptr, *gradients = nullptr, *transfer = nullptr;  // that broke most
  for (const Entry& entry : entries) {
    const Entry*& best = IsNoise(*entry.job)                      ? noise
                         : !entry.job->surrogate_sha256().empty() ? transfer
                         : TakesGradients(*entry.job)             ? gradients
                                                                  : queries;
    if (best == nullptr || entry.broken > best->broken) best = &entry;
  }
  const auto beats = [](const Entry* better, const Entry& worse) {
    return better != nullptr && better->row->n() == worse.row->n() && better->broken > worse.broken &&
           Counts(better->broken - worse.broken, kDifference, worse.row->n());
  };
  for (const Entry& entry : entries) {
    if (!IsNoise(*entry.job) && beats(noise, entry)) {
      Add(*entry.row, "noise_beats_attack",
          absl::StrCat("random noise (", noise->row->attack(), ") broke ", noise->broken - entry.broken,
                       " examples more than this attack"));
    }
    if (&entry == gradients && beats(transfer, entry)) {
      Add(*entry.row, "transfer_beats_attack",
          absl::StrCat(transfer->row->attack(), ", with gradients of another model, broke ",
                       transfer->broken - entry.broken,
                       " examples more than any attack with the model's own: they mislead"));
    }
    if (&entry == gradients && beats(queries, entry)) {
      Add(*entry.row, "queries_beat_gradients",
          absl::StrCat(queries->row->attack(), ", which takes no gradients, broke ", queries->broken - entry.broken,
                       " examples more than any attack that takes them: gradients may mislead"));
    }
  }
}

}  // namespace

void Diagnose(const v1::Plan& plan, const std::map<std::string, VerdictCounts>& counts,
              std::vector<v1::MetricRow>& rows) {
  std::map<std::string, const v1::AttackJob*> jobs;
  for (const v1::Job& job : plan.jobs()) {
    if (job.spec().has_attack()) jobs.emplace(job.digest(), &job.spec().attack());
  }
  // Rows of one seed each.
  std::map<std::tuple<std::string, std::string, uint64_t, std::string, double>, std::vector<Entry>> balls;
  for (v1::MetricRow& row : rows) {
    const auto job = jobs.find(row.job_digest());
    const auto counted = counts.find(row.job_digest());
    if (job == jobs.end() || counted == counts.end() || row.seeds_size() != 1) continue;
    DiagnoseJob(*job->second, counted->second, row);
    balls[{row.model(), row.training(), row.seeds(0), row.norm(), row.epsilon()}].push_back(
        {&row, job->second, counted->second.n - counted->second.NotBrokenAt(row.epsilon())});
  }
  for (const auto& [ball, entries] : balls) {
    Compare(entries);
    CompareEfforts(entries);
  }
}

}  // namespace tightrope
