/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel's TAP: an interface and one descriptor for each of its queue pairs.
 *
 * It is used by the vhost-net backend, which hands the descriptors to VHOST_NET_SET_BACKEND, and by
 * the TAP port, which reads and writes them itself. Each packet that crosses a descriptor has a
 * struct virtio_net_hdr_v1 (12 bytes, little endian) in front of it.
 *
 * All of it belongs to the control thread; workers use nothing but the descriptors.
 *
 * When the interface is deleted underneath (`ip link del`), the descriptors stay open and useless:
 * reading, writing and every ioctl says EBADFD, poll says POLLERR, and xb_tap_check says -ENODEV.
 * Only xb_tap_fini and a new xb_tap_init help. vhost-net notices nothing by itself: its user asks
 * xb_tap_check when netlink tells of the deletion. An interface that is down takes no packets (EIO
 * from writing) and has none to read, and is well again when it comes up.
 */
#ifndef XB_VHOST_TAP_H
#define XB_VHOST_TAP_H

#include "core/error.h"
#include "vhost/tap_link.h"

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

/** Most queue pairs of a TAP (MAX_TAP_QUEUES in the kernel). */
#define XB_TAP_QUEUES_MAX 256u

/** Bytes of the virtio-net header in front of each packet. */
#define XB_TAP_HDR_BYTES 12u

struct xb_tap_options {
	const char *ifname;         /* not looked at where fds are handed in */
	const char *netns;          /* name in /run/netns, or a path (with a '/'); NULL: this one */
	unsigned queues;            /* queue pairs wanted, 1 to XB_TAP_QUEUES_MAX */
	const uint8_t *mac;         /* 6 bytes; NULL: default_mac for one that is made */
	unsigned mtu;               /* 0: default_mtu for one that is made */
	const uint8_t *default_mac; /* NULL: the kernel's choice; what has it already is taken for
				       one that we had made in an earlier run */
	unsigned default_mtu;       /* 0: the kernel's choice */
	const int *fds;             /* queues handed in, instead of ifname; NULL: open our own */
	unsigned n_fds;
};

/** What an interface is set to. */
struct xb_tap_settings {
	uint8_t mac[6];
	unsigned mtu; /* 0: not known */
};

struct xb_tap {
	char name[IFNAMSIZ];
	bool made;      /* by us, just now; else it was there before or was handed in */
	bool handed_in; /* as descriptors */
	bool found;     /* somebody else had made it, and has set it up as it should be */
	struct xb_tap_settings before; /* found: as it was then */
	struct xb_tap_settings given;  /* as we have set it, as far as we have */
	bool multi_queue;              /* can have more than one queue */
	bool macvtap;        /* no TUN device but a macvtap (or ipvtap): no steering program */
	unsigned n_queues;   /* attached: queues 0 to n_queues - 1 have descriptors in use */
	unsigned queues_max; /* most that xb_tap_set_queues can reach */
	uint32_t takes;      /* XB_TAKES_…: what it does both ways; fixed by the kernel */
	uint32_t gives;      /* XB_TAKES_…: what it leaves to us, by xb_tap_set_offload */
	int ctl_fd;          /* a socket in the TAP's namespace, for SIOC…; -1: out of reach */
	int netns_fd; /* the TAP's namespace where it is not ours, as far as known; else -1 */
	struct xb_netns_id netns; /* in which ctl_fd was opened */
	int fds[XB_TAP_QUEUES_MAX];
};

/**
 * Opens a TAP, or takes over queues that were opened by somebody else.
 *
 * By name: the interface is made, or, where a persistent one of that name exists, joined; an
 * existing one that was made without `multi_queue` serves where one queue is wanted. `mac` and
 * `mtu` are set in both cases, the defaults only where it is made, or was by us in an earlier run:
 * what somebody else has made (`found`) keeps what it has otherwise, and has all of it again after
 * xb_tap_fini. It is not brought up: see xb_tap_set_up. An interface that another program holds is
 * left alone (-EBUSY).
 *
 * By descriptor: TAP or macvtap queues of one interface, attached, with IFF_VNET_HDR and IFF_NO_PI.
 * Nothing that needs a privilege is done. `mac` and `mtu` are refused. On success the descriptors
 * are ours (xb_tap_fini closes them), on failure they stay the caller's, open. All are taken;
 * `queues` says how many to use, the rest is detached.
 *
 * In both cases: header 12 bytes little endian, no limit on the send buffer, descriptors O_NONBLOCK
 * and close-on-exec, offload to us off until xb_tap_set_offload.
 *
 * Where `netns` is given the calling thread visits it, and is back on return.
 *
 * Capabilities: CAP_NET_ADMIN in the TAP's namespace by name (none for a persistent one that the
 * user owns, without mac and mtu), CAP_SYS_ADMIN with `netns`, none by descriptor.
 *
 * Returns 0, or with `err` filled: -EINVAL (options; or it exists and is no TAP, or not of the kind
 * that was asked for), -EBUSY, -EPERM, -EACCES, -ENOENT (no /dev/net/tun, no such netns), -ENODEV,
 * -EBADFD (descriptor not attached to an interface), -ENOTTY (descriptor of something else),
 * -E2BIG.
 */
