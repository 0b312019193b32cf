// The pointwise attack (Schott et al. 2019, appendix A, "Pointwise Attack"): salt-and-pepper noise of growing amount
// until the model is wrong, then each changed element in a random order goes back to the example where the model stays
// wrong without it, round after round, until one changes nothing. What is found so needs all of its elements: taking
// back any one of them makes the model right. Each row is at its own place in this, whatever the others do.
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "core/robustness/attack/attack_method.h"
#include "core/robustness/attack/element_changes.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// Amounts of noise that are tried: 1/100 of the elements, 2/100 … all.
constexpr uint32_t kAmounts = 100;

class Pointwise : public AttackMethod {
 public:
  explicit Pointwise(const v1::PointwiseAttack& options) : options_(options) {}

  uint32_t runs() const override { return options_.restarts(); }
  uint64_t looks() const override { return 4 * kAmounts; }
  bool minimizes() const override { return true; }

  absl::Status Run(ActiveBatch& batch) const override {
    torch::Tensor points = batch.Inputs(), proposal;  // the last ones that were wrong, before that the examples
    const auto following = batch.Follow({&points, &proposal});
    const torch::Tensor examples = batch.ball().centers().flatten(1).cpu().contiguous();
    const int64_t elements = examples.size(1);
    std::map<std::pair<const Standing*, uint32_t>, Search> searches;  // by example and run
    const auto search_of = [&](const ActiveBatch::Row& row) -> Search& { return searches[{row.standing, row.run}]; };
    for (int64_t row = 0; row < batch.size(); ++row) {
      search_of(batch.rows()[row]).example = {examples.data_ptr<float>() + row * elements,
                                              static_cast<size_t>(elements)};
    }
    while (!batch.empty()) {
      ElementChanges changes(elements);
      for (int64_t row = 0; row < batch.size(); ++row) {
        Search& search = search_of(batch.rows()[row]);
        if (search.round == 0) {
          AddNoise(batch, row, search, changes);
        } else {
          const uint32_t element = search.changed[search.next];
          changes.Set(row, element, search.example[element]);
        }
      }
      proposal = points.clone();
      changes.Apply(proposal);
      ABSL_ASSIGN_OR_RETURN(const ActiveBatch::Look look, batch.Judge(proposal));
      if (batch.empty()) return absl::OkStatus();
      CopyRows(look.wrong, proposal, points);
      const torch::Tensor wrong = look.wrong.cpu();
      torch::Tensor ended = torch::zeros({batch.size()}, torch::kBool);
      for (int64_t row = 0; row < batch.size(); ++row) {
        const ActiveBatch::Row& at = batch.rows()[row];
        ended.data_ptr<bool>()[row] = !Advance(batch, at, search_of(at), wrong.data_ptr<bool>()[row]);
      }
      batch.End(ended);
    }
    return absl::OkStatus();
  }

 private:
  struct Search {
    absl::Span<const float> example;
    uint32_t amount = 0;            // of noise, the last that was tried
    uint32_t round = 0;             // of taking back; 0: no noise was wrong yet
    std::vector<uint32_t> changed;  // elements, in the round's order; up to `kept`, those that were needed
    size_t kept = 0, next = 0;
  };

  static void AddNoise(const ActiveBatch& batch, int64_t row, Search& search, ElementChanges& changes) {
    const ActiveBatch::Row& at = batch.rows()[row];
    std::vector<float> draws(search.example.size());
    batch.stream().Uniform({.example = at.standing->example, .restart = at.run, .step = search.amount},
                           absl::MakeSpan(draws));
    const float share = static_cast<float>(++search.amount) / kAmounts;
    search.changed.clear();
    for (uint32_t i = 0; i < draws.size(); ++i) {
      const float value = draws[i] < share / 2 ? 0.0f : 1.0f;
      if (draws[i] >= share || value == search.example[i]) continue;
      changes.Set(row, i, value);
      search.changed.push_back(i);
    }
  }

  // After a look. False: the search has ended.
  static bool Advance(const ActiveBatch& batch, const ActiveBatch::Row& at, Search& search, bool wrong) {
    if (search.round == 0) {
      if (!wrong) return search.amount < kAmounts;
      search.kept = search.changed.size();
    } else {
      if (!wrong) search.changed[search.kept++] = search.changed[search.next];
      if (++search.next < search.changed.size()) return true;
      if (search.kept == search.changed.size()) return false;  // the round changed nothing
      search.changed.resize(search.kept);
    }
    const std::vector<uint32_t> order = batch.stream().Permutation(
        {.example = at.standing->example, .restart = at.run, .step = kAmounts + search.round},
        static_cast<uint32_t>(search.kept));
    std::vector<uint32_t> shuffled;
    for (const uint32_t i : order) shuffled.push_back(search.changed[i]);
    search.changed = std::move(shuffled);
    search.kept = search.next = 0;
    ++search.round;
    return !search.changed.empty();
  }

  v1::PointwiseAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakePointwise(const v1::PointwiseAttack& options) {
  return std::make_unique<Pointwise>(options);
}

}  // namespace tightrope
