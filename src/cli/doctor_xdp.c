/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * XDP on an interface: what its driver can do, and whose program is there.
 */
#include "cli/doctor_checks.h"
#include "cli/holder.h"
#include "core/cleanup.h"
#include "daemon/json.h"
#include "gate/dispatcher.h"
#include "gate/foreign.h"
#include "gate/gate.h"
#include "netdev/below.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <string.h>

/* Younger than the UAPI headers that Debian 12 ships (Linux 6.3, <linux/netdev.h>). */
#define NETDEV_XDP_ACT_BASIC        (1u << 0)
#define NETDEV_XDP_ACT_REDIRECT     (1u << 1)
#define NETDEV_XDP_ACT_XSK_ZEROCOPY (1u << 3)

#define NATIVE    (NETDEV_XDP_ACT_BASIC | NETDEV_XDP_ACT_REDIRECT)
#define ZERO_COPY (NATIVE | NETDEV_XDP_ACT_XSK_ZEROCOPY)

#define PINS_MAX 64

/* Drivers of 6.1 and 6.2, which do not say what they can do, by the name that ethtool knows. */
static const struct driver {
	const char *name;
	unsigned features;
} drivers[] = {
	{"bnxt_en", NATIVE},       {"bonding", NATIVE},       {"ena", NATIVE},
	{"fsl_dpaa2_eth", NATIVE}, {"fsl_enetc", NATIVE},     {"hv_netvsc", NATIVE},
	{"i40e", ZERO_COPY},       {"ice", ZERO_COPY},        {"igb", NATIVE},
	{"igc", ZERO_COPY},        {"ixgbe", ZERO_COPY},      {"ixgbevf", NATIVE},
	{"mlx4_en", NATIVE},       {"mlx5_core", ZERO_COPY},  {"mvneta", NATIVE},
	{"mvpp2", NATIVE},         {"nfp", NATIVE},           {"qede", NATIVE},
	{"rvu-nicpf", NATIVE},     {"rvu-nicvf", NATIVE},     {"sfc", NATIVE},
	{"st_gmac", ZERO_COPY},    {"thunder-nicvf", NATIVE}, {"tun", NATIVE},
	{"veth", NATIVE},          {"virtio_net", NATIVE},
};

/* Returns 1 where the kernel says it, 0 where the driver's name suggests it, -ENOENT where nothing
 * is known. */
static int find_features(const struct xb_netdev *netdev, uint64_t *ret_features)
{
	if (xb_doctor_xdp_features(netdev->ifindex, ret_features) == 0)
		return 1;
	for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++) {
		if (strcmp(drivers[i].name, netdev->driver) != 0)
			continue;
		*ret_features = drivers[i].features;
		return 0;
	}
	return -ENOENT;
}

const char *xb_doctor_xdp_words(const struct xb_netdev *netdev)
{
	uint64_t features;

	if (xb_netdev_is_aggregate(netdev))
		return "generic XDP"; /* what its members could do natively is of no use */
	if (find_features(netdev, &features) < 0)
		return "XDP perhaps generic only";
	if ((features & ZERO_COPY) == ZERO_COPY)
		return "native XDP, zero copy";
	return (features & NATIVE) == NATIVE ? "native XDP" : "generic XDP";
}

void xb_check_xdp(struct xb_checkup *checkup)
{
	const struct xb_netdev *netdev = &checkup->netdev;
	const char *driver = netdev->driver[0] ? netdev->driver : "its driver";
	uint64_t features;
	int told = find_features(netdev, &features);

	if (xb_netdev_is_aggregate(netdev)) {
		xb_found(
			checkup, XB_FINDING_NOTE,
			"%s: XDP runs above it, in generic mode, which is slower: what a program in "
			"its members' drivers redirects would be lost",
			driver);
		xb_remedy(
			checkup,
			"nothing to do; one member as the uplink is faster, but has no failover and "
			"gets only what arrives on it; all members as uplinks want --default "
			"kernel, or broadcasts that come in by one go back by another");
		return;
	}
	if (told < 0) {
		xb_found(checkup, XB_FINDING_NOTE,
			 "not known what %s can do: this kernel does not tell (6.3 and later do)",
			 driver);
		xb_remedy(checkup, "xbridge run --uplink %s says at its start which mode it got",
			  checkup->ifname);
		return;
	}
	if ((features & NATIVE) == NATIVE && !strcmp(netdev->driver, "vmxnet3")) {
		xb_found(checkup, XB_FINDING_WARN,
			 "vmxnet3 has native XDP, but loses it when its link or MTU changes");
		xb_remedy(checkup, "xbridge run --uplink %s,xdp=generic", checkup->ifname);
		return;
	}
	if ((features & NATIVE) == NATIVE) {
		xb_found(checkup, XB_FINDING_OK, "%s: native XDP%s%s", driver,
			 features & NETDEV_XDP_ACT_XSK_ZEROCOPY ? ", AF_XDP without a copy"
								: ", AF_XDP by copy",
			 told ? "" : " (going by its name)");
		return;
	}
	xb_found(checkup, XB_FINDING_NOTE, "%s has no native XDP%s: the generic mode works, slower",
		 driver, features & NETDEV_XDP_ACT_BASIC ? " that redirects" : "");
	xb_remedy(checkup,
		  "nothing to do (xdp=auto chooses it); faster: an interface whose driver has "
		  "it, or for a VLAN, bridge or bond the NIC below");
}

