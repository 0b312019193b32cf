// A model and data of images of two pixels whose predictions can be read off.
#pragma once

#include <limits>

#include "core/dataset/dataset.h"
#include "core/robustness/attack/attack_test_support.h"
#include "core/robustness/model/classifier.h"
#include "core/robustness/torch.h"

namespace tightrope {

// Says 0, 1 or 2 by whether the first pixel is dark, grey or white; nothing finite where the second is white.
class BrightnessClassifier : public Made {
 public:
  BrightnessClassifier()
      : Made([](const torch::Tensor& inputs) {
          const torch::Tensor pixels = inputs.flatten(1);
          const torch::Tensor first = pixels.select(1, 0), second = pixels.select(1, 1);
          const torch::Tensor logits = torch::stack({0.4 - first, 0.2 - (first - 0.5).abs(), first - 0.6}, 1);
          return logits.masked_fill((second > 0.9).unsqueeze(1), std::numeric_limits<float>::quiet_NaN());
        }) {}
};

// One image of each class as the classifier sees it, and one that it says nothing of.
inline Dataset DarkGreyAndWhite() {
  Dataset data;
  data.count = 4;
  data.channels = data.height = 1;
  data.width = 2;
  data.pixels = {0, 0, 128, 0, 255, 0, 0, 255};
  data.labels = {0, 1, 2, 0};
  data.classes = 3;
  return data;
}

}  // namespace tightrope
