// Package bpf loads the programs that see a block device's requests in the kernel
// (kernel/blocks.bpf.c, GPL-2.0, compiled to blocks.bpf.o beside it) and reads what they report.
// The object is committed so that building needs no compiler; regenerate it with
// go generate, which wants Debian 12's clang, llvm and libbpf-dev.
package bpf

//go:generate sh -c "cd kernel && sh generate.sh"
