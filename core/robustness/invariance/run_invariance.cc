#include "core/robustness/invariance/run_invariance.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "core/random/random_stream.h"
#include "core/robustness/invariance/input_values.h"
#include "core/robustness/invariance/interpolate_attack.h"
#include "core/robustness/invariance/l0_attack.h"
#include "core/robustness/invariance/linf_attack.h"
#include "core/robustness/invariance/spline_transform.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// Of all transforms of a source, which are in memory at once.
constexpr double kMostPixelsOfTransforms = 1 << 28;

// About as many transforms of l0's search as take the time of a source's composites. For the progress only.
constexpr double kTransformsPerSource = 20;

// What was made of a source.
struct Made {
  std::vector<float> pixels;
  int32_t target = -1;
};

absl::StatusOr<TargetTable> TableOf(const google::protobuf::RepeatedPtrField<v1::TargetRow>& rows, uint32_t classes) {
  TargetTable table;
  const uint32_t most = std::min<uint32_t>(classes, std::numeric_limits<uint8_t>::max() + 1);
  for (const v1::TargetRow& row : rows) {
    if (row.label() >= most) {
      return absl::InvalidArgumentError(
          absl::StrCat("the table of target classes has a row for a class that does not exist; give classes below ",
                       most, ", not ", row.label()));
    }
    if (row.label() >= table.size()) table.resize(row.label() + 1);
    if (!table[row.label()].empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the table of target classes has two rows for a class; give one: ", row.label()));
    }
    for (const uint32_t target : row.targets()) {
      if (target >= most) {
        return absl::InvalidArgumentError(absl::StrCat("in the table of target classes, row ", row.label(),
                                                       ": the class ", target,
                                                       " does not exist; give other classes below ", most));
      }
      table[row.label()].push_back(static_cast<uint8_t>(target));
    }
  }
  ABSL_RETURN_IF_ERROR(CheckTargets(table, classes));
  return table;
}

// `Method`: LinfInvariance or InterpolatedInvariance.
template <typename Method>
absl::StatusOr<std::vector<RotationAndShift>> GridOf(const Method& method, size_t elements) {
  const GridOptions options = {.max_shift = method.max_shift(),
                               .shifts = method.shifts(),
                               .max_rotation = method.max_rotation(),
                               .rotations = method.rotations()};
  const auto in_range = [](double largest) { return largest >= 0 && largest <= 1e6; };
  if (!in_range(options.max_shift) || !in_range(options.max_rotation) || options.shifts == 0 ||
      options.rotations == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("the grid of transforms has ", options.shifts, " shifts of at most ", options.max_shift,
                     " pixels and ", options.rotations, " rotations of at most ", options.max_rotation,
                     " degrees; give at least one of each, and sizes from 0 to a million"));
  }
  const double points = double{1} * options.shifts * options.shifts * options.rotations;
  if (points * static_cast<double>(elements) > kMostPixelsOfTransforms) {
    return absl::InvalidArgumentError(
        absl::StrCat("the grid has ", points, " transforms of ", elements,
                     " pixels, more than fit into memory; give fewer shifts or rotations, for at most ",
                     static_cast<uint64_t>(kMostPixelsOfTransforms) / elements, " transforms"));
  }
  return MoveGrid(options);
}

class InvarianceRun {
 public:
  InvarianceRun(const v1::InvarianceJob& job, const std::string& job_digest, const InvarianceSources& sources,
                const InvarianceCandidates& candidates, const InvarianceCallback& progress)
      : job_(job), job_digest_(job_digest), sources_(sources), candidates_(candidates), progress_(progress) {}

  absl::StatusOr<MadeExamples> Run() {
    ABSL_RETURN_IF_ERROR(CheckSources(sources_));
    ABSL_RETURN_IF_ERROR(CheckCandidates());
    ABSL_RETURN_IF_ERROR(Make());
    return std::move(outcome_);
  }

 private:
  size_t count() const { return sources_.indices.size(); }
  const Dataset& data() const { return sources_.data; }
  size_t elements() const { return size_t{data().channels} * data().height * data().width; }
  uint8_t LabelOf(size_t row) const { return data().labels[sources_.indices[row]]; }
  uint8_t LabelOf(const AffineCandidate& candidate) const {
    return candidates_.images->labels[candidate.training_index];
  }
  absl::Span<const uint8_t> PixelsOf(size_t row) const {
    return absl::MakeConstSpan(data().pixels).subspan(sources_.indices[row] * elements(), elements());
  }

