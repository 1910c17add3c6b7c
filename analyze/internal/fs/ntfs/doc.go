// Package ntfs reads NTFS from its bytes alone and follows its changes.
//
// Everything is told by file records: attributes, names with their parents, the
// place of the content. So a change is a write to the MFT, and the records it
// covers are compared, before and after, when the writes settle. The change journal
// ($Extend\$UsnJrnl:$J), where the volume has one, is read as it grows and handed on
// as Tx.Told: names, reasons and times of operations, in their order, those among them
// that no file record ever showed. Directory indexes ($I30) repeat the names of the
// records; they are read for what contradicts those, and for names that were removed
// (Residue). Not read: $LogFile, so that the state is the one in place.
//
// Layouts follow the linux-ntfs documentation and fs/ntfs3/ntfs.h of Linux 6.18, the
// change journal's MS-FSCC 2.3.62.
//
// NTFS keeps no Unix owner or mode: files are shown as the Linux drivers do by
// default, owner 0 and 0777, but where the Windows Subsystem for Linux left its own in
// $EA. Links, pipes, sockets and devices are those of ntfs-3g, both kinds: of Interix and
// of that subsystem. Named streams are files of their own, "file:stream".
package ntfs
