package format

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// Pages that are handed over together are hashed in blocks by several
// goroutines, while the caller enters them into the snapshot in their order: the
// tape does not depend on how many there are.
const (
	hashBatch = 8192 // pages whose hashes are kept at a time
	hashBlock = 32   // pages that one goroutine takes at a time
)

// pageHashes are the hashes of a batch of pages.
type pageHashes struct {
	store *pageStore
	data  []byte
	pages []pageHash
	taken atomic.Int64    // blocks
	done  []chan struct{} // by block; closed when it is hashed
}

// hashPages begins to hash pages, on as many other goroutines as helpers says.
func (s *pageStore) hashPages(data []byte, helpers int, wg *sync.WaitGroup) *pageHashes {
	n := len(data) / PageSize
	h := &pageHashes{store: s, data: data, pages: make([]pageHash, n)}
	h.done = make([]chan struct{}, (n+hashBlock-1)/hashBlock)
	for i := range h.done {
		h.done[i] = make(chan struct{})
	}
	for range min(helpers, len(h.done)-1) {
		wg.Go(func() {
			for h.block() {
			}
		})
	}
	return h
}

// block hashes the next block that nobody has taken; false when there is none.
func (h *pageHashes) block() bool {
	b := int(h.taken.Add(1)) - 1
	if b >= len(h.done) {
		return false
	}
	for i := b * hashBlock; i < min((b+1)*hashBlock, len(h.pages)); i++ {
		h.pages[i] = h.store.hash(h.data[i*PageSize : (i+1)*PageSize])
	}
	close(h.done[b])
	return true
}

// wait returns when a block is hashed; until then the caller hashes others.
func (h *pageHashes) wait(b int) {
	for {
		select {
		case <-h.done[b]:
			return
		default:
		}
		if !h.block() {
			<-h.done[b]
			return
		}
	}
}

// Pages states the contents of pages, in the order given: data holds PageSize
// bytes for each. It is Page for many, and spreads the work over as many cores as
// the Writer has workers. After an error some of the pages may have been stated.
func (s *SnapshotWriter) Pages(pages []uint64, data []byte) error {
	if len(data) != len(pages)*PageSize {
		return fmt.Errorf("snapshot %d: %d pages of %d bytes together", s.begin.ID, len(pages), len(data))
	}
	for len(pages) > 0 {
		n := min(len(pages), hashBatch)
		if err := s.batch(pages[:n], data[:n*PageSize]); err != nil {
			return err
		}
		pages, data = pages[n:], data[n*PageSize:]
	}
	return nil
}

func (s *SnapshotWriter) batch(pages []uint64, data []byte) error {
	var wg sync.WaitGroup
	defer wg.Wait() // data is the caller's again afterwards
	h := s.w.store.hashPages(data, s.w.opts.Workers-1, &wg)
	for at := 0; at < len(pages); at += hashBlock {
		h.wait(at / hashBlock)
		if err := s.putBlock(pages, h, at); err != nil {
			h.taken.Store(int64(len(h.done)))
			return err
		}
	}
	return nil
}

// putBlock enters a block of pages; records of other sources may come between
// two blocks.
func (s *SnapshotWriter) putBlock(pages []uint64, h *pageHashes, at int) error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	for i := at; i < min(at+hashBlock, len(pages)); i++ {
		if err := s.put(pages[i], h.data[i*PageSize:(i+1)*PageSize], &h.pages[i]); err != nil {
			return err
		}
	}
	return nil
}
