// SPDX-License-Identifier: Apache-2.0
// The portable kernels as device code; the build defines the port (UM_PORT_CUDA or UM_PORT_HIP).
#include "kernels/gpu/entries.h"
