// Sparse-RS for l0 (Croce et al. 2022, algorithm 1 and section 4.1), constants as in the authors' code: random search
// over a set of ⌊ε⌋ elements, all 0 or 1. A proposal takes some of them back to the example, others instead, at random
// 0 or 1, and is kept where it raises the loss. The paper changes pixels, all channels of one at once; here the threat
// model counts elements, so elements are changed, which in grey images is the same.
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "core/robustness/attack/attack_method.h"
#include "core/robustness/attack/element_changes.h"
#include "core/robustness/attack/sparse_rs_schedule.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

class SparseRs : public AttackMethod {
 public:
  explicit SparseRs(const v1::SparseRsAttack& options) : options_(options) {}

  uint32_t runs() const override { return options_.restarts() * std::max<uint32_t>(options_.targets(), 1); }
  uint64_t looks() const override { return uint64_t{options_.queries()} + 1; }

  absl::Status Run(ActiveBatch& batch) const override {
    torch::Tensor targets;
    if (options_.targets() > 0) targets = batch.Targets([&](uint32_t run) { return run / options_.restarts(); });
    torch::Tensor best = batch.Inputs(), proposal, reached;
    const auto following = batch.Follow({&targets, &best, &proposal, &reached});
    // Untargeted the margin, targeted the cross-entropy of the target, as the authors have it.
    const Loss loss =
        MakeLoss(options_.targets() > 0 ? v1::ATTACK_LOSS_CE : v1::ATTACK_LOSS_MARGIN, batch.labels(), targets);
    const int64_t elements = best.numel() / best.size(0);
    std::map<std::pair<const Standing*, uint32_t>, Search> searches;  // by example and run
    const auto search_of = [&](const ActiveBatch::Row& row) -> Search& { return searches[{row.standing, row.run}]; };

    const torch::Tensor examples = batch.ball().centers().flatten(1).cpu().contiguous();
    ElementChanges start(elements);
    for (int64_t row = 0; row < batch.size(); ++row) {
      Search& search = search_of(batch.rows()[row]);
      search.example = examples.data_ptr<float>() + row * elements;
      Start(batch, row, search, start);
    }
    start.Apply(best);
    ABSL_ASSIGN_OR_RETURN(ActiveBatch::Look look, batch.Judge(best));
    if (batch.empty()) return absl::OkStatus();
    reached = loss(look.logits);
    for (uint32_t query = 1; query <= options_.queries(); ++query) {
      const double share = SparseRsShare(options_.alpha_init(), query, options_.queries(), options_.rescale_schedule());
      ElementChanges changes(elements);
      for (int64_t row = 0; row < batch.size(); ++row) {
        Propose(batch, row, query, share, search_of(batch.rows()[row]), changes);
      }
      proposal = best.clone();
      changes.Apply(proposal);
      ABSL_ASSIGN_OR_RETURN(look, batch.Judge(proposal));
      if (batch.empty()) return absl::OkStatus();
      const torch::Tensor now = loss(look.logits);
      const torch::Tensor better = now > reached;
      reached = torch::where(better, now, reached);
      CopyRows(better, proposal, best);
      const torch::Tensor accepted = better.cpu();
      for (int64_t row = 0; row < batch.size(); ++row) {
        if (accepted.data_ptr<bool>()[row]) search_of(batch.rows()[row]).Accept();
      }
    }
    return absl::OkStatus();
  }

 private:
  struct Search {
    const float* example = nullptr;
    std::vector<uint32_t> order;  // of all elements; the first `changed` are those of the set
    size_t changed = 0;
    size_t exchanged = 0;  // by the last proposal: the set's first ones for the first ones outside of it

    void Accept() { std::swap_ranges(order.begin(), order.begin() + exchanged, order.begin() + changed); }
  };

  static void Start(const ActiveBatch& batch, int64_t row, Search& search, ElementChanges& changes) {
    const ActiveBatch::Row& at = batch.rows()[row];
    const uint32_t elements = static_cast<uint32_t>(batch.ball().centers().numel() / batch.size());
    search.order = batch.stream().Permutation({.example = at.standing->example, .restart = at.run}, elements);
    // One element at least stays outside, to be exchanged for.
    search.changed = static_cast<size_t>(std::min(std::floor(at.standing->radius), elements - 1.0));
    std::vector<float> draws(search.changed);
    batch.stream().Uniform({.example = at.standing->example, .restart = at.run, .step = 1}, absl::MakeSpan(draws));
    for (size_t i = 0; i < search.changed; ++i) changes.Set(row, search.order[i], draws[i] < 0.5f ? 0.0f : 1.0f);
  }

  static void Propose(const ActiveBatch& batch, int64_t row, uint32_t query, double share, Search& search,
                      ElementChanges& changes) {
    const ActiveBatch::Row& at = batch.rows()[row];
    const size_t outside = search.order.size() - search.changed;
    search.exchanged = static_cast<size_t>(share * static_cast<double>(search.changed));
    search.exchanged = std::min({std::max<size_t>(search.exchanged, 1), search.changed, outside});
    std::vector<float> draws(3 * search.exchanged);
    batch.stream().Uniform({.example = at.standing->example, .restart = at.run, .step = query + 1},
                           absl::MakeSpan(draws));
    const float* draw = draws.data();
    Shuffle(absl::MakeSpan(search.order.data(), search.changed), search.exchanged, draw);
    Shuffle(absl::MakeSpan(search.order.data() + search.changed, outside), search.exchanged, draw);
    for (size_t i = 0; i < search.exchanged; ++i) {
      const uint32_t back = search.order[i], taken = search.order[search.changed + i];
      changes.Set(row, back, search.example[back]);
      changes.Set(row, taken, *draw++ < 0.5f ? 0.0f : 1.0f);
    }
  }

  // The first `count` become a random choice, by as many draws.
  static void Shuffle(absl::Span<uint32_t> elements, size_t count, const float*& draw) {
    for (size_t i = 0; i < count; ++i) {
      const size_t left = elements.size() - i;
      const size_t chosen = std::min(static_cast<size_t>(double{*draw++} * static_cast<double>(left)), left - 1);
      std::swap(elements[i], elements[i + chosen]);
    }
  }

  v1::SparseRsAttack options_;
};

}  // namespace

double SparseRsShare(double first, uint64_t query, uint64_t queries, bool rescale) {
  if (rescale) query = static_cast<uint64_t>(static_cast<double>(query) / static_cast<double>(queries) * 10000);
  constexpr std::pair<uint64_t, double> kBreaks[] = {{8000, 20}, {6000, 15}, {4000, 12}, {2000, 10}, {1000, 8},
                                                     {500, 6},   {200, 5},   {50, 4},    {0, 2}};
  for (const auto& [after, divisor] : kBreaks) {
    if (query > after) return first / divisor;
  }
  return first;
}

std::unique_ptr<AttackMethod> MakeSparseRs(const v1::SparseRsAttack& options) {
  return std::make_unique<SparseRs>(options);
}

}  // namespace tightrope