  absl::Status CheckCandidates() const {
    const Dataset& images = *candidates_.images;
    if (images.channels == data().channels && images.height == data().height && images.width == data().width) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(absl::StrCat("the sources are images of ", data().channels, "×", data().height,
                                                   "×", data().width, " and the candidates of ", images.channels, "×",
                                                   images.height, "×", images.width, "; give images of one shape"));
  }

  absl::Status Make() {
    const v1::InvarianceSet& set = job_.set();
    switch (set.method_case()) {
      case v1::InvarianceSet::kLinf:
        return MakeLinf(set.linf());
      case v1::InvarianceSet::kL0:
        return MakeL0(set.l0());
      case v1::InvarianceSet::kInterpolate:
        return MakeInterpolated(set.interpolate());
      case v1::InvarianceSet::kFile:
      case v1::InvarianceSet::METHOD_NOT_SET:
        break;
    }
    return absl::InvalidArgumentError(
        "no examples are made for this set; give a job one of the methods linf, l0 and interpolate");
  }

  absl::StatusOr<TargetTable> Targets() const {
    return TableOf(job_.targets(), std::max(data().classes, candidates_.images->classes));
  }

  absl::Status MakeLinf(const v1::LinfInvariance& method) {
    ABSL_ASSIGN_OR_RETURN(const std::vector<RotationAndShift> grid, GridOf(method, elements()));
    ABSL_ASSIGN_OR_RETURN(TargetTable targets, Targets());
    const LinfAttackOptions options = {.epsilon = method.epsilon(),
                                       .targets = std::move(targets),
                                       .published_form = method.form() == v1::INVARIANCE_FORM_PUBLISHED};
    return MakeEach(options.targets, [&](uint64_t source) -> absl::StatusOr<Made> {
      ABSL_ASSIGN_OR_RETURN(std::vector<LinfExample> made,
                            LinfAttack(candidates_.search, data(), source, source + 1, grid, options));
      if (options.published_form) {
        for (float& value : made.front().pixels) value /= 255.0f;
      }
      return Made{.pixels = std::move(made.front().pixels), .target = made.front().neighbour.label};
    });
  }

  absl::Status MakeInterpolated(const v1::InterpolatedInvariance& method) {
    InterpolateAttackOptions options = {.norm = method.norm(),
                                        .epsilon = method.epsilon(),
                                        .transformed = method.path() == v1::INTERPOLATION_PATH_TRANSFORMED,
                                        .targets = {}};
    std::vector<RotationAndShift> grid;
    if (options.transformed) {
      ABSL_ASSIGN_OR_RETURN(grid, GridOf(method, elements()));
    }
    ABSL_ASSIGN_OR_RETURN(options.targets, Targets());
    return MakeEach(options.targets, [&](uint64_t source) -> absl::StatusOr<Made> {
      ABSL_ASSIGN_OR_RETURN(std::vector<InterpolatedExample> made,
                            InterpolateAttack(candidates_.search, data(), source, source + 1, grid, options));
      return Made{.pixels = std::move(made.front().pixels), .target = made.front().neighbour.label};
    });
  }

  // `make` is called for the sources that there is a candidate for, by their index.
  template <typename MakeOne>
  absl::Status MakeEach(const TargetTable& targets, const MakeOne& make) {
    std::array<bool, 256> present = {};
    for (const uint8_t label : candidates_.images->labels) present[label] = true;
    for (size_t row = 0; row < count(); ++row) {
      Made made;
      for (size_t label = 0; label < present.size(); ++label) {
        if (!present[label] || !MayBecome(targets, LabelOf(row), static_cast<uint8_t>(label))) continue;
        ABSL_ASSIGN_OR_RETURN(made, make(sources_.indices[row]));
        break;
      }
      Add(row, std::move(made));
      ABSL_RETURN_IF_ERROR(Report(static_cast<double>(row + 1) / static_cast<double>(count()), row + 1));
    }
    return absl::OkStatus();
  }

