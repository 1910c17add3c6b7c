#!/bin/sh
# Compiles blocks.bpf.c and notes what it was made from and with. An argument is
# the directory to write to.
set -eu
out=${1:-.}
clang=${CLANG:-clang-14}
arch=$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo x86_64-linux-gnu)
$clang --target=bpfel -mcpu=v3 -O2 -g -Wall -Werror -fno-ident -fdebug-compilation-dir=. \
	-I"/usr/include/$arch" -D__TARGET_ARCH_x86 -c blocks.bpf.c -o "$out/blocks.bpf.o"
"${STRIP:-llvm-strip-14}" -g "$out/blocks.bpf.o"
{
	sha256sum blocks.bpf.c
	(cd "$out" && sha256sum blocks.bpf.o)
} >"$out/blocks.sha256"