int xb_tap_init(struct xb_tap *tap, const struct xb_tap_options *options, struct xb_error *err);

/** Closes all descriptors. The interface goes with them, unless it is persistent; one that was
 * found gets back what we have set, where nobody has set it since. A tap that is all zero, or
 * finished already, is allowed. */
void xb_tap_fini(struct xb_tap *tap);

/** Descriptor of queue `q` < n_queues. It stays the TAP's, and valid until the queue is detached.
 */
static inline int xb_tap_queue_fd(const struct xb_tap *tap, unsigned q)
{
	return tap->fds[q];
}

/**
 * Changes the number of queues while it runs.
 *
 * More: opens and attaches further ones (a new queue gets flows at once). Fewer: what lies in the
 * queues that go is lost, and not counted anywhere; whoever minds does it in steps:
 *
 *      xb_tap_steer_to(tap, n)      no flow is put on a queue from n on any more
 *      … workers go on reading until !xb_tap_pending(tap, n) …
 *      … the queues from n on are unpublished, their descriptors out of use …
 *      xb_tap_set_queues(tap, n)    detaches them
 *      xb_tap_steer_to(tap, 0)      the kernel steers by itself again
 *
 * On failure the number is what it was. More are opened where the interface lies by now.
 * Capabilities: as for xb_tap_init, to open more; CAP_SYS_ADMIN where that is another namespace.
 *
 * Returns 0, or with `err` filled -EINVAL (0, or beyond queues_max) or what opening one says.
 */
int xb_tap_set_queues(struct xb_tap *tap, unsigned n, struct xb_error *err);

/**
 * Keeps flows off the queues from `n` on, by a steering program; 0: back to automatic steering. On
 * return no packet is on its way to such a queue any more; those that lie there can be read.
 * Waits for an RCU grace period (some tens of milliseconds), unless `n` is 0.
 *
 * Capabilities: CAP_BPF, unless unprivileged BPF is allowed; CAP_NET_ADMIN on some kernels.
 *
 * Returns 0; -EOPNOTSUPP where it is a macvtap, -EPERM where BPF is refused, -EBADFD where it was
 * deleted: detaching will then lose what lies in the queues. Nothing is changed on failure.
 */
int xb_tap_steer_to(struct xb_tap *tap, unsigned n);

/** Does a packet wait to be read in a queue from `from` on? */
bool xb_tap_pending(const struct xb_tap *tap, unsigned from);

/**
 * Says what we take from it: XB_TAKES_…; all else the kernel finishes before it gives us a packet.
 * What the kernel doesn't know (USO before 6.2) is left out; `tap->gives` says what it came to. No
 * capability. Returns 0 or -EBADFD.
 */
int xb_tap_set_offload(struct xb_tap *tap, uint32_t takes);

/** From now on the interface outlives xb_tap_fini, and this process. For when nothing else can fail
 *  any more. Returns 0 or, with `err` filled, -errno. */
int xb_tap_persist(struct xb_tap *tap, struct xb_error *err);

/** Takes that back. */
void xb_tap_let_go(struct xb_tap *tap);

/** Is the interface still there? 0, or -ENODEV where it was deleted. */
int xb_tap_check(const struct xb_tap *tap);

/** Asks the interface in which namespace it lies, since it can be moved while it is used (its
 * queues move along), and reaches for it there. Returns 1 where that is another one than when it
 * was asked last: then ctl_fd is -1 where we can't get there. Otherwise 0, also where the kernel
 * won't say (a macvtap; without CAP_NET_ADMIN). Getting there needs CAP_SYS_ADMIN, unless it is our
 * own. */
int xb_tap_follow(struct xb_tap *tap);

/* The interface, in its namespace. The getters need no capability, the setters CAP_NET_ADMIN (but
 * for the carrier and the MAC of a TAP). -ENODEV where it is out of reach: handed in from another
 * namespace, or deleted. */

int xb_tap_get_mac(const struct xb_tap *tap, uint8_t ret_mac[6]);
int xb_tap_set_mac(struct xb_tap *tap, const uint8_t mac[6]);
int xb_tap_get_mtu(const struct xb_tap *tap, unsigned *ret_mtu);
int xb_tap_set_mtu(struct xb_tap *tap, unsigned mtu);
int xb_tap_get_up(const struct xb_tap *tap, bool *ret_up);
int xb_tap_set_up(struct xb_tap *tap, bool up);
int xb_tap_get_ifindex(const struct xb_tap *tap, unsigned *ret_ifindex);
/** Not for a macvtap (-EINVAL). */
int xb_tap_set_carrier(struct xb_tap *tap, bool on);

#endif
