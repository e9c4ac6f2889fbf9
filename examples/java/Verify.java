import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;

/** Asks whether a file may be installed: {@code java Verify endpoint.trust FILE}. */
public final class Verify {
  public static void main(String[] args) throws Exception {
    if (args.length != 2) {
      System.err.println("usage: Verify TRUST FILE");
      System.exit(2);
    }
    var file = Path.of(args[1]);
    try (var trust = Treehead.trust(Files.readAllBytes(Path.of(args[0])))) {
      var digest = MessageDigest.getInstance("SHA-256").digest(Files.readAllBytes(file));
      var proof = Files.readAllBytes(Path.of(file + ".tlog-proof"));
      var verdict = trust.verify(new Treehead.Question(digest, proof).pin("file_name", file.toString()), null);
      if (!verdict.ok()) {
        System.err.printf("%s: %s: %s%n%s%n", file, verdict.code(), verdict.message(), verdict.advice());
        System.exit(1);
      }
      System.out.printf("%s: %s by %s%n", file, verdict.purl(), verdict.publisher());
    }
  }
}
