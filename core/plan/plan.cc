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
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace tightrope {
namespace {

// What identifies a job besides its values; raised when the code changes in a way that changes results of that kind, so
// that results of the older code are computed again instead of being reused.
constexpr uint32_t kTrainRevision = 2;
constexpr uint32_t kEvaluateRevision = 2;
constexpr uint32_t kAttackRevision = 5;

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

class Planner {
 public:
  Planner(const v1::Experiment& experiment, const v1::Inputs& inputs) : experiment_(experiment), inputs_(inputs) {
    const v1::ExampleRange& range = experiment_.examples();
    evaluation_shards_ = Shards(range.start(), range.start() + range.count(), experiment_.shard_size());
    GroupAttacks();
  }

  v1::Plan Make() {
    for (const v1::Model& model : experiment_.models()) {
      if (model.architecture().has_torchscript()) {
        AddImported(model);
      } else {
        for (const v1::Training& training : experiment_.training()) AddTrained(model, training);
      }
    }
    // Training first: it takes longest, and everything after it waits for it.
    for (auto* jobs : {&train_jobs_, &other_jobs_}) {
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
      const std::string surrogate =
          entry.has_surrogate() ? inputs_.torchscript_sha256().at(entry.surrogate()) : std::string();
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
    const std::string& file = inputs_.torchscript_sha256().at(model.architecture().torchscript());
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
      std::string digest = AddJob(spec, inputs_.train(), /*model=*/nullptr, Shards(0, 1, 1), train_jobs_);

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
    AddCell(cell, /*attack=*/"", AddJob(evaluation, inputs_.test(), &model, evaluation_shards_, other_jobs_));

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
      digests.push_back(AddJob(spec, inputs_.test(), &model, evaluation_shards_, other_jobs_));
    }
    for (int i = 0; i < experiment_.attacks_size(); ++i) {
      const v1::Attack& entry = experiment_.attacks(i);
      v1::Cell attacked = cell;
      attacked.set_epsilon(entry.epsilon());
      AddCell(std::move(attacked), entry.name(), digests[attack_of_entry_[static_cast<size_t>(i)]]);
    }
  }

  // The digest of the job, which is added unless an equal one was.
  std::string AddJob(v1::JobSpec spec, const v1::DatasetRef& data, const v1::ModelRef* model,
                     const std::vector<v1::Shard>& shards, std::vector<v1::Job>& jobs) {
    spec.DiscardUnknownFields();  // whatever a newer client sent along is not what will be computed
    std::string digest = JobDigest(spec);
    if (!known_.insert(digest).second) return digest;
    v1::Job& job = jobs.emplace_back();
    job.set_digest(digest);
    *job.mutable_spec() = std::move(spec);
    job.add_artifacts(data.images_sha256());
    job.add_artifacts(data.labels_sha256());
    if (model != nullptr && model->has_trained_by()) job.add_depends_on(model->trained_by());
    if (model != nullptr && model->has_torchscript_sha256()) job.add_artifacts(model->torchscript_sha256());
    const std::string& surrogate = job.spec().attack().surrogate_sha256();
    if (!surrogate.empty()) job.add_artifacts(surrogate);
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
  std::vector<v1::Job> train_jobs_;
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
    case v1::JobSpec::KIND_NOT_SET:
      break;
  }
  return "unknown";
}

std::string Describe(const v1::Cell& cell, const v1::Job& job) {
  std::string text = absl::StrCat(JobKind(job.spec()), " ", cell.model(), cell.training().empty() ? "" : " / ",
                                  cell.training(), ", seed ", cell.seed());
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
