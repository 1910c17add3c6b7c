package linux

// NotesBuildID is the build id in the notes of the kernel's image.
func NotesBuildID(k *Kernel) string { return k.notesBuildID() }

// ParseSymbols reads a symbol file and says what the file itself tells of its
// kernel: build id and banner.
func ParseSymbols(b []byte) (buildID, banner string, err error) {
	x, err := parseSymbols(b)
	if x == nil || err != nil {
		return "", "", err
	}
	if x.isf != nil {
		return "", x.isf.Banner(), nil
	}
	return x.buildID, x.banner, nil
}
