// SPDX-License-Identifier: Apache-2.0
#include "cli/line_editor.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

#include <algorithm>
#include <cerrno>

#include "base/flags.h"
#include "text/utf8.h"

namespace unimax {
namespace {

constexpr int kEndOfInput = -1, kSignal = -2;
constexpr char kEscape = 27;
constexpr std::string_view kLineBreak = "\u21b5";  // stands for a line break within a line
constexpr std::string_view kPasteOn = "\x1b[?2004h", kPasteOff = "\x1b[?2004l", kPasteEnd = "\x1b[201~";

constexpr char Control(char letter) { return static_cast<char>(letter & 31); }

void Put(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;  // a terminal that is gone ends the next read, too
    text.remove_prefix(static_cast<size_t>(written));
  }
}

int TerminalWidth() {
  winsize size{};
  const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

// What one character looks like on the line, and how wide that is.
struct Shape {
  std::string text;
  int columns = 0;
};
Shape ShapeOf(char32_t code) {
  if (code == '\n') return {std::string(kLineBreak), 1};
  if (code < 32 || code == 127) return {"?", 1};
  Shape shape;
  utf8::Append(shape.text, code);
  shape.columns = std::max(utf8proc_charwidth(static_cast<utf8proc_int32_t>(code)), 0);
  return shape;
}

}  // namespace

RawMode::RawMode() {
  if (tcgetattr(STDIN_FILENO, &before_) != 0) return;
  termios raw = before_;
  raw.c_iflag &= ~static_cast<tcflag_t>(BRKINT | ICRNL | INPCK | ISTRIP | IXON);
  raw.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON | IEXTEN | ISIG);
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  set_ = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

RawMode::~RawMode() {
  if (set_) tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
}

LineEditor::LineEditor()
    : interactive_(isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0 && Environment("TERM") != "dumb") {}

LineEditor::Outcome LineEditor::Read(std::string_view prompt, std::string* line) {
  if (!interactive_) return ReadPlainly(line);
  const Outcome outcome = Edit(prompt);
  *line = buffer_;
  if (outcome == Outcome::kLine && !buffer_.empty() && (history_.empty() || history_.back() != buffer_)) {
    history_.push_back(buffer_);
  }
  return outcome;
}

int LineEditor::NextByte() {
  if (used_ == read_.size()) {
    read_.resize(4096);
    used_ = 0;
    const ssize_t got = ::read(STDIN_FILENO, read_.data(), read_.size());
    read_.resize(got > 0 ? static_cast<size_t>(got) : 0);
    if (got < 0 && errno == EINTR) return kSignal;
    ended_ = got <= 0;
    if (ended_) return kEndOfInput;
  }
  return static_cast<unsigned char>(read_[used_++]);
}

bool LineEditor::InterruptedWithin(int milliseconds) {
  pollfd input{STDIN_FILENO, POLLIN, 0};
  if (::poll(ended_ ? nullptr : &input, ended_ ? 0 : 1, milliseconds) <= 0) return false;
  const std::string before = read_.substr(used_);
  read_.clear();
  used_ = 0;
  const bool pressed = NextByte() >= 0 && read_.find(Control('C')) != std::string::npos;
  read_ = pressed ? "" : before + read_;  // what was typed before Ctrl-C is forgotten with it
  used_ = 0;
  return pressed;
}

LineEditor::Outcome LineEditor::ReadPlainly(std::string* line) {
  line->clear();
  for (;;) {
    const int byte = NextByte();
    if (byte == kSignal) return Outcome::kInterrupted;
    if (byte == kEndOfInput) return line->empty() ? Outcome::kEnd : Outcome::kLine;
    if (byte == '\n') break;
    line->push_back(static_cast<char>(byte));
  }
  if (!line->empty() && line->back() == '\r') line->pop_back();
  return Outcome::kLine;
}

LineEditor::Outcome LineEditor::Edit(std::string_view prompt) {
  const RawMode raw;
  buffer_.clear();
  cursor_ = 0;
  draft_.clear();
  recalled_ = history_.size();
  Put(kPasteOn);
  const auto leave = [&](Outcome outcome) {
    cursor_ = buffer_.size();
    Draw(prompt);
    Put(kPasteOff);
    Put("\n");  // output is not raw
    return outcome;
  };
  std::string character;  // of several bytes, not yet whole
  for (;;) {
    if (used_ == read_.size()) Draw(prompt);  // once for all that came together
    const int byte = NextByte();
    if (byte == kSignal) continue;
    if (byte == kEndOfInput) return leave(buffer_.empty() ? Outcome::kEnd : Outcome::kLine);
    const char c = static_cast<char>(byte);
    switch (c) {
      case '\r':
      case '\n':
        return leave(Outcome::kLine);
      case Control('C'):
        return leave(Outcome::kInterrupted);
      case Control('D'):
        if (buffer_.empty()) return leave(Outcome::kEnd);
        Erase(cursor_, Right(cursor_));
        break;
      case Control('H'):
      case 127:
        Erase(Left(cursor_), cursor_);
        break;
      case Control('A'):
        cursor_ = 0;
        break;
      case Control('E'):
        cursor_ = buffer_.size();
        break;
      case Control('B'):
        cursor_ = Left(cursor_);
        break;
      case Control('F'):
        cursor_ = Right(cursor_);
        break;
      case Control('P'):
        Recall(-1);
        break;
      case Control('N'):
        Recall(1);
        break;
      case Control('K'):
        buffer_.erase(cursor_);
        break;
      case Control('U'):
        Erase(0, cursor_);
        break;
      case Control('W'): {
        size_t from = cursor_;
        while (from > 0 && buffer_[from - 1] == ' ') --from;
        while (from > 0 && buffer_[from - 1] != ' ') --from;
        Erase(from, cursor_);
        break;
      }
      case Control('L'):
        Put("\x1b[H\x1b[2J");
        break;
      case kEscape:
        Escape();
        break;
      default:
        if (byte < 32) break;
        character.push_back(c);
        if (utf8::IncompleteTail(character) > 0) break;
        Insert(utf8::Sanitize(character));
        character.clear();
    }
  }
}

void LineEditor::Escape() {
  int byte = NextByte();
  if (byte == '\r' || byte == '\n') return Insert("\n");  // Alt-Enter
  if (byte != '[' && byte != 'O') return;
  std::string sequence;
  while (byte >= 0 && sequence.size() < 16) {
    byte = NextByte();
    sequence.push_back(static_cast<char>(byte));
    if (byte >= '@' && byte <= '~') break;
  }
  if (sequence == "A") return Recall(-1);
  if (sequence == "B") return Recall(1);
  if (sequence == "C") cursor_ = Right(cursor_);
  if (sequence == "D") cursor_ = Left(cursor_);
  if (sequence == "H" || sequence == "1~" || sequence == "7~") cursor_ = 0;
  if (sequence == "F" || sequence == "4~" || sequence == "8~") cursor_ = buffer_.size();
  if (sequence == "3~") Erase(cursor_, Right(cursor_));
  if (sequence == "200~") Paste();
}

// Pasted text up to its end mark: line breaks in it do not send the line.
void LineEditor::Paste() {
  std::string text;
  while (!text.ends_with(kPasteEnd)) {
    const int byte = NextByte();
    if (byte == kSignal) continue;
    if (byte == kEndOfInput) break;
    text.push_back(static_cast<char>(byte));
  }
  if (text.ends_with(kPasteEnd)) text.resize(text.size() - kPasteEnd.size());
  std::replace(text.begin(), text.end(), '\r', '\n');
  while (text.ends_with('\n')) text.pop_back();
  Insert(utf8::Sanitize(text));
}

void LineEditor::Insert(std::string_view text) {
  buffer_.insert(cursor_, text);
  cursor_ += text.size();
}

void LineEditor::Erase(size_t from, size_t to) {
  buffer_.erase(from, to - from);
  cursor_ = from;
}

void LineEditor::Recall(int step) {
  if (step < 0 ? recalled_ == 0 : recalled_ == history_.size()) return;
  if (recalled_ == history_.size()) draft_ = buffer_;
  recalled_ = step < 0 ? recalled_ - 1 : recalled_ + 1;
  buffer_ = recalled_ == history_.size() ? draft_ : history_[recalled_];
  cursor_ = buffer_.size();
}

size_t LineEditor::Left(size_t at) const {
  while (at > 0 && (static_cast<unsigned char>(buffer_[--at]) & 0xc0) == 0x80) {
  }
  return at;
}

size_t LineEditor::Right(size_t at) const {
  return at < buffer_.size() ? at + static_cast<size_t>(utf8::At(buffer_, at).length) : at;
}

// The line as far as it fits around the cursor, which keeps a few columns to its right.
void LineEditor::Draw(std::string_view prompt) const {
  const int room = std::max(TerminalWidth() - static_cast<int>(utf8::Length(prompt)) - 1, 8);
  std::vector<Shape> shapes;
  int before = 0;  // columns left of the cursor
  for (size_t at = 0; at < buffer_.size();) {
    const utf8::Char c = utf8::At(buffer_, at);
    shapes.push_back(ShapeOf(c.code));
    if (at < cursor_) before += shapes.back().columns;
    at += static_cast<size_t>(c.length);
  }
  size_t first = 0;
  for (; before > room - 4 && first < shapes.size(); ++first) before -= shapes[first].columns;
  std::string line = "\r\x1b[K";
  line += prompt;
  int columns = 0;
  for (size_t i = first; i < shapes.size() && columns + shapes[i].columns <= room; ++i) {
    line += shapes[i].text;
    columns += shapes[i].columns;
  }
  line += "\r\x1b[" + std::to_string(static_cast<int>(utf8::Length(prompt)) + before) + "C";
  Put(line);
}

}  // namespace unimax
