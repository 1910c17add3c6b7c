# Where the lab keeps things; sourced by every command of this folder.
#
# XENTAPE_LAB_CACHE  what was built, kept between runs    (default ~/.cache/xentape/lab)
# XENTAPE_LAB_RUN    the running machine: disks, sockets  (default $XENTAPE_LAB_CACHE/run)
# XENTAPE_LAB_PORT   ssh to dom0 on 127.0.0.1             (default 22022)
# XENTAPE_LAB_SUITE, XENTAPE_LAB_MIRROR                   (default bookworm, from where this machine gets it)
set -euo pipefail

lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$lab/../.." && pwd)
cache=${XENTAPE_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/xentape/lab}
run=${XENTAPE_LAB_RUN:-$cache/run}
port=${XENTAPE_LAB_PORT:-22022}
suite=${XENTAPE_LAB_SUITE:-bookworm}
# mirror: where the packages of that suite come from; unless it is given, the archive
# this machine's own apt uses for it, so that no other is asked.
mirror() {
	if [ -n "${XENTAPE_LAB_MIRROR:-}" ]; then echo "$XENTAPE_LAB_MIRROR"; return; fi
	{ apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null || true; } |
		awk -v suite="$suite" '!from && $1 == "Debian" && $2 == suite { sub("/$", "", $3); from = $3 }
			END { if (!from) exit 1; print from }' ||
		die "apt knows no archive of Debian $suite: name one in XENTAPE_LAB_MIRROR"
}

say() { printf '%(%H:%M:%S)T lab: %s\n' -1 "$*" >&2; }
die() { say "$*"; exit 1; }

# packages FILE: the names in a package list, comments dropped, comma separated.
packages() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$1" | paste -sd, -; }

# recipe TEXT... -- FILE...: the hash that names an artifact made from them.
recipe() {
	local text=()
	while [ $# -gt 0 ] && [ "$1" != -- ]; do text+=("$1"); shift; done
	[ $# -eq 0 ] || shift
	{ printf '%s\n' "${text[@]}"; [ $# -eq 0 ] || cat "$@"; } | sha256sum | cut -c1-12
}

# blank_truth FILE: a disk for a guest's own record of what happened, empty but
# for the witness that writes it.
blank_truth() {
	truncate -s 32M "$1"
	local work
	work=$(mktemp -d "$cache/.truth.XXXXXX")
	install -m 755 "$cache/bin/witness" "$work/"
	mke2fs -q -F -t ext4 -b 4096 -m 0 -O ^has_journal -L truth -d "$work" "$1" >/dev/null
	rm -rf "$work"
}
