package files

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xentape/xentape/analyze/internal/fs"
)

func TestBodyfileOfATree(t *testing.T) {
	dir := unpack(t, "ext4")
	a, events := replayTrace(t, dir, Options{})
	var b bytes.Buffer
	require.NoError(t, WriteBodyfile(&b, a.State(), BodyfileOptions{MD5: true}))
	require.NoError(t, WriteDeleted(&b, events, BodyfileOptions{Integers: true}))
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	by := map[string][]string{}
	for _, l := range lines {
		f := strings.Split(l, "|")
		require.Len(t, f, 11, l)
		by[f[1]] = f
	}
	bd := by["/usr/bin/.bd"]
	require.Equal(t, "r/rrwsr-xr-x", bd[3])
	require.Equal(t, "1500000000.000000000", bd[8])
	require.Len(t, bd[0], 32)
	require.Equal(t, "l/lrwxrwxrwx", by["/usr/bin/ls -> /usr/bin/.bd"][3])
	require.Equal(t, "d/drwxr-xr-x", by["/etc"][3])
	require.NotContains(t, by["/tmp/.y (deleted)"][8], ".")
}

func TestBodyTimesBefore1970(t *testing.T) {
	require.Equal(t, "-0.250000000", bodyTime(-250e6, BodyfileOptions{}))
	require.Equal(t, "-1.500000000", bodyTime(-1500e6, BodyfileOptions{}))
	require.Equal(t, "-2", bodyTime(-1500e6, BodyfileOptions{Integers: true}))
	require.Equal(t, "0", bodyTime(fs.NoTime, BodyfileOptions{}))
	require.Equal(t, "a%7Cb%250A", bodyName("a|b\n"))
	require.Equal(t, "r/rrwSr-Sr-T", modeString(fs.TypeFile, 0o7644))
}

func TestTimesketchLines(t *testing.T) {
	_, events := replayTrace(t, unpack(t, "ext4"), Options{Hash: true})
	var b bytes.Buffer
	skipped, err := WriteTimesketch(&b, events)
	require.NoError(t, err)
	require.Zero(t, skipped)
	n := 0
	for line := range strings.Lines(b.String()) {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		for _, k := range []string{"message", "datetime", "timestamp_desc", "op", "path"} {
			require.NotEmpty(t, m[k], k)
		}
		n++
	}
	require.Equal(t, len(events), n)
	events[0].TimeLower, events[0].TimeUpper = Unknown, Unknown
	skipped, err = WriteTimesketch(io.Discard, events)
	require.NoError(t, err)
	require.Equal(t, 1, skipped, "no time is invented")
}

// The sequences of dfxml.xsd 2.0.0-beta.0: of the document (element dfxml), and of a file
// (type fileobject_type), of which each may be left out but none comes before one above it.
var (
	dfxmlDocument = []string{"metadata", "creator", "source", "fileobject"}
	dfxmlFile     = []string{"parent_object", "filename", "error", "partition", "id", "name_type", "filesize", "unalloc", "alloc", "alloc_inode", "alloc_name",
		"used", "unused", "orphan", "compressed", "inode", "meta_type", "mode", "nlink", "uid", "gid", "mtime", "ctime", "atime", "crtime", "seq", "dtime",
		"bkup_time", "link_target", "libmagic", "byte_runs", "hashdigest"}
)

// dfxmlNode is any element.
type dfxmlNode struct {
	XMLName xml.Name
	Attr    []xml.Attr  `xml:",any,attr"`
	Text    string      `xml:",chardata"`
	Below   []dfxmlNode `xml:",any"`
}

const dfxmlSpace = "http://www.forensicswiki.org/wiki/Category:Digital_Forensics_XML"

// requireSequence: what is below a node comes in the schema's order, and what is of other
// namespaces after it.
func requireSequence(t *testing.T, n *dfxmlNode, order []string) {
	t.Helper()
	last := 0
	for _, c := range n.Below {
		at := slices.Index(order, c.XMLName.Local)
		if c.XMLName.Space != dfxmlSpace {
			at = len(order)
		}
		require.GreaterOrEqual(t, at, last, "%s in %s", c.XMLName.Local, n.XMLName.Local)
		last = at
	}
}

// TestDFXMLFollowsItsSchema: elements in the sequences of the schema, values of its types.
func TestDFXMLFollowsItsSchema(t *testing.T) {
	_, events := replayTrace(t, unpack(t, "ext4"), Options{Hash: true})
	events = append(events, Event{Op: OpRename, Path: "/a\x01\xff", OldPath: "/b\n\xfe", MTime: Unknown, CTime: Unknown, ATime: Unknown, BTime: Unknown})
	var b bytes.Buffer
	require.NoError(t, WriteDFXML(&b, "xvda", events))
	var doc dfxmlNode
	require.NoError(t, xml.Unmarshal(b.Bytes(), &doc))
	require.Equal(t, xml.Name{Space: dfxmlSpace, Local: "dfxml"}, doc.XMLName)
	require.Equal(t, "metadata", doc.Below[0].XMLName.Local, "the one that must be there")
	requireSequence(t, &doc, dfxmlDocument)
	objects, modes := 0, map[string]int{}
	for i := range doc.Below {
		if doc.Below[i].XMLName.Local != "fileobject" {
			continue
		}
		objects++
		requireSequence(t, &doc.Below[i], dfxmlFile)
		for _, c := range doc.Below[i].Below {
			switch c.XMLName.Local {
			case "mode": // "recorded in base 10"
				modes[c.Text]++
			case "mtime", "ctime", "atime", "crtime", "dtime": // xs:dateTime
				_, err := time.Parse(time.RFC3339Nano, c.Text)
				require.NoError(t, err)
			case "name_type":
				require.Contains(t, "-pcdbrlshwVv", c.Text)
			case "original_fileobject":
				requireSequence(t, &c, dfxmlFile)
			}
		}
	}
	require.Equal(t, len(events), objects)
	require.NotZero(t, modes[fmt.Sprint(0o4755)], modes)
}

