/* Verdicts that ask the log: by callback, and step by step. */

#include "common.h"

typedef struct log {
  bytes checkpoint;
  int32_t status;
  int asked, searched;
  /* What a search answers; NULL if there is none. */
  const char *found;
} log_;

static int32_t fetch(void *context, const char *path, uint8_t *data, size_t capacity, size_t *length) {
  log_ *log = context;
  if (strncmp(path, "releases?limit=100&", 19) == 0) {
    log->searched++;
    if (!log->found) return 404;
    CHECK(strlen(log->found) <= capacity);
    memcpy(data, log->found, *length = strlen(log->found));
    return 200;
  }
  if (strncmp(path, "proof/leaf/", 11) == 0) return 404;
  CHECK(strcmp(path, "checkpoint") == 0);
  log->asked++;
  if (log->checkpoint.length > capacity) return 0;
  if (log->checkpoint.length) memcpy(data, log->checkpoint.data, log->checkpoint.length);
  *length = log->checkpoint.length;
  return log->status;
}

/* The note of a .tlog-fork file that begins at this empty line. */
static bytes note_in(bytes file, int line) {
  bytes note = file;
  while (line-- > 0) {
    const char *at = strstr((const char *)note.data, "\n\n");
    CHECK(at);
    note.length -= (size_t)(at + 2 - (const char *)note.data);
    note.data = (uint8_t *)at + 2;
  }
  return note;
}

static char message[512], evidence_name[128];

static th_verdict fresh(void) {
  th_verdict verdict = th_verdict_init();
  verdict.message = th_text_of(message, sizeof message);
  verdict.evidence_name = th_text_of(evidence_name, sizeof evidence_name);
  return verdict;
}

