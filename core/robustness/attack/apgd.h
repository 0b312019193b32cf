// AutoPGD's step size schedule, apart from the attack so that it can be tested.
#pragma once

#include <cstdint>
#include <vector>

namespace tightrope {

// The steps after which AutoPGD decides whether to halve its step size, 1 to `steps`: the first period is 22 % of all
// steps, each next one 3 % shorter than the one before, none shorter than 6 %. As the authors' code rounds (down, at
// least 1), which for few steps differs from the paper's ⌈p_j·N⌉ (Croce and Hein 2020, section 3.1).
std::vector<uint32_t> ApgdCheckpoints(uint32_t steps);

}  // namespace tightrope
