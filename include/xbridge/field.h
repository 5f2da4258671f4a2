/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a rule can ask of a frame: a row for each field. All that has a place for every field is
 * made from these rows: enum xb_match and struct xb_rule (rule.h), struct xb_key and what is known
 * of which frame (parse.h), the axes of the image (image.h), the language of rules and its help
 * (src/steer/field.h), and the page of the pinned maps. What the rows can't say is code: where a
 * field lies in a packet (parse.h to read it, src/cli/sample.c to write it).
 *
 * X(NAME, name, KIND, BITS, FIRST, LAST, LAYER, words,
 *   keyword, value, expected,
 *   help,
 *   meaning)
 *
 * NAME      XB_MATCH_NAME. The rows' order is that in which a rule is printed and asked.
 * name      the member of struct xb_key and of struct xb_rule
 * KIND      what a rule says of it:
 *             OWN       the word `own`
 *             PORTS     names of ports
 *             NUMBER    a number, or one of `words`
 *             PROTOCOL  the same, or a name in the system's list of protocols
 *             HEX       as NUMBER, printed in hexadecimal
 *             NAME      one of `words`
 *             MAC       a MAC address
 *             DMAC      the same, or `kernel`, or `own`, which is the row of kind OWN
 *             PREFIX    an IPv4 or IPv6 prefix
 *             RANGE     a number, or a range of numbers
 *             SERVICE   the same, or a name in the system's list of services
 *             FLAGS     those that are set, of those that a mask names
 * BITS      its size in a key: 8, 16, 48 (a MAC address) or 128 (an IPv4 or IPv6 address). One of 8
 *           bits has a place for each value in the image, so it is found without a search.
 * FIRST     the lowest and the highest number that a rule may say. Of a field with 8 bits no frame
 * LAST      has a value above the last.
 * LAYER     which frames have it (enum xb_layer)
 * words     names for numbers, a list in src/steer/words.h; NULL: none
 * keyword   what a rule calls it
 * value     the grammar of what follows that; NULL: another row says it
 * expected  what an error says is expected there, or NULL
 * help      for `xbridge help rules` and xbridge-rules(7), or NULL
 * meaning   for the page of the pinned maps
 */
#ifndef XBRIDGE_FIELD_H
#define XBRIDGE_FIELD_H

