// A thin C++ face of SQLite's C interface: a connection, statements, transactions. Every failure
// throws ftt::Error with the file's name.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <string>

#include "core/error.h"

namespace ftt {

class Sqlite {
 public:
  explicit Sqlite(std::string path) : path_(std::move(path)) {}
  ~Sqlite() { sqlite3_close(handle_); }
  Sqlite(const Sqlite&) = delete;
  Sqlite& operator=(const Sqlite&) = delete;

  // flags: SQLITE_OPEN_*. A lock of another process is waited for, a minute at most.
  void Open(int flags) {
    const int code = sqlite3_open_v2(path_.c_str(), &handle_, flags, nullptr);
    if (code != SQLITE_OK) Throw(code);
    sqlite3_busy_timeout(handle_, kBusyMilliseconds);
  }
  sqlite3* Handle() const { return handle_; }
  void Execute(const char* sql) const {
    const int code = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
    if (code != SQLITE_OK) Throw(code);
  }
  [[noreturn]] void Throw(int code) const {
    if (code == SQLITE_NOTADB || code == SQLITE_CORRUPT) {
      Fail("{}: damaged, or not a campaign of ftt-cuda ({}); it was left as it is", path_,
           sqlite3_errmsg(handle_));
    }
    if (code == SQLITE_BUSY) {
      Fail("{}: another process has kept the file locked for {} s; try again", path_,
           kBusyMilliseconds / 1000);
    }
    Fail("{}: {}", path_, handle_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(handle_));
  }

 private:
  static constexpr int kBusyMilliseconds = 60'000;

  std::string path_;
  sqlite3* handle_ = nullptr;
};

// A prepared statement with bound values.
class Query {
 public:
  template <typename... Values>
  Query(const Sqlite& db, const char* sql, const Values&... values) : db_(db) {
    const int code = sqlite3_prepare_v2(db.Handle(), sql, -1, &statement_, nullptr);
    if (code != SQLITE_OK) db.Throw(code);
    (Bind(values), ...);
  }
  ~Query() { sqlite3_finalize(statement_); }
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  // Goes to the next row; false where there is none.
  bool Next() {
    column_ = 0;
    const int code = sqlite3_step(statement_);
    if (code != SQLITE_ROW && code != SQLITE_DONE) db_.Throw(code);
    return code == SQLITE_ROW;
  }
  // Columns of the row, one after another.
  int64_t Int() { return sqlite3_column_int64(statement_, column_++); }
  double Real() { return sqlite3_column_double(statement_, column_++); }
  std::string Text() {
    const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column_++));
    return text == nullptr ? "" : text;
  }

 private:
  void Bind(const std::string& v) {
    sqlite3_bind_text(statement_, ++bound_, v.data(), static_cast<int>(v.size()), SQLITE_TRANSIENT);
  }
  void Bind(double v) { sqlite3_bind_double(statement_, ++bound_, v); }
  void Bind(int v) { sqlite3_bind_int64(statement_, ++bound_, v); }
  void Bind(int64_t v) { sqlite3_bind_int64(statement_, ++bound_, v); }
  void Bind(uint64_t v) { sqlite3_bind_int64(statement_, ++bound_, static_cast<int64_t>(v)); }

  const Sqlite& db_;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0, column_ = 0;
};

// Rolled back unless committed.
class Transaction {
 public:
  explicit Transaction(const Sqlite& db) : db_(db) { db.Execute("BEGIN IMMEDIATE"); }
  ~Transaction() {
    if (!done_) sqlite3_exec(db_.Handle(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void Commit() {
    db_.Execute("COMMIT");
    done_ = true;
  }

 private:
  const Sqlite& db_;
  bool done_ = false;
};

}  // namespace ftt
