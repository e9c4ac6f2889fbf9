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
 * - A pointer that must not be NULL and is, a length without data, text that is not UTF-8 and a struct_size that is too
 *   small are TH_INVALID_ARGUMENT. Nothing is written then but a message.
 * - A message or another out-pointer may be NULL where its function says so; every th_text *message may.
 * - Every struct begins with its size, which the caller sets (th_..._init does). A library of a later version, which has
 *   larger structs, reads and writes no more than that.
 * - Nothing is kept of a caller's buffer after a call returns.
 * - NULL is fine for every th_..._free.
 * - Each object says which threads may use it. If two threads use an object for one thread at once, one of them gets
 *   TH_BUSY.
 * - Out of memory ends the process (abort), and so would an error in this library. Nothing unwinds into the caller.
 *
 * Generated from the Rust sources; do not edit: `TREEHEAD_WRITE_HEADER=1 cargo test -p treehead-capi --test header`.
 */

#ifndef TREEHEAD_H
#define TREEHEAD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Why a file must not be installed, or a trust file not taken: numbers that never change. */
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
  TH_REASON_COULD_NOT_TELL = 634,
  TH_REASON_ATTESTATIONS = 635,
  TH_REASON_SIGNATURES_MISSING = 636,
  TH_REASON_TRUST_MALFORMED = 650,
  TH_REASON_TRUST_NOT_REPLACEABLE = 651,
  TH_REASON_TRUST_ROLLBACK = 652,
  TH_REASON_TRUST_GAP = 653,
  TH_REASON_TRUST_OTHER_PACKAGE = 654,
  TH_REASON_TRUST_NOT_PROVEN = 655,
  TH_REASON_TRUST_OTHER_RELEASE = 656,
  TH_REASON_TRUST_TOO_FEW_SIGNERS = 657,
  TH_REASON_TRUST_FORK = 658
} th_reason;

/*
 The version of this interface. It grows when something is added; libtreehead.so.0 keeps what it had.
 */
#define TH_ABI_VERSION 1

/*
 A flag of a question: the verdict's json is wanted.
 */
#define TH_WANT_JSON 1

/*
 The result of a function.
 */
enum th_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   Done. Of a verdict: the file may be installed.
   */
  TH_OK = 0,
  /*
   The file must not be installed; the reason says why.
   */
  TH_REFUSED = 1,
  /*
   Could not tell: the log did not answer, or its answer proves nothing; or the memory can't be read or saved.
   */
  TH_COULD_NOT_TELL = 2,
  /*
   The caller broke a rule of this header.
   */
  TH_INVALID_ARGUMENT = 3,
  /*
   Bytes from outside are not in their format.
   */
  TH_MALFORMED = 4,
  /*
   Another thread is using the object, or another process held the memory's lock for 30 seconds.
   */
  TH_BUSY = 5,
  /*
   This build of the library does not have the function.
   */
  TH_UNSUPPORTED = 6,
  /*
   A buffer of the caller is too small; the needed length was written.
   */
  TH_TOO_SMALL = 7,
  /*
   The operating system refused.
   */
  TH_IO = 8,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum th_status th_status;
#else
typedef int32_t th_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 Bytes that a function made. Never changes: any number of threads may read it.
 */
typedef struct th_blob th_blob;

/*
 A check that asks the log, without callbacks: it says what to fetch, the caller fetches and answers, until nothing is
 left to fetch. One thread at a time. The memory is not held meanwhile.
 */
typedef struct th_check th_check;

/*
 SHA-256 of something that comes in pieces. One thread at a time.
 */
typedef struct th_hasher th_hasher;

/*
 What an endpoint remembers: heads, sequence numbers, channels, withdrawals, forks. With it, no old release passes for a
 new one. One thread at a time.
 */
typedef struct th_memory th_memory;

/*
 A plan of the tiles that a proof is made of. Fetch each, put it in, and ask for what it proves. One thread at a time.
 */
typedef struct th_plan th_plan;

/*
 The logs, witnesses and publishers to believe. Never changes: any number of threads may use it at once.
 */
typedef struct th_trust th_trust;

/*
 A buffer for text, which a function fills: UTF-8 without control or invisible characters (they come escaped, as
 \u{202e}), cut at a character if it does not fit, and always NUL-terminated if capacity is not 0.
 */
