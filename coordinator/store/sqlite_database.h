// A thin layer over one SQLite connection: statements are prepared once, errors are absl::Status. Not thread-safe.
//
//   Query query = database.Prepare("SELECT name FROM experiments WHERE id > ?");
//   query.Bind(7);
//   while (true) {
//     ABSL_ASSIGN_OR_RETURN(const bool row, query.Next());
//     if (!row) break;
//     names.push_back(query.Text(0));
//   }
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct sqlite3;
struct sqlite3_stmt;

namespace tightrope {

// One use of a prepared statement, which is reset when this goes. At most one at a time of the same text.
class Query {
 public:
  Query(sqlite3* database, sqlite3_stmt* statement, absl::Status prepared);
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;
  ~Query();

  // The next parameter, from left to right. Text and blobs are copied. An error is reported by Run or Next.
  Query& Bind(int64_t value);
  Query& Bind(double value);
  Query& Bind(absl::string_view text);
  Query& BindBlob(absl::string_view bytes);
  Query& BindNull();

  // Runs to the end and resets, so that it can be bound and run again.
  absl::Status Run();
  // True while there is a row.
  absl::StatusOr<bool> Next();

  int64_t Int(int column) const;
  double Real(int column) const;
  std::string Text(int column) const;  // of blobs too
  bool IsNull(int column) const;

 private:
  void Note(int code);

  sqlite3* const database_;
  sqlite3_stmt* const statement_;
  absl::Status status_;
  int bound_ = 0;
};

class SqliteDatabase {
 public:
  // Opens, and creates unless `read_only`. Errors: UNAVAILABLE, PERMISSION_DENIED, DATA_LOSS (not a database).
  static absl::StatusOr<std::unique_ptr<SqliteDatabase>> Open(const std::string& path, bool read_only);
  ~SqliteDatabase();
  SqliteDatabase(const SqliteDatabase&) = delete;
  SqliteDatabase& operator=(const SqliteDatabase&) = delete;

  // Statements without parameters and results.
  absl::Status Execute(const std::string& statements);
  // `sql` is kept by address: REQUIRES a literal.
  Query Prepare(const char* sql);
  int64_t LastInsertId() const;
  int64_t Changes() const;  // rows that the last Run changed

 private:
  SqliteDatabase(sqlite3* database, std::string path) : database_(database), path_(std::move(path)) {}

  sqlite3* const database_;
  const std::string path_;
  absl::flat_hash_map<const char*, sqlite3_stmt*> statements_;
};

}  // namespace tightrope
