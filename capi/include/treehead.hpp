// treehead for C++17: owners for the objects of treehead.h, and errors as exceptions. A refusal is no exception.
//
//     treehead::Trust trust = treehead::Trust::from_bytes(read("endpoint.trust"));
//     treehead::Question question;
//     question.sha256 = treehead::sha256(file);
//     question.proof = proof;
//     treehead::Verdict verdict = treehead::verify(trust, question);
//     if (!verdict) std::cerr << verdict.reason_name() << ": " << verdict.message() << '\n';

#ifndef TREEHEAD_HPP
#define TREEHEAD_HPP

#include <algorithm>
#include <array>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "treehead.h"

namespace treehead {

using Hash = std::array<std::uint8_t, 32>;

// A failure that is no verdict: bytes that can't be read, a rule of treehead.h that was broken.
class Error : public std::runtime_error {
 public:
  Error(th_status status, const std::string &message) : std::runtime_error(message), status_(status) {}
  th_status status() const noexcept { return status_; }

 private:
  th_status status_;
};

namespace detail {

struct Free {
  void operator()(th_trust *object) const noexcept { th_trust_free(object); }
  void operator()(th_memory *object) const noexcept { th_memory_free(object); }
  void operator()(th_hasher *object) const noexcept { th_hasher_free(object); }
  void operator()(th_blob *object) const noexcept { th_blob_free(object); }
};

inline const std::uint8_t *data(std::string_view bytes) noexcept {
  return reinterpret_cast<const std::uint8_t *>(bytes.data());
}

inline th_str str(std::string_view text) noexcept { return {text.data(), text.size()}; }

inline th_str str(const std::optional<std::string> &text) noexcept {
  return text ? str(std::string_view(*text)) : th_str{nullptr, 0};
}

inline std::string bytes(const th_blob *blob) {
  const std::uint8_t *data = th_blob_data(blob);
  return data == nullptr ? std::string() : std::string(reinterpret_cast<const char *>(data), th_blob_length(blob));
}

// Calls `call` with a buffer for the message, and throws unless it is TH_OK.
template <class Call>
void check(Call call) {
  char buffer[1024];
  buffer[0] = 0;
  th_text message = th_text_of(buffer, sizeof buffer);
  const auto status = static_cast<th_status>(call(&message));
  if (status != TH_OK) throw Error(status, buffer[0] ? buffer : "treehead: the call was wrong");
}

}  // namespace detail

// The logs, witnesses and publishers to believe. Any number of threads may use it.
class Trust {
 public:
  static Trust from_bytes(std::string_view file) {
    return Trust([&](th_trust **trust, th_text *message) {
      return th_trust_from_bytes(detail::data(file), file.size(), trust, message);
    });
  }
  static Trust from_parts(std::string_view policy, std::string_view publishers) {
    return Trust([&](th_trust **trust, th_text *message) {
      return th_trust_from_parts(detail::data(policy), policy.size(), detail::data(publishers), publishers.size(),
                                 trust, message);
    });
  }
  // The trust file that replaces this one, of its bytes and of the proof files or bundles of its releases.
  Trust succeed(std::string_view file, const std::vector<std::string_view> &proofs) const {
    std::vector<th_bytes> given;
    for (std::string_view proof : proofs) given.push_back({detail::data(proof), proof.size()});
    return Trust([&](th_trust **trust, th_text *message) {
      return th_trust_succeed(trust_.get(), detail::data(file), file.size(), given.data(), given.size(), trust, nullptr,
                              message);
    });
  }
  std::uint64_t number() const noexcept { return th_trust_number(trust_.get()); }
  const th_trust *get() const noexcept { return trust_.get(); }