typedef struct th_text {
  /*
   The buffer. May be NULL if capacity is 0.
   */
  char *data;
  /*
   Bytes at data.
   */
  size_t capacity;
  /*
   Out: bytes of the whole text, without the NUL. The text was cut if this is not below capacity.
   */
  size_t length;
} th_text;

/*
 Bytes that a caller gives. data NULL: none.
 */
typedef struct th_bytes {
  /*
   The bytes.
   */
  const uint8_t *data;
  /*
   Their number.
   */
  size_t length;
} th_bytes;

/*
 The answer. Give buffers for the texts that you want.
 */
typedef struct th_verdict {
  /*
   sizeof(th_verdict).
   */
  size_t struct_size;
  /*
   Out: the status, a th_status. Of several files, each has its own.
   */
  int32_t status;
  /*
   Out: a TH_REASON number; 0 for TH_OK and for failures that have none.
   */
  uint32_t reason;
  /*
   The verdict in words, for people.
   */
  struct th_text message;
  /*
   What was expected, what was seen instead, and what to do. Empty for TH_OK.
   */
  struct th_text expected;
  /*
   See expected.
   */
  struct th_text seen;
  /*
   See expected.
   */
  struct th_text advice;
  /*
   Of a release that may be installed: the log.
   */
  struct th_text origin;
  /*
   The package with its version.
   */
  struct th_text purl;
  /*
   The channel.
   */
  struct th_text channel;
  /*
   The kind.
   */
  struct th_text kind;
  /*
   The publisher.
   */
  struct th_text publisher;
  /*
   The audience; empty for everyone.
   */
  struct th_text audience;
  /*
   The name of the file in the release.
   */
  struct th_text name;
  /*
   Its number.
   */
  uint64_t sequence;
  /*
   Its leaf in the log.
   */
  uint64_t index;
  /*
   Size of the tree that it is proven to be in.
   */
  uint64_t tree_size;
  /*
   The newest cosignature of that tree's head (of the log's newest one, if the log was asked), in seconds since 1970; 0
   if there is none.
   */
  uint64_t cosigned;
  /*
   Its leaf hash.
   */
  uint8_t leaf[32];
  /*
   The tree's root.
   */
  uint8_t root[32];
  /*
   1 if the log was asked, and its newest head continues all heads seen before.
   */
  int32_t asked_the_log;
  /*
   1 if the log was asked for withdrawals of the release, and answered. 0 also if the log has no search: then none could
   be asked for.
   */
  int32_t asked_for_withdrawals;
  /*
   1 if the memory forgot a head that was never compared with the log: ask it now and then.
   */
  int32_t forgot_a_head;
  /*
   0.
   */
  int32_t reserved;
  /*
   Out: the bytes of a .tlog-fork file that proves that the log signed two histories; usually NULL. It may be the only
   copy in the world: save it and show it, then th_verdict_clear. A memory in a directory has saved it already.
   */
  struct th_blob *evidence;
  /*
   Its file name.
   */
  struct th_text evidence_name;
  /*
   Out: the verdict as JSON, as `treehead verify --json` prints it; NULL unless the question has TH_WANT_JSON.
   */
  struct th_blob *json;
} th_verdict;

/*
 Text that a caller gives: UTF-8, not NUL-terminated. data NULL: none. th_str_of makes one of a C string.
 */
typedef struct th_str {
  /*
   The text.
   */
  const char *data;
  /*
   Its bytes.
   */
  size_t length;
} th_str;

/*
 What is asked about one file. All that is zero is not asked.
 */
