#include "core/plan/job_needs.h"

#include <algorithm>
#include <string>

namespace tightrope {
namespace {

class Needs {
 public:
  explicit Needs(v1::Job& job) : job_(job) {}

  void Add(const v1::DatasetRef& data) {
    AddArtifact(data.images_sha256());
    AddArtifact(data.labels_sha256());
  }
  void Add(const v1::ModelRef& model) {
    if (model.has_trained_by()) AddJob(model.trained_by());
    if (model.has_torchscript_sha256()) AddArtifact(model.torchscript_sha256());
  }
  void Add(const v1::Sources& sources) {
    if (!sources.indices_sha256().empty()) AddArtifact(sources.indices_sha256());
  }
  void Add(const v1::OracleRef& oracle) {
    if (oracle.has_training()) Add(oracle.training());
    if (oracle.has_labels_sha256()) AddArtifact(oracle.labels_sha256());
    if (oracle.has_torchscript_sha256()) AddArtifact(oracle.torchscript_sha256());
  }
  void AddJob(const std::string& digest) { AddOnce(digest, *job_.mutable_depends_on()); }
  void AddArtifact(const std::string& sha256) { AddOnce(sha256, *job_.mutable_artifacts()); }

 private:
  static void AddOnce(const std::string& digest, google::protobuf::RepeatedPtrField<std::string>& list) {
    if (std::find(list.begin(), list.end(), digest) == list.end()) *list.Add() = digest;
  }

  v1::Job& job_;
};

}  // namespace

void FillInNeeds(v1::Job& job) {
  const v1::JobSpec& spec = job.spec();
  Needs needs(job);
  switch (spec.kind_case()) {
    case v1::JobSpec::kTrain:
      return needs.Add(spec.train().data());
    case v1::JobSpec::kEvaluate:
      needs.Add(spec.evaluate().data());
      return needs.Add(spec.evaluate().model());
    case v1::JobSpec::kAttack:
      needs.Add(spec.attack().data());
      needs.Add(spec.attack().model());
      if (!spec.attack().surrogate_sha256().empty()) needs.AddArtifact(spec.attack().surrogate_sha256());
      return;
    case v1::JobSpec::kAlignment:
      return needs.Add(spec.alignment().data());
    case v1::JobSpec::kInvariance:
      needs.Add(spec.invariance().data());
      needs.Add(spec.invariance().training());
      return needs.Add(spec.invariance().sources());
    case v1::JobSpec::kEvaluateInvariance: {
      const v1::EvaluateInvarianceJob& evaluate = spec.evaluate_invariance();
      needs.Add(evaluate.data());
      needs.Add(evaluate.model());
      needs.Add(evaluate.sources());
      if (evaluate.has_built_by()) needs.AddJob(evaluate.built_by());
      if (evaluate.has_array_sha256()) needs.AddArtifact(evaluate.array_sha256());
      return needs.Add(evaluate.oracle());
    }
    case v1::JobSpec::KIND_NOT_SET:
      return;
  }
}

}  // namespace tightrope
