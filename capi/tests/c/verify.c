/* Every function of the offline part, what it does and what it refuses. */

#include "common.h"

static char message[512], purl[128], name[64], small[8];

static th_verdict fresh(void) {
  th_verdict verdict = th_verdict_init();
  verdict.message = th_text_of(message, sizeof message);
  verdict.purl = th_text_of(purl, sizeof purl);
  verdict.name = th_text_of(name, sizeof name);
  verdict.publisher = th_text_of(small, sizeof small);
  return verdict;
}

static void versions(void) {
  CHECK(th_abi_version() == TH_ABI_VERSION);
  CHECK(strcmp(th_version(), "0.1.0") == 0);
  CHECK(strcmp(th_reason_name(TH_REASON_ARTIFACT_MISMATCH), "artifact-mismatch") == 0);
  CHECK(th_reason_name(0) == NULL && th_reason_name(12345) == NULL);
}

static void hashing(void) {
  static const uint8_t abc[4] = {0xba, 0x78, 0x16, 0xbf};
  uint8_t one[32], other[32];
  th_hasher *hasher = th_hasher_new();
  CHECK(th_hasher_update(hasher, (const uint8_t *)"a", 1) == TH_OK);
  CHECK(th_hasher_update(hasher, NULL, 0) == TH_OK);
  CHECK(th_hasher_update(hasher, (const uint8_t *)"bc", 2) == TH_OK);
  CHECK(th_hasher_finish(hasher, one) == TH_OK && memcmp(one, abc, 4) == 0);
  CHECK(th_hasher_finish(hasher, other) == TH_OK && memcmp(one, other, 32) != 0);
  CHECK(th_sha256((const uint8_t *)"", 0, one) == TH_OK && memcmp(one, other, 32) == 0);
  CHECK(th_hasher_update(hasher, NULL, 1) == TH_INVALID_ARGUMENT);
  CHECK(th_hasher_update(hasher, abc, SIZE_MAX) == TH_INVALID_ARGUMENT);
  CHECK(th_hasher_update(NULL, abc, 1) == TH_INVALID_ARGUMENT);
  CHECK(th_hasher_finish(hasher, NULL) == TH_INVALID_ARGUMENT);
  th_hasher_free(hasher);
  th_hasher_free(NULL);
}

static void memory_for_others(void) {
  void *data = th_alloc(100);
  CHECK(data && (uintptr_t)data % 16 == 0);
  memset(data, 7, 100);
  th_free(data, 100);
  th_free(NULL, 100);
  CHECK(th_alloc(0) == NULL && th_alloc(SIZE_MAX) == NULL);
}

static void trusting(void) {
  bytes policy = fixture("witnessed.policy"), publishers = fixture("publishers.toml"), file = fixture("witnessed.trust");
  th_text text = th_text_of(message, sizeof message);
  th_trust *trust = NULL;
  th_blob *blob = NULL;
  CHECK(th_trust_from_bytes(file.data, file.length, &trust, NULL) == TH_OK);
  CHECK(th_trust_number(trust) == 1);
  CHECK(th_trust_to_bytes(trust, &blob) == TH_OK);
  CHECK(th_blob_length(blob) == file.length && memcmp(th_blob_data(blob), file.data, file.length) == 0);
  th_blob_free(blob);
  /* The pointer of another object. */
  CHECK(th_hasher_update((th_hasher *)(void *)trust, file.data, 1) == TH_INVALID_ARGUMENT);
  th_trust_free(trust);
  CHECK(th_trust_from_bytes(file.data, file.length - 1, &trust, &text) == TH_MALFORMED);
  CHECK(strstr(message, "a trust file") && text.length == strlen(message));
  CHECK(th_trust_from_bytes(NULL, 0, &trust, &text) == TH_MALFORMED);
  CHECK(th_trust_from_bytes(NULL, 1, &trust, &text) == TH_INVALID_ARGUMENT);
  CHECK(th_trust_from_bytes(file.data, file.length, NULL, &text) == TH_INVALID_ARGUMENT);
  /* A message that does not fit is cut, and says how long it is. */
  text = th_text_of(small, sizeof small);
  CHECK(th_trust_from_bytes(NULL, 0, &trust, &text) == TH_MALFORMED);
  CHECK(strlen(small) == sizeof small - 1 && text.length > sizeof small);
  text = th_text_of(NULL, 0);
  CHECK(th_trust_from_bytes(NULL, 0, &trust, &text) == TH_MALFORMED && text.length > sizeof small);
  CHECK(th_trust_from_parts(policy.data, policy.length, NULL, 0, &trust, NULL) == TH_OK);
  CHECK(th_trust_number(trust) == 0);
  th_trust_free(trust);
  trust = NULL;
  switch (th_trust_from_parts(policy.data, policy.length, publishers.data, publishers.length, &trust, NULL)) {
    case TH_OK:
      th_trust_free(trust);
      break;
    case TH_UNSUPPORTED:
      CHECK(trust == NULL);
      break;
    default:
      CHECK(0);
  }
  CHECK(th_trust_number(NULL) == 0);
  th_trust_free(NULL);
  free(policy.data);
  free(publishers.data);
  free(file.data);
}