int main(int count, char **args) {
  CHECK(count == 2);
  fixtures = args[1];
  bytes artifact = fixture("scanner.sh"), proof = fixture("scanner.sh.tlog-proof");
  bytes fork = fixture("../evidence/same-size.tlog-fork"), smaller = fixture("../evidence/unequal.tlog-fork");
  /* Text functions need an end. */
  fork.data = realloc(fork.data, fork.length + 1);
  smaller.data = realloc(smaller.data, smaller.length + 1);
  CHECK(fork.data && smaller.data);
  fork.data[fork.length] = smaller.data[smaller.length] = 0;
  th_trust *trust = trust_of("endpoint.trust"), *witnessed = trust_of("witnessed.trust");
  th_memory *memory = NULL;
  th_question question = question_of(artifact, proof);
  th_verdict verdict = fresh();
  log_ log = {fixture("checkpoint"), 200, 0, 0, NULL};

  CHECK(th_memory_new(&memory) == TH_OK);
  CHECK(th_verify_online(witnessed, memory, &question, fetch, &log, &verdict) == TH_OK);
  CHECK(log.asked == 1 && log.searched == 1 && verdict.asked_the_log == 1 && verdict.asked_for_withdrawals == 0);
  /* A log with a search: nothing is withdrawn; an old answer; a withdrawal that it does not show. */
  log.found = "{\"tree_size\":5,\"releases\":[],\"next\":null}";
  CHECK(th_verify_online(witnessed, memory, &question, fetch, &log, &verdict) == TH_OK);
  CHECK(log.searched == 5 && verdict.asked_for_withdrawals == 1);
  log.found = "{\"tree_size\":4,\"releases\":[],\"next\":null}";
  CHECK(th_verify_online(witnessed, memory, &question, fetch, &log, &verdict) == TH_COULD_NOT_TELL);
  CHECK(verdict.asked_for_withdrawals == 0 && strstr(message, "an old answer"));
  log.found = "{\"tree_size\":5,\"releases\":[{\"index\":4,\"kind\":\"withdrawal\",\"leaf_hash\":"
              "\"39abc3fc22bdda303eb3321daf32a8ae8aac157473541b95e127f7d5373e5280\"}],\"next\":null}";
  CHECK(th_verify_online(witnessed, memory, &question, fetch, &log, &verdict) == TH_COULD_NOT_TELL);
  CHECK(strstr(message, "proof/leaf/39abc3fc") && strstr(message, "404"));
  log.found = NULL;
  question.max_age = 60;
  CHECK(th_verify_online(witnessed, memory, &question, fetch, &log, &verdict) == TH_OK);
  question.max_age = 59;
  CHECK(th_verify_online(witnessed, memory, &question, fetch, &log, &verdict) == TH_REFUSED);
  CHECK(verdict.reason == TH_REASON_STALE);
  question.max_age = 0;
  CHECK(th_verify_online(witnessed, memory, &question, NULL, &log, &verdict) == TH_INVALID_ARGUMENT);

  /* A log that does not answer, answers too much, or answers something else. */
  log.status = 0;
  CHECK(th_verify_online(witnessed, memory, &question, fetch, &log, &verdict) == TH_COULD_NOT_TELL);
  CHECK(verdict.reason == TH_REASON_COULD_NOT_TELL && strstr(message, "no answer"));
  log.status = 503;
  CHECK(th_verify_online(witnessed, memory, &question, fetch, &log, &verdict) == TH_COULD_NOT_TELL);
  log.status = 200;
  bytes good = log.checkpoint;
  log.checkpoint = artifact;
  CHECK(th_verify_online(witnessed, memory, &question, fetch, &log, &verdict) == TH_COULD_NOT_TELL);

  /* A log that shows less than it has shown. */
  log.checkpoint = note_in(smaller, 1);
  log.checkpoint.length = (size_t)(strstr(strstr((char *)log.checkpoint.data, "\n\n") + 2, "\n\n") + 1 - (char *)log.checkpoint.data);
  CHECK(th_verify_online(trust, memory, &question, fetch, &log, &verdict) != TH_OK);
  CHECK(verdict.status == TH_REFUSED || verdict.status == TH_COULD_NOT_TELL);

  /* A log that shows another history: step by step. */
  log.checkpoint = note_in(fork, 3);
  th_check *check = NULL;
  CHECK(th_check_new(trust, memory, &question, &check, NULL) == TH_OK);
  CHECK(th_check_requests(check) == 1);
  char path[64];
  size_t most = 0;
  th_text text = th_text_of(path, sizeof path);
  CHECK(th_check_request(check, 0, &text, &most) == TH_OK && strcmp(path, "checkpoint") == 0 && most > 100000);
  CHECK(th_check_request(check, 1, &text, &most) == TH_INVALID_ARGUMENT);
  text = th_text_of(path, 10);
  CHECK(th_check_request(check, 0, &text, &most) == TH_TOO_SMALL && path[0] == 0 && text.length == 10);
  text = th_text_of(path, sizeof path);
  CHECK(th_check_address(check, &text) == TH_OK && text.length == 0);
  CHECK(th_check_finish(check, memory, &verdict) == TH_COULD_NOT_TELL);
  CHECK(th_check_answer(check, 1, 200, log.checkpoint.data, log.checkpoint.length) == TH_INVALID_ARGUMENT);
  CHECK(th_check_answer(check, 0, 200, log.checkpoint.data, log.checkpoint.length) == TH_OK);
  CHECK(th_check_requests(check) == 0);
  CHECK(th_check_finish(check, memory, &verdict) == TH_REFUSED);
  CHECK(verdict.reason == TH_REASON_FORK && verdict.evidence && strstr(message, "signed two histories"));
  CHECK(memcmp(th_blob_data(verdict.evidence), "treehead-fork@v1\n", 17) == 0);
  CHECK(strstr(evidence_name, "-5-5-") && strstr(evidence_name, ".tlog-fork"));
  th_verdict_clear(&verdict);
  CHECK(th_check_finish(check, memory, &verdict) == TH_INVALID_ARGUMENT);
  th_check_free(check);
  /* It is remembered, also without the network. */
  CHECK(th_verify(trust, memory, &question, &verdict) == TH_REFUSED && verdict.reason == TH_REASON_FORK);
  th_verdict_clear(&verdict);
  th_check_free(NULL);

  th_memory_free(memory);
  th_trust_free(trust);
  th_trust_free(witnessed);
  free(good.data);
  free(artifact.data);
  free(proof.data);
  free(fork.data);
  free(smaller.data);
  puts("online.c: all as it should be");
  return 0;
}
