#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/grpc_services.h"
#include "coordinator/reactors.h"
#include "core/artifact/digest.h"
#include "core/status_macros.h"
#include "tightrope/v1/coordinator.grpc.pb.h"

namespace tightrope {
namespace {

constexpr size_t kChunkBytes = 1 << 20;

// An upload: each chunk is read, then appended on the pool, then the next is read.
class PutReactor final : public grpc::ServerReadReactor<v1::PutRequest> {
 public:
  PutReactor(const BlobStore* blobs, BlockingPool* pool) : blobs_(blobs), pool_(pool) { StartRead(&request_); }

  void OnReadDone(bool ok) override {
    pool_->Schedule([this, ok] {
      const absl::Status status = ok ? Append() : Commit();
      if (ok && status.ok()) return StartRead(&request_);
      Finish(ToGrpc(status));
    });
  }
  void OnDone() override { delete this; }

 private:
  absl::Status Append() {
    if (request_.data().size() > kChunkBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("a chunk is too large: at most ", kChunkBytes, " bytes, got ", request_.data().size()));
    }
    if (!started_) {
      started_ = true;
      if (!IsSha256(request_.sha256())) {
        return absl::InvalidArgumentError(
            "the first message of a Put must name the SHA-256 digest, 64 lower-case hex digits");
      }
      ABSL_ASSIGN_OR_RETURN(writer_, blobs_->StartPut(request_.sha256(), request_.size()));
    }
    return writer_->Append(request_.data());
  }

  absl::Status Commit() {
    if (writer_ == nullptr) return absl::InvalidArgumentError("a Put without a message");
    return std::exchange(writer_, nullptr)->Commit();
  }

  const BlobStore* const blobs_;
  BlockingPool* const pool_;
  v1::PutRequest request_;
  bool started_ = false;
  std::unique_ptr<BlobStore::Writer> writer_;
};

// The chunks of one file, from an offset.
class ChunkReader {
 public:
  ChunkReader(const BlobStore* blobs, const v1::GetRequest& request)
      : blobs_(blobs), sha256_(request.sha256()), offset_(request.offset()) {}

  absl::StatusOr<std::optional<v1::GetResponse>> Next() {
    v1::GetResponse response;
    if (!opened_) {
      ABSL_RETURN_IF_ERROR(Open());
      response.set_size(size_);
    } else if (offset_ == size_) {
      return std::nullopt;
    }
    opened_ = true;
    std::string& data = *response.mutable_data();
    data.resize(std::min<uint64_t>(kChunkBytes, size_ - offset_));
    file_.read(data.data(), static_cast<std::streamsize>(data.size()));
    if (file_.gcount() != static_cast<std::streamsize>(data.size())) {
      return absl::UnavailableError(absl::StrCat("an artifact could not be read: ", sha256_));
    }
    offset_ += data.size();
    return response;
  }

 private:
  absl::Status Open() {
    ABSL_ASSIGN_OR_RETURN(const std::string path, blobs_->Path(sha256_));
    file_.open(path, std::ios::binary | std::ios::ate);
    if (!file_) return absl::UnavailableError(absl::StrCat("an artifact could not be opened: ", sha256_));
    size_ = static_cast<uint64_t>(file_.tellg());
    if (offset_ > size_) {
      return absl::InvalidArgumentError(absl::StrCat("the offset lies behind the end: ", offset_, " of ", size_));
    }
    file_.seekg(static_cast<std::streamoff>(offset_));
    return absl::OkStatus();
  }

  const BlobStore* const blobs_;
  const std::string sha256_;
  uint64_t offset_;
  uint64_t size_ = 0;
  bool opened_ = false;
  std::ifstream file_;
};

class ArtifactRpc final : public v1::Artifacts::CallbackService {
 public:
  ArtifactRpc(const BlobStore* blobs, BlockingPool* pool) : blobs_(blobs), pool_(pool) {}

  grpc::ServerUnaryReactor* FindMissing(grpc::CallbackServerContext* context, const v1::FindMissingRequest* request,
                                        v1::FindMissingResponse* response) override {
    return AnswerOnPool<v1::FindMissingResponse>(
        context, pool_, response, [this, request]() -> absl::StatusOr<v1::FindMissingResponse> {
          v1::FindMissingResponse missing;
          for (const std::string& sha256 : request->sha256()) {
            if (!IsSha256(sha256)) return absl::InvalidArgumentError("not a SHA-256 digest, 64 lower-case hex digits");
            const absl::Status there = blobs_->EnsureDurable(sha256);
            if (!there.ok() && !absl::IsNotFound(there)) return there;
            if (!there.ok()) missing.add_sha256(sha256);
          }
          return missing;
        });
  }

  grpc::ServerReadReactor<v1::PutRequest>* Put(grpc::CallbackServerContext*, v1::PutResponse*) override {
    return new PutReactor(blobs_, pool_);
  }

  grpc::ServerWriteReactor<v1::GetResponse>* Get(grpc::CallbackServerContext*, const v1::GetRequest* request) override {
    auto reader = std::make_shared<ChunkReader>(blobs_, *request);
    return new StreamReactor<v1::GetResponse>(pool_, [reader] { return reader->Next(); });
  }

 private:
  const BlobStore* const blobs_;
  BlockingPool* const pool_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeArtifactsRpc(const BlobStore* blobs, BlockingPool* pool) {
  return std::make_unique<ArtifactRpc>(blobs, pool);
}

}  // namespace tightrope
