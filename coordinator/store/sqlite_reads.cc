// What a SqliteStore answers.
#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/store/sqlite_store.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

absl::Status Damaged(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("the store is damaged: ", what));
}

absl::Status ToDigest(const std::string& bytes, ResultDigest& digest) {
  if (bytes.size() != digest.size()) return Damaged("a result digest has a wrong length");
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  return absl::OkStatus();
}

v1::EpochMetrics ToEpoch(const Query& query) {
  v1::EpochMetrics epoch;
  epoch.set_epoch(static_cast<uint32_t>(query.Int(0)));
  epoch.set_loss(query.Real(1));
  epoch.set_accuracy(query.Real(2));
  epoch.set_learning_rate(query.Real(3));
  epoch.set_epsilon(query.Real(4));
  return epoch;
}

v1::Artifact ToArtifact(std::string role, std::string sha256, int64_t size) {
  v1::Artifact artifact;
  artifact.set_role(std::move(role));
  artifact.set_sha256(std::move(sha256));
  artifact.set_size(static_cast<uint64_t>(size));
  return artifact;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> SqliteStore::ExperimentNames() {
  const absl::MutexLock lock(&read_mutex_);
  Query query = reader_->Prepare("SELECT name FROM experiments ORDER BY submitted_order");
  std::vector<std::string> names;
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool row, query.Next());
    if (!row) return names;
    names.push_back(query.Text(0));
  }
}

absl::StatusOr<StoredExperiment> SqliteStore::ReadExperiment(const std::string& name) {
  const absl::MutexLock lock(&read_mutex_);
  // One snapshot for all that follows, also while a batch is being committed.
  ABSL_RETURN_IF_ERROR(reader_->Execute("BEGIN"));
  auto experiment = [&]() -> absl::StatusOr<StoredExperiment> {
    read_mutex_.AssertHeld();
    StoredExperiment stored;
    stored.name = name;
    int64_t id = 0;
    {
      Query query = reader_->Prepare("SELECT id, submitted_order, cells FROM experiments WHERE name = ?");
      ABSL_ASSIGN_OR_RETURN(const bool row, query.Bind(name).Next());
      if (!row) return absl::NotFoundError(absl::StrCat("no such experiment: ", name));
      id = query.Int(0);
      stored.order = static_cast<uint64_t>(query.Int(1));
      v1::Plan cells;
      if (!cells.ParseFromString(query.Text(2))) return Damaged("cells cannot be parsed");
      stored.cells.assign(cells.cells().begin(), cells.cells().end());
    }
    Query query = reader_->Prepare(
        "SELECT jobs.id, jobs.job, cached_shards, cached_examples, kind FROM experiment_jobs JOIN jobs "
        "ON jobs.id = experiment_jobs.job WHERE experiment = ? ORDER BY position");
    query.Bind(id);
    while (true) {
      ABSL_ASSIGN_OR_RETURN(const bool row, query.Next());
      if (!row) return stored;
      StoredJob& job = stored.jobs.emplace_back();
      if (!job.job.ParseFromString(query.Text(1))) return Damaged("a job cannot be parsed");
      job.cached_shards = static_cast<uint32_t>(query.Int(2));
      job.cached_examples = static_cast<uint64_t>(query.Int(3));
      ABSL_RETURN_IF_ERROR(ReadShards(query.Int(0), job));
      if (query.Text(4) == "train") {
        ABSL_RETURN_IF_ERROR(ReadTraining(query.Int(0), job));
        job.cached_examples = 0;
      } else if (job.job.spec().has_invariance()) {
        ABSL_RETURN_IF_ERROR(ReadSetExamples(query.Int(0), job));
      }
    }
  }();
  if (!experiment.ok()) {
    reader_->Execute("ROLLBACK").IgnoreError();  // the first error is the one that says why
    return experiment;
  }
  ABSL_RETURN_IF_ERROR(reader_->Execute("COMMIT"));
  return experiment;
}

