#!/bin/bash
# Makes a Debian system to boot in a virtual machine: a disk, a kernel, its initrd. Packages come from
# Debian's archive; root is needed. Nothing is done where they are there already.
#   image.sh FOLDER
# LOCKGATE_VM_MIRROR is another mirror. The kernel is that of backports: zero-copy of virtio-net's both
# directions needs Linux 6.13, that of igb 6.14.
set -euo pipefail
folder=$1
mirror=${LOCKGATE_VM_MIRROR:-http://deb.debian.org/debian}
here=$(dirname "$(realpath "$0")")
mkdir -p "$folder"
cd "$folder"
if [ -e disk ] && [ disk -nt "$here/image.sh" ]; then exit 0; fi

packages=systemd,systemd-sysv,dbus,udev,kmod,procps,adduser,logrotate,initramfs-tools
packages+=,iproute2,ethtool,curl,python3-minimal,ca-certificates
packages+=,bind9-dnsutils,openssl,dnsmasq-base,nginx-light
packages+=,linux-image-amd64/trixie-backports
rm -rf root disk
# The initrd holds what this machine's disk needs; all else is on it.
mmdebstrap --quiet --variant=minbase --include="$packages" \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"' \
    --essential-hook='echo MODULES=list >"$1/etc/initramfs-tools/conf.d/modules"' \
    --essential-hook='printf "virtio_pci\nvirtio_blk\next4\n" >"$1/etc/initramfs-tools/modules"' \
    trixie root "deb $mirror trixie main" "deb $mirror trixie-backports main" >&2
cp root/boot/vmlinuz-* kernel
cp root/boot/initrd.img-* initrd
rm -rf root/boot root/var/cache/apt root/var/lib/apt/lists
: >root/etc/fstab
echo lockgate-vm >root/etc/hostname
ln -sf /dev/null root/etc/systemd/system/nginx.service
ln -sf /dev/null root/etc/systemd/system/getty.target
install -m 0755 "$here/guest.sh" root/usr/local/sbin/vm-guest
cat >root/etc/systemd/system/vm-guest.service <<'UNIT'
[Unit]
Description=What this machine was started for
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/vm-guest
[Install]
WantedBy=multi-user.target
UNIT
mkdir -p root/etc/systemd/system/multi-user.target.wants
ln -sf ../vm-guest.service root/etc/systemd/system/multi-user.target.wants/vm-guest.service
mke2fs -q -t ext4 -L root -d root disk.part 2G
rm -rf root
mv disk.part disk
