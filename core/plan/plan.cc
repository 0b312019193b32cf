#include "core/plan/plan.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/artifact/digest.h"
#include "core/experiment/attack_table.h"
#include "core/experiment/invariance_set.h"
#include "core/experiment/target_table.h"
#include "core/plan/job_needs.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace tightrope {
namespace {

// What identifies a job besides its values; raised when the code changes in a way that changes results of that kind, so
// that results of the older code are computed again instead of being reused.
constexpr uint32_t kTrainRevision = 2;
constexpr uint32_t kEvaluateRevision = 2;
constexpr uint32_t kAttackRevision = 5;
constexpr uint32_t kAlignmentRevision = 1;
constexpr uint32_t kInvarianceRevision = 1;
constexpr uint32_t kEvaluateInvarianceRevision = 1;

// Names are the user's; a job is the same under another name.
v1::DatasetRef WithoutName(v1::DatasetRef data) {
  data.clear_name();
  return data;
}
v1::Training WithoutName(v1::Training training) {
  training.clear_name();
  return training;
}

std::string CanonicalBytes(const google::protobuf::Message& message) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return bytes;
}

std::vector<v1::Shard> Shards(uint64_t begin, uint64_t end, uint64_t size) {
  std::vector<v1::Shard> shards;
  for (uint64_t at = begin; at < end; at += size) {
    v1::Shard& shard = shards.emplace_back();
    shard.set_begin(at);
    shard.set_end(std::min(at + size, end));
  }
  return shards;
}

// The parts of an attack job that the grid's attacks decide.
struct PlannedAttack {
  v1::Attack attack;  // without name, epsilon, protocol and surrogate: what follows says it all
  std::string surrogate_sha256;
  std::set<double> radii;
  bool draws_at_random = false;  // the seed has a say in it
};

// The parts of the jobs about a set of invariance-based examples that the set decides.
struct PlannedSet {
  const v1::InvarianceSet* entry = nullptr;
  v1::EvaluateInvarianceJob evaluation;           // without the model and, where they are made here, the examples
  std::map<uint64_t, std::string> built_by_seed;  // job digests; none where they are not made here
  std::vector<v1::Shard> shards;
};

// The set as it is part of a job: what makes examples, with `targets` beside it.
v1::InvarianceSet OnlyMethod(v1::InvarianceSet set) {
  set.clear_name();
  set.clear_oracle();
  set.clear_sources();
  set.clear_shard_size();
  if (set.has_linf()) set.mutable_linf()->clear_targets();
  if (set.has_interpolate()) set.mutable_interpolate()->clear_targets();
  return set;
}

class Planner {
 public:
  Planner(const v1::Experiment& experiment, const v1::Inputs& inputs) : experiment_(experiment), inputs_(inputs) {
    const v1::ExampleRange& range = experiment_.examples();
    evaluation_shards_ = Shards(range.start(), range.start() + range.count(), experiment_.shard_size());
    GroupAttacks();
    for (const v1::InvarianceSet& set : experiment_.invariance()) sets_.push_back(PlanSet(set));
  }

  v1::Plan Make() {
    for (const v1::Model& model : experiment_.models()) {
      if (model.architecture().has_torchscript()) {
        AddImported(model);
      } else {
        for (const v1::Training& training : experiment_.training()) AddTrained(model, training);
      }
    }
    for (const PlannedSet& set : sets_) AddMade(set);
    for (const v1::Alignment& alignment : experiment_.alignment()) AddAlignment(alignment);
    // Training first: it takes longest, and everything after it waits for it. Then what evaluations wait for.
    for (auto* jobs : {&train_jobs_, &made_jobs_, &other_jobs_}) {
      for (v1::Job& job : *jobs) *plan_.add_jobs() = std::move(job);
    }
    return std::move(plan_);
  }

