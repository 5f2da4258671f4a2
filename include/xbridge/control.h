/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control protocol: one JSON document a line, over a Unix stream socket.
 *
 *      request   {"argv": ["port", "set", "kernel", "--queues", "2"]}
 *      reply     {"ok": true, "result": {…}}
 *                {"ok": false, "exit": 1, "error": "what failed, on what, why; what to do"}
 *
 * A client may send further requests after a reply. `exit` is the client's exit status: 1 failed,
 * 2 wrong usage.
 */
#ifndef XBRIDGE_CONTROL_H
#define XBRIDGE_CONTROL_H

/** <XB_RUN_DIR>/<instance>.sock, mode 0600; beside it <instance>.lock, held while it runs. */
#define XB_RUN_DIR "/run/xbridge"

/** Longest request, the newline included: a table of XB_RULES_MAX rules, with room. */
#define XB_CONTROL_LINE_MAX (2u << 20)

/** Clients at a time; a further one is told so and turned away. */
#define XB_CONTROL_CLIENTS_MAX 64u

/** Descriptors that come with a reply, at most. */
#define XB_CONTROL_FDS_MAX 2u

/** Seconds after which a client that has sent no complete request is told so and hung up on, and
 * one that doesn't read its reply is hung up on. */
#define XB_CONTROL_IDLE_S 10u

#endif
