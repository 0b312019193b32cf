#include "core/experiment/rules.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/experiment/attack_table.h"
#include "core/experiment/invariance_rules.h"
#include "core/experiment/invariance_set.h"
#include "core/experiment/mistake.h"
#include "core/experiment/radius_rule.h"
#include "core/experiment/scalar_reader.h"
#include "core/experiment/schema.h"

namespace tightrope {
namespace {

constexpr size_t kLongestExperimentName = 100;
constexpr size_t kLongestEntryName = 200;
std::string Element(const char* list, int index) { return absl::StrCat(list, "[", index, "]"); }

// The schema's default: any other value where `decay` does not apply is a mistake.
double DefaultDecay() {
  static const double decay =
      ParseNumber(KeyOf(*v1::Training::descriptor()->FindFieldByName("decay")).default_value()).value_or(0);
  return decay;
}

class Rules {
 public:
  Rules(const v1::Experiment& experiment, const RuleData& data, const RuleFindings& findings)
      : experiment_(experiment), data_(data), findings_(findings) {}

  void Check() {
    CheckName();
    CheckExamples();
    CheckSeeds();
    CheckSomethingIsDone();
    CheckTrainingIsNeeded();
    CheckModels();
    for (int i = 0; Readable("training") && i < experiment_.training_size(); ++i) {
      CheckTraining(experiment_.training(i), Element("training", i));
    }
    for (int i = 0; Readable("attacks") && i < experiment_.attacks_size(); ++i) {
      CheckAttack(experiment_.attacks(i), Element("attacks", i));
    }
    CheckInvarianceRules(experiment_, data_, findings_);
    CheckNamesDiffer();
    CheckSize();
  }

 private:
  void Report(const std::string& path, const std::string& message) { findings_.report(path, message); }
  bool Readable(const std::string& path) const { return findings_.readable(path); }
  template <typename... Paths>
  bool Readable(const std::string& path, const Paths&... more) const {
    return Readable(path) && Readable(more...);
  }

  void CheckName() {
    const std::string& name = experiment_.name();
    if (!Readable("name")) return;
    const bool plain = std::all_of(name.begin(), name.end(), [](unsigned char letter) {
      return absl::ascii_isalnum(letter) || letter == '.' || letter == '_' || letter == '-';
    });
    const bool begins_well = !name.empty() && absl::ascii_isalnum(static_cast<unsigned char>(name[0]));
    if (!plain || !begins_well || name.size() > kLongestExperimentName) {
      Report("name",
             absl::StrCat("`name` is letters, digits, '.', '_' and '-', begins with a letter or digit, and has ",
                          "at most ", kLongestExperimentName, "; ", Quoted(name), " is not"));
    }
  }

  void CheckExamples() {
    const v1::ExampleRange& range = experiment_.examples();
    if (data_.test == nullptr || !Readable("examples.start", "examples.count")) return;
    const uint64_t available = data_.test->count();
    const std::string has = absl::StrCat("the test split of ", Quoted(experiment_.dataset()), " has ", available);
    if (range.start() >= available) {
      Report("examples.start",
             absl::StrCat("`start` is beyond the data: ", has, " examples; ", range.start(), " is not below that"));
    } else if (range.count() > available - range.start()) {
      Report("examples.count",
             absl::StrCat("`count` is beyond the data: ", has, " examples, so at most ", available - range.start(),
                          " from ", range.start(), " on; ", range.count(), " is more"));
    }
  }

  void CheckSeeds() {
    if (!Readable("seeds")) return;
    if (experiment_.seeds().empty()) {
      Report("seeds", "`seeds` is an empty list, so nothing would run; give at least one value");
    }
    std::set<uint64_t> seen;
    for (int i = 0; i < experiment_.seeds_size(); ++i) {
      if (!seen.insert(experiment_.seeds(i)).second) {
        Report(Element("seeds", i), absl::StrCat("seed ", experiment_.seeds(i), " is given twice; keep one"));
      }
    }
  }

  // Models, or what needs none.
  void CheckSomethingIsDone() {
    if (!Readable("models", "alignment", "invariance") || !experiment_.models().empty()) return;
    const auto& sets = experiment_.invariance();
    for (int i = 0; i < sets.size(); ++i) {
      if (!sets[i].has_file()) continue;
      Report(Element("invariance", i),
             "these examples are made already, and there is no model to evaluate on them; add `models`");
    }
    if (!experiment_.attacks().empty()) Report("attacks", "there is no model to attack; add `models`");
    if (experiment_.alignment().empty() && sets.empty()) {
      Report(
          "models",
          "an experiment has `models`, or what needs none: `alignment`, or `invariance` whose examples are made here");
    }
  }

