// SPDX-License-Identifier: Apache-2.0
// The portable kernels as rows for the emulator; compiled once a lane width.
#include "kernels/gpu/entries.h"
#if UM_EMULATOR_LANES == 32  // what its attention multiplies lies as 32 lanes hold it
#include "kernels/gpu/stream_entries.h"
#endif

#include "kernels/gpu/emulator_collect.h"
