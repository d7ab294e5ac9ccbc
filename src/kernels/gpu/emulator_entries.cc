// SPDX-License-Identifier: Apache-2.0
// The portable kernels as rows for the emulator; compiled once a lane width.
#include "kernels/gpu/entries.h"
#include "kernels/gpu/stream_entries.h"

#include "kernels/gpu/emulator_collect.h"
