/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/detach.h"

#include "cli/bpffs_option.h"
#include "cli/client.h"
#include "cli/holder.h"
#include "cli/say.h"
#include "gate/gate.h"
#include "netdev/ifname.h"

static bool refuse(const char *ifname, const char *instance)
{
	xb_say_failure(1,
		       "detach %s: the instance '%s' is running on it; stop the instance, and the "
		       "program goes with it",
		       ifname, instance);
	return true;
}

/* Likewise where it pins elsewhere. */
static bool is_held(const char *ifname)
{
	struct xb_holder holder = {0};
	bool held = xb_holder_find(xb_ifname_index(ifname), &holder) && !holder.lost &&
		    refuse(ifname, holder.instance);

	xb_holder_fini(&holder);
	return held;
}

/* Says so where a running instance has the interface: it would go on without its program. */
static bool is_in_use(const char *ifname)
{
	struct xb_gate_pin pins[64];
	int n = xb_gate_list(pins, 64);
	const struct xb_gate_pin *pin =
		n > 0 ? xb_gate_find(pins, n < 64 ? (unsigned)n : 64, ifname) : NULL;

	if (!pin)
		return is_held(ifname);
	return xb_client_runs(pin->instance) && refuse(ifname, pin->instance);
}

int xb_detach_program(const struct xb_common *common, int argc, char **argv)
{
	struct xb_error err = {0};
	char text[1024];

	(void)common;
	if (xb_bpffs_take(&argc, argv, NULL))
		return 1;
	if (is_in_use(argv[0]))
		return 1;
	if (!xb_gate_detach(argv[0], &err))
		return 0;
	return xb_say_failure(1, "%s", xb_error_text(&err, text, sizeof(text)));
}
