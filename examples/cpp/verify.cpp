// Asks whether a file may be installed: verify endpoint.trust FILE

#include <fstream>
#include <iostream>
#include <iterator>
#include <treehead.hpp>

static std::string read(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("can't read " + path);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

int main(int count, char **args) try {
  if (count != 3) throw std::runtime_error("usage: verify TRUST FILE");
  const std::string file = args[2];
  const treehead::Trust trust = treehead::Trust::from_bytes(read(args[1]));
  treehead::Question question;
  question.sha256 = treehead::sha256(read(file));
  question.proof = read(file + ".tlog-proof");
  question.file_name = file;
  const treehead::Verdict verdict = treehead::verify(trust, question);
  if (verdict) {
    std::cout << file << ": " << verdict.purl() << " by " << verdict.publisher() << '\n';
    return 0;
  }
  std::cerr << file << ": " << verdict.reason_name() << ": " << verdict.message() << '\n' << verdict.advice() << '\n';
  return 1;
} catch (const std::exception &error) {
  std::cerr << error.what() << '\n';
  return 2;
}