/* ---- the program that is there ---- */

static const char *mode_name(uint8_t mode)
{
	switch (mode) {
	case XDP_ATTACHED_DRV:
		return "native";
	case XDP_ATTACHED_SKB:
		return "generic";
	case XDP_ATTACHED_HW:
		return "on the NIC";
	default:
		return "in several modes";
	}
}

static bool find_pin(uint32_t prog_id, struct xb_gate_pin *ret_pin)
{
	struct xb_gate_pin pins[PINS_MAX];
	int n = xb_gate_list(pins, PINS_MAX);

	for (int i = 0; i < n && i < PINS_MAX; i++) {
		if (pins[i].prog_id != prog_id || !pins[i].ifindex)
			continue;
		*ret_pin = pins[i];
		return true;
	}
	return false;
}

static void say_ours(struct xb_checkup *checkup, const struct xb_gate_pin *pin, const char *mode)
{
	int running = xb_doctor_running(pin->instance);

	xb_found(checkup, running ? XB_FINDING_NOTE : XB_FINDING_OK,
		 "XDP program %u is xbridge's (%s), of instance '%s', which %s", pin->prog_id, mode,
		 pin->instance,
		 running == 1  ? "runs"
		 : running < 0 ? "may run"
			       : "does not run: its next start takes the program over");
	if (running)
		xb_remedy(checkup,
			  "xbridge status --name %s; another instance can't use %s meanwhile",
			  pin->instance, checkup->ifname);
}

/* Of an instance that runs, and pins where we don't look. */
static void say_held(struct xb_checkup *checkup, const struct xb_holder *holder, uint32_t prog_id,
		     const char *mode)
{
	xb_found(checkup, XB_FINDING_NOTE,
		 "XDP program %u is xbridge's (%s), of instance '%s', which runs; its pins are in "
		 "the BPF file system at %s%s",
		 prog_id, mode, holder->instance, holder->bpffs,
		 json_object_get_boolean(xb_json_field(holder->status, "bpffs_private"))
			 ? " of its own mount namespace"
			 : "");
	xb_remedy(checkup, "xbridge status --name %s; another instance can't use %s meanwhile",
		  holder->instance, checkup->ifname);
}

/* Several programs behind libxdp's dispatcher: one may be ours, and others are no hindrance. */
static void say_shared(struct xb_checkup *checkup, const struct xb_dispatched *list, int n,
		       const char *mode)
{
	struct xb_gate_pin pin;
	char names[XB_DISPATCHED_MAX * (BPF_OBJ_NAME_LEN + 2)] = "";

	for (int i = 0; i < n; i++)
		snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s",
			 i ? ", " : "", list[i].name);
	for (int i = 0; i < n; i++) {
		if (!find_pin(list[i].prog_id, &pin))
			continue;
		say_ours(checkup, &pin, mode);
		if (n > 1)
			xb_found(
				checkup, XB_FINDING_OK,
				"it shares the interface by libxdp's dispatcher: %s, in this order",
				names);
		return;
	}
	if (checkup->extensions) {
		xb_found(checkup, XB_FINDING_OK,
			 "libxdp's dispatcher is there (%s) with %s: xbridge's program joins, and "
			 "runs after priorities below %u",
			 mode, names, XB_RUN_PRIO);
		return;
	}
	xb_found(checkup, XB_FINDING_FAIL,
		 "libxdp's dispatcher is there (%s) with %s, and no program can be added: see "
		 "extensions",
		 mode, names);
	xb_remedy(checkup, "xdp-loader unload %s --all", checkup->ifname);
}

