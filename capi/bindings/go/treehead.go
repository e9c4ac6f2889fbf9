// Package treehead asks, before a file is installed, whether it is what everybody else was given.
//
//	trust, err := treehead.ReadTrust(file)
//	verdict, err := treehead.Verify(trust, nil, &treehead.Question{SHA256: sha256.Sum256(data), Proof: proof})
//	if !verdict.OK { return fmt.Errorf("%s: %s", verdict.Code, verdict.Message) }
//
// It needs libtreehead and its pkg-config file: PKG_CONFIG_PATH names another place than the system's.
package treehead

/*
#cgo pkg-config: treehead
#include <stdlib.h>
#include <treehead.h>

static th_status verify_json(const th_trust *trust, th_memory *memory, const th_question *question, const uint8_t *sha256,
                             const uint8_t *proof, size_t proof_length, th_blob **json, th_blob **evidence,
                             th_text *name, th_text *message) {
  th_verdict verdict = th_verdict_init();
  th_question asked = *question;
  memcpy(asked.sha256, sha256, 32);
  asked.proof.data = proof;
  asked.proof.length = proof_length;
  asked.flags = TH_WANT_JSON;
  verdict.message = *message;
  verdict.evidence_name = *name;
  th_status status = (th_status)th_verify(trust, memory, &asked, &verdict);
  *json = verdict.json;
  *evidence = verdict.evidence;
  *name = verdict.evidence_name;
  return status;
}
*/
import "C"

import (
	"encoding/json"
	"errors"
	"runtime"
	"time"
	"unsafe"
)

// Statuses of an Error.
const (
	Refused         = C.TH_REFUSED
	CouldNotTell    = C.TH_COULD_NOT_TELL
	InvalidArgument = C.TH_INVALID_ARGUMENT
	Malformed       = C.TH_MALFORMED
	Busy            = C.TH_BUSY
	Unsupported     = C.TH_UNSUPPORTED
)

// Error is a failure that is no verdict.
type Error struct {
	Status  int
	Message string
}

func (e *Error) Error() string { return e.Message }

// Trust holds the logs, witnesses and publishers to believe. Any number of goroutines may use it.
type Trust struct{ pointer *C.th_trust }

// ReadTrust reads a trust file.
func ReadTrust(file []byte) (*Trust, error) {
	trust := new(Trust)
	err := explained(func(message *C.th_text) C.th_status {
		return C.th_status(C.th_trust_from_bytes(bytes(file), C.size_t(len(file)), &trust.pointer, message))
	})
	if err != nil {
		return nil, err
	}
	runtime.SetFinalizer(trust, func(trust *Trust) { C.th_trust_free(trust.pointer) })
	return trust, nil
}

// Number of the trust file.
func (trust *Trust) Number() uint64 {
	defer runtime.KeepAlive(trust)
	return uint64(C.th_trust_number(trust.pointer))
}

// Memory is what an endpoint remembers. One goroutine at a time.
type Memory struct{ pointer *C.th_memory }

// NewMemory makes an empty memory, which the caller saves: see Bytes.
func NewMemory() *Memory {
	memory := new(Memory)
	C.th_memory_new(&memory.pointer)
	return memory.owned()
}

// ReadMemory reads what Bytes returned. On an error, do not go on with an empty one.
func ReadMemory(saved []byte) (*Memory, error) {
	memory := new(Memory)
	err := explained(func(message *C.th_text) C.th_status {
		return C.th_status(C.th_memory_from_bytes(bytes(saved), C.size_t(len(saved)), &memory.pointer, message))
	})
	if err != nil {
		return nil, err
	}
	return memory.owned(), nil
}

// OpenMemory opens the memory in a directory, as `treehead verify --state` has it.
func OpenMemory(dir string) (*Memory, error) {
	memory, path := new(Memory), []byte(dir)
	err := explained(func(message *C.th_text) C.th_status {
		return C.th_status(C.th_memory_open_dir(bytes(path), C.size_t(len(path)), &memory.pointer, message))
	})
	if err != nil {
		return nil, err
	}
	return memory.owned(), nil
}

func (memory *Memory) owned() *Memory {
	runtime.SetFinalizer(memory, func(memory *Memory) { C.th_memory_free(memory.pointer) })
	return memory
}

// Bytes returns what to save, durably, before a file is installed.
func (memory *Memory) Bytes() ([]byte, error) {
	defer runtime.KeepAlive(memory)
	var blob *C.th_blob
	if status := C.th_memory_to_bytes(memory.pointer, &blob); status != C.TH_OK {
		return nil, &Error{int(status), "a memory in a directory is saved there"}
	}
	return taken(blob), nil
}

