// SPDX-License-Identifier: Apache-2.0
// CopyChunks (port.h) where a thread chooses its place in shared memory: each takes every so many-th chunk. Included by
// the ports that have no other way.
#pragma once

namespace unimax::UM_PORT_NAMESPACE {

template <class T, class Source>
UM_DEVICE void CopyChunks(Shared<T> to, int at, int chunks, Source source) {
  for (int chunk = Thread(); chunk < chunks; chunk += BlockThreads()) {
    const void* from = source(chunk);
    CopyAsync16(to, at + chunk * (16 / static_cast<int>(sizeof(T))), from, from != nullptr);
  }
}

}  // namespace unimax::UM_PORT_NAMESPACE
