/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where an instance's pins lie in bpffs (bpffs.h), and what they say. For gate.c, slots.c and
 * pins.c.
 */
#ifndef XB_GATE_PINS_H
#define XB_GATE_PINS_H

#include "core/error.h"
#include "gate/gate.h"

#include <stdbool.h>
#include <stdint.h>

#define XB_PIN_PATH_BYTES 224u

struct xb_pin_path {
	char text[XB_PIN_PATH_BYTES];
};

/** Whether `instance` may name an instance (xb_gate_open). */
bool xb_pin_name_ok(const char *instance);

/** The folder that has a folder for each instance. */
struct xb_pin_path xb_pin_root(void);

/** The path of `name` ("" is the folder itself) in an instance's folder. */
struct xb_pin_path xb_pin_path(const char *instance, const char *name);

/** The path of internal/<kind>_<slot>. */
struct xb_pin_path xb_pin_slot_path(const char *instance, const char *kind, uint32_t slot);

/** Mounts bpffs where nobody did, and makes an instance's folders. `ret_made`, set on failure too,
 *  says whether the instance's own was not there before. */
int xb_pin_prepare(const char *instance, bool *ret_made, struct xb_error *err);

/** What a slot's pins say of its program. */
struct xb_pin_record {
	uint32_t prog_id; /* 0: it has none */
	uint32_t ifindex; /* 0: the interface is gone, or, behind a dispatcher, perhaps elsewhere */
	bool here;        /* it is on that interface, in this network namespace */
	enum xb_attach_way way;
};

struct xb_pin_record xb_pin_read(const char *instance, uint32_t slot);

/** The id of the program of a slot that is pinned as `kind` ("prog", "new_prog"); 0: none. */
uint32_t xb_pin_prog_id(const char *instance, const char *kind, uint32_t slot);

/**
 * Takes a slot's program off wherever it is, and removes its pins.
 *
 * @ret_slots: those whose programs went with it are added, as a mask: of the instance's own upon
 *             that interface, which had to go first (below.h).
 *
 * Returns 0, -EBUSY where a program of somebody else's is upon it, or another -errno.
 */
int xb_pin_take_off(const char *instance, uint32_t slot, uint32_t *ret_slots, struct xb_error *err);

/** Makes sure that no device upon an interface has an XDP program, so that one can be put there
 * (`attach`), or taken off. As xb_pin_take_off. */
int xb_pin_clear_upon(const char *instance, uint32_t ifindex, bool attach, uint32_t *ret_slots,
		      struct xb_error *err);

#endif