 private:
  template <class Make>
  explicit Trust(Make make) {
    th_trust *trust = nullptr;
    detail::check([&](th_text *message) { return make(&trust, message); });
    trust_.reset(trust);
  }
  std::unique_ptr<th_trust, detail::Free> trust_;
};

// What an endpoint remembers. One thread at a time.
class Memory {
 public:
  // An empty one.
  Memory() {
    th_memory *memory = nullptr;
    detail::check([&](th_text *) { return th_memory_new(&memory); });
    memory_.reset(memory);
  }
  static Memory from_bytes(std::string_view bytes) {
    th_memory *memory = nullptr;
    detail::check([&](th_text *message) {
      return th_memory_from_bytes(detail::data(bytes), bytes.size(), &memory, message);
    });
    return Memory(memory);
  }
  static Memory open_dir(std::string_view dir) {
    th_memory *memory = nullptr;
    detail::check([&](th_text *message) {
      return th_memory_open_dir(detail::data(dir), dir.size(), &memory, message);
    });
    return Memory(memory);
  }
  // The bytes to save before anything is installed.
  std::string to_bytes() {
    th_blob *blob = nullptr;
    detail::check([&](th_text *) { return th_memory_to_bytes(memory_.get(), &blob); });
    const std::unique_ptr<th_blob, detail::Free> owned(blob);
    return detail::bytes(blob);
  }
  bool is_changed() const noexcept { return th_memory_is_changed(memory_.get()) != 0; }
  th_memory *get() const noexcept { return memory_.get(); }

 private:
  explicit Memory(th_memory *memory) : memory_(memory) {}
  std::unique_ptr<th_memory, detail::Free> memory_;
};

// SHA-256 of something that comes in pieces.
class Hasher {
 public:
  Hasher() : hasher_(th_hasher_new()) {}
  Hasher &update(std::string_view bytes) {
    detail::check([&](th_text *) { return th_hasher_update(hasher_.get(), detail::data(bytes), bytes.size()); });
    return *this;
  }
  Hash finish() {
    Hash hash;
    detail::check([&](th_text *) { return th_hasher_finish(hasher_.get(), hash.data()); });
    return hash;
  }

 private:
  std::unique_ptr<th_hasher, detail::Free> hasher_;
};

inline Hash sha256(std::string_view bytes) { return Hasher().update(bytes).finish(); }

// What is asked about a file. See th_question.
struct Question {
  Hash sha256{};
  std::string proof;
  std::uint64_t now = static_cast<std::uint64_t>(std::time(nullptr));
  std::uint64_t max_age = 0;
  std::uint64_t min_sequence = 0;
  std::optional<std::string> file_name, name, package, channel, kind, publisher, audience;

  // The struct of C, which refers to this one.
  th_question get() const noexcept {
    th_question question = th_question_init();
    std::copy(sha256.begin(), sha256.end(), question.sha256);
    question.proof = {detail::data(proof), proof.size()};
    question.now = now;
    question.max_age = max_age;
    question.min_sequence = min_sequence;
    question.file_name = detail::str(file_name);
    question.name = detail::str(name);
    question.package = detail::str(package);
    question.channel = detail::str(channel);
    question.kind = detail::str(kind);
    question.publisher = detail::str(publisher);
    question.audience = detail::str(audience);
    return question;
  }
};

// The answer. True if the file may be installed.
class Verdict {
 public:
  Verdict() : texts_(std::make_unique<Texts>()), verdict_(th_verdict_init()) {
    verdict_.message = text(texts_->message);
    verdict_.advice = text(texts_->advice);
    verdict_.origin = text(texts_->origin);
    verdict_.purl = text(texts_->purl);
    verdict_.channel = text(texts_->channel);
    verdict_.publisher = text(texts_->publisher);
    verdict_.name = text(texts_->name);
    verdict_.evidence_name = text(texts_->evidence_name);
  }
  Verdict(Verdict &&other) noexcept : texts_(std::move(other.texts_)), verdict_(other.verdict_) {
    other.verdict_.evidence = nullptr;
    other.verdict_.json = nullptr;
  }
  Verdict &operator=(Verdict &&other) noexcept {
    std::swap(texts_, other.texts_);
    std::swap(verdict_, other.verdict_);
    return *this;
  }
  Verdict(const Verdict &) = delete;
  Verdict &operator=(const Verdict &) = delete;
  ~Verdict() { th_verdict_clear(&verdict_); }