 private:
  // Entries that share a job are one PlannedAttack.
  void GroupAttacks() {
    std::map<std::string, size_t> shared;
    for (const v1::Attack& entry : experiment_.attacks()) {
      v1::Attack attack = entry;
      attack.clear_name();
      attack.clear_epsilon();
      attack.clear_protocol();
      attack.clear_surrogate();
      const std::string surrogate = entry.has_surrogate() ? inputs_.file_sha256().at(entry.surrogate()) : std::string();
      attack.DiscardUnknownFields();
      size_t place = attacks_.size();
      if (entry.protocol() != v1::RADIUS_PROTOCOL_INDEPENDENT) {
        place = shared.emplace(CanonicalBytes(attack) + surrogate, place).first->second;
      }
      if (place == attacks_.size()) {
        const AttackFacts* const facts = FindAttack(attack);
        const bool draws = facts != nullptr && facts->draws_at_random(attack);
        attacks_.push_back(
            {.attack = std::move(attack), .surrogate_sha256 = surrogate, .radii = {}, .draws_at_random = draws});
      }
      attacks_[place].radii.insert(entry.epsilon());
      attack_of_entry_.push_back(place);
    }
  }

  void AddImported(const v1::Model& model) {
    const std::string& file = inputs_.file_sha256().at(model.architecture().torchscript());
    v1::ModelRef ref;
    ref.set_torchscript_sha256(file);
    ref.set_stochastic(model.stochastic());
    for (const uint64_t seed : experiment_.seeds()) {
      v1::Cell cell;
      cell.set_model(model.name());
      cell.set_seed(seed);
      AddEvaluations(cell, ref);
    }
  }

  void AddTrained(const v1::Model& model, const v1::Training& training) {
    for (const uint64_t seed : experiment_.seeds()) {
      v1::JobSpec spec;
      spec.set_revision(kTrainRevision);
      v1::TrainJob& train = *spec.mutable_train();
      *train.mutable_data() = WithoutName(inputs_.train());
      *train.mutable_architecture() = model.architecture();
      *train.mutable_training() = WithoutName(training);
      train.set_seed(seed);
      const std::string digest = AddJob(spec, Shards(0, 1, 1), train_jobs_);

      v1::Cell cell;
      cell.set_model(model.name());
      cell.set_training(training.name());
      cell.set_seed(seed);
      cell.set_train_job_digest(digest);
      AddCell(cell, /*attack=*/"", digest);

      v1::ModelRef ref;
      ref.set_trained_by(digest);
      *ref.mutable_architecture() = model.architecture();
      AddEvaluations(cell, ref);
    }
  }

  void AddEvaluations(const v1::Cell& cell, const v1::ModelRef& model) {
    v1::JobSpec evaluation;
    evaluation.set_revision(kEvaluateRevision);
    v1::EvaluateJob& evaluate = *evaluation.mutable_evaluate();
    *evaluate.mutable_model() = model;
    *evaluate.mutable_data() = WithoutName(inputs_.test());
    *evaluate.mutable_examples() = experiment_.examples();
    AddCell(cell, /*attack=*/"", AddJob(evaluation, evaluation_shards_, other_jobs_));

    v1::JobSpec spec;
    spec.set_revision(kAttackRevision);
    v1::AttackJob& job = *spec.mutable_attack();
    *job.mutable_model() = model;
    *job.mutable_data() = WithoutName(inputs_.test());
    *job.mutable_examples() = experiment_.examples();
    std::vector<std::string> digests;
    for (const PlannedAttack& planned : attacks_) {
      *job.mutable_attack() = planned.attack;
      job.mutable_epsilons()->Assign(planned.radii.begin(), planned.radii.end());
      job.set_surrogate_sha256(planned.surrogate_sha256);
      job.set_seed(planned.draws_at_random || model.stochastic() ? cell.seed() : 0);
      digests.push_back(AddJob(spec, evaluation_shards_, other_jobs_));
    }
    for (int i = 0; i < experiment_.attacks_size(); ++i) {
      const v1::Attack& entry = experiment_.attacks(i);
      v1::Cell attacked = cell;
      attacked.set_epsilon(entry.epsilon());
      AddCell(std::move(attacked), entry.name(), digests[attack_of_entry_[static_cast<size_t>(i)]]);
    }
    for (const PlannedSet& set : sets_) AddEvaluation(cell, model, set);
  }

  void AddEvaluation(const v1::Cell& cell, const v1::ModelRef& model, const PlannedSet& set) {
    v1::JobSpec spec;
    spec.set_revision(kEvaluateInvarianceRevision);
    v1::EvaluateInvarianceJob& job = *spec.mutable_evaluate_invariance();
    job = set.evaluation;
    *job.mutable_model() = model;
    if (!set.built_by_seed.empty()) job.set_built_by(set.built_by_seed.at(cell.seed()));
    v1::Cell evaluated = cell;
    evaluated.set_invariance(set.entry->name());
    AddCell(std::move(evaluated), /*attack=*/"", AddJob(spec, set.shards, other_jobs_));
  }

