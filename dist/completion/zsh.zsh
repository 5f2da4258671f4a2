# SPDX-License-Identifier: BSD-2-Clause
_xbridge()
{
	local next kind
	local -a before=("${(@)words[2,CURRENT-1]}")
	emulate -L sh
	next=$(_xbridge_next "${before[@]}")
	case $next in
	WORDS*) compadd -- $(echo ${next#WORDS}) ;;
	OPTIONS*)
		kind=${next#OPTIONS } kind=${kind%% *}
		case $PREFIX in
		-*) compadd -- $(echo ${next#OPTIONS $kind}) && return ;;
		esac
		;;
	KIND*) kind=${next#KIND } ;;
	esac
	case $kind in
	'') ;;
	FILE) _files ;;
	*) compadd -- $(_xbridge_candidates $kind) ;;
	esac
}
if [ "$funcstack[1]" = _xbridge ]; then
	_xbridge "$@"
else
	compdef _xbridge xbridge
fi
