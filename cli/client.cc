#include "cli/client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <fstream>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "coordinator/server.h"
#include "core/artifact/digest.h"
#include "core/status_macros.h"
#include "tightrope/v1/coordinator.grpc.pb.h"
#include "tightrope/v1/experiments.grpc.pb.h"

namespace tightrope {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 20;
// So that a request stays far below what a coordinator takes.
constexpr size_t kDigestsOfARequest = 100'000;
// Of calls that answer from memory or one query; streams have no deadline, the user has ^C.
constexpr std::chrono::seconds kCallDeadline{60};

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

absl::Status CheckAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon != std::string::npos && colon > 0 && absl::SimpleAtoi(address.substr(colon + 1), &port) && port > 0 &&
      port < 65536) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("not an address of the form HOST:PORT: ", address));
}

// Says who did not answer: gRPC's own words for it help nobody.
absl::Status Explain(const absl::Status& status, const std::string& address) {
  if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) return status;
  return absl::UnavailableError(
      absl::StrCat("the coordinator at ", address, " does not answer (", status.message(), ")"));
}

class GrpcStatusFeed : public StatusFeed {
 public:
  GrpcStatusFeed(std::string address, v1::Experiments::StubInterface& stub, const std::string& experiment,
                 absl::Duration interval)
      : address_(std::move(address)) {
    v1::WatchRequest request;
    request.set_experiment(experiment);
    request.set_interval_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(interval)));
    reader_ = stub.Watch(&context_, request);
    thread_ = std::thread([this] { ReadAll(); });
  }

  ~GrpcStatusFeed() override {
    context_.TryCancel();
    thread_.join();
  }

  absl::StatusOr<v1::StatusResponse> Next(absl::Duration limit) override {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, absl::ToChronoMilliseconds(limit),
                           [&] { return newest_.has_value() || end_.has_value(); })) {
      return absl::DeadlineExceededError("no news");
    }
    if (newest_.has_value()) {
      v1::StatusResponse status = std::move(*newest_);
      newest_.reset();
      return status;
    }
    return end_->ok() ? absl::OutOfRangeError("the experiment is finished") : *end_;
  }

 private:
  void ReadAll() {
    v1::StatusResponse status;
    while (reader_->Read(&status)) {
      const std::lock_guard lock(mutex_);
      newest_ = status;
      changed_.notify_all();
    }
    const absl::Status end = Explain(FromGrpc(reader_->Finish()), address_);
    const std::lock_guard lock(mutex_);
    end_ = end;
    changed_.notify_all();
  }

  const std::string address_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderInterface<v1::StatusResponse>> reader_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<v1::StatusResponse> newest_;  // guarded by mutex_
  std::optional<absl::Status> end_;           // guarded by mutex_
  std::thread thread_;
};

// Reads `reader` to its end, or to the first error of `each`.
template <typename Message, typename Each>
absl::Status ReadStream(grpc::ClientContext& context, grpc::ClientReaderInterface<Message>& reader, const Each& each) {
  Message message;
  absl::Status status;
  while (status.ok() && reader.Read(&message)) status = each(message);
  if (!status.ok()) context.TryCancel();
  const absl::Status end = FromGrpc(reader.Finish());
  return status.ok() ? end : status;
}

class GrpcClient : public Client {
 public:
  GrpcClient(std::string address, const std::shared_ptr<grpc::Channel>& channel)
      : address_(std::move(address)),
        experiments_(v1::Experiments::NewStub(channel)),
        artifacts_(v1::Artifacts::NewStub(channel)) {}

  absl::StatusOr<v1::SubmitResponse> Submit(const ExperimentFile& file,
                                            const std::function<void(uint64_t)>& uploading) override {
    ABSL_RETURN_IF_ERROR(UploadMissing(file.uploads, uploading));
    v1::SubmitRequest request;
    *request.mutable_experiment() = file.experiment;
    *request.mutable_inputs() = file.inputs;
    request.set_source(file.source);
    v1::SubmitResponse response;
    ABSL_RETURN_IF_ERROR(Call(&v1::Experiments::StubInterface::Submit, request, response));
    return response;
  }

