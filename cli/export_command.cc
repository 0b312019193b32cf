// tightrope export: what lies behind the figures: records of examples, metrics of training, what distances say of the
// data, models, witnesses and invariance-based examples.
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/alignments_format.h"
#include "cli/artifact_names.h"
#include "cli/command.h"
#include "cli/examples_format.h"
#include "cli/exit_code.h"
#include "cli/interrupt.h"
#include "cli/number_format.h"
#include "cli/output_file.h"
#include "cli/record_writer.h"
#include "cli/session.h"
#include "core/artifact/digest.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

struct ExportOptions {
  std::string experiment;
  Target target;
  std::string what;
  std::string format = "csv";
  std::string output;  // empty: standard output; a directory of that name for artifacts
};

bool ToStandardOutput(const ExportOptions& options) {
  return options.what != "artifacts" && (options.output.empty() || options.output == "-");
}

RecordFormat FormatOf(const ExportOptions& options) {
  return options.format == "json" ? RecordFormat::kJson : RecordFormat::kCsv;
}

// A coordinator that goes away before its first message has not been noticed by anybody: that is UNAVAILABLE, and the
// export may be tried again. Later it is ABORTED where rows have gone to where they can't be taken back.
absl::Status AfterRows(const absl::Status& status, bool any_rows, const ExportOptions& options) {
  const bool gone = any_rows && (ToStandardOutput(options) || WritesThrough(options.output));
  if (!gone || !absl::IsUnavailable(status)) return status;
  return absl::AbortedError(absl::StrCat("the export is not complete: ", status.message()));
}

absl::Status ExportExamples(Client& client, const ExportOptions& options, std::ostream& out) {
  std::optional<RecordWriter> writer;
  std::optional<ExampleRows> rows;
  const auto start = [&] {
    writer.emplace(out, FormatOf(options), ExampleColumns());
    rows.emplace(*writer);
  };
  const absl::Status status = client.ExportExamples(options.experiment, [&](const v1::ExportedExamples& job) {
    if (!rows.has_value()) start();
    rows->Add(job);
    return CheckInterrupted();
  });
  if (!status.ok()) return AfterRows(status, rows.has_value(), options);
  if (!rows.has_value()) start();
  rows->Finish();
  writer->Finish();
  return absl::OkStatus();
}

absl::Status ExportMetrics(Client& client, const ExportOptions& options, std::ostream& out) {
  std::optional<RecordWriter> writer;
  const auto start = [&] {
    writer.emplace(out, FormatOf(options),
                   std::vector<std::string>{"experiment", "model", "training", "seed", "epoch", "loss", "accuracy",
                                            "learning_rate", "epsilon", "job_digest"});
  };
  const absl::Status status = client.ExportEpochs(options.experiment, [&](const v1::ExportEpochsResponse& response) {
    if (!writer.has_value()) start();
    const v1::Cell& cell = response.cell();
    for (const v1::EpochMetrics& epoch : response.epochs()) {
      writer->Write({response.experiment(), cell.model(), TextOrNull(cell.training()), cell.seed(), epoch.epoch(),
                     epoch.loss(), epoch.accuracy(), epoch.learning_rate(), epoch.epsilon(), cell.job_digest()});
    }
    return CheckInterrupted();
  });
  if (!status.ok()) return AfterRows(status, writer.has_value(), options);
  if (!writer.has_value()) start();
  writer->Finish();
  return absl::OkStatus();
}

absl::Status ExportAlignments(Client& client, const ExportOptions& options, std::ostream& out) {
  const AlignmentTable& table = *FindAlignmentTable(options.what);
  std::optional<RecordWriter> writer;
  const auto start = [&] { writer.emplace(out, FormatOf(options), table.columns); };
  const absl::Status status =
      client.ExportAlignments(options.experiment, [&](const v1::ExportAlignmentsResponse& response) {
        if (!writer.has_value()) start();
        table.write(response, *writer);
        return CheckInterrupted();
      });
  if (!status.ok()) return AfterRows(status, writer.has_value(), options);
  if (!writer.has_value()) start();
  writer->Finish();
  return absl::OkStatus();
}

// Of a job that attacks.
struct ThreatModels {
  std::string norm;
  std::set<double> radii;

  // "linf-0.1", "linf-0.02-to-0.2"
  std::string Text() const {
    if (norm.empty()) return "";
    return absl::StrCat(norm, "-", Shortest(*radii.begin()),
                        radii.size() > 1 ? absl::StrCat("-to-", Shortest(*radii.rbegin())) : "");
  }
};

