#!/usr/bin/env bash
# bare.sh ROOT FOLDER COMMAND...: runs COMMAND on the system in ROOT, with FOLDER as /given: with no network but loopback, and no
# process of this host's in sight. To be started by: unshare --net --mount --pid --fork --uts --ipc --kill-child
set -euo pipefail
root=$1 folder=$2; shift 2
ip link set lo up
hostname bare
mount --make-rprivate /
mount --bind "$root" "$root"
mkdir -p "$root/given" "$root/before"
mount --bind "$folder" "$root/given"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
cd "$root"
# Not a mere chroot: containers must be able to change their root as well.
pivot_root . before
umount --lazy /before
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "$@"
