/* What a verdict costs in heap and stack, and what a hostile proof file costs. Linked statically, with malloc and its kin
 * wrapped, so that every byte is counted. */

#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>

#include "common.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *data, size_t size);
int __real_posix_memalign(void **data, size_t align, size_t size);
void __real_free(void *data);

static size_t held, peak;

static void *count(void *data) {
  if (data) held += malloc_usable_size(data);
  if (held > peak) peak = held;
  return data;
}

static void forget(void *data) {
  if (data) held -= malloc_usable_size(data);
}

void *__wrap_malloc(size_t size) { return count(__real_malloc(size)); }
void *__wrap_calloc(size_t number, size_t size) { return count(__real_calloc(number, size)); }
void *__wrap_realloc(void *data, size_t size) {
  /* Both may be there for a moment. */
  size_t old = data ? malloc_usable_size(data) : 0;
  void *moved = __real_realloc(data, size);
  if (!moved) return NULL;
  held -= old;
  size_t new = malloc_usable_size(moved);
  if (moved != data && held + old + new > peak) peak = held + old + new;
  return count(moved);
}
int __wrap_posix_memalign(void **data, size_t align, size_t size) {
  int failed = __real_posix_memalign(data, align, size);
  if (!failed) count(*data);
  return failed;
}
void __wrap_free(void *data) {
  forget(data);
  __real_free(data);
}

typedef struct task {
  const th_trust *trust;
  const th_question *question;
  th_verdict *verdict;
  th_status status;
} task;

static void *judge(void *given) {
  task *task = given;
  task->status = (th_status)th_verify(task->trust, NULL, task->question, task->verdict);
  return NULL;
}

static void *nothing(void *given) { return given; }

#define STACK ((size_t)1 << 20)

/* Runs `work` on a stack that was painted, and counts what lost its paint. */
static size_t stack_of(void *(*work)(void *), void *given) {
  static uint8_t *stack;
  pthread_attr_t attributes;
  pthread_t thread;
  size_t untouched = 0;
  if (!stack) CHECK(posix_memalign((void **)&stack, 4096, STACK) == 0);
  memset(stack, 0xa5, STACK);
  CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstack(&attributes, stack, STACK) == 0);
  CHECK(pthread_create(&thread, &attributes, work, given) == 0 && pthread_join(thread, NULL) == 0);
  while (untouched < STACK && stack[untouched] == 0xa5) untouched++;
  return STACK - untouched;
}

static th_trust *trust;
static th_verdict verdict;
static char message[512];

/* Peak of the heap above what is held before. */
static size_t heap_of(const th_question *question) {
  size_t before = held;
  peak = held;
  th_verify(trust, NULL, question, &verdict);
  CHECK(held == before);
  return peak - before;
}

/* A proof file of this size, made of one piece again and again, must cost at most twice its size, or what a good one may. */
static void hostile(const char *what, size_t most, const char *head, const char *piece, const char *tail,
                    th_question question) {
  size_t at = 0, step = strlen(piece);
  uint8_t *file = malloc(most + 1);
  CHECK(file);
  memcpy(file, head, strlen(head));
  at = strlen(head);
  while (at + step + strlen(tail) <= most) {
    memcpy(file + at, piece, step);
    at += step;
  }
  memcpy(file + at, tail, strlen(tail));
  at += strlen(tail);
  question.proof.data = file;
  question.proof.length = at;
  size_t cost = heap_of(&question);
  printf("hostile    %-32s %7zu bytes cost %7zu (%.2f)  %s\n", what, at, cost, (double)cost / (double)at, message);
  CHECK(verdict.status == TH_REFUSED);
  CHECK(cost <= (2 * at > 32768 ? 2 * at : 32768));
  free(file);
}

int main(int count_, char **args) {
  CHECK(count_ == 2);
  fixtures = args[1];
  bytes artifact = fixture("scanner.sh"), proof = fixture("both.tlog-proof");
  trust = trust_of("both.trust");
  th_question question = question_of(artifact, proof);
  verdict = th_verdict_init();
  verdict.message = th_text_of(message, sizeof message);
  size_t heap = heap_of(&question);
  CHECK(verdict.status == TH_OK);
  task work = {trust, &question, &verdict, TH_INVALID_ARGUMENT};
  size_t idle = stack_of(nothing, NULL), stack = stack_of(judge, &work);
  CHECK(work.status == TH_OK);
  printf("proof file %zu bytes, 9 signatures\n", proof.length);
  printf("heap       %zu bytes (goal 32768)\n", heap);
  printf("stack      %zu bytes, of which %zu the thread's own (goal 49152)\n", stack, idle);
  CHECK(heap <= 32768);
  CHECK(stack <= 49152);

  enum { MOST = 357000 };
  const char *version = "c2sp.org/tlog-proof@v1\n", *index = "c2sp.org/tlog-proof@v1\nindex 1\n";
  const char *note = "c2sp.org/tlog-proof@v1\nindex 1\n\nlog.example.com/releases\n5\nF1VwbGI3FTmCbWvGFR8BQLyDxdSfYz2+vZUmmjCcyDE=\n\n";
  hostile("empty lines", MOST, "", "\n", "", question);
  hostile("one line", MOST, "", "x", "", question);
  hostile("short lines", MOST, version, "x\n", "\n", question);
  hostile("short lines for hashes", MOST, index, "A\n", "\nx\n\n", question);
  hostile("hashes", MOST, index, "F1VwbGI3FTmCbWvGFR8BQLyDxdSfYz2+vZUmmjCcyDE=\n", "\nx\n1\n\n", question);
  hostile("extra", MOST, "c2sp.org/tlog-proof@v1\nextra ", "AAAA", "\nindex 1\n\nx\n1\n\n", question);
  hostile("signature lines", 262000, note, "\xe2\x80\x94 x AAAAAAAA\n", "", question);
  hostile("short signature lines", 262000, note, "\xe2\x80\x94 x \n", "", question);
  hostile("lines of a note", 262000, "c2sp.org/tlog-proof@v1\nindex 1\n\n", "y\n", "\n\xe2\x80\x94 x AAAAAAAA\n", question);
  hostile("extension lines", 16500,
          "c2sp.org/tlog-proof@v1\nindex 1\n\nlog.example.com/releases\n5\nF1VwbGI3FTmCbWvGFR8BQLyDxdSfYz2+vZUmmjCcyDE=\n", "y\n",
          "\n\xe2\x80\x94 log.example.com/releases 7rmhbEC+j8g=\n", question);
  hostile("line ends", 262000, "c2sp.org/tlog-proof@v1\nindex 1\n\n", "\n", "", question);
  hostile("hidden characters", MOST, version, "\xe2\x80\xae", "\n", question);
  hostile("bytes that are no text", MOST, "", "\xff", "", question);

  th_trust_free(trust);
  free(artifact.data);
  free(proof.data);
  return 0;
}
