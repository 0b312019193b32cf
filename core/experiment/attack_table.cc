#include "core/experiment/attack_table.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "core/experiment/schema.h"

namespace tightrope {
namespace {

bool Never(const v1::Attack&) { return false; }
bool Always(const v1::Attack&) { return true; }

// Searches with a look and a gradient in each of their steps, and a look at where the last one led.
Passes Descents(double runs, double steps, double looks_in_a_step = 1) {
  return {.forward = runs * (steps * looks_in_a_step + 1), .backward = runs * steps * looks_in_a_step};
}
Passes Queries(double count) { return {.forward = count, .backward = 0}; }

// Runs of an attack with targets: one for each of them, or one without any.
double Aims(uint32_t targets) { return std::max(1.0, static_cast<double>(targets)); }

// Each step looks and takes a gradient for each of `classes`, and looks at where it led.
Passes BoundarySteps(double runs, double steps, double classes) {
  return {.forward = runs * steps * (classes + 1), .backward = runs * steps * classes};
}

double OtherClasses(const v1::DatasetRef& data) { return std::max(1.0, static_cast<double>(data.classes()) - 1); }
double Elements(const v1::DatasetRef& data) {
  return static_cast<double>(data.channels()) * data.height() * data.width();
}

Passes HopSkipJumpPasses(const v1::HopSkipJumpAttack& options) {
  constexpr double kBinarySearch = 25;  // queries, about
  double queries = 0;
  for (uint32_t t = 1; t <= options.steps(); ++t) {
    queries += std::min<double>(options.gradient_queries() * std::sqrt(t), options.max_gradient_queries());
  }
  return Queries(options.restarts() * (queries + 2 * kBinarySearch * options.steps()));
}

std::vector<AttackFacts> MakeTable() {
  using Attack = v1::Attack;
  using Data = v1::DatasetRef;
  const std::vector<v1::Norm> distances = {v1::NORM_LINF, v1::NORM_L2, v1::NORM_L1};
  const std::vector<v1::Norm> all = {v1::NORM_LINF, v1::NORM_L2, v1::NORM_L1, v1::NORM_L0};
  return {
      {.method = Attack::kFgsm,
       .norms = distances,
       .source = "Goodfellow et al. 2015",
       .draws_at_random = Never,
       .passes = [](const Attack&, const Data&, double) { return Descents(1, 1); }},
      {.method = Attack::kPgd,
       .norms = distances,
       .source = "Madry et al. 2018; momentum: Dong et al. 2018",
       .draws_at_random = [](const Attack& a) { return a.pgd().random_start() || a.pgd().restarts() > 1; },
       .passes =
           [](const Attack& a, const Data&, double) {
             return Descents(a.pgd().restarts() * Aims(a.pgd().targets()), a.pgd().steps(),
                             std::max<uint32_t>(a.pgd().eot(), 1));
           }},
      {.method = Attack::kApgd,
       .norms = distances,
       .source = "Croce and Hein 2020, 2021",
       .draws_at_random = Always,
       .passes =
           [](const Attack& a, const Data&, double) {
             return Descents(a.apgd().restarts() * Aims(a.apgd().targets()), a.apgd().steps(), a.apgd().eot());
           }},
      {.method = Attack::kFab,
       .norms = distances,
       .minimum_norm = true,
       .source = "Croce and Hein 2020",
       .draws_at_random = [](const Attack& a) { return a.fab().restarts() > 1; },
       .passes =
           [](const Attack& a, const Data& data, double) {
             return BoundarySteps(a.fab().restarts() * Aims(a.fab().targets()), a.fab().steps(),
                                  a.fab().targets() > 0 ? 1 : OtherClasses(data));
           }},
      {.method = Attack::kSquare,
       .norms = distances,
       .needs = AttackNeeds::kLogits,
       .source = "Andriushchenko et al. 2020",
       .draws_at_random = Always,
       .passes =
           [](const Attack& a, const Data&, double) {
             return Queries(Aims(a.square().targets()) * a.square().restarts() * (a.square().queries() + 1.0));
           }},
      {.method = Attack::kAutoattack, .norms = distances, .source = "Croce and Hein 2020", .draws_at_random = Always},
      {.method = Attack::kCarliniWagner,
       .norms = {v1::NORM_L2},
       .minimum_norm = true,
       .source = "Carlini and Wagner 2017",
       .draws_at_random = Never,
       // A descent for each value of c.
       .passes =
           [](const Attack& a, const Data&, double) {
             return Descents(Aims(a.carlini_wagner().targets()) * a.carlini_wagner().search_steps(),
                             a.carlini_wagner().steps());
           }},
      {.method = Attack::kDdn,
       .norms = {v1::NORM_L2},
       .minimum_norm = true,
       .source = "Rony et al. 2019",
       .draws_at_random = Never,
       .passes = [](const Attack& a, const Data&,
                    double) { return Descents(Aims(a.ddn().targets()), a.ddn().steps()); }},
      {.method = Attack::kDeepfool,
       .norms = {v1::NORM_LINF, v1::NORM_L2},
       .minimum_norm = true,
       .source = "Moosavi-Dezfooli et al. 2016",
       .draws_at_random = Never,
       .passes =
           [](const Attack& a, const Data& data, double) {
             return BoundarySteps(1, a.deepfool().steps(),
                                  std::min<double>(a.deepfool().candidates(), OtherClasses(data)));
           }},
      {.method = Attack::kEad,
       .norms = {v1::NORM_L1},
       .minimum_norm = true,
       .source = "Chen et al. 2018",
       .draws_at_random = Never,
       // A gradient at the extrapolated point, and a look at where it led.
       .passes =
           [](const Attack& a, const Data&, double) {
             return BoundarySteps(Aims(a.ead().targets()) * a.ead().search_steps(), a.ead().steps(), 1);
           }},
      {.method = Attack::kFmn,
       .norms = all,
       .minimum_norm = true,
       .source = "Pintor et al. 2021",
       .draws_at_random = Never,
       .passes = [](const Attack& a, const Data&,
                    double) { return Descents(Aims(a.fmn().targets()), a.fmn().steps()); }},
      {.method = Attack::kSigmaZero,
       .norms = {v1::NORM_L0},
       .minimum_norm = true,
       .source = "Cinà et al. 2025",
       .draws_at_random = Never,
       .passes = [](const Attack& a, const Data&,
                    double) { return Descents(Aims(a.sigma_zero().targets()), a.sigma_zero().steps()); }},
      {.method = Attack::kJsma,
       .norms = {v1::NORM_L0},
       .minimum_norm = true,
       .source = "Papernot et al. 2016",
       .draws_at_random = Never,
       // Two gradients for two elements.
       .passes = [](const Attack& a, const Data&,
                    double radius) { return Descents(Aims(a.jsma().targets()), std::ceil(radius / 2), 2); }},
      {.method = Attack::kSparseRs,
       .norms = {v1::NORM_L0},
       .needs = AttackNeeds::kLogits,
       .source = "Croce et al. 2022",
       .draws_at_random = Always,
       .passes =
           [](const Attack& a, const Data&, double) {
             return Queries(Aims(a.sparse_rs().targets()) * a.sparse_rs().restarts() * (a.sparse_rs().queries() + 1.0));
           }},
      {.method = Attack::kPointwise,
       .norms = {v1::NORM_L0},
       .needs = AttackNeeds::kDecisions,
       .minimum_norm = true,
       .source = "Schott et al. 2019",
       .draws_at_random = Always,
       // Seldom more than three rounds over all elements.
       .passes = [](const Attack& a, const Data& data,
                    double) { return Queries(a.pointwise().restarts() * 3 * Elements(data)); }},
      {.method = Attack::kBoundary,
       .norms = {v1::NORM_L2},
       .needs = AttackNeeds::kDecisions,
       .minimum_norm = true,
       .source = "Brendel et al. 2018",
       .draws_at_random = Always,
       .passes = [](const Attack& a, const Data&,
                    double) { return Queries(a.boundary().restarts() * 2.0 * a.boundary().steps()); }},
      {.method = Attack::kHopSkipJump,
       .norms = {v1::NORM_LINF, v1::NORM_L2},
       .needs = AttackNeeds::kDecisions,
       .minimum_norm = true,
       .source = "Chen et al. 2020",
       .draws_at_random = Always,
       .passes = [](const Attack& a, const Data&, double) { return HopSkipJumpPasses(a.hop_skip_jump()); }},
      {.method = Attack::kSpsa,
       .norms = {v1::NORM_LINF, v1::NORM_L2},
       .needs = AttackNeeds::kLogits,
       .source = "Uesato et al. 2018; directions: gaussian is NES, Ilyas et al. 2018",
       .draws_at_random = Always,
       .passes =
           [](const Attack& a, const Data&, double) {
             const v1::SpsaAttack& spsa = a.spsa();
             return Queries(spsa.restarts() * Aims(spsa.targets()) * (spsa.steps() * (2.0 * spsa.samples() + 1) + 1));
           }},
      {.method = Attack::kSpatial,
       .norms = {v1::NORM_SPATIAL},
       .needs = AttackNeeds::kDecisions,
       .minimum_norm = true,
       .source = "Engstrom et al. 2019",
       .draws_at_random = [](const Attack& a) { return a.spatial().search() == v1::SPATIAL_SEARCH_RANDOM; },
       .passes =
           [](const Attack& a, const Data&, double) {
             const v1::SpatialAttack& spatial = a.spatial();
             if (spatial.search() == v1::SPATIAL_SEARCH_RANDOM) return Queries(spatial.draws());
             return Queries(static_cast<double>(spatial.rotations()) * spatial.translations() * spatial.translations());
           }},
      {.method = Attack::kNoise,
       .norms = all,
       .needs = AttackNeeds::kDecisions,
       .source = "none: the baseline",
       .draws_at_random = Always,
       .passes = [](const Attack& a, const Data&, double) { return Queries(a.noise().draws()); }},
  };
}

// "linf": as the file writes it.
template <typename Enum>
std::string ValueName(Enum value) {
  const auto* known = google::protobuf::GetEnumDescriptor<Enum>()->FindValueByNumber(value);
  return known == nullptr ? absl::StrCat(static_cast<int>(value)) : EnumValueName(*known);
}

// The difference of logits ratio divides by the distance of the first logit and the third, if targeted the fourth.
uint32_t ClassesNeeded(v1::AttackLoss loss, uint32_t targets) {
  if (loss != v1::ATTACK_LOSS_DLR) return 2;
  return targets > 0 ? 4 : 3;
}

std::optional<AttackProblem> LossProblem(const char* method, v1::AttackLoss loss, uint32_t targets, uint32_t classes) {
  const std::string key = absl::StrCat(method, ".loss");
  if (targets > 0 && loss == v1::ATTACK_LOSS_KL) {
    return AttackProblem{key, "`loss: kl` has no targeted form; write `targets: 0` or another loss"};
  }
  const uint32_t needed = ClassesNeeded(loss, targets);
  if (classes == 0 || classes >= needed) return std::nullopt;
  return AttackProblem{key, absl::StrCat(targets > 0 ? "targeted " : "", "`loss: dlr` needs ", needed,
                                         " classes or more, and the data have ", classes, "; write `loss: ce`")};
}

std::optional<AttackProblem> PgdProblem(const v1::PgdAttack& pgd, uint32_t classes) {
  if (pgd.loss() == v1::ATTACK_LOSS_KL && !pgd.random_start()) {
    return AttackProblem{"pgd.random_start",
                         "`loss: kl` needs `random_start: true`, because it has no gradient at the example itself"};
  }
  if (pgd.has_step_size() && pgd.step_size() == 0) {
    return AttackProblem{"pgd.step_size", "`step_size` is above 0; leave it out for 2.5 * epsilon / steps"};
  }
  return LossProblem("pgd", pgd.loss(), pgd.targets(), classes);
}

std::optional<AttackProblem> ApgdProblem(const v1::ApgdAttack& apgd, v1::Norm norm, uint32_t classes) {
  if (apgd.loss() != v1::ATTACK_LOSS_CE && apgd.loss() != v1::ATTACK_LOSS_DLR) {
    return AttackProblem{"apgd.loss", absl::StrCat("`loss` of apgd is ce or dlr; `", ValueName(apgd.loss()),
                                                   "` is one of `method: pgd`")};
  }
  if (apgd.larger_radii_first() && norm != v1::NORM_L1) {
    return AttackProblem{"apgd.larger_radii_first", "`larger_radii_first` applies to `norm: l1` only; leave it out"};
  }
  return LossProblem("apgd", apgd.loss(), apgd.targets(), classes);
}

std::optional<AttackProblem> SpsaProblem(const v1::SpsaAttack& spsa, uint32_t classes) {
  if (spsa.loss() == v1::ATTACK_LOSS_KL) {
    return AttackProblem{"spsa.loss", "`loss` of spsa is ce, margin or dlr; `kl` is one of `method: pgd`"};
  }
  return LossProblem("spsa", spsa.loss(), spsa.targets(), classes);
}

std::optional<AttackProblem> EnsembleProblem(const v1::AutoAttack& attack, v1::Norm norm, uint32_t classes) {
  std::set<int> seen;
  for (int i = 0; i < attack.components_size(); ++i) {
    if (seen.insert(attack.components(i)).second) continue;
    return AttackProblem{absl::StrCat("autoattack.components[", i, "]"),
                         absl::StrCat("`components` has `", ValueName(attack.components(i)), "` twice; keep one")};
  }
  if (classes == 0) return std::nullopt;
  // The members' own targets, not those that are left of them among few classes.
  for (const EnsembleMember& member : MembersOf(attack, norm, UINT32_MAX)) {
    const uint32_t needed = ClassesNeeded(member.attack.apgd().loss(), member.attack.apgd().targets());
    if (classes >= needed) continue;
    return AttackProblem{
        attack.components().empty() ? "autoattack.version" : "autoattack.components",
        absl::StrCat("autoattack runs ", member.name, " here, which needs ", needed,
                     " classes or more, and the data have ", classes, "; write `components: [apgd_ce, fab, square]`")};
  }
  return std::nullopt;
}

}  // namespace

std::string AttackFacts::Name() const { return v1::Attack::descriptor()->FindFieldByNumber(method)->name(); }

bool AttackFacts::Takes(v1::Norm norm) const { return std::find(norms.begin(), norms.end(), norm) != norms.end(); }

bool AttackFacts::Targeted() const {
  return v1::Attack::descriptor()->FindFieldByNumber(method)->message_type()->FindFieldByName("targets") != nullptr;
}

absl::Span<const AttackFacts> AttackTable() {
  static const std::vector<AttackFacts> table = MakeTable();
  return table;
}

const AttackFacts* FindAttack(const v1::Attack& attack) {
  for (const AttackFacts& facts : AttackTable()) {
    if (facts.method == attack.method_case()) return &facts;
  }
  return nullptr;
}

std::optional<AttackProblem> FindProblem(const v1::Attack& attack, uint32_t classes) {
  const AttackFacts* const facts = FindAttack(attack);
  if (facts == nullptr) return std::nullopt;
  if (!facts->Takes(attack.norm())) {
    std::vector<std::string> taken;
    for (const v1::Norm norm : facts->norms) taken.push_back(ValueName(norm));
    return AttackProblem{"norm",
                         absl::StrCat("`", facts->Name(), "` takes ", taken.size() == 1 ? "the norm " : "the norms ",
                                      absl::StrJoin(taken, ", "), "; `", ValueName(attack.norm()), "` is not ",
                                      taken.size() == 1 ? "it" : "one of them")};
  }
  const bool kl = attack.has_pgd() && attack.pgd().loss() == v1::ATTACK_LOSS_KL;
  if (attack.has_surrogate() && (attack.has_autoattack() || kl)) {
    return AttackProblem{"surrogate", absl::StrCat(kl ? "`loss: kl` compares with" : "autoattack also queries",
                                                   " the attacked model, so it takes no `surrogate`; leave it out, or "
                                                   "write `method: apgd`")};
  }
  if (attack.has_surrogate() && facts->needs != AttackNeeds::kGradients) {
    return AttackProblem{"surrogate",
                         absl::StrCat("`", facts->Name(), "` takes no gradients, so there is nothing that a ",
                                      "`surrogate` could give; leave it out")};
  }
  switch (attack.method_case()) {
    case v1::Attack::kPgd:
      return PgdProblem(attack.pgd(), classes);
    case v1::Attack::kApgd:
      return ApgdProblem(attack.apgd(), attack.norm(), classes);
    case v1::Attack::kSpsa:
      return SpsaProblem(attack.spsa(), classes);
    case v1::Attack::kAutoattack:
      return EnsembleProblem(attack.autoattack(), attack.norm(), classes);
    case v1::Attack::kJsma:
      if (attack.jsma().theta() == 0) return AttackProblem{"jsma.theta", "`theta` is not 0; write 1 or -1"};
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

v1::Attack WithTargetsAmong(const v1::Attack& attack, uint32_t classes) {
  v1::Attack limited = attack;
  const auto* const method = v1::Attack::descriptor()->FindFieldByNumber(attack.method_case());
  if (method == nullptr) return limited;
  const auto* const targets = method->message_type()->FindFieldByName("targets");
  if (targets == nullptr) return limited;
  google::protobuf::Message& options = *limited.GetReflection()->MutableMessage(&limited, method);
  const uint32_t others = classes > 0 ? classes - 1 : 0;
  options.GetReflection()->SetUInt32(&options, targets,
                                     std::min(options.GetReflection()->GetUInt32(options, targets), others));
  return limited;
}

std::vector<v1::AutoAttackComponent> ComponentsOf(const v1::AutoAttack& attack) {
  if (!attack.components().empty()) {
    std::vector<v1::AutoAttackComponent> given;
    for (int i = 0; i < attack.components_size(); ++i) given.push_back(attack.components(i));
    return given;
  }
  switch (attack.version()) {
    case v1::AUTO_ATTACK_VERSION_PLUS:
      return {v1::AUTO_ATTACK_COMPONENT_APGD_CE, v1::AUTO_ATTACK_COMPONENT_APGD_DLR, v1::AUTO_ATTACK_COMPONENT_FAB,
              v1::AUTO_ATTACK_COMPONENT_SQUARE,  v1::AUTO_ATTACK_COMPONENT_APGD_T,   v1::AUTO_ATTACK_COMPONENT_FAB_T};
    case v1::AUTO_ATTACK_VERSION_RAND:
      return {v1::AUTO_ATTACK_COMPONENT_APGD_CE, v1::AUTO_ATTACK_COMPONENT_APGD_DLR};
    default:
      return {v1::AUTO_ATTACK_COMPONENT_APGD_CE, v1::AUTO_ATTACK_COMPONENT_APGD_T, v1::AUTO_ATTACK_COMPONENT_FAB_T,
              v1::AUTO_ATTACK_COMPONENT_SQUARE};
  }
}

std::vector<EnsembleMember> MembersOf(const v1::AutoAttack& attack, v1::Norm norm, uint32_t classes) {
  const bool plus = attack.version() == v1::AUTO_ATTACK_VERSION_PLUS;
  // In l1 the standard version has schedules of its own.
  const bool standard_l1 = norm == v1::NORM_L1 && attack.version() == v1::AUTO_ATTACK_VERSION_STANDARD;
  const auto apgd = [&](v1::AttackLoss loss, uint32_t targets, v1::Attack& member) {
    v1::ApgdAttack& options = *member.mutable_apgd();
    options.set_loss(loss);
    options.set_targets(targets);
    options.set_steps(100);
    options.set_restarts(targets == 0 && (plus || standard_l1) ? 5 : 1);
    options.set_rho(0.75);
    options.set_eot(attack.version() == v1::AUTO_ATTACK_VERSION_RAND ? 20 : 1);
    options.set_larger_radii_first(standard_l1);
  };
  const auto fab = [&](uint32_t targets, uint32_t restarts, v1::Attack& member) {
    v1::FabAttack& options = *member.mutable_fab();
    options.set_targets(targets);
    options.set_steps(100);
    options.set_restarts(restarts);
    options.set_alpha_max(0.1);
    options.set_eta(1.05);
    options.set_beta(0.9);
  };
  std::vector<EnsembleMember> members;
  for (const v1::AutoAttackComponent component : ComponentsOf(attack)) {
    EnsembleMember& member = members.emplace_back();
    member.name =
        absl::AsciiStrToLower(absl::StripPrefix(v1::AutoAttackComponent_Name(component), "AUTO_ATTACK_COMPONENT_"));
    member.attack.set_norm(norm);
    switch (component) {
      case v1::AUTO_ATTACK_COMPONENT_APGD_CE:
        apgd(v1::ATTACK_LOSS_CE, 0, member.attack);
        break;
      case v1::AUTO_ATTACK_COMPONENT_APGD_DLR:
        apgd(v1::ATTACK_LOSS_DLR, 0, member.attack);
        break;
      case v1::AUTO_ATTACK_COMPONENT_APGD_T:
        apgd(v1::ATTACK_LOSS_DLR, standard_l1 ? 5 : 9, member.attack);
        break;
      case v1::AUTO_ATTACK_COMPONENT_FAB:
        fab(0, plus ? 5 : 1, member.attack);
        break;
      case v1::AUTO_ATTACK_COMPONENT_FAB_T:
        fab(9, 1, member.attack);
        break;
      case v1::AUTO_ATTACK_COMPONENT_SQUARE:
        member.attack.mutable_square()->set_queries(5000);
        member.attack.mutable_square()->set_restarts(1);
        member.attack.mutable_square()->set_p_init(0.8);
        break;
      default:
        break;
    }
    member.attack = WithTargetsAmong(member.attack, classes);
  }
  return members;
}

}  // namespace tightrope
