// How far the annotators of a label table agree with one another.
//
// Krippendorff's alpha for nominal data (Content Analysis, 4th ed. 2019, ch. 12; "Computing Krippendorff's
// alpha-reliability", 2011, section C) takes any number of annotators and missing answers: 1 is full agreement, 0 what
// chance gives, below 0 systematic disagreement. With m_u answers to example u, n_uc of them c, over the examples with
// m_u ≥ 2, n_c = Σ_u n_uc and n = Σ_c n_c:
//
//   D_o = 1/n · Σ_u Σ_{c≠k} n_uc·n_uk / (m_u − 1)        D_e = 1/(n(n − 1)) · Σ_{c≠k} n_c·n_k        α = 1 − D_o/D_e
//
// "None of these" is an answer like any class here.
#pragma once

#include <cstdint>
#include <optional>

#include "core/oracle/label_table.h"

namespace tightrope {

struct AnnotatorAgreement {
  uint64_t examples = 0;       // all of the table
  uint64_t unanswered = 0;     // without any answer
  uint64_t undecided = 0;      // answered, but without a majority
  uint64_t none_of_these = 0;  // whose majority says so
  uint64_t unanimous = 0;      // two answers or more, all the same
  uint64_t pairable = 0;       // two answers or more
  // 1 − D_o: the share of pairs of answers to one example that are equal. Absent where no example has two answers.
  std::optional<double> observed;
  // Absent where no example has two answers, or where all those answers are the same: alpha is 0/0 then, and neither
  // agreement nor chance can be told.
  std::optional<double> alpha;
};

// Deterministic: sums are of integers, but for one division per number of answers.
AnnotatorAgreement MeasureAgreement(const LabelTable& table);

}  // namespace tightrope
