#!/bin/sh
# compile.sh RESOURCES NVCC ARGUMENTS...: compiles, keeping in the file RESOURCES what ptxas says of
# each kernel (-Xptxas -v) and showing the rest.
set -u
resources=$1
shift
"$@" >"$resources.part" 2>&1
status=$?
sed -E '/^ptxas info|^ +[0-9]+ bytes (stack|cumulative)/d' "$resources.part" >&2
sed -nE '/^ptxas info|^ +[0-9]+ bytes (stack|cumulative)/p' "$resources.part" >"$resources"
rm -f "$resources.part"
exit $status
