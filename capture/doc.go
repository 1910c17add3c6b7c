// Package capture turns what a Xen host shows of its guests into a tape.
//
// A Source observes one thing: a guest's memory, a disk, an interface, the life
// of the guest. The Recorder merges sources into one tape, ties the tape's clock
// to others, accounts for what was lost, and seals. Nothing here interprets a
// byte of guest data: that happens offline, elsewhere, on the tape.
package capture