  // Adds the jobs that make the examples, because the evaluations name their digests.
  PlannedSet PlanSet(const v1::InvarianceSet& set) {
    PlannedSet planned;
    planned.entry = &set;
    v1::EvaluateInvarianceJob& evaluation = planned.evaluation;
    *evaluation.mutable_data() = WithoutName(inputs_.test());
    v1::Sources& sources = *evaluation.mutable_sources();
    sources.set_count(CountSources(set, experiment_, inputs_));
    if (set.has_sources()) {
      sources.set_indices_sha256(inputs_.arrays().at(set.sources()).sha256());
    } else {
      sources.set_first(experiment_.examples().start());
    }
    *evaluation.mutable_oracle() = OracleOf(set.oracle());
    planned.shards = Shards(0, sources.count(), set.shard_size());
    if (set.has_file()) evaluation.set_array_sha256(inputs_.arrays().at(set.file().path()).sha256());
    if (!IsMadeHere(set)) return planned;

    v1::JobSpec spec;
    spec.set_revision(kInvarianceRevision);
    v1::InvarianceJob& job = *spec.mutable_invariance();
    *job.mutable_data() = evaluation.data();
    *job.mutable_sources() = sources;
    *job.mutable_training() = WithoutName(inputs_.train());
    *job.mutable_set() = OnlyMethod(set);
    if (const auto text = TargetsOf(set)) {
      const auto rows = ParseTargets(*text, inputs_.test().classes());
      job.mutable_targets()->Add(rows->begin(), rows->end());
    }
    for (const uint64_t seed : experiment_.seeds()) {
      job.set_seed(DrawsAtRandom(set) ? seed : 0);
      planned.built_by_seed[seed] = AddJob(spec, planned.shards, made_jobs_);
    }
    return planned;
  }

  v1::OracleRef OracleOf(const v1::OracleChoice& choice) const {
    v1::OracleRef oracle;
    switch (choice.oracle_case()) {
      case v1::OracleChoice::kDataset:
        oracle.mutable_dataset();
        break;
      case v1::OracleChoice::kLabels:
        oracle.set_labels_sha256(inputs_.file_sha256().at(choice.labels()));
        break;
      case v1::OracleChoice::kNearest:
        *oracle.mutable_nearest() = choice.nearest();
        *oracle.mutable_training() = WithoutName(inputs_.train());
        break;
      case v1::OracleChoice::kModel:
        oracle.set_torchscript_sha256(inputs_.file_sha256().at(choice.model()));
        break;
      case v1::OracleChoice::ORACLE_NOT_SET:
        break;
    }
    return oracle;
  }

  // The cells of the jobs that PlanSet added.
  void AddMade(const PlannedSet& set) {
    for (const uint64_t seed : experiment_.seeds()) {
      if (set.built_by_seed.empty()) continue;
      v1::Cell cell;
      cell.set_seed(seed);
      cell.set_invariance(set.entry->name());
      AddCell(std::move(cell), /*attack=*/"", set.built_by_seed.at(seed));
    }
  }

  void AddAlignment(const v1::Alignment& alignment) {
    v1::JobSpec spec;
    spec.set_revision(kAlignmentRevision);
    v1::AlignmentJob& job = *spec.mutable_alignment();
    *job.mutable_data() = WithoutName(alignment.split() == v1::SPLIT_TRAIN ? inputs_.train() : inputs_.test());
    job.mutable_anchors()->set_count(alignment.anchors());
    job.set_norm(alignment.norm());
    job.set_threshold(alignment.threshold());
    job.set_most_misaligned(alignment.most_misaligned());
    v1::Cell cell;
    cell.set_alignment(alignment.name());
    AddCell(std::move(cell), /*attack=*/"",
            AddJob(spec, Shards(0, alignment.anchors(), alignment.shard_size()), other_jobs_));
  }

