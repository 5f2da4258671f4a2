# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154,SC2046
#
# What both shells do, over the tables that `xbridge --completion` prints in front of it.

_xbridge_ports()
{
	xbridge port list --json 2>/dev/null |
		sed -n 's/^ *"\(name\|alias\)": *"\([^"]*\)".*/\2/p'
}

_xbridge_rules()
{
	xbridge steer list 2>/dev/null | sed -n 's/^id \([0-9]*\) .*/\1/p'
}

_xbridge_instances()
{
	local socket
	for socket in /run/xbridge/*.sock; do
		socket=${socket##*/}
		[ "$socket" = '*.sock' ] || echo "${socket%.sock}"
	done
}

_xbridge_interfaces()
{
	local path
	for path in /sys/class/net/*; do
		echo "${path##*/}"
	done
}

_xbridge_candidates() # KIND: what there is of it, a line each
{
	case $1 in
	NAME | PORT) _xbridge_ports ;;
	IFACE) _xbridge_interfaces ;;
	INSTANCE) _xbridge_instances ;;
	ID) _xbridge_rules ;;
	VERDICT) echo "$_xbridge_verdicts" | tr ' ' '\n' && _xbridge_ports ;;
	RULE | MATCH) echo "$_xbridge_rule_words" "$_xbridge_verdicts" | tr ' ' '\n' && _xbridge_ports ;;
	[a-z]*) echo "$1" ;;
	esac
}

# WORD...: those before the one that is completed. Prints KIND or a list of candidates.
_xbridge_next()
{
	local first='' command='' place=0 wanted='' kind='' word='' rest=''
	while [ $# -gt 0 ]; do
		word=$1
		shift
		if [ -n "$wanted" ]; then
			wanted=
		elif kind=$(_xbridge_value "$command" "$word"); then
			wanted=$kind
		elif [ "${word#-}" != "$word" ]; then
			:
		elif [ -n "$command" ]; then
			place=$((place + 1))
		elif [ -z "$first" ] && [ "$word" = help ]; then
			:
		else
			first="$first${first:+ }$word"
			echo "$_xbridge_commands" | grep -qxF -- "$first" && command=$first
		fi
	done
	if [ -n "$wanted" ]; then
		echo "KIND $wanted"
	elif [ -z "$command" ]; then
		echo "WORDS" $(echo "$_xbridge_commands" | sed -n "s/^${first:+$first }\([^ ]*\).*/\1/p" | sort -u)
	else
		rest=$(_xbridge_places "$command")
		case $rest in
		RULE* | MATCH*) kind=${rest%% *} ;;
		*) kind=$(echo "$rest" | cut -d' ' -f$((place + 1))) ;;
		esac
		echo "OPTIONS $kind" $(_xbridge_options "$command")
	fi
}

