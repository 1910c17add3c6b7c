package format

// An Image is the content of a stream at one moment, page by page: guest memory
// by guest frame number, or a disk's base by 4096-byte block. Implementations
// are safe for concurrent use.
type Image interface {
	// Extents lists the pages whose state is PageData or PageZero, ascending,
	// merged, in pages.
	Extents() []Extent
	// ReadPage fills dst[:PageSize] with page n and says what is known of it.
	// dst is zeroed for every state but PageData. The error is not nil only when
	// the page should be there and cannot be had (damage, input/output error,
	// missing key); the state is then PageMissing.
	ReadPage(n uint64, dst []byte) (PageState, error)
}
