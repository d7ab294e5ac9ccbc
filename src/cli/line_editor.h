// SPDX-License-Identifier: Apache-2.0
// Reads lines from a person: with editing and history on a terminal, plainly from anything else. Emacs keys; arrows
// walk the history; Alt-Enter and pasted text may put line breaks into a line.
#pragma once

#include <termios.h>

#include <string>
#include <string_view>
#include <vector>

namespace unimax {

// The terminal of stdin in raw mode while this lives: keys come one by one, unseen, and Ctrl-C is a key.
class RawMode {
 public:
  RawMode();
  ~RawMode();
  RawMode(const RawMode&) = delete;
  RawMode& operator=(const RawMode&) = delete;

 private:
  termios before_{};
  bool set_ = false;
};

class LineEditor {
 public:
  enum class Outcome {
    kLine,
    kInterrupted,  // Ctrl-C
    kEnd,          // the input has ended, or Ctrl-D on an empty line
  };

  LineEditor();
  // Reads one line, without its end. On a terminal `prompt` stands before it.
  Outcome Read(std::string_view prompt, std::string* line);
  // On a terminal in raw mode: whether Ctrl-C is pressed within this time. Other keys wait for the next Read.
  bool InterruptedWithin(int milliseconds);
  bool interactive() const { return interactive_; }

 private:
  Outcome Edit(std::string_view prompt);
  Outcome ReadPlainly(std::string* line);
  int NextByte();  // -1: end of input; -2: a signal came
  void Escape();   // the rest of an escape sequence
  void Paste();
  void Insert(std::string_view text);
  void Erase(size_t from, size_t to);
  void Recall(int step);  // through the history: -1 older, 1 newer
  size_t Left(size_t at) const;
  size_t Right(size_t at) const;
  void Draw(std::string_view prompt) const;

  bool interactive_;
  std::string buffer_;  // being edited, UTF-8
  size_t cursor_ = 0;   // byte of it, where a character begins
  std::vector<std::string> history_;
  size_t recalled_ = 0;  // index into it; its size: the new line
  std::string draft_;    // the new line, while another is shown
  std::string read_;     // bytes read and not yet used
  size_t used_ = 0;
  bool ended_ = false;
};

}  // namespace unimax
