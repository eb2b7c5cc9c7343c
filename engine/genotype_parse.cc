// The genotype parser: a tokenizer and a recursive descent over NAME=[(op, from, to), ...] items.
#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>

#include "core/error.h"
#include "engine/genotype.h"

namespace ftt {
namespace {

struct Token {
  enum Kind { kName, kString, kNumber, kSymbol, kEnd } kind = kEnd;
  std::string text;
  int line = 1;
};

bool IsWordChar(char ch) {
  return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
         ch == '_';
}

bool IsDigit(char ch) { return ch >= '0' && ch <= '9'; }

size_t WordEnd(const std::string& text, size_t i) {
  while (i < text.size() && IsWordChar(text[i])) ++i;
  return i;
}

Token QuotedToken(const std::string& text, size_t i, int line) {
  const size_t end = text.find(text[i], i + 1);
  const std::string body =
      text.substr(i + 1, end == std::string::npos ? std::string::npos : end - i - 1);
  FTT_CHECK(end != std::string::npos && body.find('\n') == std::string::npos,
            "genotype, line {}: the quote of {} is not closed", line,
            text.substr(i, std::min(text.find('\n', i), i + 20) - i));
  return {Token::kString, body, line};
}

std::vector<Token> Tokenize(const std::string& text) {
  std::vector<Token> tokens;
  int line = 1;
  for (size_t i = 0; i < text.size();) {
    const char ch = text[i];
    if (ch == '#') {
      i = std::min(text.find('\n', i), text.size());
    } else if (ch == ' ' || ch == '\t' || ch == '\r' || ch == '\n') {
      line += ch == '\n' ? 1 : 0;
      ++i;
    } else if (ch == '\'' || ch == '"') {
      tokens.push_back(QuotedToken(text, i, line));
      i += tokens.back().text.size() + 2;
    } else if (IsDigit(ch) || ch == '-') {
      const size_t end = WordEnd(text, i + 1);
      tokens.push_back({Token::kNumber, text.substr(i, end - i), line});
      i = end;
    } else if (IsWordChar(ch)) {
      const size_t end = WordEnd(text, i);
      tokens.push_back({Token::kName, text.substr(i, end - i), line});
      i = end;
    } else {
      tokens.push_back({Token::kSymbol, std::string(1, ch), line});
      ++i;
    }
  }
  tokens.push_back({Token::kEnd, "end of text", line});
  return tokens;
}

class Parser {
 public:
  explicit Parser(const std::string& text) : tokens_(Tokenize(text)) {}

  Genotype Parse() {
    const bool wrapped = Peek().kind == Token::kName && tokens_[at_ + 1].text == "(";
    if (wrapped) at_ += 2;
    while (!Done(wrapped)) {
      Item();
      Accept(",");
    }
    if (wrapped) Expect(")");
    if (Peek().kind != Token::kEnd) Unexpected("the end of the genotype");
    FTT_CHECK(has_normal_, "genotype: the normal cell is missing; write normal_0=[...]");
    FTT_CHECK(has_reduce_, "genotype: the reduction cell is missing; write reduce_1=[...]");
    CheckGenotype(genotype_);
    CheckConcat("normal", normal_concat_, genotype_.normal);
    CheckConcat("reduce", reduce_concat_, genotype_.reduce);
    return genotype_;
  }

 private:
  const Token& Peek() const { return tokens_[at_]; }

  bool Done(bool wrapped) const {
    return Peek().kind == Token::kEnd || (wrapped && Peek().text == ")");
  }

  bool Accept(const char* symbol) {
    if (Peek().kind != Token::kSymbol || Peek().text != symbol) return false;
    ++at_;
    return true;
  }

  [[noreturn]] void Unexpected(const std::string& wanted) const {
    Fail("genotype, line {}: found '{}' where {} was expected", Peek().line, Peek().text, wanted);
  }

  void Expect(const char* symbol) {
    if (!Accept(symbol)) Unexpected(fmt::format("'{}'", symbol));
  }

  int Number() {
    if (Peek().kind != Token::kNumber) Unexpected("a node number");
    const std::string& text = Peek().text;
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) Unexpected("a node number");
    ++at_;
    return value;
  }