typedef struct th_question {
  /*
   sizeof(th_question).
   */
  size_t struct_size;
  /*
   The file's SHA-256.
   */
  uint8_t sha256[32];
  /*
   The bytes of the .tlog-proof or .tlog-bundle file that came with it.
   */
  struct th_bytes proof;
  /*
   The time, in seconds since 1970. Needed.
   */
  uint64_t now;
  /*
   Most seconds since a quorum of witnesses cosigned the head; 0 is any age.
   */
  uint64_t max_age;
  /*
   The lowest acceptable sequence number; 0 is any.
   */
  uint64_t min_sequence;
  /*
   Name or path of the file, as far as it is known. A file with the name of another file of its release is refused.
   */
  struct th_str file_name;
  /*
   The exact name of the file in the release.
   */
  struct th_str name;
  /*
   A purl with a version for that very release, or one without, or a pattern with `*`, for any version.
   */
  struct th_str package;
  /*
   The channel. Without one, a release in another channel than the one followed so far is refused.
   */
  struct th_str channel;
  /*
   build, update, detection-rules or trust.
   */
  struct th_str kind;
  /*
   The publisher that must state it.
   */
  struct th_str publisher;
  /*
   The audience. Without one, a release for a limited audience is refused.
   */
  struct th_str audience;
  /*
   TH_WANT_JSON, or 0.
   */
  uint32_t flags;
  /*
   Must be 0.
   */
  uint32_t reserved;
} th_question;

/*
 Fetches `path` from below the log's address, such as "checkpoint", "tile/0/x001/234.p/5" or
 "releases?limit=100&withdraws=...", as a GET request would, past every cache. Writes at most `capacity` bytes to `data`,
 which must be the whole answer, and their number to `length`. Returns the HTTP status; 0 if there was no answer, or a
 longer one.
 */
typedef int32_t (*th_fetch)(void *context, const char *path, uint8_t *data, size_t capacity, size_t *length);

/*
 A tree head.
 */
typedef struct th_head {
  /*
   sizeof(th_head).
   */
  size_t struct_size;
  /*
   Out: a TH_REASON number, 0 if a trusted log signed it and a quorum cosigned it.
   */
  uint32_t reason;
  /*
   Out: 1 if a trusted log signed it: then all that follows is filled.
   */
  int32_t is_signed;
  /*
   Out: the number of leaves.
   */
  uint64_t size;
  /*
   Out: the root of the tree.
   */
  uint8_t root[32];
  /*
   Out: the newest cosignature, in seconds since 1970; 0 if there is none.
   */
  uint64_t cosigned;
  /*
   Why it is refused, in words.
   */
  struct th_text message;
  /*
   The log.
   */
  struct th_text origin;
  /*
   The witnesses that cosigned, a line each: seconds since 1970, a space, the name.
   */
  struct th_text witnesses;
  /*
   The quorum rule in words.
   */
  struct th_text quorum;
  /*
   The witnesses that are missing, in words.
   */
  struct th_text missing;
} th_head;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 TH_ABI_VERSION of the library.
 */
uint32_t th_abi_version(void);

/*
 The version of the library: "0.1.0".
 */
const char *th_version(void);

/*
 The stable name of a reason, as `treehead verify --json` prints it: "artifact-mismatch". NULL for other numbers.
 */
const char *th_reason_name(uint32_t reason);

/*
 The bytes of a blob; NULL if it has none.
 */
const uint8_t *th_blob_data(const struct th_blob *blob);

/*
 Their number.
 */
size_t th_blob_length(const struct th_blob *blob);

/*
 Frees a blob.
 */
void th_blob_free(struct th_blob *blob);

/*
 Memory for callers that have no allocator of their own, such as JavaScript beside a WebAssembly module. Aligned to 16
 bytes. NULL for size 0, and if there is not enough.
 */
uint8_t *th_alloc(size_t size);

/*
 Frees what th_alloc gave for the same size.
 */
void th_free(uint8_t *data, size_t size);

/*
 A hasher of nothing yet.
 */
struct th_hasher *th_hasher_new(void);

/*
 Adds bytes.
 */
th_status th_hasher_update(struct th_hasher *hasher, const uint8_t *data, size_t length);

/*
 Writes 32 bytes, and begins anew.
 */
th_status th_hasher_finish(struct th_hasher *hasher, uint8_t *sha256);

/*
 Frees a hasher.
 */
void th_hasher_free(struct th_hasher *hasher);

/*
 SHA-256 in one call.
 */
th_status th_sha256(const uint8_t *data, size_t length, uint8_t *sha256);

/*
 Reads an endpoint.trust file.
 */
th_status th_trust_from_bytes(const uint8_t *data, size_t length, struct th_trust **trust, struct th_text *message);

