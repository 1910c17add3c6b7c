// Package format is the xentape container: records, chunks, images, index,
// Merkle log and sealing, as SPEC.md beside this file defines them.
//
// It knows bytes. It knows no hypervisor, reads no clock, opens no file: times
// arrive in records, bytes arrive through io interfaces, so that a tape written
// from the same records is the same tape.
package format
