// Package export writes the views of a tape in the formats that other tools
// read. What a format cannot carry is returned as a list of losses, for the
// caller to show: an export never drops anything in silence.
package export
