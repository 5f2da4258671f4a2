# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
#
# Packages of another Debian suite than the host's: downloaded and unpacked into the cache, never installed.
# The host's apt is not altered, and what is there already costs no network. To be sourced after tools/lib.sh.

# unpack_once DIR SUITE FUNCTION: makes DIR, whole or not at all, unless it is there. FUNCTION, called as
# `FUNCTION WORK`, takes packages of SUITE by `unpack WORK PACKAGE…` and leaves what is wanted in WORK/root.
unpack_once() {
	local dir=$1 lock
	[[ ! -e $dir ]] || return 0
	mkdir -p "${dir%/*}"
	exec {lock}>"${dir%/*}/lock"
	flock "$lock"
	[[ -e $dir ]] || (unpack_now "$@")
	exec {lock}>&-
}

unpack_now() { # DIR SUITE FUNCTION
	local dir=$1 suite=$2 work
	work=$(mktemp -d "$dir.XXXXXX")
	# shellcheck disable=SC2064 # as it is now
	trap "rm -rf '$work'" EXIT
	private_apt "$work" "$suite"
	retry apt-get -c "$work/apt.conf" -qq -o APT::Update::Error-Mode=any update </dev/null >&2 ||
		die "could not read the package lists of $suite"
	mkdir "$work/root"
	"$3" "$work"
	mv "$work/root" "$dir"
}

unpack() { # WORK PACKAGE…
	local work=$1 package
	for package in "${@:2}"; do
		retry download "$work" "$package" || die "could not download $package"
		dpkg -x "$work/$package"_*.deb "$work/root"
	done
}

download() { # WORK PACKAGE
	(cd "$1" && apt-get -c apt.conf -qq download "$2" >&2)
}

# Debian's mirror, as the host's own apt knows it
mirror() {
	# shellcheck disable=SC2016 # apt expands these
	apt-get indextargets --format '$(REPO_URI) $(RELEASE)' \
		'Created-By: Packages' 'Origin: Debian' 'Component: main' | awk '$2 !~ /-/ && !n++ { print $1 }'
}

# private_apt DIR SUITE: writes an apt configuration into DIR that knows SUITE alone and writes to DIR alone
private_apt() {
	local dir=$1 suite=$2 uri
	uri=$(mirror)
	if [[ -z $uri ]]; then # no lists yet: a host that has just been installed
		retry apt-get -qq update </dev/null >&2 || true
		uri=$(mirror)
	fi
	[[ $uri ]] || die "apt knows no Debian mirror; is 'apt-get update' working, as root?"

	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
	: >"$dir/status"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main" >"$dir/sources.list"
	cat >"$dir/apt.conf" <<-CONF
		#clear APT::Update;
		Dir::Etc::sourcelist "$dir/sources.list";
		Dir::Etc::sourceparts "-";
		Dir::State "$dir";
		Dir::State::status "$dir/status";
		Dir::Cache "$dir/cache";
		APT::Sandbox::User "root";
		Acquire::Languages "none";
		Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
	CONF
}
