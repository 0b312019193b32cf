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

std::string DefaultName(const v1::Model& model) {
  if (!model.architecture().has_torchscript()) return ArchitectureName(model.architecture());
  return std::filesystem::path(model.architecture().torchscript()).stem().string();
}
std::string DefaultName(const v1::Training& training) { return MethodName(training); }
std::string DefaultName(const v1::Attack& attack) { return MethodName(attack); }

bool ShownBesideTheName(const v1::Model&, const std::string&) { return false; }
bool ShownBesideTheName(const v1::Training&, const std::string&) { return false; }
bool ShownBesideTheName(const v1::Attack&, const std::string& swept_key) {
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

void FillInNames(const ReadMessage& read, v1::Experiment& experiment) {
  FillIn("models", read, *experiment.mutable_models());
  FillIn("training", read, *experiment.mutable_training());
  FillIn("attacks", read, *experiment.mutable_attacks());
}

std::string ArchitectureName(const v1::Architecture& architecture) {
  return ChosenMember(architecture, *v1::Architecture::descriptor()->oneof_decl(0));
}
std::string MethodName(const v1::Training& training) {
  return ChosenMember(training, *v1::Training::descriptor()->oneof_decl(0));
}
std::string MethodName(const v1::Attack& attack) {
  return ChosenMember(attack, *v1::Attack::descriptor()->oneof_decl(0));
}

}  // namespace tightrope
