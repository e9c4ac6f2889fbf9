/* Asks whether a file may be installed: verify endpoint.trust FILE */

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <treehead.h>

/* Reads a file; ends the program if it can't. */
static uint8_t *read_file(const char *path, size_t *length) {
  FILE *in = fopen(path, "rb");
  if (!in || fseek(in, 0, SEEK_END) != 0) {
    perror(path);
    exit(2);
  }
  *length = (size_t)ftell(in);
  rewind(in);
  uint8_t *data = malloc(*length + 1);
  if (!data || fread(data, 1, *length, in) != *length) {
    perror(path);
    exit(2);
  }
  fclose(in);
  return data;
}

int main(int count, char **args) {
  char message[512], purl[256], publisher[128], advice[256], path[4096];
  size_t length;
  uint8_t *data;
  if (count != 3) {
    fprintf(stderr, "usage: verify TRUST FILE\n");
    return 2;
  }

  /* Whom to believe. */
  th_trust *trust = NULL;
  th_text text = th_text_of(message, sizeof message);
  data = read_file(args[1], &length);
  if (th_trust_from_bytes(data, length, &trust, &text) != TH_OK) {
    fprintf(stderr, "%s: %s\n", args[1], message);
    return 2;
  }
  free(data);

  /* The file's digest, and its proof. */
  th_question question = th_question_init();
  data = read_file(args[2], &length);
  th_sha256(data, length, question.sha256);
  free(data);
  snprintf(path, sizeof path, "%s.tlog-proof", args[2]);
  data = read_file(path, &length);
  question.proof.data = data;
  question.proof.length = length;
  question.file_name = th_str_of(args[2]);
  question.now = (uint64_t)time(NULL);

  th_verdict verdict = th_verdict_init();
  verdict.message = th_text_of(message, sizeof message);
  verdict.advice = th_text_of(advice, sizeof advice);
  verdict.purl = th_text_of(purl, sizeof purl);
  verdict.publisher = th_text_of(publisher, sizeof publisher);
  int fine = th_verify(trust, NULL, &question, &verdict) == TH_OK;
  if (fine) {
    printf("%s: %s by %s\n", args[2], purl, publisher);
  } else {
    const char *reason = th_reason_name(verdict.reason);
    fprintf(stderr, "%s: %s: %s\n%s\n", args[2], reason ? reason : "failed", message, advice);
  }
  th_verdict_clear(&verdict);
  th_trust_free(trust);
  free(data);
  return fine ? 0 : 1;
}
