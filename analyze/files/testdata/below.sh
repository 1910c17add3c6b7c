#!/bin/bash
# below.sh MNT DEV: what is done to a mounted ext4 behind its back: an owner set by debugfs, a modification time and a
# name by dd on the device, an inode cleared
set -eu; cd $1; mkdir d; echo one > d/one; echo two > d/two; echo three > d/three; sync; sleep .3
bs=$(dumpe2fs -h $2 2>/dev/null | awk '/^Block size/{print $3}'); ino() { stat -c %i $1; }
debugfs -w -R "set_inode_field <$(ino d/one)> uid 1234" $2; sync; sleep .3
set -- $1 $2 $(debugfs -R "imap <$(ino d/two)>" $2 2>/dev/null | tail -1 | sed 's/.*block \([0-9]*\), offset \(0x[0-9a-f]*\).*/\1 \2/')
printf '\x01\x02\x03\x04' | dd of=$2 bs=1 seek=$(($3*bs+$4+16)) conv=notrunc; sync; blockdev --flushbufs $2; sleep .3
debugfs -w -R "clri <$(ino d/three)>" $2; sync; sleep .3
b=$(debugfs -R "blocks d" $2 2>/dev/null | awk '{print $1}')
dd if=$2 bs=$bs skip=$b count=1 2>/dev/null | sed 's/two/TWO/' > /tmp/below.$$; dd if=/tmp/below.$$ of=$2 bs=$bs seek=$b conv=notrunc; rm /tmp/below.$$; sync; blockdev --flushbufs $2; sleep .3
