#include "coordinator/store/sqlite_database.h"

#include <sqlite3.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace tightrope {
namespace {

absl::Status ErrorOf(sqlite3* database, int code) {
  const std::string text =
      absl::StrCat("SQLite: ", database != nullptr ? sqlite3_errmsg(database) : sqlite3_errstr(code));
  switch (code & 0xff) {
    case SQLITE_OK:
      return absl::OkStatus();
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(text);
    case SQLITE_FULL:
    case SQLITE_NOMEM:
      return absl::ResourceExhaustedError(text);
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
      return absl::PermissionDeniedError(text);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_PROTOCOL:
      return absl::UnavailableError(text);
    default:
      return absl::InternalError(text);
  }
}

}  // namespace

Query::Query(sqlite3* database, sqlite3_stmt* statement, absl::Status prepared)
    : database_(database), statement_(statement), status_(std::move(prepared)) {}

Query::~Query() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

void Query::Note(int code) {
  if (code != SQLITE_OK && status_.ok()) status_ = ErrorOf(database_, code);
}

Query& Query::Bind(int64_t value) {
  if (status_.ok()) Note(sqlite3_bind_int64(statement_, ++bound_, value));
  return *this;
}

Query& Query::Bind(double value) {
  if (status_.ok()) Note(sqlite3_bind_double(statement_, ++bound_, value));
  return *this;
}

Query& Query::Bind(absl::string_view text) {
  if (status_.ok()) {
    Note(sqlite3_bind_text64(statement_, ++bound_, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
  }
  return *this;
}

Query& Query::BindBlob(absl::string_view bytes) {
  // A null pointer would bind NULL, not an empty blob.
  const char* const data = bytes.empty() ? "" : bytes.data();
  if (status_.ok()) Note(sqlite3_bind_blob64(statement_, ++bound_, data, bytes.size(), SQLITE_TRANSIENT));
  return *this;
}

Query& Query::BindNull() {
  if (status_.ok()) Note(sqlite3_bind_null(statement_, ++bound_));
  return *this;
}

absl::Status Query::Run() {
  while (status_.ok()) {
    const int code = sqlite3_step(statement_);
    if (code == SQLITE_ROW) continue;
    if (code != SQLITE_DONE) Note(code);
    sqlite3_reset(statement_);
    bound_ = 0;
    break;
  }
  return status_;
}

absl::StatusOr<bool> Query::Next() {
  if (!status_.ok()) return status_;
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  Note(code);
  return status_;
}

int64_t Query::Int(int column) const { return sqlite3_column_int64(statement_, column); }
double Query::Real(int column) const { return sqlite3_column_double(statement_, column); }
bool Query::IsNull(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

std::string Query::Text(int column) const {
  const void* const data = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return data == nullptr ? std::string() : std::string(static_cast<const char*>(data), static_cast<size_t>(size));
}

absl::StatusOr<std::unique_ptr<SqliteDatabase>> SqliteDatabase::Open(const std::string& path, bool read_only) {
  sqlite3* raw = nullptr;
  const int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
                    (read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  const int code = sqlite3_open_v2(path.c_str(), &raw, flags, nullptr);
  std::unique_ptr<SqliteDatabase> database(new SqliteDatabase(raw, path));
  if (code != SQLITE_OK) {
    const absl::Status error = ErrorOf(raw, code);
    return absl::Status(error.code(), absl::StrCat("cannot open the store: ", error.message(), ": ", path));
  }
  sqlite3_busy_timeout(raw, 10'000);
  return database;
}

SqliteDatabase::~SqliteDatabase() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(database_);
}

absl::Status SqliteDatabase::Execute(const std::string& statements) {
  const absl::Status status =
      ErrorOf(database_, sqlite3_exec(database_, statements.c_str(), nullptr, nullptr, nullptr));
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(status.message(), ": ", path_));
}

Query SqliteDatabase::Prepare(const char* sql) {
  sqlite3_stmt*& statement = statements_[sql];
  absl::Status status;
  if (statement == nullptr) {
    status = ErrorOf(database_, sqlite3_prepare_v3(database_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr));
  }
  return Query(database_, statement, std::move(status));
}

int64_t SqliteDatabase::LastInsertId() const { return sqlite3_last_insert_rowid(database_); }
int64_t SqliteDatabase::Changes() const { return sqlite3_changes64(database_); }

}  // namespace tightrope
