// The three gRPC services: conversion only. Calls that wait are callback reactors, so that a held Sync costs no thread;
// what reads, writes or syncs files, the store's among them, runs on the pool. A Sync runs on gRPC's thread: it hands
// what is to be stored to the writer thread, and asks the file system only whether artifacts are there.
#pragma once

#include <memory>

#include "coordinator/blocking_pool.h"
#include "coordinator/service.h"
#include "coordinator/store/result_store.h"
#include "core/artifact/blob_store.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace tightrope {

// All arguments must outlive the gRPC server that the service is added to.
std::unique_ptr<grpc::Service> MakeCoordinatorRpc(CoordinatorService* service, ResultStore* store, BlockingPool* pool);
std::unique_ptr<grpc::Service> MakeArtifactsRpc(const BlobStore* blobs, BlockingPool* pool);
std::unique_ptr<grpc::Service> MakeExperimentsRpc(CoordinatorService* service, ResultStore* store, BlockingPool* pool);

}  // namespace tightrope
