// Package xenabi holds what Xen and the Linux privcmd driver lay down in their
// public headers: numbers, layouts, and the translation between bytes and Go
// values. It makes no system call and holds no state.
//
// Layouts are those of x86-64. Every field used here was compared over the
// headers of Xen 4.12 to 4.22: only the interface version and the tail of
// xen_domctl_getdomaininfo differ between them.
package xenabi