  void Item() {
    if (Peek().kind != Token::kName) Unexpected("normal_0= or reduce_1=");
    const Token key = Peek();
    ++at_;
    Expect("=");
    const bool normal = key.text.rfind("normal", 0) == 0;
    const std::string rest = key.text.substr(std::min<size_t>(6, key.text.size()));
    const bool concat = rest.size() >= 7 && rest.compare(rest.size() - 7, 7, "_concat") == 0;
    const std::string index = concat ? rest.substr(0, rest.size() - 7) : rest;
    const bool plain = index.empty() || (index[0] == '_' && index.size() > 1 &&
                                         std::all_of(index.begin() + 1, index.end(), IsDigit));
    FTT_CHECK((normal || key.text.rfind("reduce", 0) == 0) && plain,
              "genotype, line {}: unknown cell '{}'; known: normal_0 and reduce_1 (normal and "
              "reduce in DARTS notation), each with an optional _concat",
              key.line, key.text);
    if (concat) {
      (normal ? normal_concat_ : reduce_concat_) = Nodes();
      return;
    }
    bool& seen = normal ? has_normal_ : has_reduce_;
    FTT_CHECK(!seen, "genotype, line {}: the {} cell is given twice", key.line, key.text);
    seen = true;
    (normal ? genotype_.normal : genotype_.reduce) = Edges(key.text);
  }

  // [('op', from, to), ...] or [('op', from), ...]; never both in one list.
  std::vector<GenotypeEdge> Edges(const std::string& cell) {
    std::vector<GenotypeEdge> edges;
    bool darts = false;
    Expect("[");
    while (!Accept("]")) {
      const int line = Peek().line;
      Expect("(");
      if (Peek().kind != Token::kString) Unexpected("an op name in quotes");
      GenotypeEdge edge;
      edge.op = Peek().text;
      ++at_;
      Expect(",");
      edge.from = Number();
      const bool pair = !Accept(",");
      FTT_CHECK(edges.empty() || pair == darts,
                "genotype, line {}: {} mixes ('op', from) with ('op', from, to)", line, cell);
      darts = pair;
      edge.to = pair ? 2 + static_cast<int>(edges.size()) / 2 : Number();
      Expect(")");
      edges.push_back(edge);
      if (!Accept(",")) {
        Expect("]");
        break;
      }
    }
    FTT_CHECK(!darts || edges.size() % 2 == 0,
              "genotype: {} has {} edges; DARTS notation lists two for each node", cell,
              edges.size());
    return edges;
  }

  // [2, 3, 4, 5], range(2, 6) or list(range(2, 6)).
  std::vector<int> Nodes() {
    std::vector<int> nodes;
    if (Peek().kind == Token::kName && Peek().text == "list") {
      ++at_;
      Expect("(");
      nodes = Nodes();
      Expect(")");
    } else if (Peek().kind == Token::kName && Peek().text == "range") {
      ++at_;
      Expect("(");
      const int first = Number();
      Expect(",");
      const int end = Number();
      Expect(")");
      for (int n = first; n < end && n <= 2 + kMaxInternalNodes; ++n) nodes.push_back(n);
    } else {
      Expect("[");
      while (!Accept("]")) {
        nodes.push_back(Number());
        if (!Accept(",")) {
          Expect("]");
          break;
        }
      }
    }
    return nodes;
  }

  static void CheckConcat(const char* kind, std::vector<int> concat,
                          const std::vector<GenotypeEdge>& cell) {
    if (concat.empty()) return;
    std::sort(concat.begin(), concat.end());
    std::vector<int> all(static_cast<size_t>(InternalNodes(cell)));
    for (size_t i = 0; i < all.size(); ++i) all[i] = 2 + static_cast<int>(i);
    FTT_CHECK(
        concat == all,
        "genotype: {}_concat must name each internal node, 2 to {}, once; other cells are not "
        "supported",
        kind, all.back());
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  Genotype genotype_;
  std::vector<int> normal_concat_, reduce_concat_;
  bool has_normal_ = false, has_reduce_ = false;
};

}  // namespace

Genotype ParseGenotype(const std::string& text) { return Parser(text).Parse(); }

Genotype ReadGenotypeFile(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  FTT_CHECK(file.is_open() && !text.str().empty(),
            "the genotype file '{}' is empty or cannot be read", path);
  try {
    return ParseGenotype(text.str());
  } catch (const Error& error) {
    Fail("file '{}': {}", path, error.what());
  }
}

}  // namespace ftt
