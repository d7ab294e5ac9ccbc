// SPDX-License-Identifier: Apache-2.0
// What config.json says about positions: which layers see a window, and how heads turn (`rope_theta` and
// `rope_scaling`, or `rope_parameters` since version 5).
#pragma once

#include "models/config_fields.h"
#include "models/config_json_rows.h"
#include "models/config_rows.h"

namespace unimax {

// Fills config->windows. Errors: kBadModel naming the key.
Status ReadJsonWindows(const Fields& fields, const ArchitectureRow& row, const JsonFamily& family, ModelConfig* config);

// Fills config->rope and window_rope. Errors: kBadModel naming the key.
Status ReadJsonRope(const Fields& fields, const JsonFamily& family, bool interleaved, ModelConfig* config);

}  // namespace unimax
