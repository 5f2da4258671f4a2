/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The uplink: an interface read and written through AF_XDP, as a port.
 *
 * One socket for each RX queue, all over the arena's memory; on a shared uplink also a packet
 * socket that gives a copy of group frames (group_tap.h), which arrives with queue 0; where it is
 * asked for or pays, one that sends (uplink_tx.c).
 *
 *      new ──► stopped ──(order, attached)──► stopped ──start──► running ──stop──► stopped ──► free
 *                 ▲                                                                   │
 *                 └────────── reopen (after the interface came back) ◄────────────────┘
 *
 * `new` and `reopen` ready all that the program needs, and leave it to their caller to have it put
 * on the interface: that takes long, so that he may give the order to another process. Once
 * attached the program passes everything; what it would redirect it redirects while the uplink runs
 * and its owners beat. `stop` and `free` leave it there (xb_gate_detach_slot removes it). All
 * functions here belong to the control thread and never wait; start, stop and reopen are called
 * while the port is not published.
 */
#ifndef XB_XSK_UPLINK_H
#define XB_XSK_UPLINK_H

#include "core/arena.h"
#include "core/error.h"
#include "core/port.h"
#include "netdev/below.h"
#include "netdev/own_macs.h"
#include "netdev/tags.h"
#include "netdev/xdp.h"
#include "xsk/program.h"
#include "xsk/xsk.h"

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

enum xb_sharing {
	XB_SHARING_DEFAULT, /* shared: nobody has said anything */
	XB_SHARING_SHARED,
	XB_SHARING_DEDICATED,
};

enum xb_csum_policy {
	XB_CSUM_POLICY_AUTO,  /* trust where senders in this host leave checksums open: on a veth, a
				 macvlan, or what has one below it (below.h); otherwise verify */
	XB_CSUM_POLICY_TRUST, /* received packets are marked XB_CSUM_TRUSTED */
	XB_CSUM_POLICY_VERIFY, /* received packets' checksums are taken as they stand */
};

enum xb_uplink_tx {
	XB_UPLINK_TX_AUTO,   /* with zero copy AF_XDP, otherwise a packet socket (uplink_tx.c) */
	XB_UPLINK_TX_XDP,    /* AF_XDP: whole frames, zero copy where the driver can */
	XB_UPLINK_TX_PACKET, /* a packet socket, which takes TCP segments of 64 KB (packet_tx.h) */
};

/** Longest frame that fits behind the headroom. */
#define XB_UPLINK_BYTES_MAX XB_FRAME_ROOM

/** Largest MTU whose frames all fit: with an Ethernet header and two VLAN tags. */
#define XB_UPLINK_MTU_MAX (XB_UPLINK_BYTES_MAX - 14u - 2u * 4u)

#define XB_UPLINK_RING_DEFAULT 2048u

/** Names that an uplink is remembered by. */
#define XB_UPLINK_NAMES_MAX 8u

struct xb_uplink_options {
	char ifname[IF_NAMESIZE];
	enum xb_sharing sharing;
	enum xb_csum_policy csum;
	struct xb_attach_options xdp;
	enum xb_xsk_mode mode;
	enum xb_uplink_tx tx;
	uint32_t ring_size; /* RX, TX, fill and completion ring of each queue: a power of two, 64 to
			       32768; 0: XB_UPLINK_RING_DEFAULT */
	uint32_t fill_frames; /* frames kept posted for receiving on each queue: at least XB_BATCH,
				 at most ring_size; 0: ring_size / 2. Fewer where otherwise less
				 than half of the arena's free frames stayed free at the start */
	uint32_t queues_max;  /* RX queues to read; the frames of others pass. 0: all, at most
				 XB_QUEUES_MAX */
	uint64_t stall_ns;    /* a heartbeat older than this means that nobody reads; 0: 1 s */
	uint16_t port_id;     /* its id among the ports */
	bool lends_mac; /* another port has this interface's address (--mac uplink): unless the
			   uplink is shared, frames to it don't pass */
};

struct xb_uplink {
	struct xb_port port; /* first; caps and n_queues are set from new, start and reopen on */
	struct xb_uplink_options options;
	unsigned n_names;
	char names[XB_UPLINK_NAMES_MAX][IF_NAMESIZE]; /* the one that was given, and those since */
	/* to be read by the daemon, for its log and `status` */
	uint32_t ifindex;
	uint32_t slot;
	uint8_t mac[6];
	uint32_t mtu;
	unsigned rx_queues; /* that the interface has; n_queues of them are read */
	unsigned tx_queues;
	struct xb_tags tags;            /* what becomes of VLAN tags */
	struct xb_below below;          /* as of the last look at the interface */
	bool aggregate;                 /* a bond or a team */
	struct xb_netdev_master master; /* what it is a member of; name "": of none */
	bool shared;
	const char *shared_reason; /* "by default" or "as configured" */
	unsigned n_own_macs;       /* as the gate has them */
	struct xb_own_mac_entry own_macs[XB_OWN_MACS_OF_ONE_MAX];
	bool zerocopy;        /* while running */
	enum xb_uplink_tx tx; /* the way out: never AUTO. From a start to the next */
	char tx_why[128];     /* why that one */
	bool running;
	uint64_t undelivered; /* queues, as a mask, whose redirected frames don't arrive */
	struct xb_attachment attachment; /* as it was made last */
	struct xb_uplink_private *own;
};

