// The owners of treehead.hpp.

#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <treehead.hpp>

#define CHECK(condition)                                                                  \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      std::cerr << __FILE__ << ':' << __LINE__ << ": not so: " << #condition << '\n';     \
      return 1;                                                                           \
    }                                                                                     \
  } while (false)

static std::string read(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

int main(int count, char **args) {
  CHECK(count == 2);
  const std::string fixtures = std::string(args[1]) + '/';
  treehead::Trust trust = treehead::Trust::from_bytes(read(fixtures + "witnessed.trust"));
  treehead::Trust moved = std::move(trust);
  CHECK(moved.number() == 1);
  try {
    treehead::Trust::from_bytes("{}");
    CHECK(!"a bad file is refused");
  } catch (const treehead::Error &error) {
    CHECK(error.status() == TH_MALFORMED);
    CHECK(std::string(error.what()).find("a trust file") == 0);
  }
  treehead::Trust replaceable = treehead::Trust::from_bytes(read(fixtures + "1.trust"));
  const std::string next = read(fixtures + "2.trust"), proof = read(fixtures + "2.trust.tlog-proof");
  try {
    CHECK(replaceable.succeed(next, {proof}).number() == 2 && replaceable.number() == 1);
    replaceable.succeed(next, {});
    CHECK(!"nobody signed it");
  } catch (const treehead::Error &error) {
    CHECK(error.status() == TH_REFUSED || error.status() == TH_UNSUPPORTED);
  }
  treehead::Question question;
  question.sha256 = treehead::sha256(read(fixtures + "scanner.sh"));
  question.proof = read(fixtures + "scanner.sh.tlog-proof");
  question.now = 1770000060;
  question.package = "pkg:generic/example/scanner";
  question.channel = "stable";
  treehead::Memory memory;
  treehead::Verdict verdict = treehead::verify(moved, &memory, question);
  CHECK(verdict && verdict.reason() == TH_REASON_NONE && verdict.purl() == "pkg:generic/example/scanner@2.0");
  CHECK(verdict.publisher() == "vendor" && verdict.sequence() == 2 && verdict.tree_size() == 5);
  CHECK(memory.is_changed());
  treehead::Memory again = treehead::Memory::from_bytes(memory.to_bytes());
  CHECK(treehead::verify(moved, &again, question));
  treehead::Question wrong = question;
  wrong.sha256[0] ^= 1;
  treehead::Verdict refused = treehead::verify(moved, wrong);
  CHECK(!refused && refused.status() == TH_REFUSED && refused.reason_name() == "artifact-mismatch");
  CHECK(!refused.message().empty() && !refused.advice().empty() && refused.purl().empty());
  refused = std::move(verdict);
  CHECK(refused);
  const std::vector<treehead::Verdict> many = treehead::verify(moved, &memory, std::vector{question, wrong, question});
  CHECK(many.size() == 3 && many[0] && !many[1] && many[2]);
  const std::string head = read(fixtures + "checkpoint");
  treehead::Verdict online = treehead::verify_online(
      moved, &memory, question, [&](const std::string &path) -> treehead::Answer {
        return path == "checkpoint" ? treehead::Answer(200, head) : treehead::Answer(404, "");
      });
  CHECK(online && online.cosigned() == 1770000000 && !online.asked_for_withdrawals());
  std::size_t longest = 0;
  online = treehead::verify_online(moved, &memory, question, [&](const std::string &path) -> treehead::Answer {
    if (path.size() > longest) longest = path.size();
    return {200, path == "checkpoint" ? head : R"({"tree_size":5,"releases":[],"next":null})"};
  });
  CHECK(online && online.asked_for_withdrawals() && longest > 100);
  treehead::Verdict silent = treehead::verify_online(
      moved, nullptr, question, [](const std::string &) { return treehead::Answer(0, ""); });
  CHECK(!silent && silent.status() == TH_COULD_NOT_TELL && silent.evidence().empty());
  std::cout << "raii.cpp: all as it should be\n";
  return 0;
}
