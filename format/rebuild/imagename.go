package rebuild

import (
	"net/url"
	"strings"
)

// A flight recorder keeps beside its ring what each disk held at the end of the newest
// segment that it gave up, as a file DISK.after-TIME.img. TIME is the name of the
// segment, TIME.xtape; the disk's name is escaped as in a URL's path.
const (
	imageMark   = ".after-"
	imageSuffix = ".img"
	tapeSuffix  = ".xtape"
)

// ImageName names the image of a disk as it stood at the end of a tape.
func ImageName(disk, tape string) string {
	return url.PathEscape(disk) + imageMark + strings.TrimSuffix(tape, tapeSuffix) + imageSuffix
}

// ParseImageName reads such a name: which disk, and which tape ended with it.
func ParseImageName(file string) (disk, tape string, ok bool) {
	name, after, found := strings.Cut(file, imageMark)
	after, isImage := strings.CutSuffix(after, imageSuffix)
	disk, err := url.PathUnescape(name)
	return disk, after + tapeSuffix, found && isImage && err == nil
}
