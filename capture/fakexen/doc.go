// Package fakexen is an imaginary Xen host for tests: domains in memory behind the
// raw port that the real hypervisor is reached through, with the errors that Xen
// documents, and a xenstore served over a connection. Only tests import it.
package fakexen
