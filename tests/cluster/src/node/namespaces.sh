# The first process of a node: sets its namespaces up and then keeps them.
#
# usage: sh namespaces.sh FOLDER     (in mount, network and process namespaces of its own)
#
# All that the node's programs mount, and all that they leave in well-known places, is seen in here only and goes with
# the last process; ending this one ends all of them.
set -eu
folder=$1

# Asked before /proc is this namespace's own: the number that others know this process by.
read -r process _ </proc/self/stat
mount -t proc proc /proc
for place in /run /var/lib /var/log; do
    mount -t tmpfs tmpfs "$place"
done
mount -t bpf bpf /sys/fs/bpf

# Cilium's agent and the kubelet set these for the whole machine; here they set a copy.
mkdir "$folder/sysctl"
for setting in kernel/keys/root_maxbytes kernel/keys/root_maxkeys kernel/panic kernel/panic_on_oops \
    kernel/timer_migration kernel/unprivileged_bpf_disabled vm/overcommit_memory vm/panic_on_oom; do
    [ -e "/proc/sys/$setting" ] || continue
    copy=$folder/sysctl/${setting##*/}
    cat "/proc/sys/$setting" >"$copy"
    mount --bind "$copy" "/proc/sys/$setting"
done
echo 1 >/proc/sys/net/ipv4/ip_forward
ip link set lo up

echo "$process" >"$folder/init.pid.unfinished"
mv "$folder/init.pid.unfinished" "$folder/init.pid"
# With the signal ignored, the kernel buries the processes that become this one's children.
exec env --ignore-signal=CHLD sleep infinity
