# The supervisor of one cluster: waits until its owner is gone, however it went, and then leaves nothing behind.
#
# usage: sh supervisor.sh FOLDER     (the owner holds the other end of standard input; end of file means it is gone)
#
# - Every process of the cluster carries RINGFENCE_SUPERVISED=FOLDER in its environment, and so do their children.
# - FOLDER/undo holds scripts that take back what was done outside of FOLDER (mounts, interfaces), last done first.
# - FOLDER itself goes last, and stays if FOLDER/keep exists.
#
# It may run again, at any time: what is already gone does not disturb it.
{
trap '' HUP INT TERM QUIT PIPE
folder=$1

supervised() {
    grep --files-with-matches --null-data --fixed-strings --line-regexp --no-messages \
        "RINGFENCE_SUPERVISED=$folder" /proc/[0-9]*/environ | cut -d / -f 3
}

end_processes() {
    attempts=0
    while pids=$(supervised) && [ -n "$pids" ] && [ "$attempts" -lt 200 ]; do
        # shellcheck disable=SC2086  # one word per process
        kill -KILL $pids 2>/dev/null
        attempts=$((attempts + 1))
        sleep 0.05
    done
}

while read -r _; do :; done

end_processes
for script in $(ls -r "$folder/undo" 2>/dev/null); do
    sh "$folder/undo/$script" >>"$folder/undo.log" 2>&1
done
end_processes
[ -e "$folder/keep" ] || rm -rf --one-file-system -- "$folder"
exit 0
}