  absl::Status MakeL0(const v1::L0Invariance& method) {
    if (!candidates_.bits) {
      return absl::InvalidArgumentError("l0 needs its candidates in black and white; prepare them as bits");
    }
    L0AttackOptions options;
    options.search.published_form = method.form() == v1::INVARIANCE_FORM_PUBLISHED;
    if (options.search.published_form) options.search.ranges = PublishedAffineRanges();
    options.transforms = method.transforms();
    options.most_groups = static_cast<int32_t>(std::min(method.groups(), uint32_t{1} << 16));
    ABSL_RETURN_IF_ERROR(CheckL0Options(options));

    const Dataset chosen = ChosenSources();
    const RandomStream stream(job_.seed(), job_digest_, "invariance");
    ABSL_ASSIGN_OR_RETURN(AffineSearch search,
                          AffineSearch::Create(*candidates_.bits, chosen, 0, chosen.count, options.search, stream));
    const double work = options.transforms + kTransformsPerSource * static_cast<double>(count());
    for (uint32_t tried = 0; tried < options.transforms;) {
      search.Run(++tried);
      ABSL_RETURN_IF_ERROR(Report(tried / work, 0));
    }
    const NearestNeighbourScore score(candidates_.search);
    for (size_t row = 0; row < count(); ++row) {
      const std::optional<AffineCandidate>& candidate = search.best()[row];
      absl::StatusOr<L0Example> example =
          L0ExampleFrom(PixelsOf(row), LabelOf(row), *candidates_.bits, candidate, options, score);
      ABSL_RETURN_IF_ERROR(example.status()) << "example " << sources_.indices[row];
      Made made;
      if (example->composites > 0 && LabelOf(row) != LabelOf(*candidate)) {
        made = {.pixels = std::move(example->pixels), .target = LabelOf(*candidate)};
      }
      Add(row, std::move(made));
      const double done = options.transforms + kTransformsPerSource * static_cast<double>(row + 1);
      ABSL_RETURN_IF_ERROR(Report(done / work, row + 1));
    }
    return absl::OkStatus();
  }

  // The shard's sources alone, one behind the other.
  Dataset ChosenSources() const {
    Dataset chosen;
    chosen.count = count();
    chosen.channels = data().channels;
    chosen.height = data().height;
    chosen.width = data().width;
    chosen.classes = data().classes;
    for (size_t row = 0; row < count(); ++row) {
      const absl::Span<const uint8_t> pixels = PixelsOf(row);
      chosen.pixels.insert(chosen.pixels.end(), pixels.begin(), pixels.end());
      chosen.labels.push_back(LabelOf(row));
    }
    return chosen;
  }

  // Without pixels: nothing was made of the source, and it is the example.
  void Add(size_t row, Made made) {
    const std::vector<float> source = InputValues(PixelsOf(row));
    if (made.pixels.empty()) made.pixels = source;
    v1::ExampleRecord& record = outcome_.records.emplace_back();
    record.set_index(sources_.begin + row);
    record.set_label(LabelOf(row));
    record.set_clean_prediction(-1);
    record.set_adversarial_prediction(-1);
    record.set_witness_row(-1);
    record.set_source(sources_.indices[row]);
    record.set_target(made.target);
    *record.mutable_nearest() = InputDistances(source, made.pixels);
    outcome_.examples.insert(outcome_.examples.end(), made.pixels.begin(), made.pixels.end());
  }

  absl::Status Report(double fraction, uint64_t done) const {
    if (progress_({.fraction = fraction, .examples_done = done})) return absl::OkStatus();
    return absl::CancelledError("stopped by its caller");
  }

  const v1::InvarianceJob& job_;
  const std::string& job_digest_;
  const InvarianceSources& sources_;
  const InvarianceCandidates& candidates_;
  const InvarianceCallback& progress_;
  MadeExamples outcome_;
};

}  // namespace

absl::StatusOr<MadeExamples> RunInvariance(const v1::InvarianceJob& job, const std::string& job_digest,
                                           const InvarianceSources& sources, const InvarianceCandidates& candidates,
                                           const InvarianceCallback& progress) {
  return InvarianceRun(job, job_digest, sources, candidates, progress).Run();
}

}  // namespace tightrope
