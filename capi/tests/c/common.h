/* What the test programs share. The first argument of each is the directory of the fixtures. */

#ifndef COMMON_H
#define COMMON_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <treehead.h>

#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) {                                                         \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);   \
      exit(1);                                                                  \
    }                                                                           \
  } while (0)

/* A minute after the fixtures were cosigned. */
#define NOW 1770000060u

static const char *fixtures;

typedef struct bytes {
  uint8_t *data;
  size_t length;
} bytes;

static bytes read_file(const char *path) {
  bytes file;
  FILE *in = fopen(path, "rb");
  if (!in) {
    perror(path);
    exit(1);
  }
  fseek(in, 0, SEEK_END);
  file.length = (size_t)ftell(in);
  rewind(in);
  file.data = malloc(file.length ? file.length : 1);
  CHECK(file.data && fread(file.data, 1, file.length, in) == file.length);
  fclose(in);
  return file;
}

static bytes fixture(const char *name) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", fixtures, name);
  return read_file(path);
}

static inline th_trust *trust_of(const char *name) {
  char text[512];
  th_text message = th_text_of(text, sizeof text);
  th_trust *trust = NULL;
  bytes file = fixture(name);
  if (th_trust_from_bytes(file.data, file.length, &trust, &message) != TH_OK) {
    fprintf(stderr, "%s: %s\n", name, text);
    exit(1);
  }
  free(file.data);
  return trust;
}

static inline th_question question_of(bytes artifact, bytes proof) {
  th_question question = th_question_init();
  CHECK(th_sha256(artifact.data, artifact.length, question.sha256) == TH_OK);
  question.proof.data = proof.data;
  question.proof.length = proof.length;
  question.now = NOW;
  return question;
}

#endif
