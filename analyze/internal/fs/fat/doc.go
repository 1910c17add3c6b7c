// Package fat reads FAT12, FAT16, FAT32 (with long names) and exFAT from their
// bytes alone and follows their changes.
//
// These filesystems have neither journal nor inode numbers. A file is its
// directory entry: it is numbered by the place of that entry on the volume, in
// units of 32 bytes, and a directory by its first cluster. An entry that appears
// where one with the same first cluster, size and time of creation disappears is
// the same file moved (fs.InodeChange.Was), but where times of creation are kept to the
// second and it may as well be one made anew. What is written is compared when writes settle.
//
// FAT keeps local time without saying which; it is shown as if it were UTC and
// fs.Info.LocalTime says so. Layouts: Microsoft's FAT specification 1.03 and
// exFAT specification 1.00.
package fat
