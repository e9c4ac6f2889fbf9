/* treehead: asks, before a file is installed, whether it is what everybody else was given.
 *
 * docs/c.md begins with a program that runs. In short:
 *
 *     th_trust *trust;
 *     th_trust_from_bytes(bytes, length, &trust, NULL);      whom to believe: an endpoint.trust file
 *     th_question question = th_question_init();             the file's digest, its proof, what is wanted
 *     th_verdict verdict = th_verdict_init();
 *     if (th_verify(trust, NULL, &question, &verdict) == TH_OK) install();
 *
 * Rules that hold for every function:
 *
 * - TH_OK means what the function says. For th_verify and its kin: the file may be installed. Any other status means
 *   that it may not.
 * - A pointer that must not be NULL and is, a length without data, text that is not UTF-8 and a struct_size that is
 *   too small are TH_INVALID_ARGUMENT. Nothing is written then but a message.
 * - Every struct begins with its size, which the caller sets (th_..._init does). A later library with larger structs
 *   reads and writes no more than that.
 * - Nothing is kept of a caller's buffer after a call returns.
 * - NULL is fine for every th_..._free.
 * - Each object says which threads may use it. An object for one thread at a time that two threads use at once answers
 *   TH_BUSY to one of them.
 * - Out of memory ends the process (abort), and so would an error in this library. Nothing unwinds into the caller.
 *
 * Generated from the Rust sources by `TREEHEAD_WRITE_HEADER=1 cargo test --test header`; do not edit.
 */

#ifndef TREEHEAD_H
#define TREEHEAD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this interface. It grows when something is added; libtreehead.so.0 keeps what it had. */
#define TH_ABI_VERSION 1

/* ---------------------------------------------------------------- results -- */

typedef enum th_status {
  TH_OK = 0,
  /* The file must not be installed; `reason` says why. */
  TH_REFUSED = 1,
  /* Could not tell: the log did not answer, or its answer proves nothing; or the memory can't be read or saved. */
  TH_COULD_NOT_TELL = 2,
  /* The caller broke a rule of this header. */
  TH_INVALID_ARGUMENT = 3,
  /* Bytes from outside are not in their format. */
  TH_MALFORMED = 4,
  /* Another thread is using the object, or another process held the memory's lock for 30 seconds. */
  TH_BUSY = 5,
  /* This build of the library does not have the function. */
  TH_UNSUPPORTED = 6,
  /* A buffer of the caller is too small; the needed length was written. */
  TH_TOO_SMALL = 7,
  /* The operating system refused. */
  TH_IO = 8
} th_status;

/* Why a file must not be installed: numbers that never change. 0 is none. */
typedef enum th_reason {
  TH_REASON_NONE = 0,
  TH_REASON_PROOF_MALFORMED = 600,
  TH_REASON_UNKNOWN_LOG = 601,
  TH_REASON_CHECKPOINT_MALFORMED = 602,
  TH_REASON_CHECKPOINT_SIGNATURE = 603,
  TH_REASON_COSIGNATURE = 604,
  TH_REASON_NO_QUORUM = 605,
  TH_REASON_ENTRY_MISSING = 606,
  TH_REASON_NOT_INCLUDED = 607,
  TH_REASON_ENTRY_MALFORMED = 608,
  TH_REASON_UNKNOWN_PUBLISHER = 609,
  TH_REASON_PUBLISHER_SIGNATURE = 610,
  TH_REASON_PUBLISHER_KEY_REVOKED = 611,
  TH_REASON_OTHER_LOG = 612,
  TH_REASON_PUBLISHER_NOT_PERMITTED = 613,
  TH_REASON_NOT_A_RELEASE = 614,
  TH_REASON_NOT_A_WITHDRAWAL = 615,
  TH_REASON_OTHER_PACKAGE = 616,
  TH_REASON_OTHER_PUBLISHER = 617,
  TH_REASON_OTHER_KIND = 618,
  TH_REASON_OTHER_CHANNEL = 619,
  TH_REASON_OTHER_AUDIENCE = 620,
  TH_REASON_BELOW_MIN_SEQUENCE = 621,
  TH_REASON_ARTIFACT_MISMATCH = 622,
  TH_REASON_ARTIFACT_SWAPPED = 623,
  TH_REASON_NOT_IN_MANIFEST = 624,
  TH_REASON_STALE = 625,
  TH_REASON_FROM_THE_FUTURE = 626,
  TH_REASON_FORK = 627,
  TH_REASON_ROLLBACK = 628,
  TH_REASON_LOG_ROLLED_BACK = 629,
  TH_REASON_STATE_DAMAGED = 630,
  TH_REASON_STATE_NEWER = 631,
  TH_REASON_WITHDRAWN = 632,
  TH_REASON_NO_FORK = 633,
  TH_REASON_COULD_NOT_TELL = 634
} th_reason;

