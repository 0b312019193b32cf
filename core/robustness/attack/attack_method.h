// An attack's algorithm. To add one: its message in experiment.proto, its row in the table of attacks
// (core/experiment), a file with its class and Make function here, and a case in attack_method.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/robustness/attack/active_batch.h"
#include "tightrope/v1/experiment.pb.h"

namespace tightrope {

// Immutable: all that changes is in the batch.
class AttackMethod {
 public:
  virtual ~AttackMethod() = default;

  // How many independent searches an example is due: restarts, or restarts × targets. Several of them may stand in one
  // batch; all end with the first that decides the example.
  virtual uint32_t runs() const { return 1; }
  // About how many looks at the model one run makes; for progress.
  virtual uint64_t looks() const = 0;
  // Whether it searches the nearest point outside of any ball, so that one search serves all radii. The ball's radius
  // is then the largest that is of use.
  virtual bool minimizes() const { return false; }
  // Whether rows of different runs may share a batch.
  virtual bool mixes_runs() const { return true; }
  // One search a row over a batch that is not empty. Returns the batch's errors as they are.
  virtual absl::Status Run(ActiveBatch& batch) const = 0;
};

// One attack of an ensemble, or the only one.
struct AttackMember {
  std::string name;  // "pgd", "apgd_t"
  std::unique_ptr<AttackMethod> method;
};

std::unique_ptr<AttackMethod> MakeFgsm();
std::unique_ptr<AttackMethod> MakePgd(const v1::PgdAttack& options);
std::unique_ptr<AttackMethod> MakeApgd(const v1::ApgdAttack& options);
std::unique_ptr<AttackMethod> MakeFab(const v1::FabAttack& options);
std::unique_ptr<AttackMethod> MakeSquare(const v1::SquareAttack& options);
std::unique_ptr<AttackMethod> MakeCarliniWagner(const v1::CarliniWagnerAttack& options);
std::unique_ptr<AttackMethod> MakeDdn(const v1::DdnAttack& options);
std::unique_ptr<AttackMethod> MakeDeepFool(const v1::DeepFoolAttack& options);
std::unique_ptr<AttackMethod> MakeEad(const v1::EadAttack& options);
std::unique_ptr<AttackMethod> MakeFmn(const v1::FmnAttack& options);
std::unique_ptr<AttackMethod> MakeSigmaZero(const v1::SigmaZeroAttack& options);
std::unique_ptr<AttackMethod> MakeJsma(const v1::JsmaAttack& options);
std::unique_ptr<AttackMethod> MakeSparseRs(const v1::SparseRsAttack& options);
std::unique_ptr<AttackMethod> MakePointwise(const v1::PointwiseAttack& options);
std::unique_ptr<AttackMethod> MakeBoundary(const v1::BoundaryAttack& options);
std::unique_ptr<AttackMethod> MakeHopSkipJump(const v1::HopSkipJumpAttack& options);
std::unique_ptr<AttackMethod> MakeSpsa(const v1::SpsaAttack& options);
std::unique_ptr<AttackMethod> MakeSpatial(const v1::SpatialAttack& options);
std::unique_ptr<AttackMethod> MakeNoise(const v1::NoiseAttack& options);

// What the message names, at least one member; targets no more than there are other classes. INVALID_ARGUMENT: no
// method, a number out of the schema's bounds, or what FindProblem says.
absl::StatusOr<std::vector<AttackMember>> MakeAttack(const v1::Attack& attack, uint32_t classes);

}  // namespace tightrope
