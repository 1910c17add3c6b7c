package files

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/corpus/need"
)

// hostile are names that a guest may give its files.
var hostile = []string{
	"/plain", "/new\nline", "/re\rturn", "/ta\tb", "/pi|pe", "/pi%7Cpe", "/pi%257Cpe", "/new%0Aline", "/100%25", "/100%41", "/100%", "/qu\"o'te",
	"/es\x1b[31mc", "/be\ufffdll", "/be\all", "/no\xff\xfeutf8", "/no\xff\xfdutf8", "/<tag>&amp;", "/]]>", "/a -> b", "/,;$(id)`id`", "/\u202egpj", "/\\n", "/{\"op\":1}",
}

func hostileEvents() []Event {
	var out []Event
	size, id := uint64(5), uint32(0)
	for i, name := range hostile {
		at := Time(1_700_000_000e9 + int64(i)*1e9 + 5)
		out = append(out, Event{Op: OpDelete, Path: name, OldPath: name + "~", Type: "file", Inode: uint64(i + 1), Size: &size, UID: &id, GID: &id, Mode: Mode{0o644, true},
			ATime: at, MTime: at, CTime: at, BTime: at, TimeLower: at, TimeUpper: at, TimeBasis: BasisChange, Diff: name, PathHex: hexOf(name)})
	}
	return out
}

// TestHostileNamesInJSON: a line an event, from which the very bytes can be had.
func TestHostileNamesInJSON(t *testing.T) {
	var b bytes.Buffer
	_, err := WriteTimesketch(&b, hostileEvents())
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	require.Len(t, lines, len(hostile))
	for i, l := range lines {
		var m struct {
			Path, Message string
			Hex           string `json:"path_hex"`
		}
		require.NoError(t, json.Unmarshal([]byte(l), &m))
		if m.Hex != "" {
			raw, err := hex.DecodeString(m.Hex)
			require.NoError(t, err)
			m.Path = string(raw)
		}
		require.Equal(t, hostile[i], m.Path)
	}
}

// TestHostileNamesInABodyfile: a line an event of eleven fields, no two alike, and
// mactime takes each.
func TestHostileNamesInABodyfile(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, WriteDeleted(&b, hostileEvents(), BodyfileOptions{}))
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	require.Len(t, lines, len(hostile))
	names := map[string]bool{}
	for _, l := range lines {
		f := strings.Split(l, "|")
		require.Len(t, f, 11, "%q", l)
		require.Regexp(t, `^17000000\d\d\.000000005$`, f[8])
		names[f[1]] = true
	}
	require.Len(t, names, len(hostile), "names that differ read the same")
	need.Tool(t, "sleuthkit", "mactime")
	cmd := exec.Command("mactime", "-b", "-", "-d", "-y")
	cmd.Stdin = &b
	out, err := cmd.Output()
	require.NoError(t, err)
	require.Equal(t, len(hostile), bytes.Count(out, []byte("(deleted)")), "%s", out)
	require.Contains(t, string(out), "/new%0Aline (deleted)", "a line end")
	require.Contains(t, string(out), "/new%250Aline (deleted)", "a percent sign")
}

// TestHostileNamesInDFXML: well-formed, and the very bytes are had.
func TestHostileNamesInDFXML(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, WriteDFXML(&b, "xv|d\x01a<", hostileEvents()))
	var doc struct {
		Objects []struct {
			Filename string `xml:"filename"`
			Hex      string `xml:"filename_hex"`
			Original struct {
				Filename string `xml:"filename"`
				Hex      string `xml:"filename_hex"`
			} `xml:"original_fileobject"`
		} `xml:"fileobject"`
	}
	require.NoError(t, xml.Unmarshal(b.Bytes(), &doc))
	require.Len(t, doc.Objects, len(hostile))
	for i, o := range doc.Objects {
		for want, got := range map[string][2]string{hostile[i]: {o.Filename, o.Hex}, hostile[i] + "~": {o.Original.Filename, o.Original.Hex}} {
			if got[1] != "" {
				raw, err := hex.DecodeString(got[1])
				require.NoError(t, err)
				got[0] = string(raw)
			}
			require.Equal(t, want, got[0])
		}
	}
}
