#include "core/oracle/annotator_agreement.h"

#include <map>

namespace tightrope {
namespace {

// How often each answer was given to `example`.
std::map<int32_t, uint64_t> AnswersTo(const LabelTable& table, uint64_t example) {
  std::map<int32_t, uint64_t> answers;
  for (size_t annotator = 0; annotator < table.annotators().size(); ++annotator) {
    const int32_t answer = table.Answer(example, annotator);
    if (answer != LabelTable::kNoAnswer) ++answers[answer];
  }
  return answers;
}

uint64_t Total(const std::map<int32_t, uint64_t>& counts) {
  uint64_t total = 0;
  for (const auto& [answer, count] : counts) total += count;
  return total;
}

// Σ_{c≠k} n_c·n_k.
uint64_t UnequalPairs(const std::map<int32_t, uint64_t>& counts) {
  const uint64_t total = Total(counts);
  uint64_t equal = 0;
  for (const auto& [answer, count] : counts) equal += count * count;
  return total * total - equal;
}

}  // namespace

AnnotatorAgreement MeasureAgreement(const LabelTable& table) {
  AnnotatorAgreement agreement;
  agreement.examples = table.examples();
  std::map<int32_t, uint64_t> pairable_answers;
  std::map<uint64_t, uint64_t> unequal;  // of the examples with so many answers
  for (uint64_t example = 0; example < table.examples(); ++example) {
    const Vote vote = table.VoteOf(example);
    agreement.unanswered += vote.answers == 0;
    agreement.undecided += vote.answers > 0 && vote.label == kUndecided;
    agreement.none_of_these += vote.label == kNoneOfThese;
    if (vote.answers < 2) continue;
    ++agreement.pairable;
    agreement.unanimous += vote.most == vote.answers;
    const std::map<int32_t, uint64_t> answers = AnswersTo(table, example);
    unequal[vote.answers] += UnequalPairs(answers);
    for (const auto& [answer, count] : answers) pairable_answers[answer] += count;
  }
  if (agreement.pairable == 0) return agreement;
  double disagreement = 0;  // n·D_o
  for (const auto& [answers, pairs] : unequal) {
    disagreement += static_cast<double>(pairs) / static_cast<double>(answers - 1);
  }
  const auto n = static_cast<double>(Total(pairable_answers));
  agreement.observed = 1 - disagreement / n;
  const uint64_t by_chance = UnequalPairs(pairable_answers);
  if (by_chance > 0) agreement.alpha = 1 - (n - 1) * disagreement / static_cast<double>(by_chance);
  return agreement;
}

}  // namespace tightrope
