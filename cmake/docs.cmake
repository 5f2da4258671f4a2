# SPDX-License-Identifier: BSD-2-Clause
#
# Fills in the parts of the documents that are made from the tables in the code:
#
#     cmake -DXBRIDGE=… -DVERSION=… -DIN=…/docs -DOUT=… -P docs.cmake
execute_process(COMMAND ${XBRIDGE} --man OUTPUT_VARIABLE TABLES COMMAND_ERROR_IS_FATAL ANY)
configure_file(${IN}/xbridge.1.in ${OUT}/xbridge.1 @ONLY)
execute_process(COMMAND ${XBRIDGE} --drops OUTPUT_FILE ${OUT}/drop-reasons.md COMMAND_ERROR_IS_FATAL ANY)
