# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
#
# What the scripts under tools/ and tests/ share: talking, packages, places, building. To be sourced.

# shellcheck disable=SC2034 # what is set here is read by the scripts that source this file

shopt -s inherit_errexit # so that `die` in a $(…) ends the script that sources this

XB_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
XB_CACHE=${XBRIDGE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/xbridge} # downloads; never inside the tree
XB_PRESETS=(dev asan tsan fuzz release)                            # of CMakePresets.json

PATH=$PATH:/usr/sbin:/sbin # modprobe, ip and bpftool live there

# Debian 12 packages, by what they are for
XB_BUILD_PACKAGES=(
	gcc libc6-dev clang llvm cmake ninja-build pkg-config
	libbpf-dev libxdp-dev libelf-dev zlib1g-dev bpftool
	libnl-3-dev libnl-route-3-dev liburing-dev libjson-c-dev
	libcap-ng-dev libpcap-dev libseccomp-dev libsystemd-dev linux-libc-dev
)
XB_DEMO_PACKAGES=(netbase iproute2 iputils-ping iperf3 ethtool tcpdump)
XB_TEST_PACKAGES=(
	netbase libcmocka-dev python3 python3-pytest python3-scapy
	iperf3 ethtool iproute2 tcpdump tshark iputils-ping iputils-arping procps xdp-tools groff-base zsh
	qemu-system-x86 busybox-static cpio xz-utils zstd kmod
)
XB_CHECK_PACKAGES=(clang-format clang-tidy cppcheck shellcheck)
XB_LONG_PACKAGES=(libclang-rt-14-dev)
XB_BENCH_PACKAGES=(dpdk-dev libdpdk-dev librte-net-af-xdp23 librte-net-virtio23 librte-net-tap23)

# say WORD…: what is being done, on stderr
say() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# die WORD…: what failed and why, then exit 1
die() {
	say "$@"
	exit 1
}

# retry COMMAND…: up to three times
retry() {
	local try
	for try in 1 2 3; do
		"$@" && return
		((try == 3)) || { say "failed, trying again: $*"; sleep "$((try * 2))"; }
	done
	return 1
}

# missing_packages NAME…: those of them that are not installed, one a line
missing_packages() {
	local name installed
	installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null || true)
	for name in "$@"; do
		grep -Fqx "installed $name" <<<"$installed" || echo "$name"
	done
}

# install_packages NAME…: installs what is missing; without anything missing no network is touched
install_packages() {
	local missing
	mapfile -t missing < <(missing_packages "$@")
	((${#missing[@]})) || return 0
	((EUID == 0)) || die "missing packages; as root: apt-get install ${missing[*]}"
	say "installing ${missing[*]}"
	retry apt-get -qq -o APT::Update::Error-Mode=any update </dev/null >&2 || say "apt-get update failed; going on with the lists there are"
	retry apt_install "${missing[@]}" && return
	mapfile -t missing < <(missing_packages "$@")
	((${#missing[@]} == 0)) || die "could not install ${missing[*]} (apt-get says above why)"
}

# install_newest_clang: the newest one that is offered, if any is
install_newest_clang() {
	local name
	name=$(apt-cache search --names-only '^clang-[0-9]+$' | awk '{ print $1 }' | sort -t- -k2 -n | tail -n1)
	[[ ! $name ]] || install_packages "$name"
}

apt_install() {
	DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
		-o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 install "$@" </dev/null >&2
}

BPFFS=/sys/fs/bpf
bpffs_borrowed=''

# borrow_bpffs: mounts bpffs where it is missing, until return_bpffs
borrow_bpffs() {
	! mountpoint -q "$BPFFS" || return 0
	say "mounting bpffs on $BPFFS"
	mount -t bpf bpf "$BPFFS"
	bpffs_borrowed=1
}

return_bpffs() {
	[[ $bpffs_borrowed ]] || return 0
	bpffs_borrowed=''
	umount "$BPFFS" || say "can't umount $BPFFS again"
}

# build PRESET [TARGET…]: configures and builds it, or only those targets, in build/PRESET; quiet unless it fails
build() {
	local log=$XB_ROOT/build/$1/build.log
	[[ " ${XB_PRESETS[*]} " == *" $1 "* ]] || die "no preset '$1'; there are: ${XB_PRESETS[*]}"
	say "building build/$1"
	mkdir -p "${log%/*}"
	if ! (cd "$XB_ROOT" && cmake --preset "$1" && cmake --build "build/$1" -j2 ${2:+--target "${@:2}"}) >"$log" 2>&1; then
		tail -n 100 "$log" >&2
		die "building the preset '$1' failed; all of it is in $log"
	fi
}