  // The digest of the job, which is added unless an equal one was.
  std::string AddJob(v1::JobSpec spec, const std::vector<v1::Shard>& shards, std::vector<v1::Job>& jobs) {
    spec.DiscardUnknownFields();  // whatever a newer client sent along is not what will be computed
    std::string digest = JobDigest(spec);
    if (!known_.insert(digest).second) return digest;
    v1::Job& job = jobs.emplace_back();
    job.set_digest(digest);
    *job.mutable_spec() = std::move(spec);
    FillInNeeds(job);
    job.mutable_shards()->Add(shards.begin(), shards.end());
    return digest;
  }

  void AddCell(v1::Cell cell, const std::string& attack, const std::string& digest) {
    cell.set_attack(attack);
    cell.set_job_digest(digest);
    *plan_.add_cells() = std::move(cell);
  }

  const v1::Experiment& experiment_;
  const v1::Inputs& inputs_;
  std::vector<v1::Shard> evaluation_shards_;
  std::vector<PlannedAttack> attacks_;
  std::vector<size_t> attack_of_entry_;  // in attacks_, for each of the experiment's
  std::vector<PlannedSet> sets_;
  std::vector<v1::Job> train_jobs_;
  std::vector<v1::Job> made_jobs_;  // that make invariance-based examples
  std::vector<v1::Job> other_jobs_;
  std::unordered_set<std::string> known_;
  v1::Plan plan_;
};

}  // namespace

std::string NormName(v1::Norm norm) { return absl::AsciiStrToLower(absl::StripPrefix(v1::Norm_Name(norm), "NORM_")); }

std::vector<double> RadiiOf(const v1::AttackJob& job) {
  if (job.epsilons().empty()) return {job.attack().epsilon()};
  return {job.epsilons().begin(), job.epsilons().end()};
}

double RadiusOf(const v1::Cell& cell, const v1::AttackJob& job) {
  return job.epsilons().empty() ? job.attack().epsilon() : cell.epsilon();
}

std::string JobDigest(const v1::JobSpec& spec) {
  // The line separates these digests from those of files, and changes should the serialization ever have to.
  return Sha256("tightrope-job-v1\n" + CanonicalBytes(spec));
}

v1::Plan MakePlan(const v1::Experiment& experiment, const v1::Inputs& inputs) {
  return Planner(experiment, inputs).Make();
}

const char* JobKind(const v1::JobSpec& spec) {
  switch (spec.kind_case()) {
    case v1::JobSpec::kTrain:
      return "train";
    case v1::JobSpec::kEvaluate:
      return "evaluate";
    case v1::JobSpec::kAttack:
      return "attack";
    case v1::JobSpec::kAlignment:
      return "alignment";
    case v1::JobSpec::kInvariance:
      return "invariance";
    case v1::JobSpec::kEvaluateInvariance:
      return "evaluate_invariance";
    case v1::JobSpec::KIND_NOT_SET:
      break;
  }
  return "unknown";
}

std::string Describe(const v1::Cell& cell, const v1::Job& job) {
  if (job.spec().has_alignment()) {
    const bool train = job.spec().alignment().data().split() == v1::SPLIT_TRAIN;
    return absl::StrCat("alignment ", cell.alignment(), train ? " of train" : " of test");
  }
  if (job.spec().has_invariance()) return absl::StrCat("make ", cell.invariance(), ", seed ", cell.seed());
  const char* const what = job.spec().has_evaluate_invariance() ? "evaluate" : JobKind(job.spec());
  std::string text = absl::StrCat(what, " ", cell.model(), cell.training().empty() ? "" : " / ", cell.training(),
                                  ", seed ", cell.seed());
  if (job.spec().has_evaluate_invariance()) absl::StrAppend(&text, ", on ", cell.invariance());
  if (job.spec().has_attack()) {
    const v1::Attack& attack = job.spec().attack().attack();
    const std::vector<double> radii = RadiiOf(job.spec().attack());
    absl::StrAppend(&text, ", ", cell.attack(), " ", NormName(attack.norm()), " ", radii.front());
    if (radii.size() > 1) absl::StrAppend(&text, " to ", radii.back());
  }
  return text;
}

std::string DatasetDigest(const v1::DatasetRef& dataset) {
  return Sha256(absl::StrCat("tightrope-dataset-v1\n", dataset.images_sha256(), "\n", dataset.labels_sha256(), "\n"));
}

}  // namespace tightrope