/* A trust file replaces the one before, and nothing else does. */
static void succeeding(void) {
  bytes file = fixture("1.trust"), new = fixture("2.trust"), proof = fixture("2.trust.tlog-proof");
  bytes other = fixture("scanner.sh.tlog-proof"), fixed = fixture("witnessed.trust");
  th_bytes proofs[33];
  th_text text = th_text_of(message, sizeof message);
  th_trust *trust = trust_of("1.trust"), *unchanging = trust_of("witnessed.trust"), *next = NULL, *again = NULL;
  th_blob *blob = NULL;
  uint32_t reason = 7;
  for (size_t at = 0; at < 33; at++) proofs[at] = (th_bytes){proof.data, proof.length};
  th_status status = th_trust_succeed(trust, new.data, new.length, proofs, 1, &next, &reason, &text);
  if (status == TH_UNSUPPORTED) {
    CHECK(next == NULL && reason == 0 && text.length > 0);
  } else {
    CHECK(status == TH_OK && reason == TH_REASON_NONE && text.length == 0);
    CHECK(th_trust_number(trust) == 1 && th_trust_number(next) == 2);
    CHECK(th_trust_to_bytes(next, &blob) == TH_OK && th_blob_length(blob) == new.length);
    CHECK(memcmp(th_blob_data(blob), new.data, new.length) == 0);
    th_blob_free(blob);
    /* The very same file is a new object, and takes no proof. */
    CHECK(th_trust_succeed(trust, file.data, file.length, NULL, 0, &again, NULL, NULL) == TH_OK);
    CHECK(again != trust && th_trust_number(again) == 1);
    th_trust_free(again);
    again = NULL;
#define REFUSED(trust, file, proofs, count, why)                                                           \
  CHECK(th_trust_succeed(trust, file.data, file.length, proofs, count, &again, &reason, &text) == TH_REFUSED); \
  CHECK(again == NULL && reason == (why) && text.length > 0)
    REFUSED(next, file, proofs, 1, TH_REASON_TRUST_ROLLBACK);
    REFUSED(unchanging, new, proofs, 1, TH_REASON_TRUST_NOT_REPLACEABLE);
    REFUSED(trust, new, NULL, 0, TH_REASON_TRUST_TOO_FEW_SIGNERS);
    REFUSED(trust, fixed, proofs, 1, TH_REASON_TRUST_FORK);
    proofs[0] = (th_bytes){other.data, other.length};
    REFUSED(trust, new, proofs, 1, TH_REASON_TRUST_OTHER_RELEASE);
    proofs[0] = (th_bytes){other.data, other.length - 1};
    REFUSED(trust, new, proofs, 1, TH_REASON_TRUST_NOT_PROVEN);
    proofs[0] = (th_bytes){NULL, 0};
    REFUSED(trust, new, proofs, 1, TH_REASON_TRUST_NOT_PROVEN);
    CHECK(th_trust_succeed(trust, new.data, new.length, proofs, 33, &again, &reason, &text) == TH_MALFORMED);
    CHECK(reason == TH_REASON_TRUST_MALFORMED && strstr(message, "proofs"));
    CHECK(th_trust_succeed(trust, new.data, new.length - 1, proofs, 1, &again, &reason, &text) == TH_MALFORMED);
    CHECK(again == NULL && reason == TH_REASON_TRUST_MALFORMED);
    proofs[0] = (th_bytes){NULL, 1};
    CHECK(th_trust_succeed(trust, new.data, new.length, proofs, 1, &again, NULL, &text) == TH_INVALID_ARGUMENT);
    CHECK(th_trust_succeed(trust, new.data, new.length, NULL, 1, &again, NULL, &text) == TH_INVALID_ARGUMENT);
    CHECK(th_trust_succeed(trust, new.data, new.length, proofs, SIZE_MAX, &again, NULL, &text) == TH_INVALID_ARGUMENT);
  }
  CHECK(th_trust_succeed(NULL, new.data, new.length, proofs, 1, &again, NULL, &text) == TH_INVALID_ARGUMENT);
  CHECK(th_trust_succeed(trust, NULL, 1, proofs, 1, &again, NULL, &text) == TH_INVALID_ARGUMENT);
  CHECK(th_trust_succeed(trust, new.data, new.length, proofs, 1, NULL, NULL, &text) == TH_INVALID_ARGUMENT);
  CHECK(again == NULL);
  th_trust_free(next);
  th_trust_free(unchanging);
  th_trust_free(trust);
  free(file.data);
  free(new.data);
  free(proof.data);
  free(other.data);
  free(fixed.data);
}