  absl::StatusOr<v1::StatusResponse> Status(const std::string& experiment) override {
    v1::StatusRequest request;
    request.set_experiment(experiment);
    v1::StatusResponse response;
    ABSL_RETURN_IF_ERROR(Call(&v1::Experiments::StubInterface::Status, request, response));
    return response;
  }

  std::unique_ptr<StatusFeed> Watch(const std::string& experiment, absl::Duration interval) override {
    return std::make_unique<GrpcStatusFeed>(address_, *experiments_, experiment, interval);
  }

  absl::StatusOr<std::vector<v1::MetricRow>> Results(const std::string& experiment) override {
    v1::ResultsRequest request;
    request.set_experiment(experiment);
    v1::ResultsResponse response;
    ABSL_RETURN_IF_ERROR(Call(&v1::Experiments::StubInterface::Results, request, response));
    return std::vector<v1::MetricRow>(response.rows().begin(), response.rows().end());
  }

  absl::Status ExportExamples(const std::string& experiment,
                              const std::function<absl::Status(const v1::ExportedExamples&)>& each) override {
    grpc::ClientContext context;
    const auto reader = experiments_->ExportExamples(&context, ExportOf(experiment));
    return Explain(ReadStream(context, *reader, [&](const v1::ExportExamplesResponse& response) -> absl::Status {
      for (const v1::ExportedExamples& job : response.jobs()) ABSL_RETURN_IF_ERROR(each(job));
      return absl::OkStatus();
    }));
  }

  absl::Status ExportEpochs(const std::string& experiment,
                            const std::function<absl::Status(const v1::ExportEpochsResponse&)>& each) override {
    grpc::ClientContext context;
    const auto reader = experiments_->ExportEpochs(&context, ExportOf(experiment));
    return Explain(ReadStream(context, *reader, each));
  }

  absl::Status ExportArtifacts(const std::string& experiment,
                               const std::function<absl::Status(const v1::ExportArtifactsResponse&)>& each) override {
    grpc::ClientContext context;
    const auto reader = experiments_->ExportArtifacts(&context, ExportOf(experiment));
    return Explain(ReadStream(context, *reader, each));
  }

  absl::Status ExportAlignments(const std::string& experiment,
                                const std::function<absl::Status(const v1::ExportAlignmentsResponse&)>& each) override {
    grpc::ClientContext context;
    const auto reader = experiments_->ExportAlignments(&context, ExportOf(experiment));
    return Explain(ReadStream(context, *reader, each));
  }

  absl::StatusOr<std::vector<std::string>> FindCommitted(const std::vector<std::string>& job_digests) override {
    std::vector<std::string> committed;
    for (size_t begin = 0; begin < job_digests.size(); begin += kDigestsOfARequest) {
      const size_t end = std::min(begin + kDigestsOfARequest, job_digests.size());
      v1::FindCommittedRequest request;
      for (size_t i = begin; i < end; ++i) request.add_job_digests(job_digests[i]);
      v1::FindCommittedResponse response;
      ABSL_RETURN_IF_ERROR(Call(&v1::Experiments::StubInterface::FindCommitted, request, response));
      committed.insert(committed.end(), response.job_digests().begin(), response.job_digests().end());
    }
    return committed;
  }

  absl::Status Download(const std::string& sha256, const std::string& path) override {
    const std::string partial = path + ".partial";
    std::ofstream file(partial, std::ios::binary | std::ios::trunc);
    if (!file) return absl::PermissionDeniedError(absl::StrCat("cannot write the file ", partial));
    grpc::ClientContext context;
    v1::GetRequest request;
    request.set_sha256(sha256);
    const auto reader = artifacts_->Get(&context, request);
    Sha256Stream digest;
    absl::Status status = Explain(ReadStream(context, *reader, [&](const v1::GetResponse& response) {
      digest.Update(response.data());
      file.write(response.data().data(), static_cast<std::streamsize>(response.data().size()));
      return file ? absl::OkStatus()
                  : absl::ResourceExhaustedError(absl::StrCat("cannot write all of the file ", partial));
    }));
    file.close();
    if (status.ok() && !file) status = absl::ResourceExhaustedError(absl::StrCat("cannot write the file ", partial));
    if (status.ok() && digest.Finish() != sha256) {
      status = absl::DataLossError(absl::StrCat("what arrived is not the artifact that was asked for: ", sha256));
    }
    if (status.ok() && std::rename(partial.c_str(), path.c_str()) != 0) {
      status = absl::PermissionDeniedError(absl::StrCat("cannot write the file ", path));
    }
    if (!status.ok()) std::remove(partial.c_str());
    return status;
  }

