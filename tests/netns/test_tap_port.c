/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The TAP as a port, in each form (readv, io_uring with and without RWF_NOWAIT), against the
 * kernel's own network stack.
 *
 *      10.77.0.1 th0 ═══ port ═══ test ═══ port ═══ th1 10.77.0.2
 *      this namespace                               a second one (TCP tests)
 */
#include "core/l4.h"
#include "tap_env.h"
#include "vhost/tap_port.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>

#include <cmocka.h>

#define FRAMES   4096u
#define UDP_PORT 4789
#define WAIT_MS  5000

static const uint8_t peer_mac[6] = {2, 0, 0, 0, 0, 2};

struct end {
	struct xb_tap tap;
	struct xb_tap_port port;
	struct xb_cache cache;
};

static struct xb_arena arena;
static enum xb_tap_io form; /* what the tests run with now */
static bool before_6_4;     /* and whether as on a kernel without RWF_NOWAIT on TAPs */

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct xb_port *port_of(struct end *end)
{
	return &end->port.port;
}

static struct xb_port_queue *queue_of(struct end *end)
{
	return &end->port.port.queues[0];
}

static void open_end(struct end *end, const char *name, const char *netns, bool offload,
		     unsigned pairs)
{
	struct xb_tap_options tap = {.ifname = name, .netns = netns, .queues = pairs};
	struct xb_tap_port_options port = {.name = name, .offload = offload, .io = form};
	struct xb_error err = {0};
	char text[512];

	if (xb_tap_init(&end->tap, &tap, &err) < 0 || xb_tap_set_up(&end->tap, true) < 0 ||
	    xb_tap_port_init(&end->port, &end->tap, &port, &err) < 0)
		fail_msg("%s", xb_error_text(&err, text, sizeof(text)));
	if (before_6_4)
		end->port.nowait = false;
	if (xb_tap_port_start(&end->port, pairs, &err) < 0)
		fail_msg("%s", xb_error_text(&err, text, sizeof(text)));
	assert_int_equal(end->port.io, form);
	xb_cache_init(&end->cache, &arena);
}

/* Stops, and checks that no frame is missing. */
static void close_end(struct end *end)
{
	xb_tap_port_stop(&end->port, &end->cache);
	xb_tap_port_fini(&end->port);
	xb_tap_fini(&end->tap);
	xb_cache_fini(&end->cache);
}

static void assert_all_frames_free(void)
{
	uint32_t counts[XB_OWNER_COUNT];

	xb_arena_count(&arena, counts);
	assert_int_equal(counts[XB_OWNER_POOL], arena.n_frames);
}

/* th0 with an address, and a neighbour behind the port. */
static void open_th0(struct end *end, bool offload, unsigned pairs)
{
	open_end(end, "th0", NULL, offload, pairs);
	sh("ip addr add 10.77.0.1/24 dev th0; "
	   "ip neigh replace 10.77.0.2 lladdr 02:00:00:00:00:02 dev th0");
}

static int udp_socket(int fd_flags)
{
	struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(UDP_PORT)};
	struct sockaddr_in there = here;
	struct timeval patience = {.tv_sec = WAIT_MS / 1000};
	int fd = socket(AF_INET, SOCK_DGRAM | fd_flags, 0);
	int room = 8 << 20;

	here.sin_addr.s_addr = htonl(0x0a4d0001);
	there.sin_addr.s_addr = htonl(0x0a4d0002);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	assert_int_equal(bind(fd, (struct sockaddr *)&here, sizeof(here)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&there, sizeof(there)), 0);
	return fd;
}

/* Receives `want` packets on queue `q`, polling; fewer where they don't come. */
static unsigned receive(struct end *end, unsigned q, struct xb_frame **pkts, unsigned want)
{
	uint64_t deadline_ms = now_ms() + WAIT_MS;
	unsigned n = 0;

	while (n < want && now_ms() < deadline_ms) {
		unsigned max = want - n < XB_BATCH ? want - n : XB_BATCH;

		n += port_of(end)->ops->rx_batch(port_of(end), q, &end->cache, pkts + n, max);
	}
	return n;
}

static void drop_all(struct end *end, struct xb_frame **pkts, unsigned n)
{
	while (n)
		xb_packet_free(&end->cache, pkts[--n]);
}

