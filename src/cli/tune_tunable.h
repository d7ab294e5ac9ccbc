// SPDX-License-Identifier: Apache-2.0
// `unimax tune --import-tunableop` and `--export-tunableop`: solutions of vendors' products that PyTorch's TunableOp
// has found (kernels/tunable_op.h), kept beside the plan tables, one file an architecture, for the vendors' products as
// peers.
#pragma once

#include <span>
#include <string>

#include "base/status.h"
#include "kernels/table.h"
#include "kernels/tunable_op.h"

namespace unimax {

// Where they are kept: plans/tunableop.gfx942.csv in the model cache; "" where there is none, or no such architecture.
std::string TunablePath(std::string_view arch);

// Adds the file's solutions to those that are kept at `to` ("": TunablePath of the file's architecture). Errors: kIo,
// kBadModel.
Status ImportTunableOp(const std::string& from, const std::string& to);

// Writes to `to` what is kept for the architecture; with `cases` a line for each Linear among them, "Default" where no
// solution is known. Errors: kUsage where nothing is kept; kIo, kBadModel.
Status ExportTunableOp(const std::string& to, const std::string& arch, std::span<const Case> cases);

}  // namespace unimax
