package process

import (
	"fmt"

	"github.com/xentape/xentape/analyze/internal/linux/objects"
)

// InfoWithTable is the kernel's VMCOREINFO with the addresses of the symbol table
// in it, as kernels since 6.0 have them: with it, a table is read without a
// search of the whole image.
func (a *Analyzer) InfoWithTable() []byte {
	l := a.k.Table().Loc
	text := fmt.Sprintf("%sSYMBOL(kallsyms_names)=%x\nSYMBOL(kallsyms_num_syms)=%x\nSYMBOL(kallsyms_token_table)=%x\n", a.k.Info.Text, l.Names, l.NumSyms, l.TokenTable)
	text += fmt.Sprintf("SYMBOL(kallsyms_token_index)=%x\nSYMBOL(kallsyms_offsets)=%x\n", l.TokenIndex, l.Offsets)
	if l.RelativeBase != 0 {
		text += fmt.Sprintf("SYMBOL(kallsyms_relative_base)=%x\n", l.RelativeBase)
	}
	return []byte(text)
}

// ExamineAll reads of every process what tells a live one that is in no list:
// for reducing a recording in which processes are to be hidden later.
func (a *Analyzer) ExamineAll() {
	v := objects.NewView(a.k)
	for _, p := range a.snaps[len(a.snaps)-1].procs {
		v.Examine(uint64(p.TaskAddress))
	}
}
