#include "core/experiment/invariance_rules.h"

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/experiment/invariance_set.h"
#include "core/experiment/labels.h"
#include "core/experiment/mistake.h"
#include "core/experiment/radius_rule.h"
#include "core/experiment/scalar_reader.h"
#include "core/experiment/schema.h"
#include "core/experiment/target_table.h"

namespace tightrope {
namespace {

// A number's default as the schema has it.
double DefaultOf(const google::protobuf::FieldDescriptor& field) {
  return ParseNumber(KeyOf(field).default_value()).value_or(0);
}

class InvarianceRules {
 public:
  InvarianceRules(const v1::Experiment& experiment, const RuleData& data, const RuleFindings& findings)
      : experiment_(experiment), data_(data), findings_(findings) {}

  void Check() {
    for (int i = 0; Readable("alignment") && i < experiment_.alignment_size(); ++i) {
      CheckAlignment(experiment_.alignment(i), absl::StrCat("alignment[", i, "]"));
    }
    for (int i = 0; Readable("invariance") && i < experiment_.invariance_size(); ++i) {
      CheckSet(experiment_.invariance(i), absl::StrCat("invariance[", i, "]"));
    }
  }

 private:
  void Report(const std::string& path, const std::string& message) { findings_.report(path, message); }
  bool Readable(const std::string& path) const { return findings_.readable(path); }

  void CheckAlignment(const v1::Alignment& alignment, const std::string& path) {
    const bool has_norm = Readable(path + ".norm");
    if (has_norm && alignment.norm() == v1::NORM_SPATIAL) {
      Report(path + ".norm", "`alignment` takes the norms linf, l2, l1, l0; `spatial` is not one of them");
    }
    if (has_norm && Readable(path + ".threshold") && alignment.threshold() != 0 && alignment.norm() != v1::NORM_L0) {
      Report(path + ".threshold", absl::StrCat("`threshold` applies to `norm: l0` only; this entry has `norm: ",
                                               EnumValueName(alignment.norm()), "`"));
    }
    if (Readable(path + ".split") && Readable(path + ".anchors")) {
      const bool train = alignment.split() == v1::SPLIT_TRAIN;
      CheckWithin(train ? data_.train : data_.test, train ? "training" : "test", alignment.anchors(),
                  path + ".anchors");
    }
    if (!Readable(path + ".radii")) return;
    std::set<double> seen;
    for (int i = 0; i < alignment.radii_size(); ++i) {
      const std::string radius_path = absl::StrCat(path, ".radii[", i, "]");
      if (!Readable(radius_path) || seen.insert(alignment.radii(i)).second) continue;
      Report(radius_path, absl::StrCat("radius ", NumberText(alignment.radii(i)), " is given twice; keep one"));
    }
  }

  void CheckSet(const v1::InvarianceSet& set, const std::string& path) {
    const std::string method_path = absl::StrCat(path, ".", MethodName(set));
    if (set.has_linf()) CheckRadius(v1::NORM_LINF, set.linf().epsilon(), method_path);
    if (set.has_l0()) CheckL0(method_path);
    if (set.has_interpolate()) CheckInterpolation(set.interpolate(), method_path);
    if (set.has_file()) CheckFile(set, path);
    if (const auto targets = TargetsOf(set); targets && Readable(method_path + ".targets")) {
      const uint32_t classes = data_.test == nullptr ? 0 : data_.test->classes();
      const absl::Status parsed = ParseTargets(*targets, classes).status();
      if (!parsed.ok()) Report(method_path + ".targets", std::string(parsed.message()));
    }
    if (const auto candidates = CandidateCount(set); candidates && Readable(method_path + ".candidates")) {
      CheckWithin(data_.train, "training", *candidates, method_path + ".candidates");
    }
    if (set.oracle().has_nearest()) CheckNearest(set.oracle().nearest(), path + ".oracle.nearest");
  }

  void CheckL0(const std::string& path) {
    if (data_.test == nullptr || data_.test->channels() <= 1) return;
    Report(path, absl::StrCat("`method: l0` cuts images to black and white, so they have one channel; those of ",
                              Quoted(experiment_.dataset()), " have ", data_.test->channels()));
  }