/* A UDP packet from the neighbour, `payload` bytes that start with `number`, in frames of `part`
 * bytes whose first has its data at `head`. */
static struct xb_frame *make_udp(struct end *end, uint32_t number, uint32_t payload, uint32_t head,
				 uint32_t part)
{
	uint8_t flat[16384];
	uint32_t bytes = ETH_HLEN + 20 + 8 + payload;
	struct ethhdr eth = {.h_proto = htons(ETH_P_IP)};
	struct iphdr ip = {.version = 4, .ihl = 5, .ttl = 9, .protocol = IPPROTO_UDP};
	struct udphdr udp = {.source = htons(UDP_PORT), .dest = htons(UDP_PORT)};
	struct xb_frame *first = NULL, *last = NULL;
	uint32_t sum = 0;

	assert_int_equal(xb_tap_get_mac(&end->tap, eth.h_dest), 0);
	memcpy(eth.h_source, peer_mac, 6);
	ip.saddr = htonl(0x0a4d0002);
	ip.daddr = htonl(0x0a4d0001);
	ip.tot_len = htons((uint16_t)(bytes - ETH_HLEN));
	udp.len = htons((uint16_t)(8 + payload));
	memcpy(flat + ETH_HLEN, &ip, 20);
	for (unsigned i = 0; i < 20; i += 2)
		sum += xb_get_be16(flat + ETH_HLEN + i);
	sum = (sum & 0xffff) + (sum >> 16);
	ip.check = htons((uint16_t) ~(sum + (sum >> 16)));
	memcpy(flat, &eth, ETH_HLEN);
	memcpy(flat + ETH_HLEN, &ip, 20);
	memcpy(flat + ETH_HLEN + 20, &udp, 8);
	for (uint32_t i = 0; i < payload; i++)
		flat[ETH_HLEN + 28 + i] = (uint8_t)(number + i);
	memcpy(flat + ETH_HLEN + 28, &number, sizeof(number));

	for (uint32_t at = 0; at < bytes; at += part) {
		struct xb_frame *frame = xb_frame_alloc(&end->cache);
		uint32_t len = bytes - at < part ? bytes - at : part;

		assert_non_null(frame);
		xb_packet_init(frame, first ? 0 : head, len);
		memcpy(xb_frame_data(frame), flat + at, len);
		if (first)
			xb_packet_append(first, last, frame);
		else
			first = frame;
		last = frame;
	}
	return first;
}

static void send_all(struct end *end, struct xb_frame **pkts, unsigned n)
{
	const struct xb_port_ops *ops = port_of(end)->ops;

	assert_int_equal(ops->tx_batch(port_of(end), 0, &end->cache, pkts, n), n);
	assert_int_equal(ops->kick(port_of(end), 0, &end->cache), 0);
}

static void expect_number(int fd, uint32_t number, uint32_t payload)
{
	uint8_t got[16384];
	uint32_t first;

	assert_int_equal(recv(fd, got, sizeof(got), 0), payload);
	memcpy(&first, got, sizeof(first));
	assert_int_equal(first, number);
	for (uint32_t i = sizeof(first); i < payload; i++)
		if (got[i] != (uint8_t)(number + i))
			fail_msg("byte %u of packet %u", i, number);
}

/* ---- packets ---- */

static void packets_from_the_kernel_arrive_whole_and_in_order(void **state)
{
	struct xb_frame *pkts[300];
	uint8_t payload[1400];
	struct end end;
	int fd;

	(void)state;
	open_th0(&end, true, 1);
	fd = udp_socket(0);
	for (unsigned i = 0; i < 300; i++) {
		memset(payload, (int)i, sizeof(payload));
		assert_int_equal(send(fd, payload, sizeof(payload), 0), sizeof(payload));
	}
	assert_int_equal(receive(&end, 0, pkts, 300), 300);
	for (unsigned i = 0; i < 300; i++) {
		memset(payload, (int)i, sizeof(payload));
		assert_int_equal(pkts[i]->bytes, 14 + 28 + 1400);
		assert_int_equal(pkts[i]->count, 1);
		assert_int_equal(pkts[i]->head, XB_FRAME_HEADROOM);
		assert_int_equal(xb_frame_owner(pkts[i]), XB_OWNER_WORKER);
		assert_int_equal(pkts[i]->offload.csum, XB_CSUM_PARTIAL);
		assert_int_equal(pkts[i]->offload.csum_start, 34);
		assert_memory_equal(xb_frame_data(pkts[i]), peer_mac, 6);
		assert_memory_equal(xb_frame_data(pkts[i]) + 42, payload, sizeof(payload));
	}
	assert_int_equal(receive(&end, 0, pkts, 0), 0);
	drop_all(&end, pkts, 300);
	close(fd);
	close_end(&end);
	assert_all_frames_free();
}

