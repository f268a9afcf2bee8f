#!/bin/bash
# Boots the system of image.sh in a virtual machine and runs a script of this project in it; says what it
# says, and ends as it does. The disk stays as it was.
#   boot.sh FOLDER SECONDS SCRIPT[,ARGUMENT...] [QEMU OPTIONS...]
# LOCKGATE_VM_ACCEL=kvm is much faster than the software emulation that is taken without.
set -euo pipefail
folder=$1 seconds=$2 script=$3
shift 3
root=$(realpath "$(dirname "$0")/../..")
accel=${LOCKGATE_VM_ACCEL:-tcg}
model=max
if [ "$accel" = kvm ]; then model=host; fi
said=$(mktemp) console=$folder/console-$$
trap 'rm -f "$said"' EXIT
words="root=/dev/vda rw console=ttyS0 panic=-1 quiet vm.root=$root vm.script=${script%%,*}"
case $script in *,*) words+=" vm.arguments=${script#*,}" ;; esac
timeout --foreground "$seconds" qemu-system-x86_64 \
    -machine q35 -accel "$accel" -cpu "$model" -smp 2 -m 1024 -display none -vga none -nic none -no-reboot \
    -kernel "$folder/kernel" -initrd "$folder/initrd" -append "$words" \
    -drive "file=$folder/disk,format=raw,if=virtio,snapshot=on" \
    -virtfs "local,path=$root,mount_tag=project,security_model=none,readonly=on" \
    -device virtio-rng-pci \
    -serial "file:$console" -serial "file:$said" "$@" </dev/null >&2 || echo "the machine ended: $?" >&2
grep -v '^exit [0-9]*$' "$said" || true
code=$(sed -n 's/^exit //p' "$said")
if [ -z "$code" ]; then tail -n 30 "$console" >&2; fi
rm -f "$console"
exit "${code:-124}"
