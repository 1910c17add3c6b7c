// Package need says what a test takes from the machine it runs on. It is the only
// place in the module that leaves a test out, and does so for one reason: something
// the test cannot do without is not there. What is there is used, and then the test
// passes or fails.
//
// `make test` installs every program the tests use and sets XENTAPE_REQUIRE_TOOLS:
// there a missing program fails too.
package need

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Tool returns the path of the first of some names of a program that is installed.
// debian is the package that has it.
func Tool(t testing.TB, debian string, names ...string) string {
	t.Helper()
	path, ok := Peer(t, debian, names...)
	if !ok {
		t.Skipf("no %s here: apt-get install %s", names[0], debian)
	}
	return path
}

// Peer is Tool for a benchmark that goes on, and reports its own figures only, when
// nothing is there to compare with.
func Peer(t testing.TB, debian string, names ...string) (path string, ok bool) {
	t.Helper()
	for _, n := range names {
		if p, err := exec.LookPath(n); err == nil {
			return p, true
		}
	}
	if promised() {
		t.Fatalf("no %s here: make deps installs it, or apt-get install %s", names[0], debian)
	}
	t.Logf("no %s here (apt-get install %s): nothing to compare with", names[0], debian)
	return "", false
}

// Installed is for what is no program: err says whether the library that a package
// brings answered.
func Installed(t testing.TB, pkg string, err error) {
	t.Helper()
	switch {
	case err == nil:
	case promised():
		t.Fatalf("%s is not here (make deps installs it): %v", pkg, err)
	default:
		t.Skipf("%s is not here: %v", pkg, err)
	}
}

// promised says whether what make deps installs must be there.
func promised() bool { return os.Getenv("XENTAPE_REQUIRE_TOOLS") != "" }

// Recording returns a path below the folder that XENTAPE_DATA names, where recordings
// lie that are too large for the repository. Once it is set, they must be there.
func Recording(t testing.TB, elem ...string) string {
	t.Helper()
	return filepath.Join(append([]string{Named(t, "XENTAPE_DATA", "the folder of the unpacked recordings")}, elem...)...)
}

// Named returns the existing path in an environment variable; what says what lies
// there.
func Named(t testing.TB, variable, what string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		t.Skipf("%s does not name %s", variable, what)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s should name %s: %v", variable, what, err)
	}
	return path
}

// Able is for what the machine refused with err. able says whether it should have
// been possible here, by signs other than err: then it is a failure.
func Able(t testing.TB, able bool, what string, err error) {
	t.Helper()
	if able {
		t.Fatalf("cannot %s, and this machine should: %v", what, err)
	}
	t.Skipf("cannot %s: %v", what, err)
}
