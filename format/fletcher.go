package format

import "encoding/binary"

// fletcher is the checksum of a page in a spool: the sum of its words of 32 bits and
// the sum of the sums, as Fletcher has them (An Arithmetic Checksum for Serial
// Transmissions, 1982). Neither is reduced: 1024 words need 42 and 52 bits, and without
// the modulus no two values of a word are the same to it. A CRC finds no more of what
// a file loses, and takes several times as long where it has no instruction.
func fletcher(page []byte) (sum, sums uint64) {
	for ; len(page) >= 16; page = page[16:] {
		a, b := binary.LittleEndian.Uint64(page), binary.LittleEndian.Uint64(page[8:])
		sum += a & 0xffffffff
		sums += sum
		sum += a >> 32
		sums += sum
		sum += b & 0xffffffff
		sums += sum
		sum += b >> 32
		sums += sum
	}
	return sum, sums
}

// putSum writes the checksum of a page, 16 bytes.
func putSum(b, page []byte) {
	sum, sums := fletcher(page)
	binary.LittleEndian.PutUint64(b, sum)
	binary.LittleEndian.PutUint64(b[8:], sums)
}

// sumIs reports whether that is the checksum of a page.
func sumIs(b, page []byte) bool {
	sum, sums := fletcher(page)
	return binary.LittleEndian.Uint64(b) == sum && binary.LittleEndian.Uint64(b[8:]) == sums
}