  void CheckTrainingIsNeeded() {
    if (!Readable("models")) return;
    bool readable = true;
    int first_trained = -1;
    for (int i = 0; i < experiment_.models_size(); ++i) {
      const v1::Architecture& architecture = experiment_.models(i).architecture();
      if (architecture.architecture_case() == v1::Architecture::ARCHITECTURE_NOT_SET) readable = false;
      if (first_trained < 0 && NeedsTraining(experiment_.models(i))) first_trained = i;
    }
    if (first_trained >= 0 && experiment_.training().empty() && Readable("training")) {
      Report(Element("models", first_trained) + ".architecture",
             "this model has to be trained, but the experiment has no `training`; add a list of training methods, or "
             "give a trained model as `architecture: {torchscript: PATH}`");
    }
    if (first_trained < 0 && readable && !experiment_.training().empty()) {
      Report("training", experiment_.models().empty()
                             ? "there is no model to train; add `models` or remove `training`"
                             : "no model here is trained: all are TorchScript files; remove `training` or add a model");
    }
  }

  void CheckModels() {
    for (int i = 0; Readable("models") && i < experiment_.models_size(); ++i) {
      const std::string path = Element("models", i);
      if (!experiment_.models(i).stochastic() || !NeedsTraining(experiment_.models(i))) continue;
      Report(path + ".stochastic", "`stochastic` is of `architecture: {torchscript: PATH}` only; leave it out");
    }
  }

  void CheckTraining(const v1::Training& training, const std::string& path) {
    CheckOptimizer(training, path);
    CheckSchedule(training, path);
    if (data_.train != nullptr && Readable(path + ".examples") && training.examples() > data_.train->count()) {
      Report(path + ".examples", absl::StrCat("the training split of ", Quoted(experiment_.dataset()), " has ",
                                              data_.train->count(), " examples; ", training.examples(), " is more"));
    }
    if (training.has_pgd()) {
      const v1::PgdTraining& pgd = training.pgd();
      const std::string pgd_path = path + ".pgd";
      if (Readable(pgd_path + ".norm") && pgd.norm() != v1::NORM_LINF && pgd.norm() != v1::NORM_L2) {
        Report(pgd_path + ".norm", absl::StrCat("training with `method: pgd` takes `norm: linf` or `norm: l2`; ",
                                                Quoted(EnumValueName(pgd.norm())), " is for attacks only"));
      }
      CheckRadius(pgd.norm(), pgd.epsilon(), pgd_path);
      if (Readable(pgd_path + ".epsilon", pgd_path + ".steps") && pgd.epsilon() > 0) {
        CheckStepSize(pgd.step_size(), pgd_path);
      }
      if (Readable(pgd_path + ".warmup_epochs", path + ".epochs") && pgd.warmup_epochs() > training.epochs()) {
        Report(pgd_path + ".warmup_epochs",
               absl::StrCat("`warmup_epochs` is at most `epochs`, which is ", training.epochs(), "; ",
                            pgd.warmup_epochs(), " is more, and epsilon would never be reached"));
      }
    }
  }

  void CheckOptimizer(const v1::Training& training, const std::string& path) {
    if (Readable(path + ".optimizer", path + ".momentum") && training.optimizer() == v1::OPTIMIZER_ADAM &&
        training.momentum() != 0) {
      Report(path + ".momentum", "`momentum` applies to `optimizer: sgd` only; this entry uses adam");
    }
  }

