// Package ntfs reads NTFS from its bytes alone and follows its changes.
//
// Everything is told by file records: attributes, names with their parents, the
// place of the content. So a change is a write to the MFT, and the records it
// covers are compared, before and after, when the writes settle. Directory
// indexes ($I30) repeat the names of the records; a crawl checks one against the
// other. $LogFile is not replayed: the state is the one in place.
//
// Layouts follow the linux-ntfs documentation and fs/ntfs3/ntfs.h of Linux 6.18;
// the change journal follows [MS-FSCC] 2.6 and USN_RECORD of the Windows SDK.
//
// NTFS keeps no Unix owner or mode: files are shown as the Linux drivers do by
// default, owner 0 and 0777.
package ntfs
