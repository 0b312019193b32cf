// The tables of a store. They may be read with any SQLite tool while a coordinator runs:
//
//   SELECT digest, count(*), avg(clean_prediction = label) FROM examples JOIN jobs ON jobs.id = examples.job GROUP BY
//   jobs.id
#include <string>

#include "absl/strings/str_cat.h"
#include "coordinator/store/sqlite_store.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

constexpr int kSchemaVersion = 4;
constexpr int kApplicationId = 0x54475250;  // "TGRP", what `file` shows

constexpr char kSchema[] = R"sql(
CREATE TABLE meta (
  key TEXT PRIMARY KEY,             -- 'generation': starts of coordinators so far
  value INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE experiments (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  submitted_order INTEGER NOT NULL UNIQUE,
  experiment BLOB NOT NULL,         -- tightrope.v1.Experiment
  inputs BLOB NOT NULL,             -- tightrope.v1.Inputs
  source TEXT NOT NULL,             -- the YAML file
  cells BLOB NOT NULL               -- tightrope.v1.Plan with its cells only
);

CREATE TABLE jobs (
  id INTEGER PRIMARY KEY,
  digest TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL,               -- train, evaluate, attack, alignment, invariance, evaluate_invariance
  job BLOB NOT NULL,                -- tightrope.v1.Job without its shards
  uncommitted INTEGER NOT NULL      -- shards; 0: the job is committed
);

CREATE TABLE experiment_jobs (
  experiment INTEGER NOT NULL REFERENCES experiments(id),
  position INTEGER NOT NULL,        -- in the plan
  job INTEGER NOT NULL REFERENCES jobs(id),
  cached_shards INTEGER NOT NULL,   -- committed when the experiment was submitted
  cached_examples INTEGER NOT NULL,
  PRIMARY KEY (experiment, position)
) WITHOUT ROWID;

CREATE TABLE shards (
  job INTEGER NOT NULL REFERENCES jobs(id),
  shard INTEGER NOT NULL,
  first_example INTEGER NOT NULL,
  end_example INTEGER NOT NULL,
  result_digest BLOB,               -- SHA-256 of the ShardResult; NULL: not committed
  epoch INTEGER,                    -- of the lease that committed
  worker TEXT,
  seconds REAL,
  nondeterministic INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (job, shard)
) WITHOUT ROWID;

CREATE TABLE examples (
  job INTEGER NOT NULL REFERENCES jobs(id),
  example_index INTEGER NOT NULL,   -- in the test split; of an invariance-based example: in its set
  label INTEGER NOT NULL,           -- of an invariance-based example: its source's, as clean_prediction
  clean_prediction INTEGER NOT NULL,
  verdict INTEGER NOT NULL,         -- 0 none, 1 robust, 2 broken, 3 undecided
  adversarial_prediction INTEGER NOT NULL,
  distance REAL NOT NULL,
  forward_passes INTEGER NOT NULL,
  backward_passes INTEGER NOT NULL,
  witness_row INTEGER NOT NULL,
  broken_at REAL,                   -- smallest radius of the job that breaks it; 0: wrong as it is; NULL: not broken,
                                    -- or broken at the one radius of a job from before schema 2
  first_success INTEGER NOT NULL DEFAULT 0,  -- forward passes up to the first witness
  broken_by TEXT NOT NULL DEFAULT '',        -- what found the witness
  nearest_linf REAL,                -- least distances at which the model was seen to be wrong; NULL: it never was;
                                    -- of an invariance-based example: its distances from its source
  nearest_l2 REAL,
  nearest_l1 REAL,
  nearest_l0 REAL,
  source INTEGER,                   -- these three of invariance-based examples only: index in the test split
  target INTEGER,                   -- where they are made: class that it was moved towards; -1: it is its source
  oracle_label INTEGER,             -- where a model is evaluated on them; -1: none of the classes, -3: undecided
  PRIMARY KEY (job, example_index)
) WITHOUT ROWID;

CREATE TABLE training_epochs (
  job INTEGER NOT NULL REFERENCES jobs(id),
  epoch INTEGER NOT NULL,
  loss REAL NOT NULL,
  accuracy REAL NOT NULL,
  learning_rate REAL NOT NULL,
  epsilon REAL NOT NULL,
  PRIMARY KEY (job, epoch)
) WITHOUT ROWID;

-- Of trainings that are not committed.
CREATE TABLE checkpoints (
  job INTEGER PRIMARY KEY REFERENCES jobs(id),
  sha256 TEXT NOT NULL,
  size INTEGER NOT NULL
);

CREATE TABLE artifacts (
  job INTEGER NOT NULL REFERENCES jobs(id),
  shard INTEGER NOT NULL,
  role TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  size INTEGER NOT NULL,
  PRIMARY KEY (job, shard, role, sha256)
) WITHOUT ROWID;

-- Attempts that did not commit. `counted`: how often it counts against the budget of its kind.
CREATE TABLE attempts (
  job INTEGER NOT NULL REFERENCES jobs(id),
  shard INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  kind TEXT NOT NULL,               -- failed, lost, nondeterministic
  result_digest BLOB NOT NULL,      -- of a nondeterministic one
  worker TEXT NOT NULL,
  code INTEGER NOT NULL,            -- absl::StatusCode
  message TEXT NOT NULL,
  permanent INTEGER NOT NULL,
  counted INTEGER NOT NULL,
  time_unix_us INTEGER NOT NULL,
  PRIMARY KEY (job, shard, epoch, kind, result_digest)
) WITHOUT ROWID;
)sql";

