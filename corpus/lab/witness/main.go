//go:build linux

// Command witness runs inside a guest of the lab and writes down what happens
// there: the ground truth a recording is compared with.
//
//	witness serve           log every process's birth and death, and, when
//	                        asked through xenstore, what /proc and the root
//	                        file system look like now
//	witness before PATH...  what these files are, ahead of a step
//	witness after OP PATH [OLD-PATH]  what a step made of them
//	witness hidden PID      what a process is, ahead of its disappearance
//
// Everything goes to the directory of -o, which is a disk of its own so that
// the recorded disk holds none of it.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	out := flag.String("o", "/run/truth", "directory written to")
	flag.Parse()
	if err := run(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "witness:", err)
		os.Exit(1)
	}
}

func run(out string, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "serve":
		return serve(out)
	case len(args) >= 2 && args[0] == "before":
		return noteFiles(out, "before", "", args[1:], "")
	case (len(args) == 3 || len(args) == 4) && args[0] == "after":
		old := ""
		if len(args) == 4 {
			old = args[3]
		}
		return noteFiles(out, "after", args[1], args[2:3], old)
	case len(args) == 2 && args[0] == "hidden":
		return noteHidden(out, "/proc", args[1])
	}
	return fmt.Errorf("usage: witness [-o DIR] serve | before PATH... | after OP PATH [OLD-PATH] | hidden PID")
}
