/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The port to this host's kernel, put together: a TAP, and on it either virtio-net driver +
 * virtio_user device + vhost-net backend, or the TAP port.
 *
 * Control thread. Functions that change queues are called while these are not published. None waits
 * for others.
 */
#ifndef XB_DAEMON_KERNEL_PORT_H
#define XB_DAEMON_KERNEL_PORT_H

#include "core/port.h"
#include "daemon/config.h"
#include "daemon/tap_home.h"
#include "vhost/kernel.h"
#include "vhost/tap.h"
#include "vhost/tap_port.h"
#include "vhost/virtio_user.h"
#include "virtio/net.h"

/** Queue pairs that `port set kernel --queues` can reach even where `run` asked for fewer; not with
 * queues of more than XB_KERNEL_SPARE_SIZE, whose rings and frames would take hundreds of
 * megabytes. */
#define XB_KERNEL_QUEUES_SPARE 16u
#define XB_KERNEL_SPARE_SIZE   1024u

/** What the interface gets where its configuration names nothing else. */
struct xb_kernel_lent {
	uint8_t stable_mac[6];     /* the same at each start */
	const uint8_t *uplink_mac; /* NULL: there is no uplink */
	unsigned mtu;              /* where nobody else has made it before; 0: leave it */
};

struct xb_kernel_port {
	struct xb_port *port; /* NULL: not open */
	uint16_t id;          /* the port's */
	struct xb_offload_set offload;
	bool vhost;          /* through vhost-net; otherwise through the TAP */
	bool may_do_without; /* vhost-net was our choice and has not been started yet */
	bool carrier;        /* that its interface has, by xb_kernel_port_set_carrier */
	char why[256];       /* which of the two, and why */
	struct xb_tap tap;
	struct xb_tap_home home; /* with --netns */
	uint8_t mac[6];
	unsigned mtu;
	/* with vhost-net */
	struct xb_vhost_kernel backend;
	struct xb_virtio_user device;
	struct xb_virtio_net net;
	/* without */
	struct xb_tap_port tap_port;
};

/**
 * Opens the TAP, and what reads and writes it, as `config` says; stopped. -EBUSY may pass: the
 * kernel lets go of a killed daemon's TAP some time after that process is gone, when io_uring gets
 * to it.
 *
 * @id: the port's.
 */
int xb_kernel_port_open(struct xb_kernel_port *kernel, uint16_t id,
			const struct xb_kernel_config *config, const struct xb_kernel_lent *lent,
			struct xb_arena *arena, struct xb_error *err);
/** When all else that is to start has started: what has been made may outlive this process now, if
 * it is asked to. What a start that failed has made never does. */
int xb_kernel_port_settle(struct xb_kernel_port *kernel, const struct xb_kernel_config *config,
			  struct xb_error *err);
void xb_kernel_port_close(struct xb_kernel_port *kernel, struct xb_cache *cache);

/** Readies a stopped port for another start. Its interface stays, with its addresses and routes;
 * one that was deleted is opened anew. Where that one was handed in, it can't be done: -ENODEV. */
int xb_kernel_port_reopen(struct xb_kernel_port *kernel, const struct xb_kernel_config *config,
			  const struct xb_kernel_lent *lent, struct xb_error *err);

/** Gives up the interface of a stopped port, in a namespace that nobody names any more; the next
 *  reopen makes another. */
void xb_kernel_port_leave(struct xb_kernel_port *kernel);

/** Queue pairs that the port will be able to use. */
unsigned xb_kernel_port_queues_max(const struct xb_kernel_config *config);

/** Bytes of the arena that its virtqueues take at most. */
size_t xb_kernel_port_ring_bytes(const struct xb_kernel_config *config);

/** Starts with `queues` queue pairs, and brings the interface up unless it was handed in, or was
 * there before and that is not allowed to us. Where nobody insists on vhost-net and it fails in the
 * first start, the TAP alone serves from then on, and `port` is another one. */
int xb_kernel_port_start(struct xb_kernel_port *kernel, unsigned queues, struct xb_cache *cache,
			 struct xb_error *err);
/** What may be left undone, from the next start on. */
void xb_kernel_port_set_offload(struct xb_kernel_port *kernel, struct xb_offload_set offload);

/** Stops; all frames come back. */
void xb_kernel_port_stop(struct xb_kernel_port *kernel, struct xb_cache *cache);

/** Uses `queues` queue pairs from now on. */
int xb_kernel_port_resize(struct xb_kernel_port *kernel, unsigned queues, struct xb_cache *cache,
			  struct xb_error *err);

/** Before fewer queues: flows leave those from `queues` on. False: what lies there will be lost. */
bool xb_kernel_port_retire(struct xb_kernel_port *kernel, unsigned queues);
/** Whether packets wait in queues from `queues` on, before the port's own rings. */
bool xb_kernel_port_waiting(struct xb_kernel_port *kernel, unsigned queues);
/** The same for queues that are not published: also in the port's own rings. */
bool xb_kernel_port_unread(struct xb_kernel_port *kernel, unsigned queues);
/** Calls back what the kernel has been asked to do on queues from `queues` on, which are not
 * published and are to stop: false as long as there is something left, on which stop and resize
 * would wait. */
bool xb_kernel_port_recall(struct xb_kernel_port *kernel, unsigned queues, struct xb_cache *cache);

/** Whether its interface lies in this network namespace. */
bool xb_kernel_port_is_here(const struct xb_kernel_port *kernel);

/** Gives the interface a carrier or takes it. The kernel gives it one with each queue that is
 * opened, so that this is to be called again and again. A macvtap keeps that of the interface below
 * it. Needs no capability. Returns 0 or -errno: then it is as it was, and taken for one that has a
 * carrier. */
int xb_kernel_port_set_carrier(struct xb_kernel_port *kernel, bool on);

/** Reads whether the interface is up, and its MTU; sets port->up. Where the MTU is another, stop
 * and start adopt it. Returns 0, or -ENODEV where it is gone, -EPROTO where the port is broken and
 * a restart is due. */
int xb_kernel_port_check(struct xb_kernel_port *kernel);

#endif