// Which kernel all workers compute a layer with.
constexpr char kKernels[] = R"sql(
CREATE TABLE kernels (
  device_kind TEXT NOT NULL,
  library_version TEXT NOT NULL,
  signature TEXT NOT NULL,          -- of a layer and what it is applied to
  kernel TEXT NOT NULL,
  PRIMARY KEY (device_kind, library_version, signature)
) WITHOUT ROWID;
)sql";

// What the searches on a shard saw of the model: tightrope.v1.AttackDiagnostics.
constexpr char kDiagnostics[] = R"sql(
CREATE TABLE diagnostics (
  job INTEGER NOT NULL REFERENCES jobs(id),
  shard INTEGER NOT NULL,
  gradients INTEGER NOT NULL,
  zero_gradients INTEGER NOT NULL,
  nonfinite_gradients INTEGER NOT NULL,
  probabilities INTEGER NOT NULL,
  same_outputs INTEGER NOT NULL,
  late_successes INTEGER NOT NULL,
  PRIMARY KEY (job, shard)
) WITHOUT ROWID;
)sql";

// What a distance says of the labels, of a shard of anchors.
constexpr char kAlignments[] = R"sql(
CREATE TABLE alignments (
  job INTEGER NOT NULL REFERENCES jobs(id),
  shard INTEGER NOT NULL,
  result BLOB NOT NULL,             -- tightrope.v1.AlignmentResult
  PRIMARY KEY (job, shard)
);
)sql";

// From version 1 on, without kernels. Columns stand in the order of kSchema.
constexpr char kToVersion2[] = R"sql(
ALTER TABLE examples ADD COLUMN broken_at REAL;
ALTER TABLE examples ADD COLUMN first_success INTEGER NOT NULL DEFAULT 0;
ALTER TABLE examples ADD COLUMN broken_by TEXT NOT NULL DEFAULT '';
ALTER TABLE examples ADD COLUMN nearest_linf REAL;
ALTER TABLE examples ADD COLUMN nearest_l2 REAL;
ALTER TABLE examples ADD COLUMN nearest_l1 REAL;
ALTER TABLE examples ADD COLUMN nearest_l0 REAL;
)sql";

// From versions 1 to 3 on, without alignments. As above.
constexpr char kToVersion4[] = R"sql(
ALTER TABLE examples ADD COLUMN source INTEGER;
ALTER TABLE examples ADD COLUMN target INTEGER;
ALTER TABLE examples ADD COLUMN oracle_label INTEGER;
)sql";

absl::StatusOr<int64_t> Number(SqliteDatabase& database, const char* sql) {
  Query query = database.Prepare(sql);
  ABSL_ASSIGN_OR_RETURN(const bool row, query.Next());
  return row ? query.Int(0) : 0;
}

}  // namespace

absl::Status CheckSqliteSchema(SqliteDatabase& database, const std::string& path) {
  // Reads the file for the first time; the error of one that is no database names it.
  ABSL_RETURN_IF_ERROR(database.Execute("SELECT count(*) FROM sqlite_schema")) << "cannot use the store";
  ABSL_ASSIGN_OR_RETURN(const int64_t version, Number(database, "PRAGMA user_version"));
  ABSL_ASSIGN_OR_RETURN(const int64_t application, Number(database, "PRAGMA application_id"));
  ABSL_ASSIGN_OR_RETURN(const int64_t tables, Number(database, "SELECT count(*) FROM sqlite_schema"));
  if ((version != 0 || tables > 0) && application != kApplicationId) {
    return absl::DataLossError(absl::StrCat("the file is a database, but not a Tightrope store: ", path));
  }
  if (version > kSchemaVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("the store was written by a newer Tightrope; use that version, or another --dir: ", path,
                     " has schema ", version, ", this version reads up to ", kSchemaVersion));
  }
  return absl::OkStatus();
}

absl::Status MigrateSqliteSchema(SqliteDatabase& database) {
  ABSL_RETURN_IF_ERROR(database.Execute("BEGIN IMMEDIATE"));
  const absl::Status migrated = [&]() -> absl::Status {
    ABSL_ASSIGN_OR_RETURN(const int64_t version, Number(database, "PRAGMA user_version"));
    if (version == kSchemaVersion) return absl::OkStatus();
    std::string steps;
    if (version == 0) absl::StrAppend(&steps, kSchema);
    if (version == 1) absl::StrAppend(&steps, kToVersion2);
    if (version < 2) absl::StrAppend(&steps, kKernels);
    if (version < 3) absl::StrAppend(&steps, kDiagnostics);
    if (version > 0) absl::StrAppend(&steps, kToVersion4);
    absl::StrAppend(&steps, kAlignments);
    return database.Execute(absl::StrCat(steps, "PRAGMA user_version = ", kSchemaVersion,
                                         "; PRAGMA application_id = ", kApplicationId, ";"));
  }();
  if (!migrated.ok()) {
    database.Execute("ROLLBACK").IgnoreError();
    return migrated;
  }
  return database.Execute("COMMIT");
}

}  // namespace tightrope
