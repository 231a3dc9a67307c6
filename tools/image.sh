#!/bin/sh
# Builds deploy/Containerfile where no image registry is reached, and runs a node in what comes of it.
# usage, as root, from the root of the repository: tools/image.sh FOLDER
#
# Needs Debian's packages buildah and debootstrap. In place of the base image that the Containerfile names it puts one made
# from Debian's packages, with their Python 3.11; every other step is that of the Containerfile. Nothing outside FOLDER is
# written. It takes some minutes and 5 GB.
set -eu
[ $# -eq 1 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
base=docker.io/library/python:3.11-slim-bookworm
oci() { buildah --root "$folder/store" --runroot "$folder/run" --storage-driver vfs "$@"; }

if [ ! -e "$folder/base/ready" ]; then
    rm -rf "$folder/base"
    debootstrap --variant=minbase --include=python3,python3-venv,python3-dev,python-is-python3,ca-certificates \
        bookworm "$folder/base" > "$folder/base.txt"
    cp -L /etc/resolv.conf "$folder/base/etc/resolv.conf"
    cp -L /etc/ssl/certs/ca-certificates.crt "$folder/base/etc/ssl/certs/ca-certificates.crt"
    touch "$folder/base/ready"
fi
made=$(oci from scratch)
oci copy -q "$made" "$folder/base" / > /dev/null
oci config --env PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin "$made"
oci commit -q --rm "$made" "$base" > /dev/null
oci bud --isolation chroot --network host --pull-never --format docker -f deploy/Containerfile -t caremesh . > "$folder/build.txt"

made=$(oci from --pull-never localhost/caremesh:latest)
oci run --isolation chroot --network host --user caremesh "$made" -- sh -ec '
    cd /tmp
    caremesh --version
    caremesh init --home one --network lakes --name Clinic --role provider --country US --address https://127.0.0.1:18992 > one.txt
    caremesh init --home two --network lakes --name Board --role regulator --role custodian --country US \
        --address https://127.0.0.1:18991 > two.txt
    caremesh network found --home two one/admission.cbor --out lakes.network
    caremesh node --home two --listen-host 127.0.0.1 --listen-port 18991 --admin-port 0 > log.txt 2>&1 & node=$!
    caremesh ready --home two --within 120
    kill -TERM $node
    wait $node'
oci rm "$made" > /dev/null
echo "Built, and a node ran in it. The image is in $folder/store."