absl::Status SqliteStore::ReadShards(int64_t job, StoredJob& stored) {
  Query query = reader_->Prepare(
      "SELECT shard, first_example, end_example, result_digest, epoch, nondeterministic FROM shards WHERE job = ? "
      "ORDER BY shard");
  query.Bind(job);
  std::map<uint32_t, size_t> restored_at;
  const auto restored = [&](uint32_t shard) -> RestoredShard& {
    const auto [it, inserted] = restored_at.emplace(shard, stored.restored.size());
    if (inserted) stored.restored.emplace_back().shard = shard;
    return stored.restored[it->second];
  };
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool row, query.Next());
    if (!row) break;
    if (query.Int(0) != stored.job.shards_size()) return Damaged("a job's shards have gaps");
    v1::Shard* const shard = stored.job.add_shards();
    shard->set_begin(static_cast<uint64_t>(query.Int(1)));
    shard->set_end(static_cast<uint64_t>(query.Int(2)));
    if (shard->end() <= shard->begin()) return Damaged("a shard is empty");
    const auto index = static_cast<uint32_t>(query.Int(0));
    if (!query.IsNull(3)) {
      RestoredShard& one = restored(index);
      ABSL_RETURN_IF_ERROR(ToDigest(query.Text(3), one.committed.emplace()));
      one.epoch = static_cast<uint64_t>(query.Int(4));
    }
    if (query.Int(5) != 0) restored(index).nondeterministic = true;
  }
  if (stored.job.shards().empty()) return Damaged("a job has no shards");

  Query attempts = reader_->Prepare(
      "SELECT shard, epoch, kind = 'lost', counted, permanent, message FROM attempts "
      "WHERE job = ? AND kind <> 'nondeterministic' ORDER BY shard, epoch");
  attempts.Bind(job);
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool row, attempts.Next());
    if (!row) return absl::OkStatus();
    RestoredShard& one = restored(static_cast<uint32_t>(attempts.Int(0)));
    const bool lost = attempts.Int(2) != 0;
    const int counted = static_cast<int>(attempts.Int(3));
    if (!lost && !one.committed.has_value()) {
      one.epoch = std::max(one.epoch, static_cast<uint64_t>(attempts.Int(1)));
    }
    if (counted == 0) continue;
    (lost ? one.losses : one.failures) += counted;
    one.permanent_failure = one.permanent_failure || attempts.Int(4) != 0;
    one.message = attempts.Text(5);
  }
}

absl::Status SqliteStore::ReadSetExamples(int64_t job, StoredJob& stored) {
  Query query = reader_->Prepare("SELECT shard, sha256, size FROM artifacts WHERE job = ? AND role = 'examples'");
  query.Bind(job);
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool row, query.Next());
    if (!row) return absl::OkStatus();
    stored.examples.emplace(static_cast<uint32_t>(query.Int(0)), ToArtifact("examples", query.Text(1), query.Int(2)));
  }
}

absl::Status SqliteStore::ReadTraining(int64_t job, StoredJob& stored) {
  {
    Query query = reader_->Prepare("SELECT sha256, size FROM artifacts WHERE job = ? AND role = 'weights'");
    ABSL_ASSIGN_OR_RETURN(const bool row, query.Bind(job).Next());
    if (row) stored.weights = ToArtifact("weights", query.Text(0), query.Int(1));
  }
  {
    Query query = reader_->Prepare("SELECT sha256, size FROM checkpoints WHERE job = ?");
    ABSL_ASSIGN_OR_RETURN(const bool row, query.Bind(job).Next());
    if (row) stored.checkpoint = ToArtifact("checkpoint", query.Text(0), query.Int(1));
  }
  ABSL_ASSIGN_OR_RETURN(stored.epochs, ReadEpochsOf(job));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<v1::EpochMetrics>> SqliteStore::ReadEpochsOf(int64_t job) {
  Query query = reader_->Prepare(
      "SELECT epoch, loss, accuracy, learning_rate, epsilon FROM training_epochs WHERE job = ? ORDER BY epoch");
  query.Bind(job);
  std::vector<v1::EpochMetrics> epochs;
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool row, query.Next());
    if (!row) return epochs;
    epochs.push_back(ToEpoch(query));
  }
}

