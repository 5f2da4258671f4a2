/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Userspace's half of `xbridge explain`: what this instance would do with a frame. The other half,
 * a twin of the XDP program, is the client's (gate/twin.h), which compares the two.
 */
#ifndef XB_DAEMON_EXPLAIN_H
#define XB_DAEMON_EXPLAIN_H

#include "core/error.h"
#include "xbridge/parse.h"

#include <json-c/json.h>

struct xb_instance;
struct xb_port;

/** Frames in one request. */
#define XB_EXPLAIN_FRAMES_MAX 64

/**
 * Explains frames that came in by `port`. Changes nothing.
 *
 * @frames: each LEN:HEX, its length and its first bytes, XB_PARSE_BYTES or all there are.
 *
 * Returns a new document, {"packets": [{bytes, verdict, verdict_id, stage, rule, parsed, …}]}, or
 * NULL where a frame is not written so.
 */
struct json_object *xb_explain_frames(const struct xb_instance *instance,
				      const struct xb_port *port, int n, const char *const *frames,
				      struct xb_error *err);

/** What `stage` says of an enum xb_stage. */
const char *xb_stage_name(unsigned stage);

#endif
