import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.time.Instant;

/** {@code java TreeheadTest FIXTURES} */
public final class TreeheadTest {
  private static Path fixtures;

  private static byte[] read(String name) throws Exception {
    return Files.readAllBytes(fixtures.resolve(name));
  }

  private static Treehead.Question asked(String artifact) throws Exception {
    var digest = MessageDigest.getInstance("SHA-256").digest(read(artifact));
    return new Treehead.Question(digest, read("scanner.sh.tlog-proof")).at(Instant.ofEpochSecond(1770000060));
  }

  private static void check(boolean condition, Object seen) {
    if (!condition) throw new AssertionError(seen);
  }

  private static int failing(Runnable call) {
    try {
      call.run();
      return Treehead.OK;
    } catch (Treehead.Failure failure) {
      return failure.status;
    }
  }

  public static void main(String[] args) throws Exception {
    fixtures = Path.of(args[0]);
    check(Treehead.version().equals("0.1.0"), Treehead.version());
    try (var trust = Treehead.trust(read("witnessed.trust"));
        var memory = Treehead.memory()) {
      check(trust.number() == 1, trust.number());
      var verdict = trust.verify(asked("scanner.sh").pin("package", "pkg:generic/example/*").pin("channel", "stable"), memory);
      check(verdict.ok() && verdict.purl().equals("pkg:generic/example/scanner@2.0") && verdict.publisher().equals("vendor"), verdict);
      check(verdict.cosigned().getEpochSecond() == 1770000000 && verdict.sequence() == 2 && verdict.treeSize() == 5, verdict);
      try (var again = Treehead.memory(memory.bytes())) {
        var refused = trust.verify(asked("tampered.sh"), again);
        check(!refused.ok() && refused.reason() == 622 && refused.code().equals("artifact-mismatch"), refused);
        check(!refused.advice().isEmpty() && refused.purl().isEmpty() && refused.evidence().length == 0, refused);
      }
      var dir = Files.createTempDirectory("treehead");
      try (var kept = Treehead.memoryIn(dir.toString())) {
        check(trust.verify(asked("scanner.sh"), kept).ok(), dir);
        check(Files.exists(dir.resolve("state.json")), dir);
      }
      var wrong = asked("scanner.sh").pin("kind", "built");
      check(failing(() -> trust.verify(wrong, null)) == Treehead.INVALID_ARGUMENT, "a kind");
    }
    check(failing(() -> Treehead.trust(new byte[] {'{', '}'})) == Treehead.MALFORMED, "a trust file");
    check(failing(() -> Treehead.memory(new byte[] {'x'})) == Treehead.COULD_NOT_TELL, "a memory");
    System.out.println("Treehead.java: all as it should be");
  }
}
