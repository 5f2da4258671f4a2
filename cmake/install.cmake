# SPDX-License-Identifier: BSD-2-Clause
#
# What `cmake --install` puts where, besides the program; `cmake --build … --target uninstall` takes it back.
# The prefix may be chosen as late as that, so the unit is filled in then.
install(CODE "
	set(XB_SBINDIR \${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_SBINDIR})
	configure_file(${PROJECT_SOURCE_DIR}/dist/xbridge@.service.in ${PROJECT_BINARY_DIR}/dist/xbridge@.service @ONLY)
")
install(FILES ${PROJECT_BINARY_DIR}/dist/xbridge@.service DESTINATION lib/systemd/system)
install(FILES dist/xbridge.tmpfiles DESTINATION lib/tmpfiles.d RENAME xbridge.conf)
install(FILES dist/xbridge.conf DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)

set(made ${PROJECT_BINARY_DIR}/docs)
install(DIRECTORY ${made}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 FILES_MATCHING PATTERN "*.1")
install(DIRECTORY ${made}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man7 FILES_MATCHING PATTERN "*.7")
install(FILES ${made}/completion/bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME xbridge)
install(FILES ${made}/completion/zsh DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions RENAME _xbridge)

install(FILES README.md LICENSE CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md")

add_custom_target(uninstall
	COMMAND ${CMAKE_COMMAND} -DMANIFEST=${PROJECT_BINARY_DIR}/install_manifest.txt
		-P ${PROJECT_SOURCE_DIR}/cmake/uninstall.cmake
	VERBATIM)
