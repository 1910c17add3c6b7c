// Package story joins what memory, disk and packets of one guest say about the
// same incident: which process held a connection, which wrote a file, which file
// came out of which connection; and draws conclusions from the whole, by rules.
//
// Nothing is read twice: the other analyzers' results come in, relations and
// findings go out. Every relation has a grade and names what it rests on.
package story
