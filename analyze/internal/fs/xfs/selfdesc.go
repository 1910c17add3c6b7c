package xfs

// stampPlace is where version 5 metadata of one kind describes itself.
type stampPlace struct {
	crc, lsn, uuid int
	blkno          int // basic block address it stands at; 0 = not kept
	owner          int // inode it belongs to, 8 bytes; 0 = none or a group
}

// describe recognises a version 5 metadata block by its magic
// (xlog_recover_get_buf_lsn lists the same). Inode blocks are not among them.
func describe(b []byte) (stampPlace, bool) {
	if len(b) < basicBlock {
		return stampPlace{}, false
	}
	switch be.Uint32(b) {
	case 0x41423342, 0x41423343, inobtV5, 0x46494233, 0x524d4233, 0x52334643: // AB3B AB3C IAB3 FIB3 RMB3 R3FC
		return stampPlace{crc: 52, lsn: 24, uuid: 32, blkno: 16}, true
	case bmapMagicV5:
		return stampPlace{crc: 64, lsn: 32, uuid: 40, blkno: 24, owner: 56}, true
	case dirBlockV5, dirDataV5, 0x58444633: // XDB3 XDD3 XDF3
		return stampPlace{crc: 4, lsn: 16, uuid: 24, blkno: 8, owner: 40}, true
	case symlinkMagic, attrRemote:
		return stampPlace{crc: 12, lsn: 48, uuid: 16, blkno: 40, owner: 32}, true
	case 0x58414746: // XAGF
		return stampPlace{crc: 216, lsn: 208, uuid: 64}, true
	case 0x5841464c: // XAFL
		return stampPlace{crc: 32, lsn: 24, uuid: 8}, true
	case agiMagic:
		return stampPlace{crc: 312, lsn: 320, uuid: 296}, true
	case sbMagic:
		return stampPlace{crc: 224, lsn: 240, uuid: 32}, true
	}
	switch be.Uint16(b[8:]) {
	case attrNodeV5, attrLeafV5, 0x3df1, 0x3dff: // directory leaf and node forms
		return stampPlace{crc: 12, lsn: 24, uuid: 32, blkno: 16, owner: 48}, true
	}
	return stampPlace{}, false
}

// ownStamp returns the log position of a metadata block of this filesystem.
func (s *Superblock) ownStamp(b []byte) (LSN, stampPlace, bool) {
	if s.Version != 5 {
		return 0, stampPlace{}, false
	}
	p, ok := describe(b)
	if !ok {
		return 0, p, false
	}
	if u := [16]byte(b[p.uuid : p.uuid+16]); u != s.MetaUUID && u != s.UUID {
		return 0, p, false
	}
	return LSN(be.Uint64(b[p.lsn:])), p, true
}

// newer reports whether a is later in the log than b. 0 and all ones stand for none.
func newer(a, b LSN) bool { return a != 0 && a != ^LSN(0) && a > b }
