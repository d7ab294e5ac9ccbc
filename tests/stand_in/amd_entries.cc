// SPDX-License-Identifier: Apache-2.0
// The portable kernels as rows for the emulator, with the matrix instruction of another AMD GPU; compiled once each.
#include "kernels/gpu/entries.h"

#include "kernels/gpu/emulator_collect.h"