static void packets_to_the_kernel_arrive_whole_and_in_order(void **state)
{
	static const uint32_t sizes[] = {4, 18, 1472, 700};
	struct xb_frame *pkts[64];
	struct end end;
	int fd;

	(void)state;
	open_th0(&end, true, 1);
	fd = udp_socket(0);
	for (unsigned round = 0; round < 8; round++) {
		for (unsigned i = 0; i < 64; i++)
			pkts[i] = make_udp(&end, round * 64 + i, sizes[i % 4], 256, 4096);
		send_all(&end, pkts, 64);
	}
	for (unsigned i = 0; i < 512; i++)
		expect_number(fd, i, sizes[i % 4]);
	assert_int_equal(xb_counted(&queue_of(&end)->tx_packets), 512);
	close(fd);
	close_end(&end);
	assert_all_frames_free();
}

static void more_than_a_ring_holds_goes_in_one_batch_after_the_other_without_a_kick(void **state)
{
	struct xb_frame *pkts[64];
	struct end end;
	int fd;

	(void)state;
	open_th0(&end, true, 1);
	fd = udp_socket(0);
	for (unsigned round = 0; round < 5; round++) {
		for (unsigned i = 0; i < 64; i++)
			pkts[i] = make_udp(&end, round * 64 + i, 100, 256, 4096);
		assert_int_equal(
			port_of(&end)->ops->tx_batch(port_of(&end), 0, &end.cache, pkts, 64), 64);
	}
	assert_int_equal(port_of(&end)->ops->kick(port_of(&end), 0, &end.cache), 0);
	for (unsigned i = 0; i < 320; i++)
		expect_number(fd, i, 100);
	close(fd);
	close_end(&end);
	assert_all_frames_free();
}

static void a_chain_is_one_packet_whatever_its_shape(void **state)
{
	static const struct {
		uint32_t head, part;
	} shapes[] = {{256, 4096}, {0, 4096}, {11, 100}, {12, 100}, {4000, 90}, {256, 1}};
	struct xb_frame *pkt;
	struct end end;
	int fd;

	(void)state;
	open_th0(&end, true, 1);
	fd = udp_socket(0);
	for (unsigned i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		pkt = make_udp(&end, i, shapes[i].part == 1 ? 4 : 1000, shapes[i].head,
			       shapes[i].part);
		send_all(&end, &pkt, 1);
		expect_number(fd, i, shapes[i].part == 1 ? 4 : 1000);
	}
	close(fd);
	close_end(&end);
	assert_all_frames_free();
}

static void a_trusted_checksum_reaches_the_kernel_as_a_right_one(void **state)
{
	struct xb_frame *pkt;
	struct end end;
	int fd;

	(void)state;
	open_th0(&end, true, 1);
	fd = udp_socket(0);
	pkt = make_udp(&end, 7, 500, 256, 4096);
	xb_put_be16(xb_frame_data(pkt) + 40, 0xbad0);
	send_all(&end, &pkt, 1); /* as it stands: wrong, and dropped by the stack */
	pkt = make_udp(&end, 8, 500, 256, 4096);
	xb_put_be16(xb_frame_data(pkt) + 40, 0xbad0);
	pkt->offload.csum = XB_CSUM_TRUSTED;
	send_all(&end, &pkt, 1);
	expect_number(fd, 8, 500);
	close(fd);
	close_end(&end);
	assert_all_frames_free();
}

/* ---- the interface ---- */

