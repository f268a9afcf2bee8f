#!/bin/bash
# Builds the image of deploy/Dockerfile as it stands, with buildah. Where no registry can be reached, the
# image it begins with is made here, under the very name the file has: Debian from its archive, and
# this machine's Rust. Root, mmdebstrap and buildah are needed.
#   image.sh FOLDER
# Storage is below FOLDER and nowhere else; LOCKGATE_REGISTRY=1 takes the image it begins with from its
# registry. The crates this machine has are used again.
set -euo pipefail
folder=$(realpath -m "$1")
project=$(realpath "$(dirname "$0")/../..")
export STORAGE_DRIVER=${STORAGE_DRIVER:-overlay}
storage=(--root "$folder/storage" --runroot "$folder/run")
mkdir -p "$folder"
base=$(sed -n 's/^FROM \(.*\) AS build$/docker.io\/library\/\1/p' "$project/deploy/Dockerfile")
suite=${base##*-}

make_base() {
    local archive=$folder/$suite.tar container place sysroot
    [ -e "$archive" ] || mmdebstrap --quiet --variant=minbase --include=ca-certificates,gcc,libc6-dev \
        "$suite" "$archive"
    container=$(buildah "${storage[@]}" from scratch)
    place=$(buildah "${storage[@]}" mount "$container")
    tar -xf "$archive" -C "$place"
    sysroot=$(rustc --print sysroot)
    mkdir -p "$place/usr/local/cargo/bin" "$place/usr/local/rustup/here"
    cp -a "$sysroot/bin" "$sysroot/lib" "$place/usr/local/rustup/here/"
    ln -s /usr/local/rustup/here/bin/{cargo,rustc} "$place/usr/local/cargo/bin/"
    buildah "${storage[@]}" umount "$container" >/dev/null
    buildah "${storage[@]}" config --env RUSTUP_HOME=/usr/local/rustup --env CARGO_HOME=/usr/local/cargo \
        --env PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    buildah "${storage[@]}" commit --quiet --rm "$container" "$base"
}

pull=--pull=never
if [ -n "${LOCKGATE_REGISTRY:-}" ]; then
    pull=--pull=always
elif ! buildah "${storage[@]}" inspect --type image "$base" >/dev/null 2>&1; then
    make_base
fi
buildah "${storage[@]}" build --isolation chroot --network host "$pull" --format docker \
    --volume "${CARGO_HOME:-$HOME/.cargo}/registry:/usr/local/cargo/registry" \
    --file "$project/deploy/Dockerfile" --tag lockgate "$project"
buildah "${storage[@]}" images