absl::StatusOr<StoredPlan> SqliteStore::ReadPlan(const std::string& name) {
  const absl::MutexLock lock(&read_mutex_);
  Query query = reader_->Prepare(
      "SELECT cells, jobs.job, experiments.experiment FROM experiments LEFT JOIN experiment_jobs ON "
      "experiment_jobs.experiment = experiments.id "
      "LEFT JOIN jobs ON jobs.id = experiment_jobs.job WHERE name = ? ORDER BY position");
  query.Bind(name);
  StoredPlan stored;
  bool found = false;
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool row, query.Next());
    if (!row) break;
    if (!std::exchange(found, true) &&
        (!stored.plan.ParseFromString(query.Text(0)) || !stored.experiment.ParseFromString(query.Text(2)))) {
      return Damaged("an experiment cannot be parsed");
    }
    if (query.IsNull(1)) continue;
    if (!stored.plan.add_jobs()->ParseFromString(query.Text(1))) return Damaged("a job cannot be parsed");
  }
  if (!found) return absl::NotFoundError(absl::StrCat("no such experiment: ", name));
  return stored;
}

absl::StatusOr<std::vector<std::string>> SqliteStore::FindCommitted(const std::vector<std::string>& jobs) {
  const absl::MutexLock lock(&read_mutex_);
  std::vector<std::string> committed;
  for (const std::string& job : jobs) {
    ABSL_ASSIGN_OR_RETURN(const bool is_committed, IsCommitted(job));
    if (is_committed) committed.push_back(job);
  }
  return committed;
}

absl::StatusOr<bool> SqliteStore::IsCommitted(const std::string& job) {
  Query query = reader_->Prepare("SELECT 1 FROM jobs WHERE digest = ? AND uncommitted = 0");
  return query.Bind(job).Next();
}

absl::Status SqliteStore::CountForDiagnostics(const std::string& job, VerdictCounts& counts) {
  Query broken = reader_->Prepare(
      "SELECT broken_by, count(*) FROM examples WHERE job = (SELECT id FROM jobs WHERE digest = ?) AND broken_by <> '' "
      "GROUP BY broken_by");
  broken.Bind(job);
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool row, broken.Next());
    if (!row) break;
    counts.broken_by[broken.Text(0)] = static_cast<uint64_t>(broken.Int(1));
  }
  Query largest = reader_->Prepare(
      "SELECT ifnull(max(size), 0) FROM (SELECT count(*) AS size FROM examples "
      "WHERE job = (SELECT id FROM jobs WHERE digest = ?) GROUP BY label)");
  ABSL_ASSIGN_OR_RETURN(const bool any, largest.Bind(job).Next());
  if (any) counts.largest_class = static_cast<uint64_t>(largest.Int(0));
  Query seen = reader_->Prepare(
      "SELECT ifnull(sum(gradients), 0), ifnull(sum(zero_gradients), 0), ifnull(sum(nonfinite_gradients), 0), "
      "ifnull(sum(probabilities), 0), ifnull(sum(same_outputs), 0), ifnull(sum(late_successes), 0) "
      "FROM diagnostics WHERE job = (SELECT id FROM jobs WHERE digest = ?)");
  ABSL_ASSIGN_OR_RETURN(const bool row, seen.Bind(job).Next());
  if (!row) return absl::OkStatus();
  const auto count = [&](int column) { return static_cast<uint64_t>(seen.Int(column)); };
  counts.diagnostics.set_gradients(count(0));
  counts.diagnostics.set_zero_gradients(count(1));
  counts.diagnostics.set_nonfinite_gradients(count(2));
  counts.diagnostics.set_probabilities(count(3));
  counts.diagnostics.set_same_outputs(count(4));
  counts.diagnostics.set_late_successes(count(5));
  return absl::OkStatus();
}

