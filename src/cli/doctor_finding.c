/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/doctor_checks.h"

#include <stdarg.h>
#include <stdio.h>

void xb_found(struct xb_checkup *checkup, enum xb_finding_state state, const char *fmt, ...)
{
	struct xb_finding *finding;
	va_list args;

	if (checkup->n == XB_FINDINGS_MAX && checkup->findings[checkup->n - 1].state >= state)
		return;
	if (checkup->n < XB_FINDINGS_MAX)
		checkup->n++;
	finding = &checkup->findings[checkup->n - 1];
	finding->state = state;
	finding->check = checkup->check;
	finding->remedy[0] = '\0';
	va_start(args, fmt);
	vsnprintf(finding->text, sizeof(finding->text), fmt, args);
	va_end(args);
}

void xb_remedy(struct xb_checkup *checkup, const char *fmt, ...)
{
	struct xb_finding *finding = &checkup->findings[checkup->n - 1];
	va_list args;

	va_start(args, fmt);
	vsnprintf(finding->remedy, sizeof(finding->remedy), fmt, args);
	va_end(args);
}
