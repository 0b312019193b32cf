#include <memory>

#include "core/robustness/attack/attack_method.h"

namespace tightrope {
namespace {

class Jsma : public AttackMethod {
 public:
  explicit Jsma(const v1::JsmaAttack& options) : options_(options) {}

  uint64_t looks() const override { return 1; }
  absl::Status Run(ActiveBatch&) const override { return absl::UnimplementedError("jsma"); }

 private:
  v1::JsmaAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeJsma(const v1::JsmaAttack& options) { return std::make_unique<Jsma>(options); }

}  // namespace tightrope