/* A trust file that asks for an attestation, and the bundle that has it. */
static void gated(void) {
  bytes artifact = fixture("scanner.sh"), proof = fixture("scanner.sh.tlog-proof"), bundle = fixture("gated.tlog-bundle");
  th_trust *asks = trust_of("gated.trust"), *trust = trust_of("witnessed.trust");
  th_text text = th_text_of(message, sizeof message);
  th_blob *json = NULL, *entry = (th_blob *)(void *)small;
  th_question question = question_of(artifact, bundle);
  th_verdict verdict = fresh();
  CHECK(th_verify(asks, NULL, &question, &verdict) == TH_OK && verdict.index == 2 && verdict.tree_size == 5);
  CHECK(th_verify(trust, NULL, &question, &verdict) == TH_OK);
  question = question_of(artifact, proof);
  CHECK(th_verify(asks, NULL, &question, &verdict) == TH_REFUSED && verdict.reason == TH_REASON_ATTESTATIONS);
  CHECK(strstr(message, "verification-summary by 1 of (auditor)"));
  CHECK(th_proof_json(bundle.data, bundle.length, &json, &entry, &text) == TH_OK && entry == NULL);
  CHECK(th_blob_length(json) > 16 && memcmp(th_blob_data(json), "{\"what\":\"bundle\"", 16) == 0);
  th_blob_free(json);
  CHECK(th_proof_json(bundle.data, bundle.length - 1, &json, NULL, &text) == TH_MALFORMED && message[0]);
  th_trust_free(asks);
  th_trust_free(trust);
  free(artifact.data);
  free(proof.data);
  free(bundle.data);
}