 private:
  static v1::ExportRequest ExportOf(const std::string& experiment) {
    v1::ExportRequest request;
    request.set_experiment(experiment);
    return request;
  }

  absl::Status Explain(const absl::Status& status) const { return tightrope::Explain(status, address_); }

  template <typename Request, typename Response>
  absl::Status Call(grpc::Status (v1::Experiments::StubInterface::*method)(grpc::ClientContext*, const Request&,
                                                                           Response*),
                    const Request& request, Response& response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kCallDeadline);
    return Explain(FromGrpc((experiments_.get()->*method)(&context, request, &response)));
  }

  absl::Status UploadMissing(const std::vector<ExperimentFile::Upload>& uploads,
                             const std::function<void(uint64_t)>& uploading) {
    v1::FindMissingRequest request;
    for (const ExperimentFile::Upload& upload : uploads) request.add_sha256(upload.sha256);
    v1::FindMissingResponse response;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kCallDeadline);
    ABSL_RETURN_IF_ERROR(Explain(FromGrpc(artifacts_->FindMissing(&context, request, &response))));
    for (const std::string& sha256 : response.sha256()) {
      const auto upload = std::find_if(uploads.begin(), uploads.end(),
                                       [&](const ExperimentFile::Upload& other) { return other.sha256 == sha256; });
      if (upload == uploads.end()) continue;
      ABSL_RETURN_IF_ERROR(Upload(*upload, uploading));
    }
    return absl::OkStatus();
  }

  absl::Status Upload(const ExperimentFile::Upload& upload, const std::function<void(uint64_t)>& uploading) {
    std::ifstream file;
    uint64_t size = upload.bytes.size();
    if (!upload.path.empty()) {
      file.open(upload.path, std::ios::binary | std::ios::ate);
      if (!file) return absl::NotFoundError(absl::StrCat("cannot read the file ", upload.path));
      size = static_cast<uint64_t>(file.tellg());
      file.seekg(0);
    }
    uploading(size);

    grpc::ClientContext context;
    v1::PutResponse response;
    const auto writer = artifacts_->Put(&context, &response);
    v1::PutRequest chunk;
    chunk.set_sha256(upload.sha256);
    chunk.set_size(size);
    uint64_t sent = 0;
    do {
      const size_t length = static_cast<size_t>(std::min<uint64_t>(kChunkBytes, size - sent));
      if (upload.path.empty()) {
        chunk.set_data(upload.bytes.data() + sent, length);
      } else {
        chunk.mutable_data()->resize(length);
        file.read(chunk.mutable_data()->data(), static_cast<std::streamsize>(length));
        if (!file) {
          context.TryCancel();
          (void)writer->Finish();
          return absl::DataLossError(absl::StrCat("the file became shorter while it was read: ", upload.path));
        }
      }
      if (!writer->Write(chunk)) break;  // Finish says why
      sent += length;
      chunk.Clear();
    } while (sent < size);
    writer->WritesDone();
    return Annotate(Explain(FromGrpc(writer->Finish())),
                    absl::StrCat("uploading ", upload.path.empty() ? "a data set" : upload.path));
  }

  const std::string address_;
  std::unique_ptr<v1::Experiments::StubInterface> experiments_;
  std::unique_ptr<v1::Artifacts::StubInterface> artifacts_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const std::string& address, absl::Duration patience) {
  ABSL_RETURN_IF_ERROR(CheckAddress(address));
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxResponseBytes);
  // A proxy for the web must not come between us and a coordinator.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  std::shared_ptr<grpc::Channel> channel =
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(patience))) {
    return absl::UnavailableError(absl::StrCat("no coordinator answers at ", address));
  }
  return std::make_unique<GrpcClient>(address, std::move(channel));
}

}  // namespace tightrope
