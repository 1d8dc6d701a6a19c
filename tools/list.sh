#!/bin/sh
# list.sh FOLDER PATTERN: the files below FOLDER, as paths from the top of the tree, in order of name.
cd "$(dirname "$0")/.." || exit 1
find "$1" -type f -name "$2" ! -name '.*' | LC_ALL=C sort
