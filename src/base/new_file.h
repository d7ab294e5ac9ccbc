// SPDX-License-Identifier: Apache-2.0
// A file that appears whole: made beside its place and moved there when it is written, so that a reader, or whoever
// looks after an interruption, sees the old one or the new one. Until then it has no name where the file system can do
// that, else a name of its own ("x.json.123.part"). Gone with the object where it was not written.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace unimax {

class NewFile {
 public:
  // `what` names it in errors: "report". `mode`: who may read it, less what the umask takes.
  explicit NewFile(std::string what, unsigned mode = 0644) : what_(std::move(what)), mode_(mode) {}
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile();
  // Early, before the work whose result it takes: where no file can be made this says so. Errors: kIo.
  Status Create(const std::string& path);
  // All of it, to the disk, then into its place. Once. Errors: kIo; the old file then stays.
  Status Write(std::string_view text);
  // The same in parts: any number of Append, then Finish, which is what moves it into its place.
  Status Append(std::string_view part);
  Status Finish();
  const std::string& path() const { return path_; }

 private:
  Status Failed(const char* doing) const;
  std::string what_, path_, part_;
  unsigned mode_;
  int file_ = -1;
  bool named_ = false;  // part_ is there
};

}  // namespace unimax
