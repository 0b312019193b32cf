#include "core/robustness/attack/attack_method.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/experiment/attack_table.h"
#include "core/experiment/schema.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// That the numbers of the method's message are within the schema's bounds.
absl::Status CheckBounds(const v1::Attack& attack) {
  const auto& field = *v1::Attack::descriptor()->FindFieldByNumber(attack.method_case());
  const google::protobuf::Message& options = attack.GetReflection()->GetMessage(attack, &field);
  const auto* const values = options.GetReflection();
  for (int i = 0; i < options.GetDescriptor()->field_count(); ++i) {
    const auto& key = *options.GetDescriptor()->field(i);
    if (key.is_repeated() || (key.has_presence() && !values->HasField(options, &key))) continue;
    double value = 0;
    if (key.cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_UINT32) {
      value = values->GetUInt32(options, &key);
    } else if (key.cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_DOUBLE) {
      value = values->GetDouble(options, &key);
    } else {
      continue;
    }
    if (InRange(key, value)) continue;
    return absl::InvalidArgumentError(absl::StrCat("`", key.name(), "` of ", field.name(), " is ", Expectation(key),
                                                   "; ", NumberText(value), " is not"));
  }
  return absl::OkStatus();
}

std::unique_ptr<AttackMethod> MakeMethod(const v1::Attack& attack) {
  switch (attack.method_case()) {
    case v1::Attack::kFgsm:
      return MakeFgsm();
    case v1::Attack::kPgd:
      return MakePgd(attack.pgd());
    case v1::Attack::kApgd:
      return MakeApgd(attack.apgd());
    case v1::Attack::kFab:
      return MakeFab(attack.fab());
    case v1::Attack::kSquare:
      return MakeSquare(attack.square());
    case v1::Attack::kCarliniWagner:
      return MakeCarliniWagner(attack.carlini_wagner());
    case v1::Attack::kDdn:
      return MakeDdn(attack.ddn());
    case v1::Attack::kDeepfool:
      return MakeDeepFool(attack.deepfool());
    case v1::Attack::kEad:
      return MakeEad(attack.ead());
    case v1::Attack::kFmn:
      return MakeFmn(attack.fmn());
    case v1::Attack::kSigmaZero:
      return MakeSigmaZero(attack.sigma_zero());
    case v1::Attack::kJsma:
      return MakeJsma(attack.jsma());
    case v1::Attack::kSparseRs:
      return MakeSparseRs(attack.sparse_rs());
    case v1::Attack::kPointwise:
      return MakePointwise(attack.pointwise());
    case v1::Attack::kBoundary:
      return MakeBoundary(attack.boundary());
    case v1::Attack::kHopSkipJump:
      return MakeHopSkipJump(attack.hop_skip_jump());
    case v1::Attack::kSpsa:
      return MakeSpsa(attack.spsa());
    case v1::Attack::kSpatial:
      return MakeSpatial(attack.spatial());
    case v1::Attack::kNoise:
      return MakeNoise(attack.noise());
    case v1::Attack::kAutoattack:  // several
    case v1::Attack::METHOD_NOT_SET:
      break;
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<std::vector<AttackMember>> MakeAttack(const v1::Attack& attack, uint32_t classes) {
  const AttackFacts* facts = FindAttack(attack);
  if (facts == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("this worker does not know the attack's method; update it. Field number: ", attack.method_case()));
  }
  if (const auto problem = FindProblem(attack, classes)) {
    return absl::InvalidArgumentError(absl::StrCat(facts->Name(), " cannot be run: ", problem->message));
  }
  std::vector<AttackMember> members;
  if (!attack.has_autoattack()) {
    ABSL_RETURN_IF_ERROR(CheckBounds(attack));
    members.push_back({.name = facts->Name(), .method = MakeMethod(WithTargetsAmong(attack, classes))});
    return members;
  }
  // Each runs on what those before it left unbroken, from the clean example, as RunAttack does with the members of any
  // attack; that is AutoAttack's flow (Croce and Hein 2020).
  for (const EnsembleMember& member : MembersOf(attack.autoattack(), attack.norm(), classes)) {
    members.push_back({.name = member.name, .method = MakeMethod(member.attack)});
  }
  return members;
}

}  // namespace tightrope
