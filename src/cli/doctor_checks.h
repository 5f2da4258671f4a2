/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The checks of `doctor`: each looks at one thing and says what it found. For doctor*.c.
 */
#ifndef XB_CLI_DOCTOR_CHECKS_H
#define XB_CLI_DOCTOR_CHECKS_H

#include "netdev/netdev.h"

#include <stdbool.h>
#include <stdint.h>

enum xb_finding_state {
	XB_FINDING_OK,
	XB_FINDING_NOTE, /* works, but less well or otherwise than one might expect; or not looked
			    at */
	XB_FINDING_WARN, /* works, but something will be missed or lost */
	XB_FINDING_FAIL, /* stands in the way of what was asked for */
};

struct xb_finding {
	enum xb_finding_state state;
	const char *check; /* id of the check that found it */
	char text[384];
	char remedy[256]; /* what a person can type; "" only where the state is OK */
};

#define XB_FINDINGS_MAX 192u

/** One run of the doctor. */
struct xb_checkup {
	const char *ifname;      /* the interface asked for, or NULL */
	struct xb_netdev netdev; /* that interface, once `interface` has found it; else ifindex 0 */
	const char *check;       /* the running check's id */
	bool dedicated;          /* a running instance has it as a dedicated uplink */
	int extensions;          /* whether extension programs work: 1, 0, or -1: not known */
	unsigned n;
	struct xb_finding findings[XB_FINDINGS_MAX];
};

/** Notes a finding of the running check. Beyond XB_FINDINGS_MAX the last place is overwritten, but
 *  never a worse finding by a better one. */
void xb_found(struct xb_checkup *checkup, enum xb_finding_state state, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/** Says what to do about the finding noted last. */
void xb_remedy(struct xb_checkup *checkup, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* The host: doctor_host.c, doctor_bpf.c, doctor_tap.c. */
void xb_check_kernel(struct xb_checkup *checkup);
void xb_check_capabilities(struct xb_checkup *checkup);
void xb_check_memlock(struct xb_checkup *checkup);
void xb_check_cgroup(struct xb_checkup *checkup);
void xb_check_huge_pages(struct xb_checkup *checkup);
void xb_check_io_uring(struct xb_checkup *checkup);
void xb_check_bpf(struct xb_checkup *checkup);
void xb_check_btf(struct xb_checkup *checkup);
void xb_check_bpffs(struct xb_checkup *checkup);
void xb_check_extensions(struct xb_checkup *checkup);
void xb_check_af_xdp(struct xb_checkup *checkup);
void xb_check_af_packet(struct xb_checkup *checkup);
void xb_check_tap(struct xb_checkup *checkup);
void xb_check_vhost_net(struct xb_checkup *checkup);

/* What runs left behind: doctor_leftovers.c. */
void xb_check_leftovers(struct xb_checkup *checkup);

/* Whether those that run answer: doctor_leftovers.c. */
void xb_check_instances(struct xb_checkup *checkup);

/* The interface asked for: doctor_iface.c, doctor_xdp.c, doctor_running.c, doctor_segment.c. But
 * for the first they are called only where it was found. */
void xb_check_interface(struct xb_checkup *checkup);
void xb_check_xdp(struct xb_checkup *checkup);
void xb_check_program(struct xb_checkup *checkup);
void xb_check_running(struct xb_checkup *checkup);
void xb_check_queues(struct xb_checkup *checkup);
void xb_check_vlan(struct xb_checkup *checkup);
void xb_check_merging(struct xb_checkup *checkup);
void xb_check_checksum(struct xb_checkup *checkup);
void xb_check_sharing(struct xb_checkup *checkup);
void xb_check_segment(struct xb_checkup *checkup);

/** Without an interface: a line for each that could be an uplink. doctor_segment.c */
void xb_check_interfaces(struct xb_checkup *checkup);

/* ---- between the checks ---- */

/** Whether this process has a capability (CAP_…). doctor_host.c */
bool xb_doctor_capable(unsigned capability);

/** Reads a decimal number from a file of /proc or /sys. Returns 0 or -errno. doctor_host.c */
int xb_doctor_number(const char *path, long *ret_value);

/** Whether the daemon of an instance answers on its control socket: 1, 0, or -errno where that
 * can't be told. doctor_leftovers.c */
int xb_doctor_running(const char *instance);

/** Whether any instance's daemon runs. doctor_leftovers.c */
bool xb_doctor_any_running(void);

/** Fits an interface's XDP features (NETDEV_XDP_ACT_…, from the kernel's netdev family) into
 *  `ret_features`. Returns 0, -EOPNOTSUPP where the kernel has no such family (before 6.3), or
 *  -errno. doctor_netdev.c */
int xb_doctor_xdp_features(uint32_t ifindex, uint64_t *ret_features);

/** "native XDP, zero copy" and the like, for an interface. doctor_xdp.c */
const char *xb_doctor_xdp_words(const struct xb_netdev *netdev);

#endif
