// An attack's algorithm. To add one: its message in experiment.proto, a file with its class and Make function here, and
// one line in the table of attack_method.cc.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/robustness/attack/active_batch.h"
#include "tightrope/v1/experiment.pb.h"

namespace tightrope {

// Immutable: all that changes is in the batch.
class AttackMethod {
 public:
  virtual ~AttackMethod() = default;

  // How many times the whole search is run on what the earlier runs left unbroken.
  virtual uint32_t restarts() const = 0;
  // Looks at the model that one Run makes at most; for progress.
  virtual uint64_t looks() const = 0;
  // One search over a batch that is not empty. Returns the batch's errors as they are.
  virtual absl::Status Run(ActiveBatch& batch) const = 0;
};

std::unique_ptr<AttackMethod> MakeFgsm(const v1::Attack& attack);
std::unique_ptr<AttackMethod> MakePgd(const v1::Attack& attack);

// The method that the message names. INVALID_ARGUMENT: none, or a norm, a radius or a number of steps that no attack
// takes.
absl::StatusOr<std::unique_ptr<AttackMethod>> MakeAttackMethod(const v1::Attack& attack);

}  // namespace tightrope
