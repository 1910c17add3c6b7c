// Package memory records a guest's memory: full and incremental snapshots, read
// through foreign mappings while the guest runs, made consistent in a short pause.
//
// A snapshot copies live first. Then the guard pauses the guest for at most the
// budget, and what changed since is read again together with vCPU contexts, grant
// table and shared info. When the budget does not suffice the guest runs on and the
// snapshot is marked fuzzy. Content is never interpreted; of a PV guest only the
// physical-to-machine map is followed, because without it nothing can be found.
package memory
