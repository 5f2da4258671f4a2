/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TCP between two TAPs in two namespaces, carried by their ports:
 *
 *      10.77.0.1 th0 ═══ port ═══ test ═══ port ═══ th1 10.77.0.2
 */
#include "tap_end.h"

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

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(segments_of_64_kb_cross_whole_in_both_directions),
		cmocka_unit_test(without_offload_the_kernel_finishes_everything),
	};
	int failed = 0;

	set_up_ends();
	for (unsigned i = 0; set_form(i); i++)
		failed += cmocka_run_group_tests_name(set_form(i), tests, NULL, NULL);
	xb_arena_fini(&arena);
	return failed;
}
