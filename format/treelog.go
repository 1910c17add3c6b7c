package format

// log is the leaves of the Merkle log in order, with where the chunks with known
// leaves stand in it. A run of lost chunks whose hashes nobody knows is one leaf
// of zeros: nothing from before it can be proved beyond it.
type treeLog struct {
	leaves  [][32]byte
	numbers []uint64 // chunk number by leaf; 0 for an unknown run
	unknown int      // position of the first unknown leaf; -1 none
}

// treeLog puts the log together from the chunks there are and the hashes of
// those that are not. ok is false when chunks are missing that no loss chunk
// accounts for.
func (a *auditor) treeLog(chunks []*chunkInfo) (l *treeLog, ok bool) {
	l = &treeLog{unknown: -1}
	lost := map[uint64]lostChunks{}
	for _, s := range a.r.losses {
		for _, c := range s.Chunks {
			lost[c.First] = c
		}
	}
	next := uint64(1)
	for _, c := range chunks {
		for next < c.head.Number {
			g, ok := lost[next]
			if !ok || g.Count == 0 || g.Count > c.head.Number-next {
				return l, false
			}
			l.gap(g)
			next += g.Count
		}
		leaf, ok := a.leaves[c.head.Number]
		if !ok {
			return l, false
		}
		l.leaves, l.numbers = append(l.leaves, leaf), append(l.numbers, c.head.Number)
		next = c.head.Number + 1
	}
	return l, true
}

func (l *treeLog) gap(g lostChunks) {
	if g.Leaves == nil {
		if l.unknown < 0 {
			l.unknown = len(l.leaves)
		}
		l.leaves, l.numbers = append(l.leaves, [32]byte{}), append(l.numbers, 0)
		return
	}
	for i, h := range g.Leaves {
		l.leaves, l.numbers = append(l.leaves, h), append(l.numbers, g.First+uint64(i))
	}
}

// roots returns the root of the log at each of the sizes asked for.
func (l *treeLog) roots(sizes map[uint64]bool) map[uint64][32]byte {
	out := map[uint64][32]byte{}
	var t tree
	if sizes[0] {
		out[0] = t.root()
	}
	for _, leaf := range l.leaves {
		t.add(leaf)
		if sizes[t.size] {
			out[t.size] = t.root()
		}
	}
	return out
}