static void judging(void) {
  bytes artifact = fixture("scanner.sh"), tampered = fixture("tampered.sh"), proof = fixture("scanner.sh.tlog-proof");
  bytes flipped = fixture("flipped.tlog-proof"), head = fixture("changed-head.tlog-proof"), bare = fixture("bare.tlog-proof");
  th_trust *trust = trust_of("witnessed.trust");
  th_question question = question_of(artifact, proof);
  th_verdict verdict = fresh();
  CHECK(th_verify(trust, NULL, &question, &verdict) == TH_OK);
  CHECK(verdict.status == TH_OK && verdict.reason == TH_REASON_NONE);
  CHECK(strcmp(purl, "pkg:generic/example/scanner@2.0") == 0 && strcmp(name, "scanner.sh") == 0);
  CHECK(strcmp(small, "vendor") == 0 && verdict.publisher.length == 6);
  CHECK(verdict.sequence == 2 && verdict.index == 2 && verdict.tree_size == 5 && verdict.cosigned == NOW - 60);
  CHECK(verdict.evidence == NULL && verdict.json == NULL);
  CHECK(th_verify(trust, NULL, &question, &verdict) == TH_OK);

  question = question_of(tampered, proof);
  verdict = fresh();
  CHECK(th_verify(trust, NULL, &question, &verdict) == TH_REFUSED);
  CHECK(verdict.reason == TH_REASON_ARTIFACT_MISMATCH && strstr(message, "not the one that was logged"));
  CHECK(purl[0] == 0 && verdict.purl.length == 0 && verdict.tree_size == 0);

  question = question_of(artifact, flipped);
  CHECK(th_verify(trust, NULL, &question, &verdict) == TH_REFUSED && verdict.reason == TH_REASON_NOT_INCLUDED);
  question = question_of(artifact, head);
  CHECK(th_verify(trust, NULL, &question, &verdict) == TH_REFUSED);
  CHECK(verdict.reason == TH_REASON_CHECKPOINT_SIGNATURE);
  question = question_of(artifact, bare);
  CHECK(th_verify(trust, NULL, &question, &verdict) == TH_REFUSED && verdict.reason == TH_REASON_ENTRY_MISSING);
  proof.length -= 1;
  question = question_of(artifact, proof);
  CHECK(th_verify(trust, NULL, &question, &verdict) == TH_REFUSED && verdict.reason == TH_REASON_PROOF_MALFORMED);
  proof.length += 1;

  /* Everything that can be pinned. */
  struct pin {
    size_t at;
    const char *good, *bad;
    uint32_t reason;
  } pins[] = {
      {offsetof(th_question, name), "scanner.sh", "scanner", TH_REASON_ARTIFACT_SWAPPED},
      {offsetof(th_question, file_name), "/tmp/anything", NULL, 0},
      {offsetof(th_question, package), "pkg:generic/example/scanner@2.0", "pkg:generic/example/scanner@2.1", TH_REASON_OTHER_PACKAGE},
      {offsetof(th_question, package), "pkg:generic/example/*", "pkg:generic/other/*", TH_REASON_OTHER_PACKAGE},
      {offsetof(th_question, package), "pkg:generic/example/scanner", "pkg:generic/example/scan", TH_REASON_OTHER_PACKAGE},
      {offsetof(th_question, channel), "stable", "beta", TH_REASON_OTHER_CHANNEL},
      {offsetof(th_question, kind), "build", "update", TH_REASON_OTHER_KIND},
      {offsetof(th_question, publisher), "vendor", "other", TH_REASON_OTHER_PUBLISHER},
      {offsetof(th_question, audience), NULL, "us", TH_REASON_OTHER_AUDIENCE},
  };
  for (size_t at = 0; at < sizeof pins / sizeof *pins; at++) {
    th_str value;
    question = question_of(artifact, proof);
    value = th_str_of(pins[at].good);
    memcpy((char *)&question + pins[at].at, &value, sizeof value);
    CHECK(th_verify(trust, NULL, &question, &verdict) == TH_OK);
    if (!pins[at].bad) continue;
    value = th_str_of(pins[at].bad);
    memcpy((char *)&question + pins[at].at, &value, sizeof value);
    CHECK(th_verify(trust, NULL, &question, &verdict) == TH_REFUSED && verdict.reason == pins[at].reason);
    value = th_str_of("\xff");
    memcpy((char *)&question + pins[at].at, &value, sizeof value);
    CHECK(th_verify(trust, NULL, &question, &verdict) == TH_INVALID_ARGUMENT && verdict.status == TH_INVALID_ARGUMENT);
    CHECK(strstr(message, "UTF-8"));
  }
  question = question_of(artifact, proof);
  question.min_sequence = 2;
  CHECK(th_verify(trust, NULL, &question, &verdict) == TH_OK);
  question.min_sequence = 3;
  CHECK(th_verify(trust, NULL, &question, &verdict) == TH_REFUSED && verdict.reason == TH_REASON_BELOW_MIN_SEQUENCE);
  question = question_of(artifact, proof);
  question.max_age = 60;
  CHECK(th_verify(trust, NULL, &question, &verdict) == TH_OK);
  question.max_age = 59;
  CHECK(th_verify(trust, NULL, &question, &verdict) == TH_REFUSED && verdict.reason == TH_REASON_STALE);
  question.max_age = 0;
  question.now = 1000;
  CHECK(th_verify(trust, NULL, &question, &verdict) == TH_REFUSED && verdict.reason == TH_REASON_FROM_THE_FUTURE);

  /* As JSON. */
  question = question_of(artifact, proof);
  question.flags = TH_WANT_JSON;
  CHECK(th_verify(trust, NULL, &question, &verdict) == TH_OK && verdict.json);
  CHECK(memcmp(th_blob_data(verdict.json), "{\"ok\":true,\"code\":\"verified\"", 27) == 0);
  th_verdict_clear(&verdict);
  CHECK(verdict.json == NULL);
  th_verdict_clear(&verdict);
  th_verdict_clear(NULL);

  /* What the caller does wrong. */
  question = question_of(artifact, proof);
  CHECK(th_verify(NULL, NULL, &question, &verdict) == TH_INVALID_ARGUMENT);
  CHECK(th_verify(trust, NULL, NULL, &verdict) == TH_INVALID_ARGUMENT && message[0]);
  CHECK(th_verify(trust, NULL, &question, NULL) == TH_INVALID_ARGUMENT);
  CHECK(th_verify(trust, (th_memory *)(void *)trust, &question, &verdict) == TH_INVALID_ARGUMENT);
  question.struct_size = 8;
  CHECK(th_verify(trust, NULL, &question, &verdict) == TH_INVALID_ARGUMENT && strstr(message, "struct_size"));
  question = question_of(artifact, proof);
  question.now = 0;
  CHECK(th_verify(trust, NULL, &question, &verdict) == TH_INVALID_ARGUMENT && strstr(message, "time"));
  question = question_of(artifact, proof);
  question.proof.length = SIZE_MAX;
  CHECK(th_verify(trust, NULL, &question, &verdict) == TH_INVALID_ARGUMENT);
  question = question_of(artifact, proof);
  question.flags = 0x80;
  CHECK(th_verify(trust, NULL, &question, &verdict) == TH_INVALID_ARGUMENT);
  verdict.struct_size = 0;
  question.flags = 0;
  CHECK(th_verify(trust, NULL, &question, &verdict) == TH_INVALID_ARGUMENT);
  verdict = fresh();
  verdict.expected.capacity = 10; /* and no data */
  CHECK(th_verify(trust, NULL, &question, &verdict) == TH_INVALID_ARGUMENT);

  /* A caller of a later version, whose structs are larger. */
  struct {
    th_question known;
    char later[64];
  } larger_question;
  struct {
    th_verdict known;
    char later[64];
  } larger_verdict;
  memset(&larger_question, 0, sizeof larger_question);
  larger_question.known = question;
  larger_question.known.struct_size = sizeof larger_question;
  memset(&larger_verdict, 0x55, sizeof larger_verdict);
  larger_verdict.known = fresh();
  larger_verdict.known.struct_size = sizeof larger_verdict;
  CHECK(th_verify(trust, NULL, &larger_question.known, &larger_verdict.known) == TH_OK);
  CHECK(larger_verdict.later[0] == 0x55 && larger_verdict.later[63] == 0x55);

  th_trust_free(trust);
  free(artifact.data);
  free(tampered.data);
  free(proof.data);
  free(flipped.data);
  free(head.data);
  free(bare.data);
}

