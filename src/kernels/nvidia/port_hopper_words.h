// SPDX-License-Identifier: Apache-2.0
// The words of kernels for Hopper that also run on the emulator with 32 lanes, where they are in
// port_hopper_emulator.h.
#pragma once

#include "kernels/gpu/port.h"

#if defined(UM_PORT_CUDA)
#include "kernels/nvidia/port_cluster.h"
#include "kernels/nvidia/port_stream.h"
#elif defined(UM_PORT_EMULATOR)
#include "kernels/nvidia/port_hopper_emulator.h"
#endif