/* A program that nobody here has pinned. Without the right to look, it may be ours all the same. */
static void say_foreign(struct xb_checkup *checkup, const char *mode)
{
	struct xb_foreign foreign;

	xb_foreign_look(checkup->netdev.ifindex, checkup->ifname, &foreign);
	if (!foreign.name[0] && !xb_doctor_capable(CAP_SYS_ADMIN)) {
		xb_found(checkup, XB_FINDING_WARN,
			 "XDP program %u is there (%s); whose it is can't be seen without "
			 "CAP_SYS_ADMIN",
			 foreign.prog_id, mode);
		xb_remedy(checkup, "sudo xbridge doctor %s", checkup->ifname);
		return;
	}
	if (foreign.what[0])
		xb_found(checkup, XB_FINDING_FAIL,
			 "XDP program %u, %s (%s) is there, and xbridge's can't be attached: %s",
			 foreign.prog_id, foreign.name, mode, foreign.what);
	else
		xb_found(checkup, XB_FINDING_FAIL,
			 "XDP program %u%s%s (%s) of somebody else is there: xbridge's can't be "
			 "attached",
			 foreign.prog_id, foreign.name[0] ? ", " : "", foreign.name, mode);
	xb_remedy(checkup, "%s%s", foreign.remedy,
		  foreign.kind == XB_FOREIGN_OTHER
			  ? "; where a bpf_link holds it (bpftool link), end its owner"
			  : "");
}

/* Says whose it is by what is pinned here, or else by what the running instances say. */
static void say_whose(struct xb_checkup *checkup, uint32_t prog_id, const char *mode)
{
	struct xb_dispatched list[XB_DISPATCHED_MAX];
	struct xb_holder holder = {0};
	struct xb_gate_pin pin;
	int n;

	if (find_pin(prog_id, &pin))
		say_ours(checkup, &pin, mode);
	else if ((n = xb_dispatcher_list(checkup->netdev.ifindex, prog_id, list)) > 0)
		say_shared(checkup, list, n, mode);
	else if (xb_holder_find(checkup->netdev.ifindex, &holder) && !holder.lost)
		say_held(checkup, &holder, prog_id, mode);
	else
		say_foreign(checkup, mode);
	xb_holder_fini(&holder);
}

/* The kernel lets no program be put on an interface while a device on top of it has one. */
static void check_upon(struct xb_checkup *checkup)
{
	struct xb_gate_pin pins[PINS_MAX];
	struct xb_upper upper;
	int n = xb_below_list_upon(checkup->netdev.ifindex, &upper, 1) > 0
			? xb_gate_list(pins, PINS_MAX)
			: -ENOENT;

	if (n == -ENOENT)
		return;
	for (int i = 0; i < n && i < PINS_MAX; i++) {
		if (!pins[i].ifname[0] || pins[i].ifindex != upper.ifindex)
			continue;
		xb_found(checkup, XB_FINDING_NOTE,
			 "%s, which stands on it, has an XDP program of instance '%s' of xbridge: "
			 "no other instance can put one on %s meanwhile",
			 upper.ifname, pins[i].instance, checkup->ifname);
		xb_remedy(checkup, "xbridge run --uplink %s --uplink %s uses both", checkup->ifname,
			  upper.ifname);
		return;
	}
	xb_found(checkup, XB_FINDING_FAIL,
		 "%s, which stands on it, has XDP program %u: the kernel lets none be put on %s "
		 "until that is off",
		 upper.ifname, upper.prog_id, checkup->ifname);
	xb_remedy(checkup,
		  "ip link set dev %s xdp off, or xdp-loader unload %s --all; load it again when "
		  "xbridge runs",
		  upper.ifname, upper.ifname);
}

void xb_check_program(struct xb_checkup *checkup)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);
	uint32_t prog_id;
	int ret = bpf_xdp_query((int)checkup->netdev.ifindex, 0, &opts);

	if (ret < 0) {
		xb_found(checkup, XB_FINDING_NOTE, "not known which XDP program is there: %s",
			 strerror(-ret));
		xb_remedy(checkup, "ip -details link show dev %s", checkup->ifname);
		return;
	}
	prog_id = xb_attached_prog(checkup->netdev.ifindex);
	if (!prog_id && opts.hw_prog_id)
		prog_id = opts.hw_prog_id;
	if (prog_id) {
		say_whose(checkup, prog_id, mode_name(opts.attach_mode));
	} else {
		xb_found(checkup, XB_FINDING_OK, "no XDP program is there");
		check_upon(checkup);
	}
}