static void a_tap_that_is_down_drops_and_comes_back(void **state)
{
	struct xb_frame *pkt;
	struct end end;
	int fd;

	(void)state;
	open_th0(&end, true, 1);
	fd = udp_socket(0);
	assert_true(port_of(&end)->up);
	sh("ip link set th0 down");
	pkt = make_udp(&end, 1, 100, 256, 4096);
	send_all(&end, &pkt, 1);
	assert_int_equal(xb_counted(&queue_of(&end)->drops[XB_DROP_TX_ERROR]), 1);
	assert_int_equal(end.port.broken, 0);
	sh("ip link set th0 up");
	pkt = make_udp(&end, 2, 100, 256, 4096);
	send_all(&end, &pkt, 1);
	expect_number(fd, 2, 100);
	close(fd);
	close_end(&end);
	assert_all_frames_free();
}

static void a_port_on_a_deleted_tap_falls_silent(void **state)
{
	const struct xb_port_ops *ops;
	struct xb_frame *pkts[XB_BATCH];
	uint64_t deadline_ms;
	struct end end;

	(void)state;
	open_th0(&end, true, 1);
	ops = port_of(&end)->ops;
	assert_int_equal(ops->rx_batch(port_of(&end), 0, &end.cache, pkts, XB_BATCH), 0);
	sh("ip link del th0");
	deadline_ms = now_ms() + WAIT_MS;
	while (!end.port.broken && now_ms() < deadline_ms)
		ops->rx_batch(port_of(&end), 0, &end.cache, pkts, XB_BATCH);
	assert_int_equal(end.port.broken, -ENODEV);
	assert_false(port_of(&end)->up);
	assert_true(ops->arm(port_of(&end), 0));
	assert_int_equal(queue_of(&end)->wake_fd, -1);
	pkts[0] = xb_frame_alloc(&end.cache);
	xb_packet_init(pkts[0], 256, 60);
	memset(xb_frame_data(pkts[0]), 0, 60);
	send_all(&end, pkts, 1);
	assert_int_equal(xb_counted(&queue_of(&end)->drops[XB_DROP_TX_ERROR]), 1);
	assert_int_equal(xb_tap_port_check(&end.port), -ENODEV);
	close_end(&end);
	assert_all_frames_free();
}

static void a_packet_longer_than_the_mtu_was_is_dropped_and_counted(void **state)
{
	struct xb_frame *pkts[1];
	uint8_t payload[8000] = {0};
	struct end end;
	int fd;

	(void)state;
	open_th0(&end, false, 1);
	fd = udp_socket(0);
	assert_int_equal(end.port.read_frames, 1);
	sh("ip link set th0 mtu 9000");
	assert_int_equal(send(fd, payload, 8000, 0), 8000);
	assert_int_equal(send(fd, payload, 10, 0), 10);
	assert_int_equal(receive(&end, 0, pkts, 1), 1);
	assert_int_equal(pkts[0]->bytes, 52);
	assert_int_equal(xb_counted(&queue_of(&end)->drops[XB_DROP_TOO_LONG]), 1);
	assert_int_equal(xb_counted(&queue_of(&end)->rx_packets), 1);
	drop_all(&end, pkts, 1);
	close(fd);
	close_end(&end);
	assert_all_frames_free();
}

static void with_few_frames_it_reads_as_many_as_there_are(void **state)
{
	struct xb_frame *pkts[100], *hoard[FRAMES + 1];
	struct end end;
	unsigned kept = 0;
	int fd;

	(void)state;
	open_th0(&end, true, 1);
	fd = udp_socket(0);
	while ((hoard[kept] = xb_frame_alloc(&end.cache)))
		kept++;
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(send(fd, &i, sizeof(i), 0), sizeof(i));
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(
			port_of(&end)->ops->rx_batch(port_of(&end), 0, &end.cache, pkts, XB_BATCH),
			0);
	drop_all(&end, hoard + kept - 80, 80);
	kept -= 80;
	for (unsigned i = 0; i < 40; i++) {
		assert_int_equal(receive(&end, 0, pkts, 1), 1);
		drop_all(&end, pkts, 1);
	}
	drop_all(&end, hoard, kept);
	close(fd);
	close_end(&end);
	assert_all_frames_free();
}

/* ---- sleep ---- */

static void *send_one(void *arg)
{
	int *fd = arg;

	assert_int_equal(send(*fd, "wake", 4, 0), 4);
	return NULL;
}

