#include "core/experiment/labels.h"

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/experiment/schema.h"

namespace tightrope {
namespace {

std::string ChosenMember(const google::protobuf::Message& message, const google::protobuf::OneofDescriptor& oneof) {
  const auto* member = message.GetReflection()->GetOneofFieldDescriptor(message, &oneof);
  return member == nullptr ? "" : std::string(member->name());
}

std::string Stem(const std::string& path) { return std::filesystem::path(path).stem().string(); }

std::string DefaultName(const v1::Model& model) {
  const v1::Architecture& architecture = model.architecture();
  return architecture.has_torchscript() ? Stem(architecture.torchscript()) : ArchitectureName(architecture);
}
std::string DefaultName(const v1::Training& training) { return MethodName(training); }
std::string DefaultName(const v1::Attack& attack) { return MethodName(attack); }
std::string DefaultName(const v1::Alignment& alignment) {
  return alignment.norm() == v1::NORM_UNSPECIFIED ? "" : EnumValueName(alignment.norm());
}
std::string DefaultName(const v1::InvarianceSet& set) {
  return set.has_file() ? Stem(set.file().path()) : MethodName(set);
}

template <typename Entry>
bool ShownBesideTheName(const Entry&, const std::string&) {
  return false;
}
bool ShownBesideTheName(const v1::Attack&, const std::string& swept_key) {
  return swept_key == "norm" || swept_key == "epsilon";
}

// The default name differs where this key does.
template <typename Entry>
bool InDefaultName(const Entry&, const SweptKey& swept) {
  return swept.is_kind;
}
bool InDefaultName(const v1::Alignment&, const SweptKey& swept) { return swept.key == "norm"; }
bool InDefaultName(const v1::InvarianceSet& set, const SweptKey& swept) {
  return swept.key == "method" || (set.has_file() && swept.key == "path");
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
      if (ShownBesideTheName(entry, part.key) || (!given && InDefaultName(entry, part))) continue;
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
  FillIn("alignment", read, *experiment.mutable_alignment());
  FillIn("invariance", read, *experiment.mutable_invariance());
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
std::string MethodName(const v1::InvarianceSet& set) {
  return ChosenMember(set, *v1::InvarianceSet::descriptor()->oneof_decl(0));
}

}  // namespace tightrope
