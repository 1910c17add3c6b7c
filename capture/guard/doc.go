// Package guard ends pauses. A pause in Xen is a counter that outlives whoever
// raised it: a recorder that dies between pause and unpause leaves the guest frozen
// for good. So the recorder never pauses. It asks a small process, the guard, which
// pauses, and unpauses when told to, when the budget is over, or when the recorder
// is gone, whichever is first. The guard also ends dirty page tracking that a dead
// recorder left on.
//
// If the guard itself dies, the recorder unpauses; if both are killed at once, the
// marks that the guard leaves in its directory tell UnpauseMarked, run by the
// service manager afterwards, what to undo.
package guard
