/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ids of ports: handles, given out in turn, and again only when nothing can mean the port that
 * had one before.
 *
 * What may still mean it: rules in force and those that a trial may bring back; frames in a ring
 * that a program has judged with an older table; captures that began while that port was there.
 */
#ifndef XB_DAEMON_PORT_IDS_H
#define XB_DAEMON_PORT_IDS_H

#include <stdbool.h>
#include <stdint.h>

#define XB_PORT_ID_NONE UINT16_MAX

/** The id of the port whose alias is `kernel`: kept for it. */
#define XB_KERNEL_PORT_ID 0u

struct xb_error;
struct xb_instance;

/** What is remembered of an id whose port has gone. */
struct xb_port_id {
	bool had;            /* a port has had it */
	bool is_marked;      /* rings were marked after the table had changed, … */
	bool is_out;         /* … and all before the mark has been taken out of them */
	uint32_t generation; /* of the table when the port went */
	uint64_t gone_ns;    /* CLOCK_MONOTONIC */
};

/** An id for a new port; XB_PORT_ID_NONE: there is none just now. */
uint16_t xb_port_ids_take(struct xb_instance *instance);

/** Says that there is none. Returns -ENOSPC. */
int xb_port_ids_refuse(struct xb_error *err);

/**
 * The port of that id has gone.
 *
 * @generation: that of the last table that may have known it.
 */
void xb_port_ids_give_back(struct xb_instance *instance, uint16_t id, uint32_t generation);

/** Once a second. */
void xb_port_ids_look(struct xb_instance *instance);

#endif