func TestEventJSONRoundTrip(t *testing.T) {
	_, events := replayTrace(t, unpack(t, "ext4"), Options{Hash: true})
	for _, e := range events {
		b, err := json.Marshal(e)
		require.NoError(t, err)
		var back Event
		require.NoError(t, json.Unmarshal(b, &back))
		e.vol = nil // whose differences would be printed for ever
		back.id, back.class, back.by, back.sizeWas, back.whole = e.id, e.class, e.by, e.sizeWas, e.whole
		require.Equal(t, e, back)
	}
}

func TestUnifiedDiff(t *testing.T) {
	old := []byte("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\n")
	now := []byte("a\nB\nc\nd\ne\nf\ng\nh\ni\nj\nk\nL\nm\nn")
	require.Equal(t, "--- a/x\n+++ b/x\n@@ -1,5 +1,5 @@\n a\n-b\n+B\n c\n d\n e\n@@ -9,5 +9,6 @@\n i\n j\n k\n-l\n+L\n m\n+n\n\\ No newline at end of file\n",
		unified("/x", old, now))
	require.Empty(t, unified("/x", old, old))
	require.Equal(t, "--- a/x\n+++ b/x\n@@ -0,0 +1,1 @@\n+a\n", unified("/x", nil, []byte("a\n")))
}

// FuzzUnifiedApplies: a diff, applied to the old text, gives the new one.
func FuzzUnifiedApplies(f *testing.F) {
	f.Add("a\nb\nc\n", "a\nc\nd\n")
	f.Add("", "x")
	f.Add("x\ny\nz", "z\ny\nx\n")
	f.Add(strings.Repeat("q\n", 40), strings.Repeat("q\n", 20)+"r\n"+strings.Repeat("q\n", 15))
	f.Fuzz(func(t *testing.T, old, now string) {
		if len(old)+len(now) > 20000 || strings.Contains(old+now, "\r") {
			return
		}
		d := unified("/f", []byte(old), []byte(now))
		if old == now {
			require.Empty(t, d)
			return
		}
		require.Equal(t, now, applyDiff(t, old, d))
	})
}

// applyDiff is a strict patch(1).
func applyDiff(t *testing.T, old, diff string) string {
	src := lines([]byte(old))
	var out strings.Builder
	at := 0
	ls := strings.SplitAfter(diff, "\n")[2:]
	for i := 0; i < len(ls); i++ {
		l := ls[i]
		if l == "" || strings.HasPrefix(l, "\\ ") {
			continue
		}
		body := l[1:]
		if i+1 < len(ls) && strings.HasPrefix(ls[i+1], "\\ ") {
			body = strings.TrimSuffix(body, "\n")
		}
		switch l[0] {
		case '@':
			var from, n, to, m int
			_, err := sscan(l, &from, &n, &to, &m)
			require.NoError(t, err)
			if n > 0 {
				from--
			}
			for ; at < from; at++ {
				out.WriteString(src[at])
			}
		case ' ':
			require.Equal(t, src[at], body)
			out.WriteString(body)
			at++
		case '-':
			require.Equal(t, src[at], body)
			at++
		case '+':
			out.WriteString(body)
		}
	}
	for ; at < len(src); at++ {
		out.WriteString(src[at])
	}
	return out.String()
}

func sscan(l string, from, n, to, m *int) (int, error) {
	return fmt.Sscanf(l, "@@ -%d,%d +%d,%d @@", from, n, to, m)
}

// Names are bytes: JSON cannot hold all of them, and says then what they are.
func TestNamesThatAreNoText(t *testing.T) {
	a, _ := replayTrace(t, unpack(t, "ext4"), Options{})
	a.events = nil
	a.emit(Event{Op: OpRename, OldPath: "/w/caf\xe9", Path: "/w/caf\xc3\xa9"})
	a.emit(Event{Op: OpRename, OldPath: "/w/caf\xc3\xa9", Path: "/w/caf\xea"})
	require.Equal(t, "2f772f636166e9", a.events[0].OldPathHex)
	require.Empty(t, a.events[0].PathHex)
	require.Empty(t, a.events[1].OldPathHex)
	require.Equal(t, "2f772f636166ea", a.events[1].PathHex)
}