static void an_armed_queue_wakes_when_a_packet_comes(void **state)
{
	const struct xb_port_ops *ops;
	struct xb_frame *pkts[XB_BATCH];
	struct end end;
	int fd;

	(void)state;
	open_th0(&end, true, 1);
	ops = port_of(&end)->ops;
	fd = udp_socket(0);
	for (unsigned i = 0; i < 20; i++) {
		struct pollfd wake = {.fd = queue_of(&end)->wake_fd, .events = POLLIN};
		pthread_t sender;

		while (ops->rx_batch(port_of(&end), 0, &end.cache, pkts, XB_BATCH))
			;
		assert_true(ops->arm(port_of(&end), 0));
		assert_int_equal(poll(&wake, 1, 0), 0);
		assert_int_equal(pthread_create(&sender, NULL, send_one, &fd), 0);
		assert_int_equal(poll(&wake, 1, WAIT_MS), 1);
		ops->disarm(port_of(&end), 0);
		assert_int_equal(receive(&end, 0, pkts, 1), 1);
		drop_all(&end, pkts, 1);
		pthread_join(sender, NULL);
	}
	close(fd);
	close_end(&end);
	assert_all_frames_free();
}

/* ---- threads and queues ---- */

static void *poll_once(void *arg)
{
	struct end *end = arg;
	struct xb_frame *pkts[XB_BATCH];

	port_of(end)->ops->rx_batch(port_of(end), 0, &end->cache, pkts, XB_BATCH);
	return NULL;
}

static void a_queue_moves_to_another_thread(void **state)
{
	struct xb_frame *pkts[40];
	struct end end;
	int fd;

	(void)state;
	open_th0(&end, true, 1);
	fd = udp_socket(0);
	for (unsigned i = 0; i < 20; i++) {
		pthread_t owner;

		/* looks for packets, finds none, and is gone */
		assert_int_equal(pthread_create(&owner, NULL, poll_once, &end), 0);
		pthread_join(owner, NULL);
		assert_int_equal(send(fd, "next", 4, 0), 4);
		assert_int_equal(receive(&end, 0, pkts, 1), 1);
		drop_all(&end, pkts, 1);
	}
	close(fd);
	close_end(&end);
	assert_all_frames_free();
}

static pthread_barrier_t turn;

static void *poll_once_and_stay(void *arg)
{
	poll_once(arg);
	pthread_barrier_wait(&turn);
	pthread_barrier_wait(&turn);
	return NULL;
}

static void it_stops_at_once_while_the_owner_sleeps(void **state)
{
	struct end end;
	pthread_t owner;
	uint64_t start_ms;

	(void)state;
	open_th0(&end, true, 1);
	pthread_barrier_init(&turn, NULL, 2);
	assert_int_equal(pthread_create(&owner, NULL, poll_once_and_stay, &end), 0);
	pthread_barrier_wait(&turn);
	start_ms = now_ms();
	close_end(&end);
	assert_true(now_ms() - start_ms < 500);
	assert_int_equal(if_nametoindex("th0"), 0);
	pthread_barrier_wait(&turn);
	pthread_join(owner, NULL);
	assert_all_frames_free();
}

static void queues_come_and_go_while_it_runs(void **state)
{
	struct xb_error err = {0};
	struct xb_frame *pkts[XB_BATCH];
	struct end end;
	int fd;

	(void)state;
	open_th0(&end, true, 1);
	fd = udp_socket(0);
	assert_int_equal(xb_tap_port_resize(&end.port, 0, &end.cache, &err), -EINVAL);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(xb_tap_port_resize(&end.port, 12, &end.cache, &err), 0);
		assert_int_equal(port_of(&end)->n_queues, 12);
		for (unsigned q = 0; q < 12; q++)
			port_of(&end)->ops->rx_batch(port_of(&end), q, &end.cache, pkts, XB_BATCH);
		assert_true(queue_of(&end)[11].wake_fd >= 0);
		assert_int_equal(xb_tap_port_resize(&end.port, 1, &end.cache, &err), 0);
		assert_int_equal(queue_of(&end)[11].wake_fd, -1);
		assert_int_equal(end.tap.n_queues, 1);
		assert_int_equal(send(fd, "some", 4, 0), 4);
		assert_int_equal(receive(&end, 0, pkts, 1), 1);
		drop_all(&end, pkts, 1);
	}
	xb_tap_port_stop(&end.port, &end.cache);
	assert_int_equal(xb_tap_port_start(&end.port, 2, &err), 0);
	close(fd);
	close_end(&end);
	assert_all_frames_free();
}

