# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2207
_xbridge()
{
	local current=${COMP_WORDS[COMP_CWORD]} next kind
	next=$(_xbridge_next "${COMP_WORDS[@]:1:COMP_CWORD-1}")
	COMPREPLY=()
	case $next in
	WORDS*) COMPREPLY=($(compgen -W "${next#WORDS}" -- "$current")) ;;
	OPTIONS*)
		kind=${next#OPTIONS } kind=${kind%% *}
		if [[ $current == -* ]]; then
			COMPREPLY=($(compgen -W "${next#OPTIONS "$kind"}" -- "$current"))
			return
		fi
		;;
	KIND*) kind=${next#KIND } ;;
	esac
	if [[ $kind == FILE ]]; then
		compopt -o filenames 2>/dev/null
		COMPREPLY=($(compgen -f -- "$current"))
	elif [[ $kind ]]; then
		COMPREPLY=($(compgen -W "$(_xbridge_candidates "$kind")" -- "$current"))
	fi
}
complete -F _xbridge xbridge
