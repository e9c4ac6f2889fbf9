package treehead

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func fixture(t *testing.T, name string) []byte {
	t.Helper()
	dir := os.Getenv("TREEHEAD_FIXTURES")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "fixtures", "verify")
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func asked(t *testing.T, artifact string) *Question {
	t.Helper()
	return &Question{
		SHA256: sha256.Sum256(fixture(t, artifact)),
		Proof:  fixture(t, "scanner.sh.tlog-proof"),
		Now:    time.Unix(1770000060, 0),
	}
}

func TestVerdicts(t *testing.T) {
	trust, err := ReadTrust(fixture(t, "witnessed.trust"))
	if err != nil || trust.Number() != 1 {
		t.Fatal(err)
	}
	memory := NewMemory()
	question := asked(t, "scanner.sh")
	question.Package, question.Channel, question.Kind = "pkg:generic/example/*", "stable", "build"
	verdict, err := Verify(trust, memory, question)
	if err != nil || !verdict.OK || verdict.Purl != "pkg:generic/example/scanner@2.0" || verdict.Witnesses[0].Name != "w1" {
		t.Fatal(err, verdict)
	}
	saved, err := memory.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if memory, err = ReadMemory(saved); err != nil {
		t.Fatal(err)
	}
	verdict, err = Verify(trust, memory, asked(t, "tampered.sh"))
	if err != nil || verdict.OK || verdict.Code != "artifact-mismatch" || verdict.Number != 622 || verdict.Advice == "" {
		t.Fatal(err, verdict)
	}
	if memory, err = OpenMemory(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if verdict, err = Verify(trust, memory, asked(t, "scanner.sh")); err != nil || !verdict.OK {
		t.Fatal(err, verdict)
	}
}

func TestErrors(t *testing.T) {
	var failure *Error
	if _, err := ReadTrust([]byte("{}")); !errors.As(err, &failure) || failure.Status != Malformed {
		t.Fatal(err)
	}
	if _, err := ReadMemory([]byte("damaged")); !errors.As(err, &failure) || failure.Status != CouldNotTell {
		t.Fatal(err)
	}
	trust, err := ReadTrust(fixture(t, "witnessed.trust"))
	if err != nil {
		t.Fatal(err)
	}
	question := asked(t, "scanner.sh")
	question.Kind = "built"
	if _, err := Verify(trust, nil, question); !errors.As(err, &failure) || failure.Status != InvalidArgument {
		t.Fatal(err)
	}
	if _, err := Verify(nil, nil, question); err == nil {
		t.Fatal("no trust")
	}
}

func TestGoroutines(t *testing.T) {
	trust, err := ReadTrust(fixture(t, "witnessed.trust"))
	if err != nil {
		t.Fatal(err)
	}
	question := asked(t, "scanner.sh")
	var group sync.WaitGroup
	for range 16 {
		group.Add(1)
		go func() {
			defer group.Done()
			for range 10 {
				if verdict, err := Verify(trust, nil, question); err != nil || !verdict.OK {
					t.Error(err, verdict)
				}
			}
		}()
	}
	group.Wait()
}