/**
 * Makes an uplink: looks the interface up, takes a slot of the program, writes configuration and
 * own MACs, and makes the interface promiscuous (as long as the uplink lives). The interface needs
 * not be up.
 *
 * @program: copied.
 * @arena:   outlives the uplink.
 *
 * Returns 0, -ENODEV, -EINVAL (options), or another -errno.
 * Needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF, as start and reopen do.
 */
int xb_uplink_new(const struct xb_uplink_options *options, const struct xb_program *program,
		  struct xb_arena *arena, struct xb_uplink **ret_uplink, struct xb_error *err);

/** Frees a stopped uplink (a running one is stopped first, with `cache`; NULL is allowed for
 *  either). The program stays attached. */
void xb_uplink_free(struct xb_uplink *uplink, struct xb_cache *cache);

/** How the program is to be put on the interface. */
struct xb_attach_options xb_uplink_how_to_attach(const struct xb_uplink *uplink);

/** The program has been put on the interface that the uplink has looked up last. */
void xb_uplink_attached(struct xb_uplink *uplink, const struct xb_attachment *attachment);

/**
 * Binds the sockets, posts frames for receiving, opens the gate for them and beats once; in several
 * calls. From here on the queues' owners have to beat. Sets wake_fd of each queue, port.n_queues
 * and port.up.
 *
 * Returns 0; -EAGAIN: to be called again; -EBUSY: to be called again in a moment, since the kernel
 * releases sockets and frames asynchronously, or given up by a stop. Otherwise the uplink is
 * stopped as before: -ENOBUFS where memory can't be locked, -ENOMEM where frames are short, or
 * another -errno.
 */
int xb_uplink_start(struct xb_uplink *uplink, struct xb_cache *cache, struct xb_error *err);

/**
 * Takes the sockets out of the gate (frames pass from then on), closes them, and, as soon as the
 * kernel has let go of the frames, gives those back: what was posted for sending counts as
 * tx_reset.
 *
 * Returns 0; -EAGAIN: to be called again, since sockets are closed one by one; or -EBUSY where the
 * kernel has not let go of some frames yet: those stay RX- or TX-owned, and the next stop, start or
 * free tries again. Harmless where nothing runs, or where the
 * interface is gone.
 */
int xb_uplink_stop(struct xb_uplink *uplink, struct xb_cache *cache);

/**
 * Looks a stopped uplink's interface up anew, by name, after it went and came back or changed its
 * queues or MTU: as new does, up to the order, but the port, its counters and its sharing stay.
 * Queues beyond the port's queues_max pass.
 */
int xb_uplink_reopen(struct xb_uplink *uplink, struct xb_error *err);

/** Reads the stack on the uplink anew and updates own MACs, the gate's and own_macs: to be called
 *  when links change (RTM_NEWLINK, RTM_DELLINK, RTM_NEWNEIGH with NTF_SELF). Returns 1 where they
 *  have changed, 0 where not, or -errno. */
int xb_uplink_refresh_macs(struct xb_uplink *uplink, struct xb_error *err);

/** Adds to each queue's rx_missed what the kernel's counters have grown by; the only writer of it.
 */
void xb_uplink_refresh_stats(struct xb_uplink *uplink);

/** Looks whether what the program redirects arrives (delivery.h), changes `undelivered`
 * accordingly, and lets the frames of those queues pass. What has vanished counts as rx_missed.
 * Twice a second.
 */
void xb_uplink_check_delivery(struct xb_uplink *uplink, uint64_t now_ns);

/** Reads the interface's name, carrier, MAC, MTU and numbers of queues, and what becomes of VLAN
 * tags; sets port.name and port.up.
 * Where MTU, rx_queues or tx_queues are others then, stop and reopen adopt them. Returns 0, or
 * -ENODEV where the interface is gone or has been in another network namespace meanwhile, or
 * -ENOLINK where somebody has taken the program off (port.up becomes false): stop, and reopen.
 * Where descriptors or memory are too short to look (xb_is_shortage), that, and nothing has
 * changed. */
int xb_uplink_refresh_link(struct xb_uplink *uplink);

/** Notes what waits in the sockets, … */
void xb_uplink_mark(struct xb_uplink *uplink);
/** … and tells whether all of that has been taken. */
bool xb_uplink_has_passed(const struct xb_uplink *uplink);

/** Whether the interface is or was called so, as far as that is remembered. */
bool xb_uplink_has_name(const struct xb_uplink *uplink, const char *name);

#endif
