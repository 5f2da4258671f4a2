/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where an instance's pins lie in bpffs. For gate.c and pins.c.
 */
#ifndef XB_XSK_PINS_H
#define XB_XSK_PINS_H

#include "core/error.h"
#include "xsk/gate.h"

#include <stdbool.h>
#include <stdint.h>

#define XB_PIN_PATH_BYTES 192u

struct xb_pin_path {
	char text[XB_PIN_PATH_BYTES];
};

/** Whether `instance` may name an instance (xb_gate_open). */
bool xb_pin_name_ok(const char *instance);

/** The path of `name` ("" is the folder itself) in an instance's folder. */
struct xb_pin_path xb_pin_path(const char *instance, const char *name);

/** The path of internal/<kind>_<slot>. */
struct xb_pin_path xb_pin_slot_path(const char *instance, const char *kind, uint32_t slot);

/** Mounts bpffs where nobody did, and makes an instance's folders. `ret_made`, set on failure too,
 *  says whether the instance's own was not there before. */
int xb_pin_prepare(const char *instance, bool *ret_made, struct xb_error *err);

#endif