absl::StatusOr<std::map<std::string, VerdictCounts>> SqliteStore::CountVerdicts(const std::vector<std::string>& jobs) {
  std::map<std::string, VerdictCounts> counts;
  for (const std::string& job : jobs) {
    // What a committed job has never changes, so other readers may come between two of them.
    const absl::MutexLock lock(&read_mutex_);
    // A group for each radius, and one for what is not broken.
    Query query = reader_->Prepare(
        "SELECT count(example_index), ifnull(sum(clean_prediction = label), 0), "
        "CASE verdict WHEN 2 THEN ifnull(broken_at, 0) END AS radius "
        "FROM jobs LEFT JOIN examples ON examples.job = jobs.id WHERE digest = ? AND uncommitted = 0 GROUP BY radius");
    query.Bind(job);
    while (true) {
      ABSL_ASSIGN_OR_RETURN(const bool row, query.Next());
      if (!row) break;
      VerdictCounts& sum = counts[job];
      sum.n += static_cast<uint64_t>(query.Int(0));
      sum.clean_correct += static_cast<uint64_t>(query.Int(1));
      if (!query.IsNull(2)) sum.broken_at[query.Real(2)] += static_cast<uint64_t>(query.Int(0));
    }
    const auto counted = counts.find(job);
    if (counted == counts.end()) continue;  // not committed
    ABSL_RETURN_IF_ERROR(CountForDiagnostics(job, counted->second));
  }
  return counts;
}

absl::StatusOr<std::optional<InvarianceRecords>> SqliteStore::ReadInvariance(const std::string& evaluation,
                                                                             const std::vector<std::string>& attacks) {
  const absl::MutexLock lock(&read_mutex_);
  ABSL_ASSIGN_OR_RETURN(const bool evaluated, IsCommitted(evaluation));
  if (!evaluated) return std::nullopt;
  InvarianceRecords records;
  ABSL_ASSIGN_OR_RETURN(records.examples, ReadExamplesOf(evaluation, 0, /*limit=*/-1));
  for (const std::string& attack : attacks) {
    ABSL_ASSIGN_OR_RETURN(const bool attacked, IsCommitted(attack));
    if (!attacked) continue;
    std::map<uint64_t, std::optional<double>>& sources = records.broken_at[attack];
    Query query = reader_->Prepare(
        "SELECT attacked.example_index, attacked.verdict = 2, ifnull(attacked.broken_at, 0) FROM examples AS made "
        "JOIN examples AS attacked ON attacked.job = (SELECT id FROM jobs WHERE digest = ?) AND "
        "attacked.example_index = made.source WHERE made.job = (SELECT id FROM jobs WHERE digest = ?)");
    query.Bind(attack).Bind(evaluation);
    while (true) {
      ABSL_ASSIGN_OR_RETURN(const bool row, query.Next());
      if (!row) break;
      std::optional<double>& broken_at = sources[static_cast<uint64_t>(query.Int(0))];
      if (query.Int(1) != 0) broken_at = query.Real(2);
    }
  }
  return records;
}

absl::StatusOr<std::vector<v1::AlignmentResult>> SqliteStore::ReadAlignment(const std::string& job) {
  const absl::MutexLock lock(&read_mutex_);
  Query query = reader_->Prepare(
      "SELECT result FROM alignments JOIN jobs ON jobs.id = alignments.job WHERE digest = ? AND uncommitted = 0 "
      "ORDER BY shard");
  query.Bind(job);
  std::vector<v1::AlignmentResult> shards;
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool row, query.Next());
    if (!row) return shards;
    if (!shards.emplace_back().ParseFromString(query.Text(0))) return Damaged("an alignment cannot be parsed");
  }
}

