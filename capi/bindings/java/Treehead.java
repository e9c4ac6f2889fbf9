import com.sun.jna.Library;
import com.sun.jna.Memory;
import com.sun.jna.Native;
import com.sun.jna.Pointer;
import com.sun.jna.Structure;
import com.sun.jna.Structure.FieldOrder;
import com.sun.jna.ptr.PointerByReference;
import java.lang.ref.Cleaner;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import java.util.Optional;

/**
 * treehead for Java 17, with JNA 5: asks, before a file is installed, whether it is what everybody else was given.
 *
 * <pre>
 * try (var trust = Treehead.trust(Files.readAllBytes(Path.of("endpoint.trust")))) {
 *   var verdict = trust.verify(new Treehead.Question(digest, proof).pin("channel", "stable"), null);
 *   if (!verdict.ok()) throw new SecurityException(verdict.code() + ": " + verdict.message());
 * }
 * </pre>
 *
 * <p>JNA finds libtreehead by {@code -Djna.library.path} and among the system's libraries.
 */
public final class Treehead {
  private Treehead() {}

  /** Statuses, as in treehead.h. */
  public static final int OK = 0, REFUSED = 1, COULD_NOT_TELL = 2, INVALID_ARGUMENT = 3, MALFORMED = 4, BUSY = 5, UNSUPPORTED = 6;

  /** A failure that is no verdict. */
  public static final class Failure extends RuntimeException {
    public final int status;

    Failure(int status, String message) {
      super(message);
      this.status = status;
    }
  }

  private interface C extends Library {
    C LIB = Native.load("treehead", C.class);

    String th_version();

    String th_reason_name(int reason);

    Pointer th_blob_data(Pointer blob);

    SizeT th_blob_length(Pointer blob);

    void th_blob_free(Pointer blob);

    int th_trust_from_bytes(byte[] data, SizeT length, PointerByReference trust, Text message);

    long th_trust_number(Pointer trust);

    void th_trust_free(Pointer trust);

    int th_memory_new(PointerByReference memory);

    int th_memory_from_bytes(byte[] data, SizeT length, PointerByReference memory, Text message);

    int th_memory_to_bytes(Pointer memory, PointerByReference blob);

    int th_memory_open_dir(byte[] dir, SizeT length, PointerByReference memory, Text message);

    void th_memory_free(Pointer memory);

    int th_verify(Pointer trust, Pointer memory, CQuestion question, CVerdict verdict);

    void th_verdict_clear(CVerdict verdict);
  }

  /** size_t. */
  public static final class SizeT extends com.sun.jna.IntegerType {
    public SizeT() {
      this(0);
    }

    public SizeT(long value) {
      super(Native.SIZE_T_SIZE, value, true);
    }
  }

  /** th_str and th_bytes. */
  @FieldOrder({"data", "length"})
  public static class Str extends Structure {
    public Pointer data;
    public SizeT length = new SizeT();

    void set(byte[] bytes) {
      var memory = new Memory(Math.max(bytes.length, 1));
      memory.write(0, bytes, 0, bytes.length);
      data = memory;
      length = new SizeT(bytes.length);
    }
  }

  /** th_text. */
  @FieldOrder({"data", "capacity", "length"})
  public static class Text extends Structure {
    public Pointer data;
    public SizeT capacity = new SizeT();
    public SizeT length = new SizeT();

    void room(int bytes) {
      var memory = new Memory(bytes);
      memory.clear();
      data = memory;
      capacity = new SizeT(bytes);
    }

    String get() {
      return data == null ? "" : data.getString(0, StandardCharsets.UTF_8.name());
    }
  }

  /** th_question. */
  @FieldOrder({"structSize", "sha256", "proof", "now", "maxAge", "minSequence", "fileName", "name", "pkg", "channel", "kind", "publisher", "audience", "flags", "reserved"})
  public static class CQuestion extends Structure {
    public SizeT structSize = new SizeT();
    public byte[] sha256 = new byte[32];
    public Str proof = new Str();
    public long now, maxAge, minSequence;
    public Str fileName = new Str(), name = new Str(), pkg = new Str(), channel = new Str(), kind = new Str(), publisher = new Str(), audience = new Str();
    public int flags, reserved;
  }

  /** th_verdict. */
  @FieldOrder({"structSize", "status", "reason", "message", "expected", "seen", "advice", "origin", "purl", "channel", "kind", "publisher", "audience", "name", "sequence", "index", "treeSize", "cosigned", "leaf", "root", "askedTheLog", "askedForWithdrawals", "forgotAHead", "reserved", "evidence", "evidenceName", "json"})
  public static class CVerdict extends Structure {
    public SizeT structSize = new SizeT();
    public int status, reason;
    public Text message = new Text(), expected = new Text(), seen = new Text(), advice = new Text(), origin = new Text(), purl = new Text(), channel = new Text(), kind = new Text(), publisher = new Text(), audience = new Text(), name = new Text();
    public long sequence, index, treeSize, cosigned;
    public byte[] leaf = new byte[32], root = new byte[32];
    public int askedTheLog, askedForWithdrawals, forgotAHead, reserved;
    public Pointer evidence;
    public Text evidenceName = new Text();
    public Pointer json;
  }

  /** What is asked about a file. */
  public static final class Question {
    private final CQuestion question = new CQuestion();
    private final Map<String, Str> pins =
        Map.of("file_name", question.fileName, "name", question.name, "package", question.pkg, "channel", question.channel, "kind", question.kind, "publisher", question.publisher, "audience", question.audience);