  explicit operator bool() const noexcept { return verdict_.status == TH_OK; }
  th_status status() const noexcept { return static_cast<th_status>(verdict_.status); }
  std::uint32_t reason() const noexcept { return verdict_.reason; }
  std::string_view reason_name() const noexcept {
    const char *name = th_reason_name(verdict_.reason);
    return name == nullptr ? std::string_view() : std::string_view(name);
  }
  std::string_view message() const noexcept { return texts_->message; }
  std::string_view advice() const noexcept { return texts_->advice; }
  std::string_view origin() const noexcept { return texts_->origin; }
  std::string_view purl() const noexcept { return texts_->purl; }
  std::string_view channel() const noexcept { return texts_->channel; }
  std::string_view publisher() const noexcept { return texts_->publisher; }
  std::string_view name() const noexcept { return texts_->name; }
  std::uint64_t sequence() const noexcept { return verdict_.sequence; }
  std::uint64_t index() const noexcept { return verdict_.index; }
  std::uint64_t tree_size() const noexcept { return verdict_.tree_size; }
  std::uint64_t cosigned() const noexcept { return verdict_.cosigned; }
  // True if the log was asked for withdrawals of the release, and answered.
  bool asked_for_withdrawals() const noexcept { return verdict_.asked_for_withdrawals != 0; }
  // A .tlog-fork file that proves that the log signed two histories: save it. Empty if there is none.
  std::string evidence() const { return detail::bytes(verdict_.evidence); }
  std::string_view evidence_name() const noexcept { return texts_->evidence_name; }
  th_verdict *get() noexcept { return &verdict_; }

 private:
  struct Texts {
    char message[1024]{}, advice[256]{}, origin[256]{}, purl[512]{}, channel[128]{}, publisher[128]{}, name[512]{},
        evidence_name[128]{};
  };
  template <std::size_t Size>
  static th_text text(char (&buffer)[Size]) noexcept {
    return th_text_of(buffer, Size);
  }
  std::unique_ptr<Texts> texts_;
  th_verdict verdict_;
};

// Judges a file. Whatever is not TH_OK is in the verdict; nothing is thrown.
inline Verdict verify(const Trust &trust, Memory *memory, const Question &question) {
  Verdict verdict;
  const th_question asked = question.get();
  th_verify(trust.get(), memory == nullptr ? nullptr : memory->get(), &asked, verdict.get());
  return verdict;
}

inline Verdict verify(const Trust &trust, const Question &question) { return verify(trust, nullptr, question); }

// Judges several files.
inline std::vector<Verdict> verify(const Trust &trust, Memory *memory, const std::vector<Question> &questions) {
  std::vector<Verdict> verdicts(questions.size());
  std::vector<th_question> asked;
  asked.reserve(questions.size());
  std::vector<const th_question *> asked_at;
  std::vector<th_verdict *> verdicts_at;
  for (std::size_t at = 0; at < questions.size(); ++at) {
    asked.push_back(questions[at].get());
    asked_at.push_back(&asked.back());
    verdicts_at.push_back(verdicts[at].get());
  }
  th_verify_many(trust.get(), memory == nullptr ? nullptr : memory->get(), asked_at.data(), verdicts_at.data(),
                 questions.size());
  return verdicts;
}

// What a log answered: the HTTP status (0: nothing) and the body.
using Answer = std::pair<int, std::string>;

// Judges a file, and asks the log through `fetch`, which gets a path below the log's address. An exception of `fetch` goes
// through.
inline Verdict verify_online(const Trust &trust, Memory *memory, const Question &question,
                             const std::function<Answer(const std::string &)> &fetch) {
  Verdict verdict;
  const th_question asked = question.get();
  th_check *made = nullptr;
  detail::check([&](th_text *message) {
    return th_check_new(trust.get(), memory == nullptr ? nullptr : memory->get(), &asked, &made, message);
  });
  const std::unique_ptr<th_check, void (*)(th_check *)> check(made, th_check_free);
  while (th_check_requests(made) > 0) {
    std::string buffer(256, '\0');
    th_text path = th_text_of(buffer.data(), buffer.size());
    if (th_check_request(made, 0, &path, nullptr) == TH_TOO_SMALL) {
      buffer.resize(path.length + 1);
      path = th_text_of(buffer.data(), buffer.size());
      th_check_request(made, 0, &path, nullptr);
    }
    buffer.resize(path.length);
    const Answer answer = fetch(buffer);
    th_check_answer(made, 0, answer.first, detail::data(answer.second), answer.second.size());
  }
  th_check_finish(made, memory == nullptr ? nullptr : memory->get(), verdict.get());
  return verdict;
}

}  // namespace treehead

#endif  // TREEHEAD_HPP