/* Text that a caller gives: UTF-8, not NUL-terminated. data NULL: none. th_str_of makes one of a C string. */
typedef struct th_str {
  const char *data;
  size_t length;
} th_str;

/* Bytes that a caller gives. data NULL: none. */
typedef struct th_bytes {
  const uint8_t *data;
  size_t length;
} th_bytes;

/* A buffer for text, which a function fills: UTF-8 without control or invisible characters (they come escaped, as
 * \u{202e}), cut at a character if it does not fit, always NUL-terminated if capacity is not 0. */
typedef struct th_text {
  /* The buffer. May be NULL if capacity is 0. */
  char *data;
  /* Bytes at data. */
  size_t capacity;
  /* Out: bytes of the whole text, without the NUL. It was cut if this is not below capacity. */
  size_t length;
} th_text;

/* TH_ABI_VERSION of the library. */
uint32_t th_abi_version(void);
/* The version of the library: "0.1.0". */
const char *th_version(void);
/* The stable name of a reason, as in `treehead verify --json`: "artifact-mismatch". NULL for other numbers. */
const char *th_reason_name(uint32_t reason);

/* Memory for callers that have no allocator of their own, such as JavaScript beside a WebAssembly module. Aligned to 16
 * bytes. NULL for size 0, and for more than there is. th_free takes the same size. */
void *th_alloc(size_t size);
void th_free(void *data, size_t size);

/* Bytes that a function made. One thread at a time. */
typedef struct th_blob th_blob;
const uint8_t *th_blob_data(const th_blob *blob);
size_t th_blob_length(const th_blob *blob);
void th_blob_free(th_blob *blob);

/* ---------------------------------------------------------------- hashing -- */

/* SHA-256 of something that comes in pieces. One thread at a time. */
typedef struct th_hasher th_hasher;
th_hasher *th_hasher_new(void);
th_status th_hasher_update(th_hasher *hasher, const uint8_t *data, size_t length);
/* Writes 32 bytes, and begins anew. */
th_status th_hasher_finish(th_hasher *hasher, uint8_t *sha256);
void th_hasher_free(th_hasher *hasher);
/* The same in one call. */
th_status th_sha256(const uint8_t *data, size_t length, uint8_t *sha256);

/* ------------------------------------------------------------------ trust -- */

/* The logs, witnesses and publishers to believe. Never changes: any number of threads may use it at once. */
typedef struct th_trust th_trust;
/* Reads an endpoint.trust file. `message` may be NULL. */
th_status th_trust_from_bytes(const uint8_t *data, size_t length, th_trust **trust, th_text *message);
/* Reads a policy (c2sp.org/tlog-policy) and a publishers.toml. Without publishers (length 0) heads and proofs of trees can
 * be checked, and every release is refused. TH_UNSUPPORTED for publishers where TOML was left out of the build: then only
 * trust files hold them. */
th_status th_trust_from_parts(const uint8_t *policy, size_t policy_length, const uint8_t *publishers,
                              size_t publishers_length, th_trust **trust, th_text *message);
/* The bytes of a trust file. */
th_status th_trust_to_bytes(const th_trust *trust, th_blob **bytes);
/* The number of the trust file; 0 if it was made of parts. */
uint64_t th_trust_number(const th_trust *trust);
void th_trust_free(th_trust *trust);

/* ----------------------------------------------------------------- memory -- */

