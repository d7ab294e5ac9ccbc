// SPDX-License-Identifier: Apache-2.0
// The words that only the stream kernel uses, beside those of port.h: a ring of slots in shared memory that one thread
// fills by copies of whole blocks, and words through which blocks of a running grid talk to each other.
//
// Ring: `bars` is the offset of its barriers in shared memory, 16 bytes a slot; a parity is 0 for a slot's first use
//   RingInit(bars, slots, readers)          by one thread, before a Barrier(): every slot is free
//   RingWaitFree(bars, slot, parity)        the copying thread: all readers have let go of the use before
//   bool RingIsFree(bars, slot, parity, base)   whether RingWaitFree would return at once
//   RingFetchNear(from, bytes)              has `bytes`, a multiple of 16, brought to L2
//   RingExpect(bars, slot, bytes)           announces what the copies of this use bring together
//   RingCopy(bars, slot, to, from, bytes)   begins to copy `bytes` (a multiple of 16) to offset `to`; read once: the
//                                           caches need not keep them
//   RingWaitFull(bars, slot, parity)        a reader: the copies of this use are there
//   RingRelease(bars, slot)                 one lane of each group that reads, when all its lanes are done
//   RingNote(notes, slot, v)                the copying thread, before RingExpect: a number that goes with this use;
//                                           `notes` is the offset of an int a slot
//   RingNoted(notes, slot)                  a reader, after RingWaitFull
//   uint32_t RingBase()                     the last argument of the functions above, for a thread that has no time to
//                                           find out anew each time where shared memory begins
//   bool OneLane()                          true for one lane of a group; the compiler knows that it is one
//   FenceAsync()                            orders what this thread has stored there before later copies to it
//   HandOver(at, bytes)                     one lane: a wait or a release beside it orders this shared memory between
//                                           groups; only the emulator's race check wants to know
// Words: 8 bytes {payload, epoch}, read and written whole, in no order among each other
//   Word LoadWord(p); Words LoadWords(p)    one; two neighbours (p 16-byte aligned)
//   StoreWord(p, payload, epoch); StoreWords(p, payload0, payload1, epoch)
//   Pause()                                 between two looks at a word
//   Claim(unsigned* count)                  adds 1 and returns what was there, in no order with anything else
// Some of a block, and bits
//   UM_DEVICE_CALL                          marks a function that is called, not inlined: for what is rare or long, as
//                                           the kernel's code must stay in the caches of instructions
//   const S& SharedObject<S>(offset)        plain data in shared memory; the emulator's race check does not see it, so
//                                           the caller says which barrier orders it
//   SomeBarrier(threads)                    as Barrier(), for the first `threads` threads of the block
//   Load16Here(p)                           Load16 of what nobody writes, begun where it is written: no compiler puts
//   it
//                                           off to where it is needed
//   TakeRegisters<kStreamReaderRegisters>() GiveRegisters<kStreamFeederRegisters>()
//                                           by all groups that read, and all that feed, before anything else
//   Nanoseconds()                           of a clock that all blocks share
// Shared memory as operands
//   FragA<T> LoadTileShared<T>(Shared<T> x, int at)           a packed tile at element `at`
//   FragA<T> LoadRowsShared<T>(Shared<T> x, int at, int stride, int rows)   16 rows x 32 k; zero from `rows` on
//   FragB<T> XOperand<T>(Vec16)             what LoadX makes of 16 bytes; a lane's are those of column XColumn() from
//                                           element XStart() on
// Matrix, of 32 lanes (mma.m16n8k16 of PTX), for operands that no other word brings
//   Mma16<T>(FragC& c, Vec16 a, b0, b1)     c[16, 8] += a[16, 16 k] * b[8, 16 k]^T. A lane's k are 2 * (lane % 4)
//                                           and the next, and 8 behind them; of row lane / 4 they are words 0 and 2 of
//                                           `a`, of the row 8 below 1 and 3; of column lane / 4 of b they are b0 and b1
//   Pair<T>(low, high)                      two floats, rounded, in a word
//   Transposed(word)                        8 x 8 elements, of which a lane has two neighbours of row lane / 4
//   TwoWords{a, b}                          Low(), High(): the lower and the upper elements of both
//   QuickExp2(x)                            2^x within 2 ulp; 0 where the result is no normal number
#pragma once

#include "kernels/gpu/port.h"

#if defined(UM_PORT_CUDA)
#include "kernels/nvidia/port_stream.h"
#elif defined(UM_PORT_EMULATOR)
#include "kernels/gpu/port_stream_emulator.h"
#endif
