// The gRPC half of a worker: one channel, conversions, deadlines. No decisions and no retries here.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "worker/artifact_cache.h"
#include "worker/kernel_table.h"
#include "worker/lease_loop.h"

namespace tightrope {

// Thread-safe, but Sync has one call at a time. Connects when first used, and again by itself when the connection is
// lost.
class CoordinatorConnection {
 public:
  virtual ~CoordinatorConnection() = default;

  virtual SyncTransport& sync() = 0;
  virtual ArtifactTransfer& artifacts() = 0;
  virtual KernelExchange& kernels() = 0;
};

// `address` is host:port. Every address is accepted here; calls to one where nobody listens are UNAVAILABLE.
std::unique_ptr<CoordinatorConnection> ConnectToCoordinator(const std::string& address);

}  // namespace tightrope