/* What an endpoint remembers: heads, sequence numbers, channels, withdrawals, forks. It never takes an old release for a
 * new one. One thread at a time. */
typedef struct th_memory th_memory;
/* An empty one. The caller keeps it: see th_memory_to_bytes. */
th_status th_memory_new(th_memory **memory);
/* Reads the bytes that th_memory_to_bytes wrote: a state.json of `treehead verify --state`. Damaged bytes are
 * TH_COULD_NOT_TELL; never go on with an empty memory then, which would take an old release for a new one. */
th_status th_memory_from_bytes(const uint8_t *data, size_t length, th_memory **memory, th_text *message);
/* The bytes to save, durably, before a file is installed on a verdict that used this memory. */
th_status th_memory_to_bytes(th_memory *memory, th_blob **bytes);
/* 1 if it has changed since it was made or since th_memory_to_bytes, otherwise 0. */
int32_t th_memory_is_changed(const th_memory *memory);
/* A memory in a directory (state.json, lock, evidence/), the same as of `treehead verify --state`. Each verdict locks it,
 * reads it, saves it durably, and unlocks it before it is returned, so processes and threads can share a directory, each
 * with an object of its own. TH_UNSUPPORTED where there are no files. */
th_status th_memory_open_dir(th_str dir, th_memory **memory, th_text *message);
void th_memory_free(th_memory *memory);

/* --------------------------------------------------------------- verdicts -- */

/* What is asked about one file. All that is zero is not asked. */
typedef struct th_question {
  size_t struct_size;
  /* The file's SHA-256. */
  uint8_t sha256[32];
  /* The bytes of the .tlog-proof file that came with it. */
  th_bytes proof;
  /* The time, in seconds since 1970. Needed. */
  uint64_t now;
  /* Most seconds since a quorum of witnesses cosigned the head; 0 is any age. */
  uint64_t max_age;
  /* Name or path of the file, as far as it is known. A file with the name of another file of its release is refused. */
  th_str file_name;
  /* The exact name of the file in the release. */
  th_str name;
  /* A purl with a version for that very release, or without one, or a pattern with `*`. */
  th_str package;
  /* The channel. Without one, a release in another channel than the one followed so far is refused. */
  th_str channel;
  /* build, update or detection-rules. */
  th_str kind;
  /* The publisher that must state it. */
  th_str publisher;
  /* The audience. Without one, a release for a limited audience is refused. */
  th_str audience;
  /* The lowest acceptable sequence number; 0 is any. */
  uint64_t min_sequence;
} th_question;

/* The answer. Give buffers for the texts that you want. */
typedef struct th_verdict {
  size_t struct_size;
  /* Out: the status that the function returned. */
  int32_t status;
  /* Out: a TH_REASON number; 0 for TH_OK and for statuses that have none. */
  uint32_t reason;
  /* The verdict in words, for people. */
  th_text message;
  /* What was expected, what was seen instead, and what to do. Empty for TH_OK. */
  th_text expected;
  th_text seen;
  th_text advice;
  /* Of a release that may be installed: the log, the package with its version, its channel, its kind, its publisher, its
   * audience (empty for everyone), and the name of the file in it. */
  th_text origin;
  th_text purl;
  th_text channel;
  th_text kind;
  th_text publisher;
  th_text audience;
  th_text name;
  /* Of it as well: its number, its leaf, and the head that it is proven under. */
  uint64_t sequence;
  uint64_t index;
  uint64_t tree_size;
  uint8_t leaf[32];
  uint8_t root[32];
  /* The newest cosignature of the head that counted (the log's newest one, if the log was asked), in seconds since 1970;
   * 0 if there is none. */
  uint64_t cosigned;
  /* 1 if the log was asked for withdrawals of the release, and answered. */
  int32_t asked_for_withdrawals;
  /* 1 if the memory forgot a head that was never compared with the log. */
  int32_t forgot_a_head;
  /* Out: the bytes of a .tlog-fork file that proves that the log signed two histories, and its name; usually NULL. It may
   * be the only copy in the world: save it, show it, then th_blob_free it. A memory in a directory has saved it. */
  th_blob *evidence;
  th_text evidence_name;
} th_verdict;

