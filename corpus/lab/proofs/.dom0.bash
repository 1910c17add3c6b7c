# What every proof begins with, in dom0: $guest is the guest it is about.
set -euo pipefail
shopt -s inherit_errexit # in $(...) as well
dir=/root/prove/$guest
cd "$dir"
tape=$dir/tape.xtape
recorder=
# What a proof of this guest that was cut short left behind.
if [ -f recorder.pid ] && [ "$(cat "/proc/$(cat recorder.pid)/comm" 2>/dev/null)" = xentaped ]; then
	kill -9 "$(cat recorder.pid)"
	sleep 2
fi
rm -f recorder.pid

say() { echo "proof: $*"; }
fail() {
	say "$*"
	exit 1
}
domain() { xl domid "$guest"; }
now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.2f", b - a }'; }

# record FLAG...: a recorder of the guest, once it answers.
record() {
	rm -f "$tape" "$tape.spool"
	setsid xentaped record "$guest" -o "$tape" "$@" >/dev/null 2>recorder.err </dev/null &
	recorder=$!
	echo $recorder >recorder.pid
	for n in $(seq 600); do
		! grep -q ' onto ' recorder.err || return 0
		kill -0 "$recorder" 2>/dev/null || break
		sleep 0.2
	done
	cat recorder.err
	fail "no recorder"
}
# serve: the flight recorder with run.yaml, once it answers.
serve() {
	setsid xentaped run --config run.yaml >/dev/null 2>run.err </dev/null &
	recorder=$!
	echo $recorder >recorder.pid
	for n in $(seq 240); do
		! xentaped status "$guest" >/dev/null 2>&1 || return 0
		sleep 0.5
	done
	cat run.err
	fail "no service"
}
# finish [STATUS]: ends the recorder, in this status; the tape is complete then. Without
# one, 3 is left to the proof.
finish() {
	local status=0
	kill -TERM "$recorder"
	wait "$recorder" || status=$?
	recorder=
	[ "$status" -eq "${1:-0}" ] || [ "$status:$#" = 3:0 ] || { cat recorder.err; fail "the recorder ended in status $status"; }
}
# captured: seconds until all of the last snapshot was in a file.
captured() { status last_captured | awk '{ printf "%.2f", $1 / 1e9 }'; }
status() { xentaped status "$guest" | sed -n "s/^ *\"$1\": \"\\?\\([^\",]*\\)\"\\?,\\?$/\\1/p" | head -1; }

# hold and go on: the guest stands still, and nothing reaches its network buffers, not
# even what dom0's own IPv6 sends out of a device that left its bridge.
hold() {
	xl pause "$guest"
	echo 1 >"/proc/sys/net/ipv6/conf/vif$(domain).0/disable_ipv6"
	ip link set "vif$(domain).0" nomaster
	sleep 1
}
release() {
	ip link set "vif$(domain).0" master xenbr0
	xl unpause "$guest"
}

# tell COMMAND: has the guest's console run it.
tell() { echo "$*" >"$(xenstore-read "/local/domain/$(domain)/console/tty")"; }
heard() { grep -c "$1" "/var/log/xen/console/guest-$guest.log" || true; }
# told MARK SECONDS COMMAND: has the guest run it, and waits until it says MARK.
told() {
	local before
	before=$(heard "^$1")
	tell "$3"
	for n in $(seq "$2"); do
		[ "$(heard "^$1")" -le "$before" ] || return 0
		sleep 1
	done
	fail "the guest does not say $1 within $2 s: $(tail -3 "/var/log/xen/console/guest-$guest.log")"
}
address() { case $guest in pv) echo 10.9.9.11 ;; pvh) echo 10.9.9.12 ;; *) echo 10.9.9.20 ;; esac; }
# alive: the guest talks to its peer.
alive() {
	local address before
	address=$(address)
	before=$(grep -c "$address:" /var/log/peer.jsonl || true)
	for n in $(seq 120); do
		[ "$(grep -c "$address:" /var/log/peer.jsonl || true)" -le "$before" ] || return 0
		sleep 1
	done
	xl list
	fail "$guest says nothing for two minutes"
}

