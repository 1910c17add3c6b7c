// Package fs is what every filesystem reader and the file-change engine
// (analyze/files) agree on: a sparse disk that is written to in tape order, and
// the interface through which a filesystem says what those writes mean.
//
// # How a new filesystem plugs in
//
// Make a package beside ext4 with one exported constructor
//
//	func Open(dev fs.Device, o fs.Options) (fs.Filesystem, error)
//
// that looks at the superblock and nothing else. It returns fs.ErrNotFound when
// this is not its filesystem, and another error when it is but cannot be
// followed (the engine reports that volume as not looked at). Then add one line
// to the explicit list in analyze/files/probe.go.
//
// The engine then calls, always from one goroutine:
//
//   - Crawl once: visit every live inode (Visitor.Inode) and every directory
//     entry except "." and ".." (Visitor.Link). The filesystem builds here its
//     own index from blocks to owners. Blocks the base does not know must not
//     stop the crawl: report them with Visitor.Problem and go on.
//   - For every completed write: Prepare before the bytes are stored in the
//     device, when the old content can still be read, then Apply when they are.
//     Offsets are relative to the volume.
//   - Settle when a flush completes, at a mark, at the end of the tape, and after
//     a pause in the writes. A filesystem without a commit record reports then
//     what it has gathered; one with a journal usually does nothing.
//
// What it learns it hands to the Sink: Sink.Touch(id) just before the content of
// a file changes as its readers would see it (so that the engine can read the
// old content), then Sink.Commit(tx) when a set of changes has become true
// together: a journal commit, a new superblock generation, a settled batch.
// At the time of Commit, Stat and Content must already answer for the new state.
//
// A Tx is typed deltas and no verdict: inodes before and after, directory
// entries removed and added, ranges of file content written. Pairing renames,
// telling create from link, hashing, paths and findings are the engine's and
// are the same for all filesystems. Consequently a filesystem never keeps
// names; it keeps only what it needs to turn a block number into an owner.
//
// All bytes are hostile: check lengths before allocating, bound every chain and
// tree walk, never panic. Bytes that are not known read as an *UnknownError:
// say so rather than treating them as zero.
package fs