/* Judges a file without the network, and remembers the verdict in `memory` (NULL: remembers nothing). */
th_status th_verify(const th_trust *trust, th_memory *memory, const th_question *question, th_verdict *verdict);
/* Judges several files, each as if th_verify had judged it after the one before, with the memory read and saved once.
 * A fork that one file shows refuses all files of that log. TH_OK if all may be installed; otherwise the gravest status,
 * and each verdict has its own. */
th_status th_verify_many(const th_trust *trust, th_memory *memory, const th_question *const *questions,
                         th_verdict *const *verdicts, size_t count);

/* ----------------------------------------------------------------- online -- */

/* Fetches `path` from below the log's address, such as "checkpoint" or "tile/0/x001/234.p/5", as a GET request would, and
 * writes at most `capacity` bytes to `data`, which must be the whole answer, and their number to `length`. Returns the
 * HTTP status; 0 if there was no answer, or if it was longer. */
typedef int32_t (*th_fetch)(void *context, const char *path, uint8_t *data, size_t capacity, size_t *length);

/* Like th_verify, and asks the log: its newest head must continue every head that was seen before, and the release must
 * not be withdrawn. max_age applies to that head, not to the proof's. */
th_status th_verify_online(const th_trust *trust, th_memory *memory, const th_question *question, th_fetch fetch,
                           void *context, th_verdict *verdict);

/* The same without callbacks: the check says what to fetch, the caller fetches and answers, until there is nothing left to
 * fetch. One thread at a time. The memory is not held meanwhile. */
typedef struct th_check th_check;
th_status th_check_new(const th_trust *trust, th_memory *memory, const th_question *question, th_check **check,
                       th_text *message);
/* The number of requests that wait for answers; 0: finish. They may be fetched in any order, or at once. */
size_t th_check_requests(const th_check *check);
/* The path of a request below the log's address, and the most bytes that the answer may have. */
th_status th_check_request(const th_check *check, size_t at, th_text *path, size_t *most);
/* The log's address as the trust file has it; empty if it has none. */
th_status th_check_address(const th_check *check, th_text *address);
/* Answers a request, with the HTTP status (0: no answer) and the body. The requests behind it move up by one; the last
 * answer may bring new ones. */
th_status th_check_answer(th_check *check, size_t at, int32_t http_status, const uint8_t *data, size_t length);
/* The verdict. TH_COULD_NOT_TELL while requests wait. `memory` is the one that the check began with. */
th_status th_check_finish(th_check *check, th_memory *memory, th_verdict *verdict);
void th_check_free(th_check *check);

/* ------------------------------------------------------- heads and proofs -- */

/* A tree head. */
typedef struct th_head {
  size_t struct_size;
  /* Out: a TH_REASON number, 0 if a trusted log signed it and a quorum cosigned it. */
  uint32_t reason;
  /* Out: 1 if a trusted log signed it: then all that follows is filled. */
  int32_t is_signed;
  uint64_t size;
  uint8_t root[32];
  /* The newest cosignature, in seconds since 1970; 0 if there is none. */
  uint64_t cosigned;
  /* Why it is refused, in words. */
  th_text message;
  th_text origin;
  /* The witnesses that cosigned, a line each: seconds since 1970, a space, the name. */
  th_text witnesses;
  /* The quorum rule in words, and the witnesses that are missing. */
  th_text quorum;
  th_text missing;
} th_head;

/* Opens a checkpoint: a signed note. TH_REFUSED unless a trusted log signed it and a quorum cosigned it. */
th_status th_checkpoint_open(const th_trust *trust, const uint8_t *note, size_t length, th_head *head);

/* The leaf hash of an entry: 32 bytes. */
th_status th_leaf_hash(const uint8_t *entry, size_t length, uint8_t *hash);
/* The leaf hashes of all entries of a bundle (/tile/entries/...), 32 bytes each, and their number; at most 256.
 * TH_TOO_SMALL unless `hashes` has room for `capacity` >= count hashes. */
