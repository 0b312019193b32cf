#include "core/plan/plan.h"

#include <algorithm>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/artifact/digest.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace tightrope {
namespace {

// What identifies a job besides its values; raised when the code changes in a way that changes results of that kind, so
// that results of the older code are computed again instead of being reused.
constexpr uint32_t kTrainRevision = 1;
constexpr uint32_t kEvaluateRevision = 1;
constexpr uint32_t kAttackRevision = 1;

// Names are the user's; a job is the same under another name.
DatasetRef WithoutName(DatasetRef data) {
  data.clear_name();
  return data;
}
Training WithoutName(Training training) {
  training.clear_name();
  return training;
}
Attack WithoutName(Attack attack) {
  attack.clear_name();
  return attack;
}

std::vector<Shard> Shards(uint64_t begin, uint64_t end, uint64_t size) {
  std::vector<Shard> shards;
  for (uint64_t at = begin; at < end; at += size) {
    Shard& shard = shards.emplace_back();
    shard.set_begin(at);
    shard.set_end(std::min(at + size, end));
  }
  return shards;
}

class Planner {
 public:
  Planner(const Experiment& experiment, const Inputs& inputs) : experiment_(experiment), inputs_(inputs) {
    const ExampleRange& range = experiment_.examples();
    evaluation_shards_ = Shards(range.start(), range.start() + range.count(), experiment_.shard_size());
  }

  Plan Make() {
    for (const Model& model : experiment_.models()) {
      if (model.architecture().has_torchscript()) {
        AddImported(model);
      } else {
        for (const Training& training : experiment_.training()) AddTrained(model, training);
      }
    }
    // Training first: it takes longest, and everything after it waits for it.
    for (auto* jobs : {&train_jobs_, &other_jobs_}) {
      for (Job& job : *jobs) *plan_.add_jobs() = std::move(job);
    }
    return std::move(plan_);
  }

 private:
  void AddImported(const Model& model) {
    const std::string& file = inputs_.torchscript_sha256().at(model.architecture().torchscript());
    ModelRef ref;
    ref.set_torchscript_sha256(file);
    for (const uint64_t seed : experiment_.seeds()) {
      Cell cell;
      cell.set_model(model.name());
      cell.set_seed(seed);
      AddEvaluations(cell, ref);
    }
  }

  void AddTrained(const Model& model, const Training& training) {
    for (const uint64_t seed : experiment_.seeds()) {
      JobSpec spec;
      spec.set_revision(kTrainRevision);
      TrainJob& train = *spec.mutable_train();
      *train.mutable_data() = WithoutName(inputs_.train());
      *train.mutable_architecture() = model.architecture();
      *train.mutable_training() = WithoutName(training);
      train.set_seed(seed);
      std::string digest = AddJob(spec, inputs_.train(), /*model=*/nullptr, Shards(0, 1, 1), train_jobs_);

      Cell cell;
      cell.set_model(model.name());
      cell.set_training(training.name());
      cell.set_seed(seed);
      cell.set_train_job_digest(digest);
      AddCell(cell, /*attack=*/"", digest);

      ModelRef ref;
      ref.set_trained_by(digest);
      *ref.mutable_architecture() = model.architecture();
      AddEvaluations(cell, ref);
    }
  }

  void AddEvaluations(const Cell& cell, const ModelRef& model) {
    JobSpec evaluation;
    evaluation.set_revision(kEvaluateRevision);
    EvaluateJob& evaluate = *evaluation.mutable_evaluate();
    *evaluate.mutable_model() = model;
    *evaluate.mutable_data() = WithoutName(inputs_.test());
    *evaluate.mutable_examples() = experiment_.examples();
    AddCell(cell, /*attack=*/"", AddJob(evaluation, inputs_.test(), &model, evaluation_shards_, other_jobs_));

    JobSpec spec;
    spec.set_revision(kAttackRevision);
    AttackJob& job = *spec.mutable_attack();
    *job.mutable_model() = model;
    *job.mutable_data() = WithoutName(inputs_.test());
    *job.mutable_examples() = experiment_.examples();
    job.set_seed(cell.seed());
    for (const Attack& attack : experiment_.attacks()) {
      *job.mutable_attack() = WithoutName(attack);
      AddCell(cell, attack.name(), AddJob(spec, inputs_.test(), &model, evaluation_shards_, other_jobs_));
    }
  }

  // The digest of the job, which is added unless an equal one was.
  std::string AddJob(JobSpec spec, const DatasetRef& data, const ModelRef* model, const std::vector<Shard>& shards,
                     std::vector<Job>& jobs) {
    spec.DiscardUnknownFields();  // whatever a newer client sent along is not what will be computed
    std::string digest = JobDigest(spec);
    if (!known_.insert(digest).second) return digest;
    Job& job = jobs.emplace_back();
    job.set_digest(digest);
    *job.mutable_spec() = std::move(spec);
    job.add_artifacts(data.images_sha256());
    job.add_artifacts(data.labels_sha256());
    if (model != nullptr && model->has_trained_by()) job.add_depends_on(model->trained_by());
    if (model != nullptr && model->has_torchscript_sha256()) job.add_artifacts(model->torchscript_sha256());
    job.mutable_shards()->Add(shards.begin(), shards.end());
    return digest;
  }

  void AddCell(Cell cell, const std::string& attack, const std::string& digest) {
    cell.set_attack(attack);
    cell.set_job_digest(digest);
    *plan_.add_cells() = std::move(cell);
  }

  const Experiment& experiment_;
  const Inputs& inputs_;
  std::vector<Shard> evaluation_shards_;
  std::vector<Job> train_jobs_;
  std::vector<Job> other_jobs_;
  std::unordered_set<std::string> known_;
  Plan plan_;
};

std::string NormName(Norm norm) {
  switch (norm) {
    case NORM_LINF:
      return "linf";
    case NORM_L2:
      return "l2";
    default:
      return "no norm";
  }
}

}  // namespace

std::string JobDigest(const JobSpec& spec) {
  // The line separates these digests from those of files, and changes should the serialization ever have to.
  std::string bytes = "tightrope-job-v1\n";
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    spec.SerializeToCodedStream(&coded);
  }
  return Sha256(bytes);
}

Plan MakePlan(const Experiment& experiment, const Inputs& inputs) { return Planner(experiment, inputs).Make(); }

std::string Describe(const Cell& cell, const Job& job) {
  const std::string model = cell.training().empty() ? cell.model() : absl::StrCat(cell.model(), " / ", cell.training());
  switch (job.spec().kind_case()) {
    case JobSpec::kTrain:
      return absl::StrCat("train ", model, ", seed ", cell.seed());
    case JobSpec::kEvaluate:
      return absl::StrCat("evaluate ", model, ", seed ", cell.seed());
    case JobSpec::kAttack: {
      const Attack& attack = job.spec().attack().attack();
      return absl::StrCat("attack ", model, ", seed ", cell.seed(), ", ", cell.attack(), " ", NormName(attack.norm()),
                          " ", attack.epsilon());
    }
    case JobSpec::KIND_NOT_SET:
      break;
  }
  return absl::StrCat("job ", job.digest());
}

std::string DatasetDigest(const DatasetRef& dataset) {
  return Sha256(absl::StrCat("tightrope-dataset-v1\n", dataset.images_sha256(), "\n", dataset.labels_sha256(), "\n"));
}

}  // namespace tightrope