  void CheckSchedule(const v1::Training& training, const std::string& path) {
    if (!Readable(path + ".schedule", path + ".milestones", path + ".decay")) return;
    const std::string milestones_path = path + ".milestones";
    if (training.schedule() != v1::SCHEDULE_STEP) {
      const std::string only = absl::StrCat(
          " applies to `schedule: step` only; this entry has `schedule: ", EnumValueName(training.schedule()), "`");
      if (!training.milestones().empty()) Report(milestones_path, "`milestones`" + only);
      if (training.decay() != DefaultDecay()) Report(path + ".decay", "`decay`" + only);
      return;
    }
    if (training.milestones().empty()) {
      Report(path + ".schedule", "`schedule: step` needs `milestones`: the epochs at which to decay, such as [5, 8]");
    }
    for (int i = 0; i < training.milestones_size(); ++i) {
      const uint32_t epoch = training.milestones(i);
      const std::string epoch_path = absl::StrCat(milestones_path, "[", i, "]");
      if (i > 0 && epoch <= training.milestones(i - 1)) {
        Report(epoch_path, absl::StrCat("`milestones` ascend; ", epoch, " follows ", training.milestones(i - 1)));
      } else if (Readable(path + ".epochs") && epoch >= training.epochs()) {
        Report(epoch_path, absl::StrCat("`milestones` are epochs from 1 to `epochs` - 1, and `epochs` is ",
                                        training.epochs(), "; ", epoch, " is beyond that"));
      }
    }
  }

  void CheckAttack(const v1::Attack& attack, const std::string& path) {
    CheckRadius(attack.norm(), attack.epsilon(), path);
    if (!AllReadable(attack, path)) return;
    const auto problem = FindProblem(attack, data_.test == nullptr ? 0 : data_.test->classes());
    if (problem) Report(absl::StrCat(path, ".", problem->key), problem->message);
  }

  void CheckRadius(v1::Norm norm, double epsilon, const std::string& path) {
    if (!Readable(path + ".norm", path + ".epsilon")) return;
    if (const auto problem = RadiusProblem(norm, epsilon, data_.test)) Report(path + ".epsilon", *problem);
  }

  void CheckStepSize(double step_size, const std::string& path) {
    if (Readable(path + ".step_size") && step_size == 0) {
      Report(path + ".step_size", "`step_size` is above 0; leave it out for 2.5 * epsilon / steps");
    }
  }

  void CheckNamesDiffer() {
    CheckNamesDiffer("models", experiment_.models(), [](const v1::Model& model) { return model.name(); });
    CheckNamesDiffer("training", experiment_.training(), [](const v1::Training& training) { return training.name(); });
    // Results show norm and epsilon beside an attack's name.
    CheckNamesDiffer("attacks", experiment_.attacks(), [](const v1::Attack& attack) {
      return std::make_tuple(attack.name(), static_cast<int>(attack.norm()), attack.epsilon());
    });
    CheckNamesDiffer("alignment", experiment_.alignment(), [](const v1::Alignment& entry) { return entry.name(); });
    CheckNamesDiffer("invariance", experiment_.invariance(), [](const v1::InvarianceSet& set) { return set.name(); });
  }

  template <typename Entries, typename Identity>
  void CheckNamesDiffer(const char* list, const Entries& entries, const Identity& identity) {
    std::map<decltype(identity(entries[0])), int> seen;
    for (int i = 0; Readable(list) && i < entries.size(); ++i) {
      const std::string path = Element(list, i);
      if (!CheckEntryName(entries[i], path) || !AllReadable(entries[i], path)) continue;
      const auto [first, is_new] = seen.emplace(identity(entries[i]), i);
      if (is_new) continue;
      if (entries[i].SerializeAsString() == entries[first->second].SerializeAsString()) {
        Report(path,
               absl::StrCat("`", list, "` has ", Quoted(entries[i].name()), " twice with the same values; remove one"));
      } else {
        Report(path, absl::StrCat("two entries of `", list, "` are called ", Quoted(entries[i].name()),
                                  "; give one of them another `name`"));
      }
    }
  }

  template <typename EntryMessage>
  bool CheckEntryName(const EntryMessage& entry, const std::string& path) {
    const std::string& name = entry.name();
    const std::string name_path = path + ".name";
    if (!Readable(name_path) || !HasChoice(entry)) return false;  // without a choice there is no name to default to
    const bool printable =
        std::all_of(name.begin(), name.end(), [](unsigned char letter) { return letter >= 0x20 && letter != 0x7F; });
    if (printable && !name.empty() && name.size() <= kLongestEntryName) return true;
    Report(name_path, absl::StrCat("a `name` is one line of 1 to ", kLongestEntryName, " bytes; ", Quoted(name),
                                   " is not; give another `name`"));
    return false;
  }

