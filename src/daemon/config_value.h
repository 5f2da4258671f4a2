/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The values that options take. Each function checks one kind of value and stores it, or fails with
 * -EINVAL and says in `err` what is expected; config.c adds which option it was.
 */
#ifndef XB_DAEMON_CONFIG_VALUE_H
#define XB_DAEMON_CONFIG_VALUE_H

#include "daemon/config.h"
#include "steer/verdict.h"

#include <stdbool.h>
#include <stddef.h>

#define XB_VERDICT_EXPECTED XB_VERDICTS_NAMED ", kernel or the name of an uplink"

/** Fails with "'VALUE': EXPECTED is expected". Returns -EINVAL. */
int xb_value_refuse(struct xb_error *err, const char *value, const char *expected);

/** A decimal number from `min` to `max`. */
int xb_value_number(const char *value, unsigned min, unsigned max, unsigned *ret_number,
		    struct xb_error *err);

/** Text of 1 to `bytes` - 1 characters; `what` names it in the error. */
int xb_value_text(const char *value, char *ret_text, size_t bytes, const char *what,
		  struct xb_error *err);

/** A unicast MAC address. */
int xb_value_mac(const char *value, uint8_t ret_mac[6], struct xb_error *err);

/** Whether a list ends with a comma, and so lacks something. */
bool xb_value_ends_open(const char *value);

/** Descriptors, like 3,4. */
int xb_value_fds(const char *value, struct xb_fd_list *ret_list, struct xb_error *err);

/** How many characters have to be added, taken away or replaced to make `known` of the first `len`
 * of `word`; len where one of the two is too long to say. */
unsigned xb_value_distance(const char *word, size_t len, const char *known);

/** The index of `word` in `words`, which NULL ends; -1 if it is none of them. */
int xb_value_one_of(const char *word, const char *const *words);

/** Refuses a name that would mean something else in a rule or in a configuration file. */
int xb_value_not_reserved(const char *value, struct xb_error *err);

/** The name of an interface. */
int xb_value_ifname(const char *value, char ret_name[IFNAMSIZ], struct xb_error *err);

/** A set of offloads: words joined by commas, or `none`. */
int xb_value_offload(const char *value, struct xb_offload_set *ret_set, struct xb_error *err);

/** Writes a set as xb_value_offload reads it, into at least XB_OFFLOAD_BYTES. */
#define XB_OFFLOAD_BYTES 24u
void xb_offload_text(struct xb_offload_set set, char *buf);

/** The name of a domain. */
int xb_value_domain(const char *value, char ret_name[XB_NAME_BYTES], struct xb_error *err);

/** The setter of `kernel` in config.c's table: IFNAME[,OPTION...] becomes one more kernel port. */
int xb_config_add_kernel(struct xb_config *config, const char *value, struct xb_error *err);

/** The setter of `uplink` in config.c's table: IFACE[,OPTION...] becomes one more uplink. */
int xb_config_add_uplink(struct xb_config *config, const char *value, struct xb_error *err);

#endif
