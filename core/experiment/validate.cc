// ValidateExperiment: the checks of the file reader, on a message that may come from anybody.
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "core/artifact/digest.h"
#include "core/experiment/experiment_file.h"
#include "core/experiment/mistake.h"
#include "core/experiment/rules.h"
#include "core/experiment/schema.h"
#include "core/experiment/sweep.h"
#include "core/experiment/yaml_document.h"

namespace tightrope {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

namespace {

// Larger inputs than these do not fit a worker; the product of the extents must not overflow.
constexpr uint64_t kMaxInputElements = uint64_t{1} << 28;
constexpr uint32_t kMaxClasses = 65'536;

class Findings {
 public:
  void Add(const std::string& path, const std::string& message) {
    paths_.insert(path);
    if (lines_.size() < MistakeList::kMostShown) lines_.push_back(absl::StrCat(path, ": ", message));
  }
  // A finding about `path` or about something around it, whose contents have then not been looked at.
  bool Has(absl::string_view path) const {
    while (!path.empty()) {
      if (paths_.count(std::string(path)) > 0) return true;
      const size_t parent = path.find_last_of(".[");
      path = path.substr(0, parent == absl::string_view::npos ? 0 : parent);
    }
    return false;
  }
  absl::Status ToStatus() const {
    return lines_.empty() ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrJoin(lines_, "\n"));
  }

 private:
  std::set<std::string> paths_;
  std::vector<std::string> lines_;
};

// Types and bounds, which the file reader checks value by value as it reads.
class ValueCheck {
 public:
  explicit ValueCheck(Findings& findings) : findings_(findings) {}

  void Check(const Message& message, const std::string& path) {
    const MappingSchema schema = SchemaOf(*message.GetDescriptor());
    for (const KindSchema& kind : schema.kinds) CheckKind(kind, message, path);
    for (const FieldDescriptor* field : schema.fields) {
      const std::string field_path = path.empty() ? field->name() : absl::StrCat(path, ".", field->name());
      if (field->is_repeated()) {
        CheckList(*field, message, field_path);
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        Check(message.GetReflection()->GetMessage(message, field), field_path);
      } else {
        CheckSingle(*field, message, field_path);
      }
    }
  }

 private:
  void CheckKind(const KindSchema& kind, const Message& message, const std::string& path) {
    const Message& holder = kind.Holder(message);
    const auto* member = holder.GetReflection()->GetOneofFieldDescriptor(holder, kind.oneof);
    if (member == nullptr) {
      findings_.Add(absl::StrCat(path, ".", kind.key),
                    absl::StrCat("`", kind.key, "` is required: one of ", absl::StrJoin(kind.MemberNames(), ", ")));
      return;
    }
    const std::string member_path = absl::StrCat(path, ".", kind.MemberPath(*member));
    if (member->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      Check(holder.GetReflection()->GetMessage(holder, member), member_path);
    } else {
      CheckText(holder.GetReflection()->GetString(holder, member), *member, member_path);
    }
  }

  void CheckList(const FieldDescriptor& field, const Message& message, const std::string& path) {
    const auto* reflection = message.GetReflection();
    const int size = reflection->FieldSize(message, &field);
    if (size == 0 && KeyOf(field).required()) findings_.Add(path, absl::StrCat("`", field.name(), "` is empty"));
    if (IsGridList(field) && static_cast<size_t>(size) > kMaxGridEntries) {
      findings_.Add(path, absl::StrCat("`", field.name(), "` has more than ", kMaxGridEntries, " entries; split the ",
                                       "experiment"));
      return;
    }
    for (int i = 0; i < size; ++i) {
      const std::string element = absl::StrCat(path, "[", i, "]");
      if (IsGridList(field)) {
        Check(reflection->GetRepeatedMessage(message, &field, i), element);
      } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_UINT32) {
        CheckNumber(reflection->GetRepeatedUInt32(message, &field, i), field, element);
      } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64) {
        CheckNumber(static_cast<double>(reflection->GetRepeatedUInt64(message, &field, i)), field, element);
      } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE) {
        CheckNumber(reflection->GetRepeatedDouble(message, &field, i), field, element);
      } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
        CheckEnum(reflection->GetRepeatedEnumValue(message, &field, i), field, element);
      }
    }
  }

  void CheckSingle(const FieldDescriptor& field, const Message& message, const std::string& path) {
    const auto* reflection = message.GetReflection();
    if (field.has_presence() && !reflection->HasField(message, &field)) return;  // its rule applies
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_UINT32:
        return CheckNumber(reflection->GetUInt32(message, &field), field, path);
      case FieldDescriptor::CPPTYPE_UINT64:
        return CheckNumber(static_cast<double>(reflection->GetUInt64(message, &field)), field, path);
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return CheckNumber(reflection->GetDouble(message, &field), field, path);
      case FieldDescriptor::CPPTYPE_STRING:
        return CheckText(reflection->GetString(message, &field), field, path);
      case FieldDescriptor::CPPTYPE_ENUM:
        return CheckEnum(reflection->GetEnumValue(message, &field), field, path);
      default:
        return;  // every bool is a good one
    }
  }

  void CheckNumber(double value, const FieldDescriptor& field, const std::string& path) {
    if (InRange(field, value)) return;
    findings_.Add(path,
                  absl::StrCat("`", field.name(), "` is ", Expectation(field), "; `", NumberText(value), "` is not"));
  }

  void CheckEnum(int number, const FieldDescriptor& field, const std::string& path) {
    if (number != 0 && field.enum_type()->FindValueByNumber(number) != nullptr) return;
    findings_.Add(path, absl::StrCat("`", field.name(), "` is ", Expectation(field), "; number ", number, " is not"));
  }

  void CheckText(const std::string& text, const FieldDescriptor& field, const std::string& path) {
    if (text.empty() || text.size() > YamlDocument::kMaxTextBytes) {
      findings_.Add(path, absl::StrCat("`", field.name(), "` is text of 1 to ", YamlDocument::kMaxTextBytes, " bytes"));
    }
  }

  Findings& findings_;
};

