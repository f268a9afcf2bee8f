#!/bin/bash
# Within the machine: runs the script the kernel's command line names, from the project's folder, which
# stands at the same place as outside and can only be read. What it says goes out by the second serial
# port, its exit code at last; then the machine is switched off.
word() { sed -n "s/.*\bvm.$1=\([^ ]*\).*/\1/p" /proc/cmdline; }
stty -F /dev/ttyS1 raw
exec >/dev/ttyS1 2>&1
root=$(word root)
mkdir -p "$root"
modprobe 9pnet_virtio
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=mmap project "$root"
cd "$root" && bash "$(word script)" $(word arguments | tr , ' ')
echo "exit $?"
sync
systemctl poweroff --force --force
