// Asks whether a file may be installed: verify endpoint.trust FILE
package main

import (
	"crypto/sha256"
	"fmt"
	"os"

	"treehead.example/treehead"
)

func main() {
	if len(os.Args) != 3 {
		fail("usage: verify TRUST FILE")
	}
	file := os.Args[2]
	trust, err := treehead.ReadTrust(read(os.Args[1]))
	if err != nil {
		fail(err)
	}
	verdict, err := treehead.Verify(trust, nil, &treehead.Question{
		SHA256:   sha256.Sum256(read(file)),
		Proof:    read(file + ".tlog-proof"),
		FileName: file,
	})
	if err != nil {
		fail(err)
	}
	if !verdict.OK {
		fmt.Fprintf(os.Stderr, "%s: %s: %s\n%s\n", file, verdict.Code, verdict.Message, verdict.Advice)
		os.Exit(1)
	}
	fmt.Printf("%s: %s by %s\n", file, verdict.Purl, verdict.Publisher)
}

func read(path string) []byte {
	data, err := os.ReadFile(path)
	if err != nil {
		fail(err)
	}
	return data
}

func fail(why any) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(2)
}
