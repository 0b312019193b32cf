#include "core/robustness/model/weights.h"

#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

const char* DtypeName(torch::Dtype dtype) {
  switch (dtype) {
    case torch::kFloat32:
      return "F32";
    case torch::kFloat64:
      return "F64";
    case torch::kInt64:
      return "I64";
    case torch::kUInt8:
      return "U8";
    default:
      return nullptr;
  }
}

torch::OrderedDict<std::string, torch::Tensor> StateDict(const torch::nn::Module& module) {
  torch::OrderedDict<std::string, torch::Tensor> state = module.named_parameters();
  for (const auto& buffer : module.named_buffers()) state.insert(buffer.key(), buffer.value());
  return state;
}

}  // namespace

SafeTensor ToSafeTensor(const torch::Tensor& tensor) {
  const torch::Tensor source = tensor.detach().cpu().contiguous();
  const char* dtype = DtypeName(source.scalar_type());
  TORCH_CHECK(dtype != nullptr, "safetensors: no name for this type");
  return {.dtype = dtype,
          .shape = source.sizes().vec(),
          .data = std::string(static_cast<const char*>(source.data_ptr()), source.nbytes())};
}

absl::StatusOr<torch::Tensor> FromSafeTensor(const std::string& name, const SafeTensor& stored, torch::Dtype dtype,
                                             torch::IntArrayRef shape) {
  const char* wanted = DtypeName(dtype);
  if (wanted == nullptr || stored.dtype != wanted || torch::IntArrayRef(stored.shape) != shape) {
    return absl::InvalidArgumentError(absl::StrCat("tensor of another type or shape than the model needs: ", name,
                                                   " is ", stored.dtype, " [", absl::StrJoin(stored.shape, ", "),
                                                   "], not ", wanted == nullptr ? "unknown" : wanted, " [",
                                                   absl::StrJoin(shape, ", "), "]"));
  }
  torch::Tensor tensor = torch::empty(shape, dtype);
  if (stored.data.size() != tensor.nbytes()) {
    return absl::InvalidArgumentError(absl::StrCat("tensor whose data does not fit its shape: ", name, " has ",
                                                   stored.data.size(), " bytes, not ", tensor.nbytes()));
  }
  if (!stored.data.empty()) std::memcpy(tensor.data_ptr(), stored.data.data(), stored.data.size());
  return tensor;
}

SafeTensors SaveWeights(const torch::nn::Module& module) {
  SafeTensors saved;
  for (const auto& item : StateDict(module)) saved.tensors.emplace(item.key(), ToSafeTensor(item.value()));
  saved.metadata["format"] = "pt";  // what Python loaders look for
  return saved;
}

absl::Status LoadWeights(const SafeTensors& weights, torch::nn::Module& module) {
  torch::NoGradGuard no_grad;
  const auto state = StateDict(module);
  for (const auto& [name, stored] : weights.tensors) {
    if (!state.contains(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor that the model does not have (it has ", absl::StrJoin(state.keys(), ", "), "): ", name));
    }
  }
  for (const auto& item : state) {
    const auto stored = weights.tensors.find(item.key());
    if (stored == weights.tensors.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor of the model that is missing from the file: ", item.key()));
    }
    torch::Tensor target = item.value();
    ABSL_ASSIGN_OR_RETURN(const torch::Tensor values,
                          FromSafeTensor(item.key(), stored->second, target.scalar_type(), target.sizes()));
    target.copy_(values);
  }
  return absl::OkStatus();
}

}  // namespace tightrope
