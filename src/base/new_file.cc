// SPDX-License-Identifier: Apache-2.0
#include "base/new_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace unimax {

NewFile::~NewFile() {
  if (file_ >= 0) ::close(file_);
  if (named_) ::unlink(part_.c_str());
}

Status NewFile::Failed(const char* doing) const {
  return IoError("{}: cannot {} the {}: {}", path_, doing, what_, std::strerror(errno));
}

Status NewFile::Create(const std::string& path) {
  path_ = path;
  part_ = fmt::format("{}.{}.part", path, ::getpid());
  struct stat found {};
  if (::stat(path.c_str(), &found) == 0 && !S_ISREG(found.st_mode)) {  // a device would be replaced by a file
    return IoError("{}: cannot create the {}: {}", path, what_,
                   S_ISDIR(found.st_mode) ? "it is a folder" : "something stands there that is not a plain file");
  }
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  file_ = ::open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, mode_);
  if (file_ >= 0) return {};
  file_ = ::open(part_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode_);
  if (file_ < 0) return Failed("create");
  named_ = true;
  return {};
}

Status NewFile::Write(std::string_view text) {
  UM_RETURN_IF_ERROR(Append(text));
  return Finish();
}

Status NewFile::Append(std::string_view part) {
  while (!part.empty()) {
    const ssize_t wrote = ::write(file_, part.data(), part.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return Failed("write");
    part.remove_prefix(static_cast<size_t>(wrote));
  }
  return {};
}

Status NewFile::Finish() {
  if (::fsync(file_) != 0) return Failed("write");
  if (!named_) {
    ::unlink(part_.c_str());  // of a process that had this number and was killed
    const std::string open_file = fmt::format("/proc/self/fd/{}", file_);
    if (::linkat(AT_FDCWD, open_file.c_str(), AT_FDCWD, part_.c_str(), AT_SYMLINK_FOLLOW) != 0) return Failed("name");
    named_ = true;
  }
  if (std::rename(part_.c_str(), path_.c_str()) != 0) return Failed("rename");
  named_ = false;
  return {};
}

}  // namespace unimax
