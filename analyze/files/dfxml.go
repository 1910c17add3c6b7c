package files

import (
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// WriteDFXML writes the events as Digital Forensics XML with the delta vocabulary
// of idifference2.py (github.com/dfxml-working-group): new, deleted, renamed,
// modified files and changed properties. Elements come in the order of the group's schema
// (github.com/dfxml-working-group/dfxml_schema, dfxml.xsd), which has those of other
// namespaces at the end of a file.
func WriteDFXML(w io.Writer, disk string, events []Event) error {
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", " ")
	root := xml.StartElement{Name: xml.Name{Local: "dfxml"}, Attr: []xml.Attr{
		{Name: xml.Name{Local: "version"}, Value: "2.0.0-beta.0"},
		{Name: xml.Name{Local: "xmlns"}, Value: "http://www.forensicswiki.org/wiki/Category:Digital_Forensics_XML"},
		{Name: xml.Name{Local: "xmlns:delta"}, Value: "http://www.forensicswiki.org/wiki/Forensic_Disk_Differencing"},
		{Name: xml.Name{Local: "xmlns:xentape"}, Value: "https://github.com/xentape/xentape"},
	}}
	if err := enc.EncodeToken(root); err != nil {
		return err
	}
	for _, e := range []struct {
		name string
		v    any
	}{{"metadata", struct{}{}}, {"creator", dfxmlCreator{"xentape"}}, {"source", dfxmlSource{disk}}} {
		if err := enc.EncodeElement(e.v, xml.StartElement{Name: xml.Name{Local: e.name}}); err != nil {
			return err
		}
	}
	for i := range events {
		if err := enc.Encode(fileObject(&events[i])); err != nil {
			return fmt.Errorf("event %d: %w", i, err)
		}
	}
	if err := enc.EncodeToken(root.End()); err != nil {
		return err
	}
	if err := enc.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

type dfxmlCreator struct {
	Program string `xml:"program"`
}

type dfxmlSource struct {
	Filename string `xml:"image_filename"`
}

type dfxmlRun struct {
	Offset uint64 `xml:"file_offset,attr"`
	Len    uint64 `xml:"len,attr"`
}

type dfxmlHash struct {
	Type  string `xml:"type,attr"`
	Value string `xml:",chardata"`
}

type dfxmlOriginal struct {
	Filename string     `xml:"filename,omitempty"`
	Filesize *uint64    `xml:"filesize,omitempty"`
	Mode     string     `xml:"mode,omitempty"`
	UID      *uint32    `xml:"uid,omitempty"`
	GID      *uint32    `xml:"gid,omitempty"`
	MTime    string     `xml:"mtime,omitempty"`
	Hash     *dfxmlHash `xml:"hashdigest,omitempty"`
	Hex      string     `xml:"xentape:filename_hex,omitempty"`
}

type dfxmlObject struct {
	XMLName  xml.Name       `xml:"fileobject"`
	New      string         `xml:"delta:new_file,attr,omitempty"`
	Deleted  string         `xml:"delta:deleted_file,attr,omitempty"`
	Renamed  string         `xml:"delta:renamed_file,attr,omitempty"`
	Modified string         `xml:"delta:modified_file,attr,omitempty"`
	Changed  string         `xml:"delta:changed_properties,attr,omitempty"`
	Filename string         `xml:"filename"`
	NameType string         `xml:"name_type,omitempty"`
	Filesize *uint64        `xml:"filesize,omitempty"`
	Inode    uint64         `xml:"inode"`
	Mode     string         `xml:"mode,omitempty"`
	UID      *uint32        `xml:"uid,omitempty"`
	GID      *uint32        `xml:"gid,omitempty"`
	MTime    string         `xml:"mtime,omitempty"`
	CTime    string         `xml:"ctime,omitempty"`
	ATime    string         `xml:"atime,omitempty"`
	CRTime   string         `xml:"crtime,omitempty"`
	DTime    string         `xml:"dtime,omitempty"`
	Target   string         `xml:"link_target,omitempty"`
	Runs     *dfxmlRuns     `xml:"byte_runs,omitempty"`
	Hash     *dfxmlHash     `xml:"hashdigest,omitempty"`
	Original *dfxmlOriginal `xml:"delta:original_fileobject,omitempty"`
	Hex      string         `xml:"xentape:filename_hex,omitempty"`
}

type dfxmlRuns struct {
	Run []dfxmlRun `xml:"byte_run"`
}

func fileObject(e *Event) *dfxmlObject {
	const yes = "1"
	o := &dfxmlObject{Filename: e.Path, Hex: xmlHex(e.Path), NameType: nameType(e.Type), Filesize: e.Size, Inode: e.Inode, UID: e.UID, GID: e.GID,
		MTime: e.MTime.String(), CTime: e.CTime.String(), ATime: e.ATime.String(), CRTime: e.BTime.String(), Target: e.Target}
	if e.Mode.Set {
		o.Mode = fmt.Sprint(e.Mode.Bits) // "recorded in base 10"
	}
	original := dfxmlOriginal{Filesize: e.SizeOld, UID: e.UIDOld, GID: e.GIDOld, Filename: e.OldPath, Hex: xmlHex(e.OldPath)}
	if e.ModeOld.Set {
		original.Mode = fmt.Sprint(e.ModeOld.Bits)
	}
	if e.MTimeOld != nil {
		original.MTime = e.MTimeOld.String()
	}
	if e.SHA256Old != "" {
		original.Hash = &dfxmlHash{"sha256", e.SHA256Old}
	}
	if original != (dfxmlOriginal{}) {
		o.Original = &original
	}
	if e.SHA256New != "" {
		o.Hash = &dfxmlHash{"sha256", e.SHA256New}
	}
	if len(e.Ranges) > 0 {
		o.Runs = &dfxmlRuns{}
		for _, r := range e.Ranges {
			o.Runs.Run = append(o.Runs.Run, dfxmlRun{r.Off, r.Len})
		}
	}
	switch e.Op {
	case OpCreate, OpMkdir, OpSymlink, OpLink:
		o.New = yes
	case OpDelete, OpRmdir, OpUnlink:
		o.Deleted, o.DTime = yes, e.TimeUpper.String()
	case OpRename:
		o.Renamed = yes
	case OpWrite, OpTruncate:
		o.Modified = yes
	default:
		o.Changed = yes
	}
	return o
}

// xmlHex gives the bytes of a name that XML cannot hold (XML 1.0, section 2.2), and
// nothing for others: two that differ must not read the same.
func xmlHex(name string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(name)); err == nil && utf8.ValidString(name) && strings.Count(b.String(), "\uFFFD") == strings.Count(name, "\uFFFD") {
		return ""
	}
	return hex.EncodeToString([]byte(name))
}

func nameType(t string) string {
	switch t {
	case "file":
		return "r"
	case "dir":
		return "d"
	case "symlink":
		return "l"
	case "char-device":
		return "c"
	case "block-device":
		return "b"
	case "fifo":
		return "p"
	case "socket":
		return "s"
	}
	return "-"
}
