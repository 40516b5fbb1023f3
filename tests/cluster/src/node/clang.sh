#!/bin/sh
# Stands in for clang before Cilium's agent, which compiles the same few programs at every start: what was compiled
# once comes from the cache, and a cluster is up seconds sooner.
#
# CLANG is the real one, DATAPATH_CACHE the folder with what it made.
set -eu
case " $* " in
*" -o - "*) ;;
*) exec "$CLANG" "$@" ;;
esac
# All that decides what comes out, but not the folders where headers lie: one has a new name each time.
key=$(
    {
        "$CLANG" --version
        printf '%s\n' "$@" | grep -v '^-I'
        "$CLANG" "$@" -E -P
    } | sha256sum | cut -d ' ' -f 1
)
object=$DATAPATH_CACHE/$key.o
if [ ! -e "$object" ]; then
    # Nodes may compile the same at the same time, and have the same process ids.
    unfinished=$(mktemp "$object.XXXXXX")
    "$CLANG" "$@" >"$unfinished"
    mv "$unfinished" "$object"
fi
exec cat "$object"
