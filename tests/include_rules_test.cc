// Holds the sources to the two tables of docs/architecture.md, "Who may include whom".
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

namespace fs = std::filesystem;

const std::set<std::string> kFree = {"tests", "bench", "coordinator/testing"};

std::string ReadFile(const fs::path& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// First column → names in the second, of the table whose head row starts with `head`.
std::map<std::string, std::set<std::string>> ReadTable(const std::string& document, const std::string& head) {
  std::map<std::string, std::set<std::string>> table;
  std::istringstream lines(document);
  bool inside = false;
  const std::regex code("`([^`]+)`");
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("| " + head + " |", 0) == 0) {
      inside = true;
    } else if (inside && line.rfind("| `", 0) == 0) {
      std::vector<std::string> names;
      for (std::sregex_iterator it(line.begin(), line.end(), code), end; it != end; ++it) names.push_back((*it)[1]);
      table[names[0]] = {names.begin() + 1, names.end()};
    } else if (inside && line.rfind("|", 0) != 0) {
      break;
    }
  }
  return table;
}

struct Include {
  std::string file;       // from the repository root
  std::string directory;  // of that file
  std::string target;
};

std::vector<Include> AllIncludes() {
  std::vector<Include> includes;
  const fs::path root = TIGHTROPE_SOURCE_DIR;
  const std::regex include("^\\s*#include [<\"]([^>\"]+)[>\"]");
  for (const char* top : {"core", "coordinator", "worker", "cli", "tests", "bench"}) {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / top)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cc") continue;
      const fs::path file = fs::relative(entry.path(), root);
      std::istringstream lines(ReadFile(entry.path()));
      for (std::string line; std::getline(lines, line);) {
        std::smatch match;
        if (std::regex_search(line, match, include)) {
          includes.push_back({file.string(), file.parent_path().string(), match[1]});
        }
      }
    }
  }
  return includes;
}

bool IsFree(const Include& include) {
  return kFree.contains(include.directory) || include.file.ends_with("_test.cc") ||
         include.file.ends_with("_test_support.h");
}

class IncludeRulesTest : public ::testing::Test {
 protected:
  const std::string document_ = ReadFile(fs::path(TIGHTROPE_SOURCE_DIR) / "docs/architecture.md");
};

TEST_F(IncludeRulesTest, DirectoriesIncludeOnlyWhatTheArchitectureAllows) {
  const auto rules = ReadTable(document_, "directory | may include");
  ASSERT_GT(rules.size(), 10u) << "the table in docs/architecture.md was not found";
  const std::vector<Include> includes = AllIncludes();
  ASSERT_GT(includes.size(), 200u);
  for (const Include& include : includes) {
    if (IsFree(include)) continue;
    const auto rule = rules.find(include.directory);
    ASSERT_NE(rule, rules.end()) << include.directory << " has no row in docs/architecture.md";
    const std::string& target = include.target;
    std::string included;
    if (target.rfind("tightrope/v1/", 0) == 0) {
      included = target.ends_with(".grpc.pb.h") ? "services" : "protocol";
    } else {
      included = fs::path(target).parent_path().string();
      if (!rules.contains(included) && !kFree.contains(included)) continue;  // a library
    }
    EXPECT_TRUE(included == include.directory || rule->second.contains(included))
        << include.file << " includes " << target << ", but `" << include.directory << "` may not include `" << included
        << "`";
  }
}

TEST_F(IncludeRulesTest, LibrariesStayWhereTheyBelong) {
  const auto rules = ReadTable(document_, "library header | only in");
  ASSERT_GT(rules.size(), 4u) << "the table in docs/architecture.md was not found";
  for (const Include& include : AllIncludes()) {
    if (IsFree(include)) continue;
    for (const auto& [header, places] : rules) {
      if (include.target.rfind(header, 0) != 0) continue;
      EXPECT_TRUE(places.contains(include.directory)) << include.file << " includes " << include.target;
    }
  }
}

TEST_F(IncludeRulesTest, EveryHeaderBelongsToATarget) {
  const fs::path root = TIGHTROPE_SOURCE_DIR;
  for (const char* top : {"core", "coordinator", "worker", "cli"}) {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / top)) {
      if (entry.path().extension() != ".h") continue;
      std::string list;
      fs::path directory = entry.path().parent_path();
      std::string name = entry.path().filename().string();
      while (!fs::exists(directory / "CMakeLists.txt")) {
        name = (directory.filename() / name).string();
        directory = directory.parent_path();
      }
      EXPECT_THAT(ReadFile(directory / "CMakeLists.txt"), ::testing::HasSubstr(name)) << entry.path();
    }
  }
}

}  // namespace
}  // namespace tightrope