// Question is what is asked about a file. What is empty is not asked.
type Question struct {
	SHA256                                                      [32]byte
	Proof                                                       []byte
	Now                                                         time.Time     // the clock's if it is zero
	MaxAge                                                      time.Duration // any if it is zero
	MinSequence                                                 uint64
	FileName, Name, Package, Channel, Kind, Publisher, Audience string
}

// Verdict is the answer. The members after Evidence are those of `treehead verify --json`.
type Verdict struct {
	OK           bool   `json:"ok"`
	Code         string `json:"code"`
	Number       int    `json:"number"`
	Message      string `json:"message"`
	Advice       string `json:"advice"`
	Expected     string `json:"expected"`
	Seen         string `json:"seen"`
	Evidence     []byte `json:"-"` // a .tlog-fork file: save it
	EvidenceName string `json:"-"`

	Name      string `json:"name"`
	Purl      string `json:"purl"`
	Kind      string `json:"kind"`
	Channel   string `json:"channel"`
	Sequence  uint64 `json:"sequence"`
	Publisher string `json:"publisher"`
	Origin    string `json:"origin"`
	Index     uint64 `json:"index"`
	LeafHash  string `json:"leaf_hash"`
	TreeSize  uint64 `json:"tree_size"`
	Root      string `json:"root"`
	Witnesses []struct {
		Name     string    `json:"name"`
		Cosigner string    `json:"cosigner"`
		Time     time.Time `json:"time"`
	} `json:"witnesses"`
}

// Verify judges a file. The error is nil for a refusal: see Verdict.OK. memory may be nil.
func Verify(trust *Trust, memory *Memory, question *Question) (*Verdict, error) {
	if trust == nil || question == nil {
		return nil, errors.New("treehead: no trust or no question")
	}
	asked := C.th_question_init()
	now := question.Now
	if now.IsZero() {
		now = time.Now()
	}
	asked.now, asked.max_age = C.uint64_t(now.Unix()), C.uint64_t(question.MaxAge/time.Second)
	asked.min_sequence = C.uint64_t(question.MinSequence)
	for _, pin := range []struct {
		text string
		at   *C.th_str
	}{
		{question.FileName, &asked.file_name},
		{question.Name, &asked.name},
		{question.Package, &asked._package},
		{question.Channel, &asked.channel},
		{question.Kind, &asked.kind},
		{question.Publisher, &asked.publisher},
		{question.Audience, &asked.audience},
	} {
		if pin.text != "" {
			text := C.CString(pin.text)
			defer C.free(unsafe.Pointer(text))
			*pin.at = C.th_str{data: text, length: C.size_t(len(pin.text))}
		}
	}
	var pointer *C.th_memory
	if memory != nil {
		pointer = memory.pointer
		defer runtime.KeepAlive(memory)
	}
	defer runtime.KeepAlive(trust)
	message, name := newText(1024), newText(128)
	defer message.free()
	defer name.free()
	var verdict Verdict
	var described, evidence *C.th_blob
	status := C.verify_json(trust.pointer, pointer, &asked, (*C.uint8_t)(&question.SHA256[0]), bytes(question.Proof),
		C.size_t(len(question.Proof)), &described, &evidence, &name.text, &message.text)
	if described == nil {
		return nil, &Error{int(status), message.String()}
	}
	if err := json.Unmarshal(taken(described), &verdict); err != nil {
		return nil, err
	}
	verdict.Evidence, verdict.EvidenceName = taken(evidence), name.String()
	if status != C.TH_OK && status != C.TH_REFUSED {
		return &verdict, &Error{int(status), verdict.Message}
	}
	return &verdict, nil
}

// A buffer of C for a text.
type text struct{ text C.th_text }

func newText(capacity int) *text {
	return &text{C.th_text{data: (*C.char)(C.calloc(1, C.size_t(capacity))), capacity: C.size_t(capacity)}}
}

func (t *text) String() string { return C.GoString(t.text.data) }
func (t *text) free()          { C.free(unsafe.Pointer(t.text.data)) }

// The bytes of a blob, which is freed.
func taken(blob *C.th_blob) []byte {
	if blob == nil {
		return nil
	}
	defer C.th_blob_free(blob)
	return C.GoBytes(unsafe.Pointer(C.th_blob_data(blob)), C.int(C.th_blob_length(blob)))
}

func bytes(data []byte) *C.uint8_t {
	return (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(data)))
}

func explained(call func(*C.th_text) C.th_status) error {
	message := newText(1024)
	defer message.free()
	if status := call(&message.text); status != C.TH_OK {
		return &Error{int(status), message.String()}
	}
	return nil
}