  static bool HasChoice(const v1::Model& model) {
    return model.architecture().architecture_case() != v1::Architecture::ARCHITECTURE_NOT_SET;
  }
  static bool HasChoice(const v1::Training& training) { return training.method_case() != v1::Training::METHOD_NOT_SET; }
  static bool HasChoice(const v1::Attack& attack) { return attack.method_case() != v1::Attack::METHOD_NOT_SET; }
  static bool HasChoice(const v1::Alignment& alignment) { return alignment.norm() != v1::NORM_UNSPECIFIED; }
  static bool HasChoice(const v1::InvarianceSet& set) {
    return IsMadeHere(set) || (set.has_file() && !set.file().path().empty());
  }

  // Entries with an unreadable value are not compared: they might differ in just that.
  bool AllReadable(const google::protobuf::Message& message, const std::string& path) const {
    const auto& type = *message.GetDescriptor();
    for (int i = 0; i < type.field_count(); ++i) {
      const auto& field = *type.field(i);
      const std::string field_path = absl::StrCat(path, ".", field.name());
      if (field.cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) {
        if (message.GetReflection()->HasField(message, &field) &&
            !AllReadable(message.GetReflection()->GetMessage(message, &field), field_path)) {
          return false;
        }
      } else if (!Readable(field_path)) {
        return false;
      }
    }
    return true;
  }

  // In floating point, because the products of what a hostile message claims may exceed 64 bits.
  void CheckSize() {
    if (!Readable("models", "training", "attacks", "seeds") || !Readable("alignment", "invariance")) return;
    double trained = 0;
    for (const v1::Model& model : experiment_.models()) trained += NeedsTraining(model) ? 1 : 0;
    const double imported = experiment_.models_size() - trained;
    const double seeds = experiment_.seeds_size();
    const double models = seeds * (trained * experiment_.training_size() + imported);
    const double per_example = models * (experiment_.attacks_size() + 1.0);
    double cells = per_example + seeds * trained * experiment_.training_size() + experiment_.alignment_size();
    for (const v1::InvarianceSet& set : experiment_.invariance()) cells += JobsOf(set, models, seeds);
    if (cells > static_cast<double>(kMaxCells)) {
      Report("models", absl::StrCat("the grid has more than ", kMaxCells, " cells (", NumberText(cells),
                                    "); split the experiment"));
      return;
    }
    if (!Readable("examples.count", "shard_size")) return;
    double shards = cells;  // one is the least that a job has
    shards += per_example * Pieces(experiment_.examples().count(), experiment_.shard_size());
    for (const v1::Alignment& alignment : experiment_.alignment()) {
      shards += Pieces(alignment.anchors(), alignment.shard_size());
    }
    for (const v1::InvarianceSet& set : experiment_.invariance()) {
      shards += JobsOf(set, models, seeds) * Pieces(CountSources(set, experiment_, data_.inputs), set.shard_size());
    }
    if (shards > static_cast<double>(kMaxShards)) {
      Report("shard_size", absl::StrCat("the experiment has more than ", kMaxShards,
                                        " shards; raise `shard_size`, also of entries that have their own, or split ",
                                        "the experiment"));
    }
  }

  // At most: each model is evaluated on the set, and it is made for each seed.
  static double JobsOf(const v1::InvarianceSet& set, double models, double seeds) {
    return models + (IsMadeHere(set) ? seeds : 0);
  }
  static double Pieces(uint64_t count, uint32_t size) {
    return size == 0 ? 0 : std::ceil(static_cast<double>(count) / size);
  }

  const v1::Experiment& experiment_;
  const RuleData& data_;
  const RuleFindings& findings_;
};

}  // namespace

void CheckRules(const v1::Experiment& experiment, const RuleData& data, const RuleFindings& findings) {
  Rules(experiment, data, findings).Check();
}

bool NeedsTraining(const v1::Model& model) {
  const auto chosen = model.architecture().architecture_case();
  return chosen != v1::Architecture::ARCHITECTURE_NOT_SET && chosen != v1::Architecture::kTorchscript;
}

bool NeedsTrainingSplit(const v1::Experiment& experiment) {
  const auto& sets = experiment.invariance();
  const auto& alignment = experiment.alignment();
  return std::any_of(experiment.models().begin(), experiment.models().end(), NeedsTraining) ||
         std::any_of(alignment.begin(), alignment.end(),
                     [](const v1::Alignment& entry) { return entry.split() == v1::SPLIT_TRAIN; }) ||
         std::any_of(sets.begin(), sets.end(),
                     [](const v1::InvarianceSet& set) { return IsMadeHere(set) || set.oracle().has_nearest(); });
}

}  // namespace tightrope