  void CheckInterpolation(const v1::InterpolatedInvariance& method, const std::string& path) {
    if (Readable(path + ".norm")) {
      if (method.norm() == v1::NORM_L0 || method.norm() == v1::NORM_SPATIAL) {
        Report(path + ".norm", absl::StrCat("`interpolate` takes the norms linf, l2, l1; ",
                                            Quoted(EnumValueName(method.norm())), " is not one of them"));
      } else {
        CheckRadius(method.norm(), method.epsilon(), path);
      }
    }
    if (!Readable(path + ".path") || method.path() != v1::INTERPOLATION_PATH_STRAIGHT) return;
    CheckOfTransformedPath("max_shift", method.max_shift(), path);
    CheckOfTransformedPath("shifts", method.shifts(), path);
    CheckOfTransformedPath("max_rotation", method.max_rotation(), path);
    CheckOfTransformedPath("rotations", method.rotations(), path);
  }

  // These say nothing about the straight path: another value than the default is a mistake, so that equal work is one
  // job.
  void CheckOfTransformedPath(const char* key, double value, const std::string& path) {
    const std::string key_path = absl::StrCat(path, ".", key);
    const auto& field = *v1::InterpolatedInvariance::descriptor()->FindFieldByName(key);
    if (!Readable(key_path) || value == DefaultOf(field)) return;
    Report(key_path, absl::StrCat("`", key, "` applies to `path: transformed` only; this entry has `path: straight`"));
  }

  // One example a source.
  void CheckFile(const v1::InvarianceSet& set, const std::string& path) {
    const std::string& file = set.file().path();
    const auto array = data_.inputs.arrays().find(file);
    const uint64_t sources = CountSources(set, experiment_, data_.inputs);
    if (!Readable(path + ".file.path") || !Readable(path + ".sources") || !Readable("examples")) return;
    if (array == data_.inputs.arrays().end() || sources == 0 || array->second.count() == sources) return;
    const std::string of = set.has_sources()
                               ? absl::StrCat(Quoted(set.sources()), " names ", sources, " sources")
                               : absl::StrCat("the `examples` of the experiment are ", sources,
                                              "; name the examples that they were made from in `sources`");
    Report(path + ".file.path", absl::StrCat("there is one example a source: ", Quoted(file), " has ",
                                             array->second.count(), " examples, but ", of));
  }

  void CheckNearest(const v1::NearestOracle& oracle, const std::string& path) {
    if (data_.train == nullptr || !Readable(path + ".first")) return;
    const uint64_t count = data_.train->count();
    if (oracle.first() >= count) {
      Report(path + ".first", absl::StrCat("the training split of ", Quoted(experiment_.dataset()), " has ", count,
                                           " examples; ", oracle.first(), " is not below that"));
    } else if (Readable(path + ".neighbours") && oracle.neighbours() > count - oracle.first()) {
      Report(path + ".neighbours",
             absl::StrCat("from example ", oracle.first(), " on, the training split of ", Quoted(experiment_.dataset()),
                          " has ", count - oracle.first(), "; ", oracle.neighbours(), " neighbours are more"));
    }
  }

  void CheckRadius(v1::Norm norm, double epsilon, const std::string& path) {
    if (!Readable(path + ".epsilon")) return;
    if (const auto problem = RadiusProblem(norm, epsilon, data_.test)) Report(path + ".epsilon", *problem);
  }

  // The first `wanted` examples of a split.
  void CheckWithin(const v1::DatasetRef* split, const char* name, uint64_t wanted, const std::string& path) {
    if (split == nullptr || wanted <= split->count()) return;
    Report(path, absl::StrCat("the ", name, " split of ", Quoted(experiment_.dataset()), " has ", split->count(),
                              " examples; ", wanted, " is more"));
  }

  const v1::Experiment& experiment_;
  const RuleData& data_;
  const RuleFindings& findings_;
};

}  // namespace

void CheckInvarianceRules(const v1::Experiment& experiment, const RuleData& data, const RuleFindings& findings) {
  InvarianceRules(experiment, data, findings).Check();
}

}  // namespace tightrope