th_status th_bundle_hashes(const uint8_t *bundle, size_t length, uint8_t *hashes, size_t capacity, size_t *count);
/* The root of a whole tree, a subtree or a tile over these hashes, 32 bytes each, as RFC 6962 section 2.1 has it. */
th_status th_tree_root(const uint8_t *hashes, size_t count, uint8_t *root);

/* Checks the inclusion of a leaf hash in a tree, by a proof of `count` hashes. TH_REFUSED if it does not hold. */
th_status th_inclusion_check(uint64_t index, uint64_t size, const uint8_t *leaf, const uint8_t *proof, size_t count,
                             const uint8_t *root);
/* Checks that the tree of `size` continues that of `old_size`. */
th_status th_consistency_check(uint64_t old_size, const uint8_t *old_root, uint64_t size, const uint8_t *root,
                               const uint8_t *proof, size_t count);

/* A plan of the tiles that a proof is made of. Fetch each, put it in, and ask for what it proves. One thread at a time. */
typedef struct th_plan th_plan;
/* The inclusion of a leaf in a tree. */
th_status th_plan_inclusion(uint64_t index, uint64_t size, th_plan **plan);
/* A smaller tree's root and its consistency with a larger one, from tiles of the larger one alone. */
th_status th_plan_prefix(uint64_t old_size, uint64_t size, th_plan **plan);
size_t th_plan_tiles(const th_plan *plan);
/* The path of a tile, "tile/0/x001/234.p/5", and the number of its hashes. A log that has dropped a partial tile has the
 * full one: the same path without ".p/5"; th_plan_put takes either. */
th_status th_plan_tile(const th_plan *plan, size_t at, th_text *path, size_t *hashes);
th_status th_plan_put(th_plan *plan, size_t at, const uint8_t *tile, size_t length);
/* Whether the tiles prove that the leaf is in the tree with this root. The proof's hashes (32 bytes each, at most 64) and
 * their number are written to `proof` and `count`, which may be NULL. TH_REFUSED if they do not; TH_COULD_NOT_TELL if
 * tiles are missing. */
th_status th_plan_prove_inclusion(const th_plan *plan, const uint8_t *leaf, const uint8_t *root, uint8_t *proof,
                                  size_t capacity, size_t *count);
/* Writes the root that the tree with this root had at the smaller size, and the proof, as above. */
th_status th_plan_prove_prefix(const th_plan *plan, const uint8_t *root, uint8_t *old_root, uint8_t *proof,
                               size_t capacity, size_t *count);
void th_plan_free(th_plan *plan);

/* Compares two heads of a trusted log, in either order, with a th_plan_prefix of their sizes that has its tiles (NULL if
 * the sizes are equal). TH_OK: the larger one continues the smaller one. TH_REFUSED: the log signed two histories, and
 * `evidence` proves it: the bytes of a .tlog-fork file. TH_COULD_NOT_TELL: the tiles prove nothing. */
th_status th_heads_compare(const th_trust *trust, const uint8_t *note, size_t length, const uint8_t *other,
                           size_t other_length, const th_plan *plan, th_blob **evidence, th_text *name,
                           th_text *message);
/* Checks a .tlog-fork file: TH_OK if it proves that a trusted log signed two histories. */
th_status th_evidence_check(const th_trust *trust, const uint8_t *data, size_t length, th_text *message);

/* ---------------------------------------------------------------- helpers -- */

static inline th_str th_str_of(const char *text) {
  th_str str;
  str.data = text;
  str.length = text ? strlen(text) : 0;
  return str;
}

static inline th_text th_text_of(char *data, size_t capacity) {
  th_text text;
  text.data = data;
  text.capacity = capacity;
  text.length = 0;
  return text;
}

static inline th_question th_question_init(void) {
  th_question question;
  memset(&question, 0, sizeof question);
  question.struct_size = sizeof question;
  return question;
}

static inline th_verdict th_verdict_init(void) {
  th_verdict verdict;
  memset(&verdict, 0, sizeof verdict);
  verdict.struct_size = sizeof verdict;
  return verdict;
}

static inline th_head th_head_init(void) {
  th_head head;
  memset(&head, 0, sizeof head);
  head.struct_size = sizeof head;
  return head;
}

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* TREEHEAD_H */