/*
 Reads a policy (c2sp.org/tlog-policy) and a publishers.toml. Without publishers (length 0), heads and proofs about trees
 can be checked, and every release is refused. TH_UNSUPPORTED for publishers where TOML was left out of the build: then
 only trust files hold them.
 */
th_status th_trust_from_parts(const uint8_t *policy,
                              size_t policy_length,
                              const uint8_t *publishers,
                              size_t publishers_length,
                              struct th_trust **trust,
                              struct th_text *message);

/*
 The bytes of a trust file. One that was made of parts gets the number 1.
 */
th_status th_trust_to_bytes(const struct th_trust *trust, struct th_blob **bytes);

/*
 The number of the trust file; 0 if it was made of parts.
 */
uint64_t th_trust_number(const struct th_trust *trust);

/*
 The trust file that replaces this one: it has the next number, and its releases, in the proof files or bundles of
 `proofs`, are proven and signed as this one asks. The signers of all proofs are counted together. `next` is a new object,
 also if `data` is this very file; this one stays as it is. The caller keeps the bytes of `data`, durably, and begins with
 them the next time. TH_REFUSED, or TH_MALFORMED: keep this one; `reason`, which may be NULL, is a TH_REASON_TRUST number.
 TH_UNSUPPORTED where it was left out of the build.
 */
th_status th_trust_succeed(const struct th_trust *trust,
                           const uint8_t *data,
                           size_t length,
                           const struct th_bytes *proofs,
                           size_t proofs_count,
                           struct th_trust **next,
                           uint32_t *reason,
                           struct th_text *message);

/*
 Frees a trust.
 */
void th_trust_free(struct th_trust *trust);

/*
 An empty memory. The caller saves it: see th_memory_to_bytes.
 */
th_status th_memory_new(struct th_memory **memory);

/*
 Reads the bytes that th_memory_to_bytes made: a state.json of `treehead verify --state`. Damaged bytes are
 TH_COULD_NOT_TELL: never go on with an empty memory then, which would take an old release for a new one.
 */
th_status th_memory_from_bytes(const uint8_t *data, size_t length, struct th_memory **memory, struct th_text *message);

/*
 The bytes to save, durably, before a file is installed on a verdict that used this memory.
 */
th_status th_memory_to_bytes(struct th_memory *memory, struct th_blob **bytes);

/*
 0 if it has not changed since it was made or since th_memory_to_bytes, or is in a directory; otherwise 1. Also 1 if
 that can't be told: then save it.
 */
int32_t th_memory_is_changed(const struct th_memory *memory);

/*
 A memory in a directory (state.json, lock, evidence/), the same as of `treehead verify --state`. Each verdict locks it,
 reads it, saves it durably, and unlocks it before it is returned, so processes and threads can share a directory, each
 with an object of its own. TH_UNSUPPORTED where there are no files.
 */
th_status th_memory_open_dir(const uint8_t *dir, size_t length, struct th_memory **memory, struct th_text *message);

/*
 Frees a memory.
 */
void th_memory_free(struct th_memory *memory);

/*
 Frees the evidence and the json of a verdict, and sets them to NULL. The texts are the caller's and stay.
 */
void th_verdict_clear(struct th_verdict *verdict);

/*
 Judges a file without the network, and remembers the verdict in `memory`, which may be NULL.
 */
th_status th_verify(const struct th_trust *trust,
                    struct th_memory *memory,
                    const struct th_question *question,
                    struct th_verdict *verdict);

/*
 Judges several files, each as if th_verify had judged it after the one before, with the memory read and saved once. A
 fork that one file shows refuses all files of that log. TH_OK if all may be installed; TH_REFUSED if one is refused;
 each verdict has its own status. Nothing is judged if a question or a verdict breaks a rule.
 */
th_status th_verify_many(const struct th_trust *trust,
                         struct th_memory *memory,
                         const struct th_question *const *questions,
                         struct th_verdict *const *verdicts,
                         size_t count);

/*
 Begins a check. `memory` may be NULL.
 */
th_status th_check_new(const struct th_trust *trust,
                       struct th_memory *memory,
                       const struct th_question *question,
                       struct th_check **check,
                       struct th_text *message);

/*
 The number of requests that wait for answers; 0: finish. They may be fetched in any order, or at once.
 */
size_t th_check_requests(const struct th_check *check);

