/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The TAP as a port, in each form (readv, io_uring with and without RWF_NOWAIT), against the
 * kernel's own network stack.
 */
#include "core/l4.h"
#include "tap_end.h"

#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
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

#define UDP_PORT 4789
#define WAIT_MS  5000

static const uint8_t peer_mac[6] = {2, 0, 0, 0, 0, 2};

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

/* ---- submissions that fail ---- */

static unsigned failing; /* how many of the next ones */

/* what the linker puts in place of liburing's */
int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);

int __wrap_io_uring_submit(struct io_uring *ring)
{
	if (!failing)
		return __real_io_uring_submit(ring);
	failing--;
	return -EAGAIN;
}

static void a_submission_that_fails_is_made_again(void **state)
{
	struct xb_frame *pkts[XB_BATCH];
	uint64_t deadline_ms = now_ms() + WAIT_MS;
	struct end end;
	int fd;

	(void)state;
	open_th0(&end, true, 1);
	fd = udp_socket(0);
	for (unsigned i = 0; i < 5; i++) {
		const struct xb_port_ops *ops = port_of(&end)->ops;
		unsigned n = 0;

		failing = i;
		assert_int_equal(ops->rx_batch(port_of(&end), 0, &end.cache, pkts, XB_BATCH), 0);
		assert_int_equal(send(fd, &i, sizeof(i), 0), sizeof(i));
		while (!n && now_ms() < deadline_ms)
			n = ops->rx_batch(port_of(&end), 0, &end.cache, pkts, XB_BATCH);
		assert_int_equal(n, 1);
		drop_all(&end, pkts, n);
	}
	failing = 1;
	pkts[0] = make_udp(&end, 7, 100, 256, 4096);
	assert_int_equal(port_of(&end)->ops->tx_batch(port_of(&end), 0, &end.cache, pkts, 1), 1);
	port_of(&end)->ops->kick(port_of(&end), 0, &end.cache);
	failing = 0;
	assert_int_equal(port_of(&end)->ops->kick(port_of(&end), 0, &end.cache), 0);
	expect_number(fd, 7, 100);
	close(fd);
	close_end(&end);
	assert_all_frames_free();
}

static void a_stop_after_a_submission_that_failed_is_a_stop(void **state)
{
	struct xb_frame *pkts[XB_BATCH];
	uint64_t start_ms;
	struct end end;

	(void)state;
	open_th0(&end, true, 1);
	failing = 2; /* the scout's, and that of what calls it back */
	port_of(&end)->ops->rx_batch(port_of(&end), 0, &end.cache, pkts, XB_BATCH);
	start_ms = now_ms();
	close_end(&end);
	failing = 0;
	assert_true(now_ms() - start_ms < 500);
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

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_from_the_kernel_arrive_whole_and_in_order),
		cmocka_unit_test(packets_to_the_kernel_arrive_whole_and_in_order),
		cmocka_unit_test(
			more_than_a_ring_holds_goes_in_one_batch_after_the_other_without_a_kick),
		cmocka_unit_test(a_chain_is_one_packet_whatever_its_shape),
		cmocka_unit_test(a_trusted_checksum_reaches_the_kernel_as_a_right_one),
		cmocka_unit_test(a_submission_that_fails_is_made_again),
		cmocka_unit_test(a_stop_after_a_submission_that_failed_is_a_stop),
		cmocka_unit_test(a_tap_that_is_down_drops_and_comes_back),
		cmocka_unit_test(a_port_on_a_deleted_tap_falls_silent),
		cmocka_unit_test(a_packet_longer_than_the_mtu_was_is_dropped_and_counted),
		cmocka_unit_test(with_few_frames_it_reads_as_many_as_there_are),
		cmocka_unit_test(an_armed_queue_wakes_when_a_packet_comes),
		cmocka_unit_test(a_queue_moves_to_another_thread),
		cmocka_unit_test(it_stops_at_once_while_the_owner_sleeps),
		cmocka_unit_test(queues_come_and_go_while_it_runs),
		cmocka_unit_test(a_wrong_option_is_refused),
	};

	int failed = 0;

	set_up_ends();
	for (unsigned i = 0; set_form(i); i++)
		failed += cmocka_run_group_tests_name(set_form(i), tests, NULL, NULL);
	xb_arena_fini(&arena);
	return failed;
}
