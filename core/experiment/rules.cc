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
#include "absl/strings/str_join.h"
#include "core/experiment/attack_table.h"
#include "core/experiment/mistake.h"
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

// A value of an enum as the file writes it.
template <typename Enum>
std::string Name(Enum value) {
  const auto* known = google::protobuf::GetEnumDescriptor<Enum>()->FindValueByNumber(value);
  return known == nullptr ? absl::StrCat(static_cast<int>(value)) : EnumValueName(*known);
}

class Rules {
 public:
  Rules(const v1::Experiment& experiment, const RuleData& data, const RuleFindings& findings)
      : experiment_(experiment), data_(data), findings_(findings) {}

  void Check() {
    CheckName();
    CheckExamples();
    CheckSeeds();
    CheckTrainingIsNeeded();
    CheckModels();
    for (int i = 0; Readable("training") && i < experiment_.training_size(); ++i) {
      CheckTraining(experiment_.training(i), Element("training", i));
    }
    for (int i = 0; Readable("attacks") && i < experiment_.attacks_size(); ++i) {
      CheckAttack(experiment_.attacks(i), Element("attacks", i));
    }
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
    if (first_trained < 0 && readable && !experiment_.models().empty() && !experiment_.training().empty()) {
      Report("training", "no model here is trained: all are TorchScript files; remove `training` or add a model");
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
                                                Quoted(Name(pgd.norm())), " is for attacks only"));
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
      const std::string only =
          absl::StrCat(" applies to `schedule: step` only; this entry has `schedule: ", Name(training.schedule()), "`");
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
    if (norm == v1::NORM_LINF && epsilon > 1) {
      std::string hint;
      if (epsilon <= 255) hint = absl::StrCat("; in pixel values of 0 to 255 write ", NumberText(epsilon), "/255");
      Report(path + ".epsilon", absl::StrCat("`epsilon` of linf is 0 to 1, because inputs are in [0, 1]; ",
                                             NumberText(epsilon), " is not", hint));
    }
    if (norm == v1::NORM_SPATIAL && epsilon > 1) {
      Report(path + ".epsilon",
             absl::StrCat("`epsilon` of spatial is 0 to 1, a share of `max_rotation` and `max_translation`; ",
                          NumberText(epsilon), " is not"));
    }
    if (norm == v1::NORM_L0 && epsilon != std::floor(epsilon)) {
      Report(path + ".epsilon",
             absl::StrCat("`epsilon` of l0 is a whole number, of input elements; ", NumberText(epsilon), " is not"));
    }
    if (data_.test == nullptr) return;
    const v1::DatasetRef& data = *data_.test;
    const double elements = static_cast<double>(data.channels()) * data.height() * data.width();
    const auto at_most = [&](double largest, const char* what) {
      if (epsilon <= largest) return;
      Report(path + ".epsilon",
             absl::StrCat("`epsilon` of ", Name(norm), " is 0 to ", NumberText(std::round(largest * 1000) / 1000), ", ",
                          what, " ", data.channels(), "x", data.height(), "x", data.width(), " inputs in [0, 1]; ",
                          NumberText(epsilon), " is not"));
    };
    if (norm == v1::NORM_L2) at_most(std::sqrt(elements), "the diagonal of");
    if (norm == v1::NORM_L1 || norm == v1::NORM_L0) at_most(elements, "the number of elements of");
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

  void CheckSize() {
    if (!Readable("models", "training", "attacks", "seeds")) return;
    uint64_t trained = 0;
    for (const v1::Model& model : experiment_.models()) trained += NeedsTraining(model) ? 1 : 0;
    const uint64_t imported = static_cast<uint64_t>(experiment_.models_size()) - trained;
    const double attacks = experiment_.attacks_size();
    // In floating point, because the product of what a hostile message claims may exceed 64 bits.
    const double pairs = static_cast<double>(trained) * experiment_.training_size();
    const double cells =
        experiment_.seeds_size() * (pairs * (attacks + 2) + static_cast<double>(imported) * (attacks + 1));
    if (cells > static_cast<double>(kMaxCells)) {
      Report("models", absl::StrCat("the grid has more than ", kMaxCells, " cells (", NumberText(cells),
                                    "); split the experiment"));
      return;
    }
    if (!Readable("examples.count", "shard_size") || experiment_.shard_size() == 0) return;
    const double shards_of_a_job =
        std::ceil(static_cast<double>(experiment_.examples().count()) / experiment_.shard_size());
    if (cells * shards_of_a_job > static_cast<double>(kMaxShards)) {
      Report("shard_size", absl::StrCat("the experiment has more than ", kMaxShards,
                                        " shards; raise `shard_size` or split the experiment"));
    }
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

}  // namespace tightrope
