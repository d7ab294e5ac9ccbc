// SPDX-License-Identifier: Apache-2.0
// The contract of the port layer: every word a portable kernel body may use. Bodies include this file and name no
// vendor. Each target defines the words once: port_cuda.h, port_hip.h, port_emulator.h.
//
//   UM_DEVICE                       marks a function that runs on the device (inlined)
//   UM_PORT_NAMESPACE               bodies stand in `namespace unimax::UM_PORT_NAMESPACE`, one a target in a binary
//   UM_ENTRY(name, Args, body, max_threads, min_blocks)
//                                   makes the kernel `name`, whose single argument is an Args passed by value, from
//                                   `body(const Args&)`; at most max_threads a block, at least min_blocks a
//                                   multiprocessor
//
// Where am I
//   kLanes                          threads that execute together: 32 or 64. A body never writes the number.
//   BlockX() BlockY() BlockZ() GridX() GridY() Thread() BlockThreads() Lane() Group() Groups()
//                                   Group() = Thread() / kLanes
// Together
//   Barrier()                       all threads of the block; orders shared memory and its view of global memory
//   GroupSync()                     the lanes of a group; orders shared memory among them
//   ShuffleXor(v, mask) Shuffle(v, lane)
//                                   for int and float, all lanes take part
//   GroupSum(v) GroupMax(v)         over all lanes; every lane gets the result; fixed order
//   WaitForPrevious()               programmatic dependent launch: what the launch before did is visible after it
//   LetNextStart()                  programmatic dependent launch: the next launch may begin
// Shared memory (dynamic, laid out by the body; offsets in bytes, multiples of 16)
//   Shared<T>(offset)               a view with Get(i), Set(i, v), Get16(i) -> Vec16, Set16(i, Vec16); i: element
//                                   index, 16-byte aligned. Every access to shared memory goes through it, so that the
//                                   emulator sees races. Add(i, v) -> T adds atomically in the block, for int and
//                                   uint64_t, and returns the old value; it orders nothing else.
// Global memory
//   Vec16                           16 bytes: As<T>(i) reads element i as type T, Put<T>(i, v) writes it
//   Load16(p) Load16Once(p) Store16(p, v)   p 16-byte aligned; Once: read once, do not keep in caches
//   CopyAsync16(Shared<T> to, i, from, take)
//                                   begins to copy 16 bytes to shared memory, zeros where not `take` (`from` is then
//                                   not read); CommitCopies() closes a batch; WaitCopies<n>() waits for this thread's
//                                   copies but its last n batches: a Barrier() or GroupSync() after it shows them
//   CopyChunks(Shared<T> to, int at, int chunks, source)
//                                   the block begins to copy 16-byte chunks to shared memory, one behind the other from
//                                   element `at` on; source(chunk) is where a chunk comes from, null for zeros.
//                                   CommitCopies and WaitCopies as above; past the registers where the target can
//   AtomicAdd(int* p, int v)        device scope, returns the old value; orders as release and acquire
// Types
//   BitCopy<To>(v)                  the same bits as another type of the same size
//   bf16 f16                        storage only; ToFloat(v), FromFloat<T>(f), rounding to nearest even
//   i8x2                            storage only: two neighbouring int8, the unit of int8 operands below
// Arithmetic (f32, no fast-math; Exp within 2 ulp, flushes to 0 below -87.3)
//   Exp2(x) = 2^x within 2 ulp of f32, 0 for -infinity
//   Fma(a, b, c) = a * b + c, rounded once; Rint(x) to the nearest even integer; Scale(x, n) = x * 2^n, n whole
//   ExpTimes(x, x_low, y, y_low) = exp(x + x_low) * (y + y_low) for x <= 0 and low parts that x and y have lost
//   Exact::Mul(a, b) Exact::Add(a, b)   double, each rounded by itself to nearest even: the same on every target
//   Exp(x) Rsqrt(x) Max(a, b) Min(a, b) IsFinite(x) Infinity()
// Matrix: y[16 rows, kTileCols] += w[16 rows, 32 k] * x[kTileCols, 32 k]^T in f32, T = bf16 or f16
//   kTileRows = 16, kTileK = 32, kTileCols (8 or 16), kTileBytes = 1024
//   kTilesAhead                     k-tiles that a group had best load at once: as many as its registers hold
//   FragA<T> LoadTile<T>(tile)      weights: a packed tile in global memory, 16-byte loads, each byte once a group;
//                                   v[i] are its kTileWords words of this lane, as they lie in the tile
//   FragB<T> LoadX<T>(x, stride, columns, k_left)
//                                   activations: x points at [0, k0] of rows with `stride` elements, 16-byte aligned;
//                                   columns beyond `columns` and elements beyond `k_left` (a multiple of 8) count as
//                                   zero and are not read
//   FragB<T> LoadXShared<T>(Shared<T> x, int base, int stride)   the same from shared memory, all kTileCols columns
//   FragC                           kFragC floats a lane: v[i] belongs to weight row CRow(i) and batch column CCol(i)
//   kRowsHeld, RowHeld(i)           a lane's results lie in kRowsHeld rows: v[i] in its row number RowHeld(i)
//   kRowPeers                       the lanes that hold the same rows are kRowPeers neighbours (a power of two)
//   FragA<T> LoadRows<T>(x, stride, rows, k_left)   weights' side from row-major global memory: 16 rows x 32 k; what
//                                   lies beyond `rows` and `k_left` (a multiple of 8) counts as zero and is not read
//   FragA<T> ToOperand<T>(const FragC (&c)[kTileK / kTileCols], Shared<T> x, int scratch)
//                                   results of 16 rows x 32 columns, rounded, as operand: the columns become k, in an
//                                   order that only LoadColumns knows; kOperandScratch bytes of shared memory at
//                                   element `scratch` belong to the group
//   FragB<T> LoadColumns<T>(Shared<T> x, int base, int stride)   [32 k][kTileCols] of shared memory, k in that order
//   Mma<T>(FragC& c, const FragA<T>& a, const FragB<T>& b)
//   Mma(FragI& c, const FragA<i8x2>& a, const FragB<i8x2>& b)   the same of int8 in i32, exact; FragI is FragC of int.
//                                   Operands are loaded by the words above with T = i8x2, whose k, strides and tiles
//                                   count pairs: a tile is 16 rows x 64 k of int8
//   PackedIndex(row, k)             element index inside a packed tile: the target's function of base/tile_order.h
#pragma once

#if defined(UM_PORT_CUDA)
#include "kernels/gpu/port_cuda.h"
#elif defined(UM_PORT_HIP)
#include "kernels/gpu/port_hip.h"
#elif defined(UM_PORT_EMULATOR)
#include "kernels/gpu/port_emulator.h"
#else
#error "define the port: UM_PORT_CUDA, UM_PORT_HIP or UM_PORT_EMULATOR"
#endif
