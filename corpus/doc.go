// Package corpus holds tapes and what is known to be true of them, and compares
// what the analyzers say today with what they said when a person agreed.
//
// A corpus is a folder. Every folder below it that has a case.yaml is a case.
// See README.md beside this file for the layout.
package corpus
