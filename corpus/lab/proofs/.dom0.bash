# What every proof begins with, in dom0: $guest is the guest it is about.
set -euo pipefail
cd /root/prove
tape=/root/prove/tape.xtape
recorder=

say() { echo "proof: $*"; }
fail() {
	say "$*"
	exit 1
}
domain() { xl domid "$guest"; }
now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f", b - a }'; }

# record FLAG...: a recorder of the guest, once it answers.
record() {
	rm -f "$tape"
	setsid xentaped record "$guest" -o "$tape" "$@" >/dev/null 2>recorder.err </dev/null &
	recorder=$!
	for n in $(seq 240); do
		! xentaped status "$guest" >/dev/null 2>&1 || return 0
		kill -0 "$recorder" 2>/dev/null || break
		sleep 0.5
	done
	cat recorder.err
	fail "no recorder"
}
# finish: ends the recorder; the tape is complete then. Status 3 is left to the proof.
finish() {
	local status=0
	kill -TERM "$recorder"
	wait "$recorder" || status=$?
	recorder=
	[ "$status" -eq 0 ] || [ "$status" -eq 3 ] || { cat recorder.err; fail "the recorder ended in status $status"; }
}
status() { xentaped status "$guest" | sed -n "s/^ *\"$1\": \"\\?\\([^\",]*\\)\"\\?,\\?$/\\1/p" | head -1; }

# hold and go on: the guest stands still, and nothing reaches its network buffers.
hold() {
	xl pause "$guest"
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
# alive: the guest talks to its peer.
alive() {
	local address before
	case $guest in pv) address=10.9.9.11 ;; pvh) address=10.9.9.12 ;; *) address=10.9.9.20 ;; esac
	before=$(grep -c "$address:" /var/log/peer.jsonl || true)
	for n in $(seq 120); do
		[ "$(grep -c "$address:" /var/log/peer.jsonl || true)" -le "$before" ] || return 0
		sleep 1
	done
	xl list
	fail "$guest says nothing for two minutes"
}