/*
 The path of a request below the log's address, and the most bytes that the answer may have (NULL: not wanted). TH_TOO_SMALL
 if the path does not fit, which is some kilobytes long if the package's name is: no part of it is written then, and
 path->length says how long it is.
 */
th_status th_check_request(const struct th_check *check,
                           size_t at,
                           struct th_text *path,
                           size_t *most);

/*
 The log's address, as the trust file has it; empty if it has none.
 */
th_status th_check_address(const struct th_check *check, struct th_text *address);

/*
 Answers a request with the HTTP status (0: no answer) and the body. The requests behind it move up by one; the last
 answer may bring new ones.
 */
th_status th_check_answer(struct th_check *check, size_t at, int32_t http_status, const uint8_t *data, size_t length);

/*
 The verdict, once. TH_COULD_NOT_TELL while requests wait. `memory` is the one that the check began with.
 */
th_status th_check_finish(struct th_check *check, struct th_memory *memory, struct th_verdict *verdict);

/*
 Frees a check.
 */
void th_check_free(struct th_check *check);

/*
 Like th_verify, and asks the log: its newest head must continue every head that was seen before, the release must not be
 withdrawn, and max_age applies to that head, not to the proof's.
 */
th_status th_verify_online(const struct th_trust *trust,
                           struct th_memory *memory,
                           const struct th_question *question,
                           th_fetch fetch,
                           void *context,
                           struct th_verdict *verdict);

/*
 Opens a checkpoint, which is a signed note. TH_REFUSED unless a trusted log signed it and a quorum cosigned it.
 */
th_status th_checkpoint_open(const struct th_trust *trust, const uint8_t *note, size_t length, struct th_head *head);

/*
 The leaf hash of an entry: 32 bytes.
 */
th_status th_leaf_hash(const uint8_t *entry, size_t length, uint8_t *hash);

/*
 The leaf hashes of all entries of a bundle (/tile/entries/...), 32 bytes each, and their number, at most 256.
 TH_TOO_SMALL if there is not room for all of them.
 */
th_status th_bundle_hashes(const uint8_t *bundle, size_t length, uint8_t *hashes, size_t capacity, size_t *count);

/*
 The root of a whole tree, a subtree or a tile over these hashes, 32 bytes each, as RFC 6962 section 2.1 has it.
 */
th_status th_tree_root(const uint8_t *hashes, size_t count, uint8_t *root);

/*
 The root of the two subtrees with these roots: SHA-256 of a 1 and both.
 */
th_status th_node_hash(const uint8_t *left, const uint8_t *right, uint8_t *node);

/*
 Checks the inclusion of a leaf hash in a tree, by a proof of `count` hashes. TH_REFUSED if it does not hold.
 */
th_status th_inclusion_check(uint64_t index,
                             uint64_t size,
                             const uint8_t *leaf,
                             const uint8_t *proof,
                             size_t count,
                             const uint8_t *root);

/*
 Checks that the tree of `size` continues that of `old_size`, by a proof of `count` hashes. TH_REFUSED if it does not
 hold.
 */
th_status th_consistency_check(uint64_t old_size,
                               const uint8_t *old_root,
                               uint64_t size,
                               const uint8_t *root,
                               const uint8_t *proof,
                               size_t count);

/*
 The path of a tile below a log's address, as wide as a tree of `size` has it: "tile/0/x001/234.p/5". Level -1 is that
 of the entry bundles. Writes the number of hashes or entries to `width`, which may be NULL. TH_REFUSED if the tree has
 no such tile.
 */
th_status th_tile_path(int32_t level, uint64_t index, uint64_t size, struct th_text *path, size_t *width);

/*
 Plans the inclusion of a leaf in a tree.
 */
th_status th_plan_inclusion(uint64_t index, uint64_t size, struct th_plan **plan);

/*
 Plans the root of a smaller tree and its consistency with a larger one, from tiles of the larger one alone.
 */
th_status th_plan_prefix(uint64_t old_size, uint64_t size, struct th_plan **plan);

/*
 The number of tiles.
 */
size_t th_plan_tiles(const struct th_plan *plan);

/*
 The path of a tile, "tile/0/x001/234.p/5", and the number of its hashes. A log that has dropped a partial tile has the
 full one: the same path without ".p/5"; th_plan_put takes either.
 */