void CheckDataset(const v1::DatasetRef& data, v1::Split split, const v1::Experiment& experiment,
                  const std::string& path, Findings& findings) {
  if (data.name() != experiment.dataset()) findings.Add(path + ".name", "this is not the experiment's data set");
  if (data.split() != split) findings.Add(path + ".split", absl::StrCat("has to be ", Split_Name(split)));
  if (!IsSha256(data.images_sha256())) findings.Add(path + ".images_sha256", "not a SHA-256 digest");
  if (!IsSha256(data.labels_sha256())) findings.Add(path + ".labels_sha256", "not a SHA-256 digest");
  if (data.count() == 0) findings.Add(path + ".count", "there are no examples");
  const double elements = static_cast<double>(data.channels()) * data.height() * data.width();
  if (elements < 1 || elements > static_cast<double>(kMaxInputElements)) {
    findings.Add(path,
                 absl::StrCat("inputs have 1 to ", kMaxInputElements, " values; ", NumberText(elements), " is not"));
  }
  if (data.classes() < 2 || data.classes() > kMaxClasses) {
    findings.Add(path + ".classes",
                 absl::StrCat("a classifier has 2 to ", kMaxClasses, " classes; ", data.classes(), " is not"));
  }
}

// The digests of what the experiment names.
class InputCheck {
 public:
  InputCheck(const v1::Inputs& inputs, Findings& findings) : inputs_(inputs), findings_(findings) {}

  void CheckFile(const std::string& file, const std::string& path) {
    const auto found = inputs_.file_sha256().find(file);
    if (found != inputs_.file_sha256().end() && IsSha256(found->second)) return;
    findings_.Add(path, "the inputs have no digest of this file");
  }

  void CheckArray(const std::string& file, const std::string& path) {
    const auto found = inputs_.arrays().find(file);
    if (found == inputs_.arrays().end() || !IsSha256(found->second.sha256())) {
      findings_.Add(path, "the inputs have no digest of this array");
    } else if (found->second.count() == 0) {
      findings_.Add(path, "the inputs say that this array is empty");
    }
  }

 private:
  const v1::Inputs& inputs_;
  Findings& findings_;
};

void CheckFiles(const v1::Experiment& experiment, const v1::Inputs& inputs, Findings& findings) {
  InputCheck check(inputs, findings);
  for (int i = 0; i < experiment.attacks_size(); ++i) {
    const v1::Attack& attack = experiment.attacks(i);
    if (attack.has_surrogate()) check.CheckFile(attack.surrogate(), absl::StrCat("attacks[", i, "].surrogate"));
  }
  for (int i = 0; i < experiment.models_size(); ++i) {
    const v1::Architecture& architecture = experiment.models(i).architecture();
    if (!architecture.has_torchscript()) continue;
    check.CheckFile(architecture.torchscript(), absl::StrCat("models[", i, "].architecture.torchscript"));
  }
  for (int i = 0; i < experiment.invariance_size(); ++i) {
    const v1::InvarianceSet& set = experiment.invariance(i);
    const std::string path = absl::StrCat("invariance[", i, "]");
    if (set.has_sources()) check.CheckArray(set.sources(), path + ".sources");
    if (set.has_file()) check.CheckArray(set.file().path(), path + ".file.path");
    if (set.oracle().has_labels()) check.CheckFile(set.oracle().labels(), path + ".oracle.labels");
    if (set.oracle().has_model()) check.CheckFile(set.oracle().model(), path + ".oracle.model");
  }
}

void CheckInputs(const v1::Experiment& experiment, const v1::Inputs& inputs, Findings& findings) {
  CheckDataset(inputs.test(), v1::SPLIT_TEST, experiment, "inputs.test", findings);
  CheckFiles(experiment, inputs, findings);
  if (!NeedsTrainingSplit(experiment)) return;
  CheckDataset(inputs.train(), v1::SPLIT_TRAIN, experiment, "inputs.train", findings);
  const v1::DatasetRef& train = inputs.train();
  const v1::DatasetRef& test = inputs.test();
  if (train.channels() != test.channels() || train.height() != test.height() || train.width() != test.width() ||
      train.classes() != test.classes()) {
    findings.Add("inputs.train", "the training and test splits differ in the shape of inputs or the number of classes");
  }
}

}  // namespace

absl::Status ValidateExperiment(const v1::Experiment& experiment, const v1::Inputs& inputs) {
  Findings findings;
  ValueCheck(findings).Check(experiment, "");
  CheckInputs(experiment, inputs, findings);
  CheckRules(experiment,
             {.inputs = inputs, .test = &inputs.test(), .train = inputs.has_train() ? &inputs.train() : nullptr},
             {.report = [&](const std::string& path, const std::string& message) { findings.Add(path, message); },
              .readable = [&](const std::string& path) { return !findings.Has(path); }});
  return findings.ToStatus();
}

}  // namespace tightrope
