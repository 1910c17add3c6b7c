// Package files tells what changed in the files of a disk from its block writes
// alone, and what the disk held at any moment.
//
// An Analyzer is fed the records of one disk in tape order. Completed writes go
// into a sparse overlay of the base and to the filesystems found on it
// (analyze/internal/fs); what they report as having become true together is
// turned into events here: paths, paired renames, old and new hashes, and an
// interval of time with its basis, because the disk learns of an operation
// seconds after it happened. Findings are events, or sequences of them, that an
// examiner would want to see first; each says why.
//
// Feeding a tape that still grows gives the events that replaying the finished
// one does, in the same order.
package files