th_status th_plan_tile(const struct th_plan *plan, size_t at, struct th_text *path, size_t *hashes);

/*
 Puts a tile in: its hashes, 32 bytes each. TH_MALFORMED for another number of them.
 */
th_status th_plan_put(struct th_plan *plan, size_t at, const uint8_t *tile, size_t length);

/*
 Whether the tiles prove that the leaf is in the tree with this root. The proof's hashes (32 bytes each, at most 64) and
 their number are written to `proof` and `count`, which may be NULL. TH_REFUSED if they do not; TH_COULD_NOT_TELL if
 tiles are missing.
 */
th_status th_plan_prove_inclusion(const struct th_plan *plan,
                                  const uint8_t *leaf,
                                  const uint8_t *root,
                                  uint8_t *proof,
                                  size_t capacity,
                                  size_t *count);

/*
 Writes the root that the tree with this root had at the smaller size, and the proof, as th_plan_prove_inclusion does.
 */
th_status th_plan_prove_prefix(const struct th_plan *plan,
                               const uint8_t *root,
                               uint8_t *old_root,
                               uint8_t *proof,
                               size_t capacity,
                               size_t *count);

/*
 Frees a plan.
 */
void th_plan_free(struct th_plan *plan);

/*
 Compares two heads of a trusted log, in either order, with a th_plan_prefix of their sizes that has its tiles (NULL if
 the sizes are equal). TH_OK: the larger one continues the smaller one. TH_REFUSED: the log signed two histories, and
 `evidence` proves it: the bytes of a .tlog-fork file, with its name. TH_COULD_NOT_TELL: the tiles prove nothing.
 */
th_status th_heads_compare(const struct th_trust *trust,
                           const uint8_t *note,
                           size_t length,
                           const uint8_t *other,
                           size_t other_length,
                           const struct th_plan *plan,
                           struct th_blob **evidence,
                           struct th_text *name,
                           struct th_text *message);

/*
 Checks a .tlog-fork file: TH_OK if it proves that a trusted log signed two histories. `json` may be NULL.
 */
th_status th_evidence_check(const struct th_trust *trust,
                            const uint8_t *data,
                            size_t length,
                            struct th_blob **json,
                            struct th_text *message);

/*
 Whom the trust names: {"number", "logs": [{"origin", "keys": [{"key", "type"}], "url"}], "quorum", "witnesses",
 "publishers"}. The quorum is in words, and the number null if there was no trust file.
 */
th_status th_trust_json(const struct th_trust *trust, struct th_blob **json);

/*
 A checkpoint: with a trust, one that a trusted log signed (otherwise TH_REFUSED), with its signature lines and
 {"quorum": {"reached", ...}}; with NULL, as `treehead inspect --json` shows it, unverified.
 */
th_status th_checkpoint_json(const struct th_trust *trust,
                             const uint8_t *note,
                             size_t length,
                             struct th_blob **json,
                             struct th_text *message);

/*
 A proof file, unverified: {"what": "proof", "index", "proof", "checkpoint", "note", "leaf_hash"}, and the bytes of its
 entry, NULL if it carries none. `entry` may be NULL. A bundle, unverified: {"what": "bundle", "entries": [{"index",
 "leaf_hash", "entry"}], "proof", "checkpoint", "note"}, in which each entry is base64; `entry` gets NULL.
 */
th_status th_proof_json(const uint8_t *proof,
                        size_t length,
                        struct th_blob **json,
                        struct th_blob **entry,
                        struct th_text *message);

/*
 What an entry says, as `treehead inspect --json` does, and in words. With a trust and the origin of the log, also the
 publishers whose signatures were verified, or the reason why nobody stands behind it. Does not say that the entry is in
 the log.
 */
th_status th_entry_json(const struct th_trust *trust,
                        const uint8_t *origin,
                        size_t origin_length,
                        const uint8_t *entry,
                        size_t length,
                        struct th_blob **json);

/*
 A text from elsewhere, made safe to show: control, bidi and invisible characters are escaped.
 */
th_status th_shown(const uint8_t *data, size_t length, struct th_text *shown);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TREEHEAD_H */

#ifdef __cplusplus
extern "C" {
#endif

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
