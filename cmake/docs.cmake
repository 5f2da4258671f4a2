# SPDX-License-Identifier: BSD-2-Clause
#
# Fills in the parts of the documents that are made from the tables in the code:
#
#     cmake -DXBRIDGE=… -DVERSION=… -DIN=…/docs -DOUT=… -P docs.cmake
file(REMOVE_RECURSE ${OUT}/man)
file(MAKE_DIRECTORY ${OUT}/man)
execute_process(COMMAND ${XBRIDGE} --man ${OUT}/man COMMAND_ERROR_IS_FATAL ANY)
file(READ ${OUT}/man/commands COMMANDS)
file(REMOVE ${OUT}/man/commands)
configure_file(${IN}/xbridge.1.in ${OUT}/man/xbridge.1 @ONLY)
execute_process(COMMAND ${XBRIDGE} --drops OUTPUT_FILE ${OUT}/drop-reasons.md COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${XBRIDGE} --completion OUTPUT_VARIABLE TABLES COMMAND_ERROR_IS_FATAL ANY)
foreach(part common.sh bash.sh zsh.zsh)
	file(READ ${IN}/../dist/completion/${part} ${part})
endforeach()
file(WRITE ${OUT}/completion/bash "${TABLES}${common.sh}${bash.sh}")
file(WRITE ${OUT}/completion/zsh "#compdef xbridge\n${TABLES}${common.sh}${zsh.zsh}")
