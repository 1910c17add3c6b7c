// Package blktrace watches a block device through the kernel's block tracer
// (include/uapi/linux/blktrace_api.h, kernel/trace/blktrace.c), which tells what is
// asked of a device and not with which content. It is what there is where BPF is
// not to be had.
package blktrace