/* ---- TCP through two ports ---- */

#define TCP_BYTES (64u << 20)

struct forwarded {
	uint32_t longest;  /* bytes of the longest packet */
	unsigned segments; /* packets with gso */
	unsigned partial;
};

static void forward(struct end *from, struct end *to, struct forwarded *seen)
{
	struct xb_frame *pkts[XB_BATCH];
	unsigned n = port_of(from)->ops->rx_batch(port_of(from), 0, &from->cache, pkts, XB_BATCH);

	for (unsigned i = 0; i < n; i++) {
		if (pkts[i]->bytes > seen->longest)
			seen->longest = pkts[i]->bytes;
		seen->segments += pkts[i]->offload.gso != XB_GSO_NONE;
		seen->partial += pkts[i]->offload.csum == XB_CSUM_PARTIAL;
	}
	if (n)
		send_all(to, pkts, n);
}

struct stream {
	int fd;
	_Atomic bool done;
	bool right;
};

static uint8_t byte_at(uint32_t at)
{
	return (uint8_t)(at * 2654435761u >> 24);
}

static void *send_stream(void *arg)
{
	struct stream *stream = arg;
	static uint8_t block[1 << 16];

	for (uint32_t at = 0; at < TCP_BYTES; at += sizeof(block)) {
		for (uint32_t i = 0; i < sizeof(block); i++)
			block[i] = byte_at(at + i);
		for (size_t done = 0; done < sizeof(block);) {
			ssize_t n = send(stream->fd, block + done, sizeof(block) - done, 0);

			if (n <= 0)
				return NULL;
			done += (size_t)n;
		}
	}
	return NULL;
}

static void *check_stream(void *arg)
{
	struct stream *stream = arg;
	static uint8_t block[1 << 16];
	uint32_t at = 0;
	bool right = true;

	while (at < TCP_BYTES && right) {
		ssize_t n = recv(stream->fd, block, sizeof(block), 0);

		if (n <= 0)
			break;
		for (ssize_t i = 0; i < n; i++)
			right &= block[i] == byte_at(at++);
	}
	stream->right = right && at == TCP_BYTES;
	atomic_store(&stream->done, true);
	return NULL;
}

/* A socket in the namespace of the second TAP. */
static int far_socket(const char *netns)
{
	char path[64];
	int home = open("/proc/thread-self/ns/net", O_RDONLY);
	int there, fd;

	snprintf(path, sizeof(path), "/run/netns/%s", netns);
	there = open(path, O_RDONLY);
	assert_int_equal(setns(there, CLONE_NEWNET), 0);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(setns(home, CLONE_NEWNET), 0);
	close(home);
	close(there);
	return fd;
}

