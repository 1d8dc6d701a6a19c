#!/bin/sh
# Writes files of the harness as C: embed.sh TOP harness/FILE... > assets.c
set -eu
top=$1
shift
printf '#include "core/harness.h"\n\n'
n=0
for f in "$@"; do
    printf 'static const unsigned char asset%d[] = {\n' $n
    od -An -v -tx1 "$top/$f" | sed 's/ \([0-9a-f][0-9a-f]\)/0x\1,/g'
    printf '0};\n'
    n=$((n + 1))
done
printf '\nconst struct asset assets[] = {\n'
n=0
for f in "$@"; do
    printf '    { "%s", (const char *)asset%d, sizeof(asset%d) - 1 },\n' "${f#harness/}" $n $n
    n=$((n + 1))
done
printf '};\nconst size_t nassets = sizeof(assets) / sizeof(assets[0]);\n'
