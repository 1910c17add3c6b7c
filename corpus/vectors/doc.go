// Package vectors makes tapes that a reader of the container is tested on: one
// scenario each, good and bad, with what a reader must make of it. It follows
// format/SPEC.md and shares no code with format: what the two understand
// differently shows. testdata holds the tapes it makes; `go test -update`
// writes them.
package vectors

// Vector is one tape and what is to be made of it.
type Vector struct {
	Name  string `json:"name"`
	Why   string `json:"why"`
	Bytes []byte `json:"-"`
	// Expect is "complete": nothing wrong; "unfinished": nothing wrong, no
	// footer; "damage": readable in part; "refuse": not to be read.
	Expect string `json:"expect"`
	// Kinds of damage (REGISTRY.md) of which verify must report one; for Expect "damage".
	Kinds []string `json:"kinds,omitempty"`
	// Signature is the state of the signatures that verify must report: "valid", "unlinked"
	// (nothing leads to the first key) or "bad"; "" is not compared.
	Signature string `json:"signature,omitempty"`
	// Records that must come back, in order, and no others.
	Records []Record `json:"records"`
	// Pages that must read so.
	Pages []Page `json:"pages,omitempty"`
	// Identity opens the content of a sealed tape (an age secret key, for tests only).
	Identity string `json:"identity,omitempty"`
}

// Record is what is expected of a record. SHA256 is of its stored form, for an
// attachment in parts of the form it would have in one.
type Record struct {
	Seq    uint64         `json:"seq"`
	Type   uint8          `json:"type"`
	Time   int64          `json:"time"`
	Stream uint32         `json:"stream"`
	SHA256 string         `json:"sha256"`
	Fields map[string]any `json:"fields,omitempty"`
}

// Page is what is expected of a page: SHA256 is of its content when State is 1;
// State -1 is a page that must be reported as lost.
type Page struct {
	Snapshot uint32 `json:"snapshot"`
	Page     uint64 `json:"page"`
	State    int    `json:"state"`
	SHA256   string `json:"sha256,omitempty"`
}

// All makes every vector.
func All() []Vector {
	return append(good(), bad()...)
}
