// Package rebuild puts what a tape holds of a disk back together: its image and the
// requests that took effect after it, in their order, over one tape or several that
// follow one another. It interprets nothing of what the guest wrote.
package rebuild
