// SPDX-License-Identifier: Apache-2.0
// The words of linear_wflat and linear_chain: those of Hopper, or the same on the emulator.
#pragma once

#include "kernels/gpu/port.h"

#if defined(UM_PORT_CUDA)
#include "kernels/nvidia/port_cluster.h"
#elif defined(UM_PORT_EMULATOR)
#include "kernels/nvidia/port_panel_emulator.h"
#endif