static void remembering(void) {
  bytes artifact = fixture("scanner.sh"), tampered = fixture("tampered.sh"), proof = fixture("scanner.sh.tlog-proof");
  th_trust *trust = trust_of("witnessed.trust");
  th_question question = question_of(artifact, proof), wrong = question_of(tampered, proof);
  th_verdict verdict = fresh(), other = fresh();
  th_memory *memory = NULL, *again = NULL;
  th_blob *blob = NULL;
  th_text text = th_text_of(message, sizeof message);
  CHECK(th_memory_new(&memory) == TH_OK && !th_memory_is_changed(memory));
  CHECK(th_verify(trust, memory, &wrong, &verdict) == TH_REFUSED && !th_memory_is_changed(memory));
  CHECK(th_verify(trust, memory, &question, &verdict) == TH_OK && th_memory_is_changed(memory));
  if (th_memory_to_bytes(memory, &blob) == TH_OK) {
    CHECK(!th_memory_is_changed(memory));
    CHECK(th_memory_from_bytes(th_blob_data(blob), th_blob_length(blob), &again, &text) == TH_OK);
    CHECK(th_verify(trust, again, &question, &verdict) == TH_OK);
    th_memory_free(again);
    /* One flipped bit in a copy. */
    bytes damaged;
    damaged.length = th_blob_length(blob);
    damaged.data = malloc(damaged.length);
    CHECK(damaged.data);
    memcpy(damaged.data, th_blob_data(blob), damaged.length);
    damaged.data[damaged.length / 2] ^= 1;
    CHECK(th_memory_from_bytes(damaged.data, damaged.length, &again, &text) == TH_COULD_NOT_TELL);
    CHECK(th_memory_from_bytes(NULL, 0, &again, &text) == TH_COULD_NOT_TELL);
    free(damaged.data);
    th_blob_free(blob);
  }
  const th_question *questions[3] = {&question, &wrong, &question};
  th_verdict third = fresh();
  th_verdict *verdicts[3] = {&verdict, &other, &third};
  CHECK(th_verify_many(trust, memory, questions, verdicts, 3) == TH_REFUSED);
  CHECK(verdict.status == TH_OK && other.status == TH_REFUSED && third.status == TH_OK);
  CHECK(other.reason == TH_REASON_ARTIFACT_MISMATCH);
  CHECK(th_verify_many(trust, memory, questions, verdicts, 1) == TH_OK);
  CHECK(th_verify_many(trust, memory, NULL, NULL, 0) == TH_OK);
  CHECK(th_verify_many(trust, memory, NULL, verdicts, 1) == TH_INVALID_ARGUMENT);
  CHECK(th_verify_many(trust, memory, questions, verdicts, SIZE_MAX / 4) == TH_INVALID_ARGUMENT);
  questions[1] = NULL;
  CHECK(th_verify_many(trust, memory, questions, verdicts, 3) == TH_INVALID_ARGUMENT);
  CHECK(verdict.status == TH_INVALID_ARGUMENT && third.status == TH_INVALID_ARGUMENT);
  th_memory_free(memory);
  th_memory_free(NULL);
  CHECK(th_memory_new(NULL) == TH_INVALID_ARGUMENT);
  th_trust_free(trust);
  free(artifact.data);
  free(tampered.data);
  free(proof.data);
}