absl::Status ExportArtifacts(Client& client, const ExportOptions& options) {
  namespace fs = std::filesystem;
  const fs::path directory = options.output.empty()
                                 ? (options.experiment.empty() ? "artifacts" : options.experiment + "-artifacts")
                                 : options.output;
  std::vector<v1::ExportArtifactsResponse> artifacts;
  ABSL_RETURN_IF_ERROR(client.ExportArtifacts(options.experiment, [&](const v1::ExportArtifactsResponse& artifact) {
    artifacts.push_back(artifact);
    return CheckInterrupted();
  }));

  // Which norm and radii an attack's job is for, as the results say it.
  ABSL_ASSIGN_OR_RETURN(const std::vector<v1::MetricRow> rows, client.Results(options.experiment));
  std::map<std::string, ThreatModels> attacked;
  for (const v1::MetricRow& row : rows) {
    if (row.job_digest().empty() || row.metric() != "robust_accuracy") continue;
    ThreatModels& threat_models = attacked[row.job_digest()];
    threat_models.norm = row.norm();
    threat_models.radii.insert(row.epsilon());
  }

  std::error_code error;
  fs::create_directories(directory, error);
  if (error) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot create the directory ", directory.string(), ": ", error.message()));
  }
  std::vector<std::vector<RecordValue>> index;
  std::map<std::string, std::string> files;  // name → digest
  uint64_t bytes = 0;
  for (const v1::ExportArtifactsResponse& artifact : artifacts) {
    ABSL_RETURN_IF_ERROR(CheckInterrupted());
    const v1::Cell& cell = artifact.cell();
    const std::string& sha256 = artifact.artifact().sha256();
    const ThreatModels threat_models = attacked[cell.job_digest()];
    const RecordValue epsilon = threat_models.norm.empty() ? RecordValue() : RecordValue(cell.epsilon());
    std::string file = ArtifactFileName(artifact, threat_models.Text(), options.experiment.empty());
    // Names that differ only in characters that file names do without.
    auto [same, is_new] = files.emplace(file, sha256);
    if (!is_new && same->second != sha256) {
      file = absl::StrCat(sha256.substr(0, 12), "-", fs::path(file).filename().string());
      is_new = files.emplace(file, sha256).second;
    }
    if (is_new) {  // else another radius of its job has brought it
      const fs::path path = directory / file;
      fs::create_directories(path.parent_path(), error);
      const absl::StatusOr<std::string> present = Sha256OfFile(path.string());
      if (!present.ok() || *present != sha256) {
        ABSL_RETURN_IF_ERROR(client.Download(sha256, path.string()));
      }
      bytes += artifact.artifact().size();
    }
    index.push_back({file, artifact.artifact().role(), artifact.experiment(), TextOrNull(cell.model()),
                     TextOrNull(cell.training()), cell.seed(), TextOrNull(cell.attack()),
                     TextOrNull(threat_models.norm), epsilon, artifact.shard(), sha256, artifact.artifact().size(),
                     TextOrNull(cell.job_digest()), TextOrNull(cell.invariance())});
  }

  const std::string index_path = (directory / (options.format == "json" ? "index.json" : "index.csv")).string();
  std::ofstream index_file(index_path, std::ios::trunc);
  RecordWriter writer(index_file, FormatOf(options),
                      {"file", "role", "experiment", "model", "training", "seed", "attack", "norm", "epsilon", "shard",
                       "sha256", "size", "job_digest", "set"});
  for (const std::vector<RecordValue>& record : index) writer.Write(record);
  writer.Finish();
  if (!index_file.flush()) return absl::FailedPreconditionError(absl::StrCat("cannot write the file ", index_path));
  std::cerr << files.size() << " files, " << Rounded(static_cast<double>(bytes)) << "B, in " << directory.string()
            << "; their digests are in " << index_path << "\n";
  return absl::OkStatus();
}

// To the file that was asked for (whole or not at all), or to standard output.
absl::Status ExportTable(Client& client, const ExportOptions& options) {
  const auto write = options.what == "examples"  ? ExportExamples
                     : options.what == "metrics" ? ExportMetrics
                                                 : ExportAlignments;
  if (ToStandardOutput(options)) return write(client, options, std::cout);
  return WriteOutput(options.output, [&](std::ostream& out) { return write(client, options, out); });
}

int Export(const ExportOptions& options) {
  return Report(WithSession(options.target, [&](Session& session) {
    return options.what == "artifacts" ? ExportArtifacts(session.client(), options)
                                       : ExportTable(session.client(), options);
  }));
}

}  // namespace

Action DefineExport(CLI::App& app) {
  const auto options = std::make_shared<ExportOptions>();
  app.add_option("EXPERIMENT", options->experiment, "Name of an experiment; all where it is left out");
  AddTargetOptions(app, options->target);
  app.add_option("--what", options->what,
                 "examples: a row per model, threat model or set, and example; metrics: a row per epoch of training; "
                 "anchors, pairs, triples: of `alignment`, a row per example, per pair of classes, and for the most "
                 "misaligned triples; artifacts: weights, witnesses and sets as files, with an index")
      ->check(CLI::IsMember({"examples", "metrics", "anchors", "pairs", "triples", "artifacts"}))
      ->required();
  app.add_option("--format", options->format, "csv or json")
      ->check(CLI::IsMember({"csv", "json"}))
      ->capture_default_str();
  app.add_option("-o,--output", options->output,
                 "File to write (default: standard output); for artifacts a directory (default: EXPERIMENT-artifacts)")
      ->type_name("PATH");
  return [options] { return Export(*options); };
}

}  // namespace tightrope