# followed: waits until the tape has the interface of the guest as the domain it is now.
followed() {
	for n in $(seq 60); do
		xentape info --events "$tape" >info.txt 2>&1 || true
		! grep -q "vif-attached.*domid=$(domain) " info.txt || break
		sleep 1
	done
	sleep 3
}
# fetched TOKEN: the guest asks its peer for a name, which is to be in the packets.
fetched() {
	told 'lab: fetched' 240 "busybox wget -q -O /dev/null http://10.9.9.2/$1; echo 'lab: fetched'"
}
# snapshots: waits until the first snapshot of the guest as it is now has been taken.
snapshots() {
	for n in $(seq 240); do
		! xentaped status "$guest" | grep -q '"snapshots": 1' || return 0
		sleep 1
	done
	fail "no snapshot is taken of the guest as it is now"
}
# in_order WHAT|WHAT...: info.txt has lines that match these, in this order.
in_order() {
	local from=1 at what
	while read -r what; do
		at=$(sed -n "$from,\$p" info.txt | grep -nm1 -- "$what" | cut -d: -f1)
		[ -n "$at" ] || fail "the tape does not tell, in its place: $what"
		from=$((from + at))
	done <<<"${1//|/$'\n'}"
}
# on_tape TOKEN...: these are in the packets of the tape.
on_tape() {
	local token
	rm -f packets.pcapng
	xentape export packets "$tape" -o packets.pcapng
	for token; do grep -qa "$token" packets.pcapng || fail "the guest's request $token is not on the tape"; done
}

# scratch: a disk of 64 MiB for the guest to work on, xvdb there, over device mapper as
# a volume manager would give it; and the lab's own disk, with the program that does.
scratch() {
	! dmsetup info "scratch-$guest" >/dev/null 2>&1 || unscratch # of a proof that was cut short
	truncate -s 64M scratch.img
	dmsetup create "scratch-$guest" --table "0 131072 linear $(losetup -f --show "$dir/scratch.img") 0"
	dmsetup mknodes "scratch-$guest"
	xl block-attach "$guest" "phy:/dev/mapper/scratch-$guest,xvdb,w"
	xl block-attach "$guest" phy:/dev/vdb,xvdc,r
	told 'lab: ready to load' 120 'until [ -b /dev/xvdb ] && [ -b /dev/xvdc ]; do sleep 1; done; mount -t ext4 -o ro,noload /dev/xvdc /mnt; echo "lab: ready to load"'
}
unscratch() {
	tell 'umount /mnt'
	sleep 2
	for disk in xvdc xvdb; do xl block-detach "$guest" $disk --force >/dev/null 2>&1 || xl block-detach "$guest" $disk || true; done
	for n in 1 2 3 4 5 6 7 8 9 10; do dmsetup remove "scratch-$guest" 2>/dev/null && break; sleep 2; done
	losetup -j "$dir/scratch.img" | cut -d: -f1 | xargs -r losetup -d
	rm -f scratch.img disk.img
}
# load SECONDS: what the guest's own program says of its work on xvdb.
load() {
	told '{"writes"' $(($1 + 180)) "${program:-/mnt/load} -seconds $1 /dev/xvdb"
	grep '^{"writes"' "/var/log/xen/console/guest-$guest.log" | tail -1 | tr -d '\r'
}
# field NAME JSON: a number of a line of JSON.
field() { sed -n "s/.*\"$1\":\\([0-9.]*\\).*/\\1/p" <<<"$2"; }
# based DISK: waits until the image taken at the beginning is complete.
based() {
	local size done
	for n in $(seq 300); do
		size=$(status size_bytes) done=$(status based_bytes)
		[ -z "$size" ] || [ "$size" != "$done" ] || return 0
		sleep 1
	done
	fail "the base image does not end: $done of $size bytes"
}
# read_back: waits until what a full ring lost has been read from the device.
read_back() {
	for n in $(seq 120); do
		[ "$(status unsure_bytes)" != 0 ] || return 0
		sleep 1
	done
	fail "of the disk $(status unsure_bytes) bytes are not read back"
}

# work_recorded FLAG...: records the guest's work on xvdb, rebuilds the disk from the
# tape, and compares it with the device. Leaves the number of requests lost in $lost.
work_recorded() {
	local alone recorded
	trap 'kill $recorder 2>/dev/null || true; unscratch' EXIT
	scratch
	alone=$(load 15)
	say "without a recorder: $alone"
	record --disk xvdb --no-memory --no-network "$@"
	recorded=$(load 30)
	say "recorded: $recorded"
	[ "$(field errors "$recorded")" = 0 ] || fail "the guest met errors"
	[ "$(printf %.0f "$(field slowest_ms "$recorded")")" -lt 5000 ] || fail "the guest was stalled"
	based
	read_back
	xentaped status "$guest" | sed -n '/"disks"/,/}/p'
	lost=$(status lost)
	finish
	rm -f disk.img
	xentape export disk "$tape" xvdb -o disk.img
	sync
	echo 3 >/proc/sys/vm/drop_caches
	cmp disk.img "/dev/mapper/scratch-$guest" || fail "the disk differs"
	say "64 MiB are the same; slowest request $(field slowest_ms "$alone") ms alone, $(field slowest_ms "$recorded") ms recorded; $lost requests lost; tape $(stat -c %s "$tape") bytes"
}