/* A directory that the Rust test gives; `treehead verify --state` uses it afterwards. */
static void sharing(const char *dir) {
  bytes artifact = fixture("scanner.sh"), proof = fixture("scanner.sh.tlog-proof");
  th_trust *trust = trust_of("witnessed.trust");
  th_question question = question_of(artifact, proof);
  th_verdict verdict = fresh();
  th_memory *memory = NULL, *other = NULL;
  th_blob *blob = NULL;
  th_text text = th_text_of(message, sizeof message);
  if (th_memory_open_dir((const uint8_t *)dir, strlen(dir), &memory, &text) != TH_UNSUPPORTED) {
    CHECK(th_memory_open_dir((const uint8_t *)dir, strlen(dir), &other, &text) == TH_OK);
    CHECK(th_verify(trust, memory, &question, &verdict) == TH_OK);
    CHECK(th_verify(trust, other, &question, &verdict) == TH_OK);
    CHECK(th_memory_to_bytes(memory, &blob) == TH_INVALID_ARGUMENT && blob == NULL);
    th_memory_free(memory);
    th_memory_free(other);
    CHECK(th_memory_open_dir((const uint8_t *)"/dev/null/x", 11, &memory, &text) == TH_IO);
    CHECK(th_memory_open_dir(NULL, 0, &memory, &text) == TH_INVALID_ARGUMENT);
    CHECK(th_memory_open_dir((const uint8_t *)"a\0b", 3, &memory, &text) == TH_INVALID_ARGUMENT);
  }
  th_trust_free(trust);
  free(artifact.data);
  free(proof.data);
}

int main(int count, char **args) {
  CHECK(count == 3);
  fixtures = args[1];
  versions();
  hashing();
  memory_for_others();
  trusting();
  succeeding();
  judging();
  gated();
  remembering();
  sharing(args[2]);
  puts("verify.c: all as it should be");
  return 0;
}
