/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Why a packet was dropped: one list gives the enum, the names in `stats` and the reference page.
 *
 * A dropped packet counts once, on one port: on the port that received it when the reason shows
 * before the verdict is known, on the port that should have sent it when it shows after.
 */
#ifndef XBRIDGE_DROPS_H
#define XBRIDGE_DROPS_H

/* X(NAME, name, side, explanation); side is the port that counts it: rx or tx. */
#define XB_DROP_REASONS(X)                                                                        \
	X(RUNT, runt, rx, "shorter than an Ethernet header")                                      \
	X(TOO_LONG, too_long, rx, "longer than the receiving port may send us")                   \
	X(BAD_HEADER, bad_header, rx, "virtio-net header contradicts the packet that follows it") \
	X(BAD_RING, bad_ring, rx, "the other side of the ring broke its rules")                   \
	X(NO_FRAME, no_frame, rx, "no free frame to hold it, or a copy of it")                    \
	X(SMAC_GROUP, smac_group, rx, "source address is a group address")                        \
	X(SMAC_TAKEN, smac_taken, rx, "source address belongs to another port or to this host")   \
	X(RESERVED, reserved, rx, "link-local protocol (01:80:c2:00:00:0x), never forwarded")     \
	X(STORM, storm, rx, "group frames beyond the port's storm limit")                         \
	X(LOOP, loop, rx, "its port and another port are on one segment, so it would loop")       \
	X(HAIRPIN, hairpin, rx, "destination is reached through the port that it came from")      \
	X(NO_PORT, no_port, rx, "no other port to send it to")                                    \
	X(VERDICT, verdict, rx,                                                                   \
	  "a rule or the default verdict says drop; or pass, and this is a copy")                 \
	X(LIMIT, limit, rx, "beyond a rule's limit")                                              \
	X(PORT_DOWN, port_down, tx, "the port is down")                                           \
	X(TX_FULL, tx_full, tx, "the port's transmit ring was full")                              \
	X(TX_TOO_LONG, tx_too_long, tx, "longer than the port can send, and not to be cut")       \
	X(TX_NO_FRAME, tx_no_frame, tx, "no free frame to cut it into")                           \
	X(TX_BAD, tx_bad, tx, "its headers can't be cut, or its checksum can't be finished")      \
	X(TX_RESET, tx_reset, tx, "thrown away by a reset of the port")                           \
	X(TX_ERROR, tx_error, tx, "refused by the kernel or the device")

enum xb_drop {
#define XB_DROP_ENUM(NAME, name, side, text) XB_DROP_##NAME,
	XB_DROP_REASONS(XB_DROP_ENUM)
#undef XB_DROP_ENUM
		XB_DROP_COUNT
};

#endif