#define XB_FIELDS(X)                                                                               \
	X(IN, in, PORTS, 8, 0, XB_PORTS_MAX - 1, FRAME, NULL, "in", "NAME[,NAME...]|uplink",       \
	  "the name of a port, names joined by commas, or 'uplink'",                               \
	  "the ports that the frame came from; `uplink`: any uplink",                              \
	  "ports by which the frame came in, joined by commas; uplink: any uplink")                \
	X(VLAN, vlan, NUMBER, 16, 0, 4094, FRAME, xb_vlan_words, "vlan", "ID|none",                \
	  "'none' or a VLAN's number from 0 to 4094", "the outermost VLAN tag; `none`: untagged",  \
	  "identifier of the outermost tag; 4096: untagged")                                       \
	X(SMAC, smac, MAC, 48, 0, 0, FRAME, NULL, "smac", "MAC",                                   \
	  "a MAC address like 02:00:00:00:00:01", "source address", "source MAC address")          \
	X(DMAC, dmac, DMAC, 48, 0, 0, FRAME, NULL, "dmac", "MAC|own|kernel",                       \
	  "'own', 'kernel' or a MAC address like 02:00:00:00:00:01",                               \
	  "destination; `own`: the uplink's own addresses; `kernel`: the kernel port's address, "  \
	  "as it is at the moment",                                                                \
	  "destination MAC address")                                                               \
	X(DMAC_OWN, own, OWN, 8, 0, XB_OWN_KEPT, OWN, NULL, "dmac", NULL, NULL, NULL,              \
	  "whether the destination is an own MAC address of the uplink")                           \
	X(ETHERTYPE, ethertype, HEX, 16, 0x600, 0xffff, FRAME, xb_ethertype_words, "ethertype",    \
	  "T", "ipv4, ipv6, arp or a number from 0x0600 to 0xffff",                                \
	  "ipv4, ipv6, arp or a number from 0x0600", "EtherType after the tags, two at most")      \
	X(PROTO, proto, PROTOCOL, 8, 0, 255, CHAIN, xb_proto_words, "proto",                       \
	  "tcp|udp|icmp|icmpv6|sctp|N", "the name of a protocol or a number from 0 to 255",        \
	  "a name (tcp, icmpv6, gre; /etc/protocols) or a number",                                 \
	  "IPv4 protocol; IPv6: what follows the extension headers")                               \
	X(SRC, src, PREFIX, 128, 0, 0, IP, NULL, "src", "CIDR",                                    \
	  "an address or a prefix like 10.0.0.0/8 or 2001:db8::/32",                               \
	  "IPv4 or IPv6 source: an address or a prefix", "source address, IPv4 or IPv6")           \
	X(DST, dst, PREFIX, 128, 0, 0, IP, NULL, "dst", "CIDR",                                    \
	  "an address or a prefix like 10.0.0.0/8 or 2001:db8::/32",                               \
	  "IPv4 or IPv6 destination: an address or a prefix", "destination address, IPv4 or IPv6") \
	X(SPORT, sport, SERVICE, 16, 0, 65535, PORTS, NULL, "sport", "N[-M]",                      \
	  "a port, a range like 1024-65535 or the name of a service",                              \
	  "TCP, UDP or SCTP source port: a number, a range, or a service's name "                  \
	  "(bgp; /etc/services)",                                                                  \
	  "source port of TCP, UDP or SCTP; of fragments only the first has it")                   \
	X(DPORT, dport, SERVICE, 16, 0, 65535, PORTS, NULL, "dport", "N[-M]",                      \
	  "a port, a range like 1024-65535 or the name of a service",                              \
	  "destination port, likewise", "destination port, likewise")                              \
	X(TCP_FLAGS, tcp_flags, FLAGS, 8, 0, 255, TCP, NULL, "tcp-flags", "SET/MASK",              \
	  "SET/MASK, each a number or of fin,syn,rst,psh,ack,urg,ece,cwr",                         \
	  "of the flags in MASK exactly those in SET are set: fin, syn, rst, psh, ack, urg, ece, " \
	  "cwr, joined by commas",                                                                 \
	  "the byte of CWR ECE URG ACK PSH RST SYN FIN")                                           \
	X(ICMP_TYPE, icmp_type, RANGE, 8, 0, 255, ICMP, NULL, "icmp-type", "N[-M]",                \
	  "a type or a range from 0 to 255", "type or range; needs proto icmp or icmpv6",          \
	  "type of ICMP or ICMPv6")                                                                \
	X(DSCP, dscp, NUMBER, 8, 0, 63, IP, NULL, "dscp", "N", "a number from 0 to 63", "0 to 63", \
	  "of IPv4 or IPv6, 0 to 63")                                                              \
	X(FRAG, frag, NAME, 8, 0, XB_FRAG_LATER, CHAIN, xb_frag_words, "frag", "no|first|later",   \
	  "no, first or later", "unfragmented, the first fragment, or a later one",                \
	  "whether it is a fragment, and which: enum xb_frag")

/** Which frames have a field. */
enum xb_layer {
	XB_LAYER_FRAME, /* all */
	XB_LAYER_OWN,   /* those whose destination is an own MAC address of the uplink */
	XB_LAYER_IP,    /* IPv4 and IPv6 */
	XB_LAYER_CHAIN, /* the same, if the header after IPv6's extension headers is in sight */
	XB_LAYER_PORTS, /* TCP, UDP and SCTP, but no later fragment */
	XB_LAYER_TCP,   /* TCP, but no later fragment */
	XB_LAYER_ICMP,  /* ICMP and ICMPv6, but no later fragment */
};

/* XB_IF_8(BITS, text): the text, if BITS is 8; otherwise nothing. BITS is a row's own. */
#define XB_IF_8(bits, ...)   XB_IF_8_##bits(__VA_ARGS__)
#define XB_IF_16(bits, ...)  XB_IF_16_##bits(__VA_ARGS__)
#define XB_IF_48(bits, ...)  XB_IF_48_##bits(__VA_ARGS__)
#define XB_IF_128(bits, ...) XB_IF_128_##bits(__VA_ARGS__)

#define XB_IF_8_8(...) __VA_ARGS__
#define XB_IF_8_16(...)
#define XB_IF_8_48(...)
#define XB_IF_8_128(...)
#define XB_IF_16_8(...)
#define XB_IF_16_16(...) __VA_ARGS__
#define XB_IF_16_48(...)
#define XB_IF_16_128(...)
#define XB_IF_48_8(...)
#define XB_IF_48_16(...)
#define XB_IF_48_48(...) __VA_ARGS__
#define XB_IF_48_128(...)
#define XB_IF_128_8(...)
#define XB_IF_128_16(...)
#define XB_IF_128_48(...)
#define XB_IF_128_128(...) __VA_ARGS__

#endif
