/* How long a verdict takes, beside its bare signature checks, and how long a program takes from its start to its exit.
 *
 *     times FIXTURES                     verdicts; linked with a library that has the feature `bench`
 *     times FIXTURES PROGRAM ARG...      runs the program, which must exit with 0
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

enum { ROUNDS = 400 };

extern char **environ;
void *th_bare_new(uint8_t ed25519, uint8_t ml_dsa);
int32_t th_bare_check(const void *bare);

static double now_us(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *times) {
  qsort(times, ROUNDS, sizeof *times, by_size);
  return times[ROUNDS / 2];
}

/* In turns, so that both have the same weather. */
static void verdicts(const char *what, const char *trust_name, const char *proof_name, uint8_t ed25519, uint8_t ml_dsa) {
  static double took[ROUNDS], bare[ROUNDS];
  bytes artifact = fixture("scanner.sh"), proof = fixture(proof_name);
  th_trust *trust = trust_of(trust_name);
  th_question question = question_of(artifact, proof);
  th_verdict verdict = th_verdict_init();
  void *checks = th_bare_new(ed25519, ml_dsa);
  for (int at = 0; at < ROUNDS; at++) {
    double begun = now_us();
    CHECK(th_verify(trust, NULL, &question, &verdict) == TH_OK);
    double between = now_us();
    CHECK(th_bare_check(checks) == 1);
    bare[at] = now_us() - between;
    took[at] = between - begun;
  }
  double verdict_us = median(took), bare_us = median(bare);
  printf("%-12s %u with Ed25519, %u with ML-DSA-44: verdict %7.1f us, bare checks %7.1f us, ratio %.3f (goal 1.10)\n", what,
         ed25519, ml_dsa, verdict_us, bare_us, verdict_us / bare_us);
  th_trust_free(trust);
  free(artifact.data);
  free(proof.data);
}

static void starts(char **args) {
  static double took[ROUNDS];
  posix_spawn_file_actions_t quiet;
  CHECK(posix_spawn_file_actions_init(&quiet) == 0);
  CHECK(posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null", O_WRONLY, 0) == 0);
  for (int at = 0; at < ROUNDS; at++) {
    pid_t child;
    int status;
    double begun = now_us();
    CHECK(posix_spawn(&child, args[0], &quiet, NULL, args, environ) == 0);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    took[at] = now_us() - begun;
  }
  posix_spawn_file_actions_destroy(&quiet);
  printf("from start to exit: %.3f ms, median of %d (goal 2.5)\n", median(took) / 1e3, ROUNDS);
}

int main(int count, char **args) {
  CHECK(count >= 2);
  fixtures = args[1];
  if (count > 2) {
    starts(args + 2);
    return 0;
  }
  verdicts("Ed25519", "witnessed.trust", "scanner.sh.tlog-proof", 3, 0);
  verdicts("ML-DSA-44", "ml-dsa.trust", "both.tlog-proof", 1, 4);
  verdicts("both", "both.trust", "both.tlog-proof", 5, 4);
  return 0;
}