/* Carries one stream from th0 to th1 and forwards between the ports meanwhile. */
static void carry_tcp(bool offload, struct forwarded *seen_out, struct forwarded *seen_back)
{
	struct sockaddr_in far = {.sin_family = AF_INET, .sin_port = htons(5001)};
	struct timeval patience = {.tv_sec = 20};
	struct linger at_once = {.l_onoff = 1}; /* or FINs would be repeated into later tests */
	struct stream in = {0}, out = {0};
	pthread_t sender, checker;
	struct end near_end, far_end;
	char netns[32];
	int listener;

	snprintf(netns, sizeof(netns), "xbt-port-%d", (int)getpid());
	sh("ip netns add %s", netns);
	open_end(&near_end, "th0", NULL, offload, 1);
	open_end(&far_end, "th1", netns, offload, 1);
	sh("ip addr add 10.77.0.1/24 dev th0; ip -n %s addr add 10.77.0.2/24 dev th1", netns);

	far.sin_addr.s_addr = htonl(0x0a4d0002);
	listener = far_socket(netns);
	assert_int_equal(bind(listener, (struct sockaddr *)&far, sizeof(far)), 0);
	assert_int_equal(listen(listener, 1), 0);
	out.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_true(connect(out.fd, (struct sockaddr *)&far, sizeof(far)) < 0);
	assert_int_equal(fcntl(listener, F_SETFL, O_NONBLOCK), 0);
	while ((in.fd = accept(listener, NULL, NULL)) < 0) {
		forward(&near_end, &far_end, seen_out);
		forward(&far_end, &near_end, seen_back);
	}
	fcntl(out.fd, F_SETFL, 0);
	setsockopt(in.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(out.fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(in.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	setsockopt(out.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	assert_int_equal(pthread_create(&sender, NULL, send_stream, &out), 0);
	assert_int_equal(pthread_create(&checker, NULL, check_stream, &in), 0);
	while (!atomic_load(&in.done)) {
		forward(&near_end, &far_end, seen_out);
		forward(&far_end, &near_end, seen_back);
	}
	pthread_join(checker, NULL);
	close(in.fd);
	pthread_join(sender, NULL);
	close(out.fd);
	close(listener);
	assert_true(in.right);
	close_end(&near_end);
	close_end(&far_end);
	sh("ip netns del %s", netns);
	assert_all_frames_free();
}

static void segments_of_64_kb_cross_whole_in_both_directions(void **state)
{
	struct forwarded out = {0}, back = {0};

	(void)state;
	carry_tcp(true, &out, &back);
	assert_true(out.longest > 60000);
	assert_true(out.segments > 500);
}

static void without_offload_the_kernel_finishes_everything(void **state)
{
	struct forwarded out = {0}, back = {0};

	(void)state;
	carry_tcp(false, &out, &back);
	assert_int_equal(out.longest, 1514);
	assert_int_equal(out.segments + back.segments, 0);
	assert_int_equal(out.partial + back.partial, 0);
}

/* ---- choices ---- */

static void a_wrong_option_is_refused(void **state)
{
	struct xb_tap_options tap_options = {.ifname = "th2", .queues = 1};
	struct xb_tap_port_options options = {.name = "th2", .depth = XB_BATCH + 1, .io = form};
	struct xb_error err = {0};
	struct xb_tap_port port;
	struct xb_tap tap;

	(void)state;
	assert_int_equal(xb_tap_init(&tap, &tap_options, &err), 0);
	assert_int_equal(xb_tap_port_init(&port, &tap, &options, &err), -EINVAL);
	options.depth = 1;
	options.name = "";
	assert_int_equal(xb_tap_port_init(&port, &tap, &options, &err), -EINVAL);
	xb_tap_fini(&tap);
}

static int run_form(const char *name, enum xb_tap_io io, bool old)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_from_the_kernel_arrive_whole_and_in_order),
		cmocka_unit_test(packets_to_the_kernel_arrive_whole_and_in_order),
		cmocka_unit_test(
			more_than_a_ring_holds_goes_in_one_batch_after_the_other_without_a_kick),
		cmocka_unit_test(a_chain_is_one_packet_whatever_its_shape),
		cmocka_unit_test(a_trusted_checksum_reaches_the_kernel_as_a_right_one),
		cmocka_unit_test(a_tap_that_is_down_drops_and_comes_back),
		cmocka_unit_test(a_port_on_a_deleted_tap_falls_silent),
		cmocka_unit_test(a_packet_longer_than_the_mtu_was_is_dropped_and_counted),
		cmocka_unit_test(with_few_frames_it_reads_as_many_as_there_are),
		cmocka_unit_test(an_armed_queue_wakes_when_a_packet_comes),
		cmocka_unit_test(a_queue_moves_to_another_thread),
		cmocka_unit_test(it_stops_at_once_while_the_owner_sleeps),
		cmocka_unit_test(queues_come_and_go_while_it_runs),
		cmocka_unit_test(segments_of_64_kb_cross_whole_in_both_directions),
		cmocka_unit_test(without_offload_the_kernel_finishes_everything),
		cmocka_unit_test(a_wrong_option_is_refused),
	};

	form = io;
	before_6_4 = old;
	return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void)
{
	struct xb_error err = {0};
	int failed;

	enter_new_netns();
	if (xb_arena_init(&arena, FRAMES, 0, &err) < 0)
		return 1;
	failed = run_form("readv", XB_TAP_IO_READV, false);
	failed += run_form("io_uring", XB_TAP_IO_URING, false);
	failed += run_form("io_uring before 6.4", XB_TAP_IO_URING, true);
	xb_arena_fini(&arena);
	return failed;
}
