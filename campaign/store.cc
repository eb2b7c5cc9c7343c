#include "campaign/store.h"

#include <fmt/format.h>

#include <filesystem>
#include <string>

#include "campaign/sqlite.h"
#include "core/error.h"

namespace ftt {
namespace {

constexpr int64_t kApplicationId = 0x46545443;  // "FTTC"
constexpr int64_t kFormat = 1;

constexpr char kSchema[] = R"sql(
CREATE TABLE campaign(name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE network(
  id INTEGER PRIMARY KEY,
  hash TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL UNIQUE,
  architecture TEXT NOT NULL,
  trained_with TEXT NOT NULL,
  multiply_adds INTEGER NOT NULL,
  parameters INTEGER NOT NULL,
  bits INTEGER NOT NULL,
  golden_correct INTEGER NOT NULL);
CREATE TABLE point(
  id INTEGER PRIMARY KEY,
  network INTEGER NOT NULL REFERENCES network(id),
  model TEXT NOT NULL,
  fault TEXT NOT NULL,
  rate REAL NOT NULL,
  scope TEXT NOT NULL,
  UNIQUE(network, fault, scope));
CREATE TABLE trial(
  point INTEGER NOT NULL REFERENCES point(id),
  trial INTEGER NOT NULL,
  correct INTEGER NOT NULL,
  sdc1 INTEGER NOT NULL,
  sdc5 INTEGER NOT NULL,
  masked INTEGER NOT NULL,
  due INTEGER NOT NULL,
  exposed INTEGER NOT NULL,
  delivered INTEGER NOT NULL,
  backend TEXT NOT NULL,
  version TEXT NOT NULL,
  seconds REAL NOT NULL,
  PRIMARY KEY(point, trial)) WITHOUT ROWID;
CREATE VIEW result AS
  SELECT n.name AS network, n.hash AS network_hash, p.model, p.fault, p.rate, p.scope, t.trial,
         (SELECT value FROM campaign WHERE name = 'seed') AS seed,
         t.delivered * 1.0 / max(t.exposed, 1) AS delivered_rate,
         t.correct * 1.0 / i.images AS accuracy, n.golden_correct * 1.0 / i.images AS golden_accuracy,
         t.sdc1 * 1.0 / i.images AS sdc1, t.sdc5 * 1.0 / i.images AS sdc5,
         t.masked * 1.0 / i.images AS masked, t.due * 1.0 / i.images AS due,
         t.delivered, t.exposed, t.backend, t.version, t.seconds
  FROM trial t JOIN point p ON p.id = t.point JOIN network n ON n.id = p.network,
       (SELECT CAST(value AS REAL) AS images FROM campaign WHERE name = 'images') i
  ORDER BY n.id, p.scope, p.model, p.rate, t.trial;
)sql";

int64_t Pragma(const Sqlite& db, const char* sql) {
  Query q(db, sql);
  return q.Next() ? q.Int() : 0;
}

void CreateSchema(const Sqlite& db) {
  Transaction transaction(db);
  if (Pragma(db, "PRAGMA application_id") == 0 &&
      Pragma(db, "SELECT count(*) FROM sqlite_master") == 0) {
    db.Execute(kSchema);
    db.Execute(
        fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {}", kApplicationId, kFormat)
            .c_str());
  }
  transaction.Commit();
}

}  // namespace

CampaignStore::CampaignStore(const std::string& path, Access access)
    : path_(path), db_(std::make_unique<Sqlite>(path)) {
  FTT_CHECK(!std::filesystem::is_directory(path), "{}: a folder, not the file of a campaign", path);
  FTT_CHECK(access == Access::kCreate || std::filesystem::exists(path),
            "{}: there is no such campaign", path);
  db_->Open(access == Access::kRead    ? SQLITE_OPEN_READONLY
            : access == Access::kWrite ? SQLITE_OPEN_READWRITE
                                       : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  if (access == Access::kCreate) CreateSchema(*db_);
  const int64_t application = Pragma(*db_, "PRAGMA application_id");
  FTT_CHECK(application == kApplicationId,
            "{}: a SQLite file, but not a campaign of ftt-cuda; it was left as it is", path);
  const int64_t format = Pragma(*db_, "PRAGMA user_version");
  FTT_CHECK(format == kFormat,
            "{}: written in format {} of campaigns, this program knows format {}; use the "
            "program that wrote it",
            path, format, kFormat);
  Query check(*db_, "PRAGMA quick_check(1)");
  const std::string verdict = check.Next() ? check.Text() : "";
  FTT_CHECK(verdict == "ok", "{}: damaged ({}); it was left as it is", path, verdict);
  FTT_CHECK(access == Access::kRead || sqlite3_db_readonly(db_->Handle(), "main") == 0,
            "{}: cannot be written to", path);
}

CampaignStore::~CampaignStore() = default;

void CampaignStore::SetNote(const std::string& name, const std::string& text) {
  Query(*db_, "INSERT OR REPLACE INTO campaign(name, value) VALUES(?, ?)", name, text).Next();
}

std::string CampaignStore::Note(const std::string& name) const {
  Query q(*db_, "SELECT value FROM campaign WHERE name = ?", name);
  return q.Next() ? q.Text() : "";
}

void CampaignStore::SetStoppedAt(int64_t point, int trials) {
  SetNote(fmt::format("stopped {}", point), std::to_string(trials));
}

int CampaignStore::StoppedAt(int64_t point) const {
  const std::string trials = Note(fmt::format("stopped {}", point));
  return trials.empty() ? 0 : std::stoi(trials);
}

std::optional<CampaignKey> CampaignStore::Key() const {
  const std::string images = Note("images");
  if (images.empty()) return std::nullopt;
  return CampaignKey{Note("data"), Note("data_digest"), std::stoll(images),
                     std::stoull(Note("seed"))};
}

void CampaignStore::SetKey(const CampaignKey& key) {
  Transaction transaction(*db_);
  const std::optional<CampaignKey> old = Key();
  if (!old) {
    SetNote("data", key.data);
    SetNote("data_digest", key.data_digest);
    SetNote("images", std::to_string(key.images));
    SetNote("seed", std::to_string(key.seed));
    transaction.Commit();
    return;
  }
  const auto same = [&](const char* what, const auto& have, const auto& want) {
    FTT_CHECK(have == want,
              "{}: this campaign was begun with {} {}, the command line asks for {}; use another "
              "--out",
              path_, what, have, want);
  };
  same("data set", old->data, key.data);
  same("images", old->images, key.images);
  same("seed", old->seed, key.seed);
  same("test images of digest", old->data_digest, key.data_digest);
}

int64_t CampaignStore::AddNetwork(const NetworkRow& n) {
  Transaction transaction(*db_);
  Query old(*db_, "SELECT id, golden_correct FROM network WHERE hash = ?", n.hash);
  if (old.Next()) {
    const int64_t id = old.Int(), correct = old.Int();
    FTT_CHECK(correct == n.golden_correct,
              "{}: network {} has {} correct images without faults there and {} here; one of the "
              "two results is wrong",
              path_, n.name, correct, n.golden_correct);
    return id;
  }
  Query name(*db_, "SELECT 1 FROM network WHERE name = ?", n.name);
  FTT_CHECK(!name.Next(),
            "{}: another network has the name '{}' in this campaign; give this one its own with "
            "NAME=CHECKPOINT, or use another --out",
            path_, n.name);
  Query(*db_,
        "INSERT INTO network(hash, name, architecture, trained_with, multiply_adds, "
        "parameters, bits, golden_correct) VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
        n.hash, n.name, n.architecture, n.trained_with, n.multiply_adds, n.parameters, n.bits,
        n.golden_correct)
      .Next();
  const int64_t id = sqlite3_last_insert_rowid(db_->Handle());
  transaction.Commit();
  return id;
}

int64_t CampaignStore::AddPoint(const PointRow& p) {
  Transaction transaction(*db_);
  Query(*db_,
        "INSERT OR IGNORE INTO point(network, model, fault, rate, scope) "
        "VALUES(?, ?, ?, ?, ?)",
        p.network, p.model, p.fault, p.rate, p.scope)
      .Next();
  Query q(*db_, "SELECT id FROM point WHERE network = ? AND fault = ? AND scope = ?", p.network,
          p.fault, p.scope);
  q.Next();
  const int64_t id = q.Int();
  transaction.Commit();
  return id;
}

void CampaignStore::AddTrials(int64_t point, const std::vector<TrialRow>& trials) {
  Transaction transaction(*db_);
  for (const TrialRow& t : trials) {
    Query(*db_, "INSERT OR IGNORE INTO trial VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", point,
          t.trial, t.correct, t.sdc1, t.sdc5, t.masked, t.due, t.exposed, t.delivered, t.backend,
          t.version, t.seconds)
        .Next();
  }
  transaction.Commit();
}

std::vector<NetworkRow> CampaignStore::Networks() const {
  Query q(*db_,
          "SELECT id, hash, name, architecture, trained_with, multiply_adds, parameters, "
          "bits, golden_correct FROM network ORDER BY id");
  std::vector<NetworkRow> rows;
  while (q.Next()) {
    NetworkRow n;
    n.id = q.Int();
    n.hash = q.Text();
    n.name = q.Text();
    n.architecture = q.Text();
    n.trained_with = q.Text();
    n.multiply_adds = q.Int();
    n.parameters = q.Int();
    n.bits = static_cast<int>(q.Int());
    n.golden_correct = q.Int();
    rows.push_back(std::move(n));
  }
  return rows;
}

std::vector<PointRow> CampaignStore::Points() const {
  Query q(*db_,
          "SELECT id, network, model, fault, rate, scope FROM point "
          "ORDER BY network, scope, model, rate, id");
  std::vector<PointRow> rows;
  while (q.Next()) {
    PointRow p;
    p.id = q.Int();
    p.network = q.Int();
    p.model = q.Text();
    p.fault = q.Text();
    p.rate = q.Real();
    p.scope = q.Text();
    rows.push_back(std::move(p));
  }
  return rows;
}

std::vector<TrialRow> CampaignStore::Trials(int64_t point) const {
  Query q(*db_,
          "SELECT trial, correct, sdc1, sdc5, masked, due, exposed, delivered, backend, "
          "version, seconds FROM trial WHERE point = ? ORDER BY trial",
          point);
  std::vector<TrialRow> rows;
  while (q.Next()) {
    TrialRow t;
    t.trial = static_cast<int>(q.Int());
    t.correct = q.Int();
    t.sdc1 = q.Int();
    t.sdc5 = q.Int();
    t.masked = q.Int();
    t.due = q.Int();
    t.exposed = static_cast<uint64_t>(q.Int());
    t.delivered = static_cast<uint64_t>(q.Int());
    t.backend = q.Text();
    t.version = q.Text();
    t.seconds = q.Real();
    rows.push_back(std::move(t));
  }
  return rows;
}

}  // namespace ftt
