#include "core/experiment/labels.h"

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"

namespace tightrope {
namespace {

std::string ChosenMember(const google::protobuf::Message& message, const google::protobuf::OneofDescriptor& oneof) {
  const auto* member = message.GetReflection()->GetOneofFieldDescriptor(message, &oneof);
  return member == nullptr ? "" : std::string(member->name());
}

std::string DefaultName(const Model& model) {
  if (!model.architecture().has_torchscript()) return ArchitectureName(model.architecture());
  return std::filesystem::path(model.architecture().torchscript()).stem().string();
}
std::string DefaultName(const Training& training) { return MethodName(training); }
std::string DefaultName(const Attack& attack) { return MethodName(attack); }

bool ShownBesideTheName(const Model&, const std::string&) { return false; }
bool ShownBesideTheName(const Training&, const std::string&) { return false; }
bool ShownBesideTheName(const Attack&, const std::string& swept_key) {
  return swept_key == "norm" || swept_key == "epsilon";
}

template <typename Entries>
void FillIn(const std::string& list, const ReadMessage& read, Entries& entries) {
  for (int i = 0; i < entries.size(); ++i) {
    auto& entry = entries[i];
    const std::string path = absl::StrCat(list, "[", i, "]");
    const bool given = read.positions.Given(path + ".name");
    std::string name = given ? entry.name() : DefaultName(entry);
    const auto swept = read.swept.find(path);
    if (swept == read.swept.end()) continue;
    for (const SweptKey& part : swept->second) {
      if (ShownBesideTheName(entry, part.key) || (part.is_kind && !given)) continue;
      absl::StrAppend(&name, " ", part.key, "=", part.text);
    }
    entry.set_name(name);
  }
}

}  // namespace

void FillInNames(const ReadMessage& read, Experiment& experiment) {
  FillIn("models", read, *experiment.mutable_models());
  FillIn("training", read, *experiment.mutable_training());
  FillIn("attacks", read, *experiment.mutable_attacks());
}

std::string ArchitectureName(const Architecture& architecture) {
  return ChosenMember(architecture, *Architecture::descriptor()->oneof_decl(0));
}
std::string MethodName(const Training& training) {
  return ChosenMember(training, *Training::descriptor()->oneof_decl(0));
}
std::string MethodName(const Attack& attack) { return ChosenMember(attack, *Attack::descriptor()->oneof_decl(0)); }

}  // namespace tightrope