absl::StatusOr<std::vector<v1::ExampleRecord>> SqliteStore::ReadExamples(const std::string& job, uint64_t from,
                                                                         uint32_t limit) {
  const absl::MutexLock lock(&read_mutex_);
  return ReadExamplesOf(job, from, int64_t{limit});
}

absl::StatusOr<std::vector<v1::ExampleRecord>> SqliteStore::ReadExamplesOf(const std::string& job, uint64_t from,
                                                                           int64_t limit) {
  Query query = reader_->Prepare(
      "SELECT example_index, label, clean_prediction, verdict, adversarial_prediction, distance, forward_passes, "
      "backward_passes, witness_row, broken_at, first_success, broken_by, nearest_linf, nearest_l2, nearest_l1, "
      "nearest_l0, source, target, oracle_label FROM examples WHERE job = (SELECT id FROM jobs WHERE digest = ?) "
      "AND example_index >= ? ORDER BY example_index LIMIT ?");
  query.Bind(job).Bind(static_cast<int64_t>(from)).Bind(limit);
  std::vector<v1::ExampleRecord> records;
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool row, query.Next());
    if (!row) return records;
    v1::ExampleRecord& record = records.emplace_back();
    record.set_index(static_cast<uint64_t>(query.Int(0)));
    record.set_label(static_cast<int32_t>(query.Int(1)));
    record.set_clean_prediction(static_cast<int32_t>(query.Int(2)));
    record.set_verdict(static_cast<v1::Verdict>(query.Int(3)));
    record.set_adversarial_prediction(static_cast<int32_t>(query.Int(4)));
    record.set_distance(query.Real(5));
    record.set_forward_passes(static_cast<uint64_t>(query.Int(6)));
    record.set_backward_passes(static_cast<uint64_t>(query.Int(7)));
    record.set_witness_row(static_cast<int32_t>(query.Int(8)));
    if (!query.IsNull(9)) record.set_broken_at(query.Real(9));
    record.set_first_success(static_cast<uint64_t>(query.Int(10)));
    record.set_broken_by(query.Text(11));
    if (!query.IsNull(16)) record.set_source(static_cast<uint64_t>(query.Int(16)));
    if (!query.IsNull(17)) record.set_target(static_cast<int32_t>(query.Int(17)));
    if (!query.IsNull(18)) record.set_oracle_label(static_cast<int32_t>(query.Int(18)));
    if (query.IsNull(12)) continue;
    v1::ExampleRecord::Nearest& nearest = *record.mutable_nearest();
    nearest.set_linf(query.Real(12));
    nearest.set_l2(query.Real(13));
    nearest.set_l1(query.Real(14));
    nearest.set_l0(query.Real(15));
  }
}

absl::StatusOr<std::vector<v1::EpochMetrics>> SqliteStore::ReadEpochs(const std::string& job) {
  const absl::MutexLock lock(&read_mutex_);
  int64_t id = 0;
  {
    Query query = reader_->Prepare("SELECT id FROM jobs WHERE digest = ?");
    ABSL_ASSIGN_OR_RETURN(const bool row, query.Bind(job).Next());
    if (!row) return std::vector<v1::EpochMetrics>();
    id = query.Int(0);
  }
  return ReadEpochsOf(id);
}

absl::StatusOr<std::vector<std::pair<uint32_t, v1::Artifact>>> SqliteStore::ReadArtifacts(const std::string& job) {
  const absl::MutexLock lock(&read_mutex_);
  Query query = reader_->Prepare(
      "SELECT shard, role, sha256, size FROM artifacts WHERE job = (SELECT id FROM jobs WHERE digest = ?) "
      "ORDER BY shard, role, sha256");
  query.Bind(job);
  std::vector<std::pair<uint32_t, v1::Artifact>> artifacts;
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool row, query.Next());
    if (!row) return artifacts;
    artifacts.emplace_back(static_cast<uint32_t>(query.Int(0)), ToArtifact(query.Text(1), query.Text(2), query.Int(3)));
  }
}

}  // namespace tightrope