    public Question(byte[] sha256, byte[] proof) {
      if (sha256.length != 32) throw new IllegalArgumentException("a SHA-256 has 32 bytes");
      question.structSize = new SizeT(question.size());
      question.sha256 = sha256.clone();
      question.proof.set(proof);
      at(Instant.now());
    }

    /** Pins file_name, name, package, channel, kind, publisher or audience. */
    public Question pin(String what, String value) {
      Optional.ofNullable(pins.get(what)).orElseThrow(() -> new IllegalArgumentException(what)).set(value.getBytes(StandardCharsets.UTF_8));
      return this;
    }

    public Question at(Instant now) {
      question.now = now.getEpochSecond();
      return this;
    }

    public Question maxAge(Duration age) {
      question.maxAge = age.toSeconds();
      return this;
    }

    public Question minSequence(long least) {
      question.minSequence = least;
      return this;
    }
  }

  /** The answer. evidence is a .tlog-fork file to save, usually empty. */
  public record Verdict(int status, int reason, String code, String message, String advice, String origin, String purl, String channel, String kind, String publisher, String name, long sequence, long index, long treeSize, Instant cosigned, byte[] evidence, String evidenceName) {
    public boolean ok() {
      return status == OK;
    }
  }

  private static final Cleaner CLEANER = Cleaner.create();

  /** An object of the library. */
  private abstract static class Owned implements AutoCloseable {
    final Pointer pointer;
    private final Cleaner.Cleanable cleanable;

    Owned(Pointer pointer, Runnable free) {
      this.pointer = pointer;
      cleanable = CLEANER.register(this, free);
    }

    @Override
    public void close() {
      cleanable.clean();
    }
  }

  /** The logs, witnesses and publishers to believe. Any number of threads may use it. */
  public static final class Trust extends Owned {
    Trust(Pointer pointer) {
      super(pointer, () -> C.LIB.th_trust_free(pointer));
    }

    public long number() {
      return C.LIB.th_trust_number(pointer);
    }

    /** Judges a file. memory may be null. */
    public Verdict verify(Question asked, Remembered memory) {
      var verdict = new CVerdict();
      verdict.structSize = new SizeT(verdict.size());
      for (var text : new Text[] {verdict.message, verdict.advice, verdict.origin, verdict.purl, verdict.channel, verdict.kind, verdict.publisher, verdict.name, verdict.evidenceName}) text.room(1024);
      var status = C.LIB.th_verify(pointer, memory == null ? null : memory.pointer, asked.question, verdict);
      var message = verdict.message.get();
      var evidence = bytes(verdict.evidence);
      C.LIB.th_verdict_clear(verdict);
      java.lang.ref.Reference.reachabilityFence(this);
      java.lang.ref.Reference.reachabilityFence(memory);
      if (status == INVALID_ARGUMENT) throw new Failure(status, message);
      var code = C.LIB.th_reason_name(verdict.reason);
      return new Verdict(status, verdict.reason, code == null ? (status == OK ? "verified" : "could-not-tell") : code, message, verdict.advice.get(), verdict.origin.get(), verdict.purl.get(), verdict.channel.get(), verdict.kind.get(), verdict.publisher.get(), verdict.name.get(), verdict.sequence, verdict.index, verdict.treeSize, Instant.ofEpochSecond(verdict.cosigned), evidence, verdict.evidenceName.get());
    }
  }

  /** What an endpoint remembers. One thread at a time. */
  public static final class Remembered extends Owned {
    Remembered(Pointer pointer) {
      super(pointer, () -> C.LIB.th_memory_free(pointer));
    }

    /** The bytes to save, durably, before a file is installed. */
    public byte[] bytes() {
      var blob = new PointerByReference();
      var status = C.LIB.th_memory_to_bytes(pointer, blob);
      java.lang.ref.Reference.reachabilityFence(this);
      if (status != OK) throw new Failure(status, "a memory in a directory is saved there");
      try {
        return Treehead.bytes(blob.getValue());
      } finally {
        C.LIB.th_blob_free(blob.getValue());
      }
    }
  }

  public static String version() {
    return C.LIB.th_version();
  }

  /** Reads a trust file. */
  public static Trust trust(byte[] file) {
    return new Trust(made((out, message) -> C.LIB.th_trust_from_bytes(file, new SizeT(file.length), out, message)));
  }

  /** An empty memory, which the caller saves. */
  public static Remembered memory() {
    return new Remembered(made((out, message) -> C.LIB.th_memory_new(out)));
  }

  /** Reads what {@link Remembered#bytes} returned. */
  public static Remembered memory(byte[] saved) {
    return new Remembered(made((out, message) -> C.LIB.th_memory_from_bytes(saved, new SizeT(saved.length), out, message)));
  }

  /** The memory in a directory, as {@code treehead verify --state} has it. */
  public static Remembered memoryIn(String dir) {
    var path = dir.getBytes(StandardCharsets.UTF_8);
    return new Remembered(made((out, message) -> C.LIB.th_memory_open_dir(path, new SizeT(path.length), out, message)));
  }

  private interface Make {
    int call(PointerByReference out, Text message);
  }

  private static Pointer made(Make make) {
    var out = new PointerByReference();
    var message = new Text();
    message.room(1024);
    var status = make.call(out, message);
    if (status != OK) throw new Failure(status, message.get());
    return out.getValue();
  }

  private static byte[] bytes(Pointer blob) {
    return blob == null ? new byte[0] : C.LIB.th_blob_data(blob).getByteArray(0, C.LIB.th_blob_length(blob).intValue());
  }
}
