/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The whole way down, driver, virtio_user, vhost-net backend, TAP, while every ioctl and open of it
 * fails once (HOSTILE.md, row 24). The TAP is real, in a network namespace of the process's own;
 * /dev/vhost-net is simulated.
 */
#include "sim/sim_vhost_kernel.h"
#include "support/must.h"
#include "support/room.h"
#include "vhost/kernel.h"
#include "vhost/virtio_user.h"
#include "virtio/features.h"
#include "virtio/net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <linux/vhost.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PAIRS 3u

struct stack {
	struct xb_arena arena;
	struct xb_cache cache;
	struct xb_tap tap;
	struct xb_vhost_kernel kernel;
	struct xb_virtio_user user;
	struct xb_virtio_net net;
	unsigned made; /* of the five above that have to be taken down */
};

static unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	MUST(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};

/* What stacks are made on, and whether the TAP is to outlive them. */
static struct xb_tap_options tap_options;
static bool persists;

/* Whether the driver asks for packed rings. */
static bool packed;

static const struct xb_tap_options plain = {.ifname = "xbt0", .queues = PAIRS, .mtu = 1500};

static int make(struct stack *s, struct xb_error *err)
{
	const struct xb_virtio_net_options net = {.name = "xbt0",
						  .queues_max = PAIRS,
						  .queue_size = 64,
						  .mtu = 1500,
						  .offload = XB_OFFLOAD_ALL,
						  .packed = packed};
	struct xb_vhost_region region;
	int ret;

	memset(s, 0, sizeof(*s));
	MUST(xb_arena_init(&s->arena, 1024, 2u << 20, NULL) == 0);
	xb_cache_init(&s->cache, &s->arena);
	region = (struct xb_vhost_region){s->arena.base, s->arena.bytes, s->arena.fd};
	ret = xb_tap_init(&s->tap, &tap_options, err);
	if (ret)
		return ret;
	s->made++;
	ret = xb_tap_set_queues(&s->tap, 1, err);
	if (!ret)
		ret = xb_vhost_kernel_init(&s->kernel, &s->tap, NULL, 0, PAIRS, err);
	if (ret)
		return ret;
	s->made++;
	ret = xb_virtio_user_init(&s->user, &s->kernel.backend, &region, 1, mac, 1500, err);
	if (ret)
		return ret;
	s->made++;
	ret = xb_virtio_net_init(&s->net, &s->user.transport, &s->arena, &net, err);
	s->made += !ret;
	return ret;
}

static void unmake(struct stack *s)
{
	switch (s->made) {
	case 4:
		xb_virtio_net_stop(&s->net, &s->cache);
		must_be_free(&s->arena);
		MUST(sim_vhost_serving_count() == 0);
		xb_virtio_net_fini(&s->net);
		/* fall through */
	case 3:
		xb_virtio_user_fini(&s->user);
		/* fall through */
	case 2:
		xb_vhost_kernel_fini(&s->kernel);
		/* fall through */
	case 1:
		xb_tap_fini(&s->tap);
		/* fall through */
	default:
		xb_cache_fini(&s->cache);
		xb_arena_fini(&s->arena);
	}
}

/* The TAP has exactly the queues that are served: another would take flows that nobody reads. */
static void must_serve(struct stack *s, unsigned pairs)
{
	if (sim_vhost_serving_count() != pairs || s->tap.n_queues != (pairs ? pairs : 1))
		fprintf(stderr, "request %#lx failed: %u pairs wanted, %u served, %u TAP queues\n",
			sim_vhost_failed_request(), pairs, sim_vhost_serving_count(),
			s->tap.n_queues);
	MUST(sim_vhost_serving_count() == pairs);
	MUST(s->net.port.n_queues == pairs);
	MUST(s->tap.n_queues == (pairs ? pairs : 1));
	for (unsigned q = 0; q < PAIRS; q++)
		MUST(s->net.port.queues[q].early_fd ==
		     (q < pairs ? xb_tap_queue_fd(&s->tap, q) : -1));
}

/* All that a control thread does to a port. Where a step fails the one before still holds. */
static int live(struct stack *s, struct xb_error *err)
{
	unsigned pairs = 0;
	int ret = make(s, err);

	if (ret)
		return ret;
	ret = xb_virtio_net_start(&s->net, 1, &s->cache, err);
	pairs += !ret;
	if (!ret) {
		ret = xb_virtio_net_resize(&s->net, PAIRS, &s->cache, err);
		pairs = ret ? 1 : PAIRS;
	}
	must_serve(s, pairs);
	if (!ret) {
		ret = xb_virtio_net_resize(&s->net, 2, &s->cache, err);
		must_serve(s, ret ? PAIRS : 2);
	}
	if (!ret && persists)
		ret = xb_tap_persist(&s->tap, err);
	return ret;
}

static bool names_a_device(const char *what)
{
	return strstr(what, "/dev/vhost-net") || strstr(what, "/dev/net/tun") ||
	       strstr(what, "TAP") || strstr(what, "xbt0");
}

static void must_explain(const struct xb_error *err, int ret, unsigned at)
{
	char text[512];

	MUST(ret < 0 && err->code == ret && err->what[0]);
	xb_error_text(err, text, sizeof(text));
	if (!names_a_device(err->what))
		fprintf(stderr, "call %u: '%s'\n", at, text);
	MUST(names_a_device(err->what));
}

/* A queue of xbt0, which is made where there is none. */
static int open_queue(void)
{
	struct ifreq req = {.ifr_name = "xbt0",
			    .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	MUST(fd >= 0 && ioctl(fd, TUNSETIFF, &req) == 0);
	return fd;
}

static void end_persistence(void)
{
	int fd = open_queue();

	MUST(ioctl(fd, TUNSETPERSIST, 0) == 0);
	close(fd);
}

/* One life on `tap_options`, in which the call `at` fails with `code` (0: none does); looks at what
 * is left. Returns what live() does; `ret_request` is the request that failed, `ret_calls` how many
 * there were. */
static int live_once(unsigned at, int code, unsigned long *ret_request, unsigned *ret_calls)
{
	unsigned before = count_fds();
	struct xb_error err = {0};
	int fds[PAIRS];
	struct stack s;
	int ret;

	sim_vhost_fail(0, 0);
	if (tap_options.n_fds) {
		tap_options.fds = fds;
		for (unsigned i = 0; i < PAIRS; i++)
			fds[i] = open_queue();
	}
	sim_vhost_fail(at, code);
	ret = live(&s, &err);
	*ret_request = sim_vhost_failed_request();
	*ret_calls = sim_vhost_calls();
	sim_vhost_fail(0, 0);
	if (ret)
		must_explain(&err, ret, at);
	for (unsigned i = 0; i < tap_options.n_fds && !s.made; i++)
		MUST(close(fds[i]) == 0); /* still ours */
	unmake(&s);
	if (persists && !ret)
		end_persistence();
	MUST(!if_nametoindex("xbt0"));
	MUST(count_fds() == before);
	MUST(sim_vhost_open_count() == 0);
	return ret;
}

/* Each call fails, in so many ways. The requests that stand in `wanted` are among them. */
static void must_survive_each_call(unsigned ways, const unsigned long *wanted, unsigned n_wanted)
{
	static const int codes[] = {EPERM, ENOMEM, EFAULT};
	unsigned failures = 0, met = 0, all, calls;
	unsigned long request;

	MUST(live_once(0, 0, &request, &all) == 0);
	for (unsigned at = 1; at <= all; at++)
		for (unsigned i = 0; i < ways; i++) {
			failures += live_once(at, codes[i], &request, &calls) != 0;
			for (unsigned w = 0; w < n_wanted; w++)
				met |= (unsigned)(request == wanted[w]) << w;
		}
	assert_null(sim_vhost_wrong());
	assert_true(all > 60);
	assert_true(failures > all * ways / 3); /* some may fail and nothing is lost */
	assert_int_equal(met, (1u << n_wanted) - 1);
}

static void every_call_that_fails_is_a_clean_error(void **state)
{
	static const unsigned long wanted[] = {TUNSETIFF,   TUNGETIFF,     SIOCSIFMTU,
					       TUNSETQUEUE, TUNSETOFFLOAD, VHOST_SET_OWNER};

	(void)state;
	tap_options = plain;
	must_survive_each_call(3, wanted, sizeof(wanted) / sizeof(wanted[0]));
}

static void so_it_is_with_an_address_that_was_asked_for(void **state)
{
	static const unsigned long wanted[] = {SIOCSIFHWADDR};

	(void)state;
	tap_options = plain;
	tap_options.mac = mac;
	must_survive_each_call(1, wanted, sizeof(wanted) / sizeof(wanted[0]));
}

/* A life that fails leaves no interface, even where one was to stay. */
static void so_it_is_with_a_tap_that_is_to_persist(void **state)
{
	static const unsigned long wanted[] = {TUNSETPERSIST};

	(void)state;
	tap_options = plain;
	persists = true;
	must_survive_each_call(1, wanted, sizeof(wanted) / sizeof(wanted[0]));
	persists = false;
}

static void so_it_is_with_a_tap_that_was_handed_in(void **state)
{
	static const unsigned long wanted[] = {TUNGETIFF, TUNSETQUEUE, TUNSETVNETHDRSZ};

	(void)state;
	tap_options = (struct xb_tap_options){.queues = PAIRS, .n_fds = PAIRS};
	must_survive_each_call(1, wanted, sizeof(wanted) / sizeof(wanted[0]));
}

static void it_can_be_started_again_after_each_failure(void **state)
{
	struct xb_error err = {0};
	struct stack s;

	(void)state;
	sim_vhost_fail(0, 0);
	tap_options = plain;
	assert_int_equal(make(&s, &err), 0);
	for (unsigned at = 1;; at++) {
		int ret;

		sim_vhost_fail(at, EFAULT);
		ret = xb_virtio_net_start(&s.net, PAIRS, &s.cache, &err);
		sim_vhost_fail(0, 0);
		if (!ret)
			break;
		must_serve(&s, 0);
		assert_int_equal(xb_virtio_net_start(&s.net, PAIRS, &s.cache, &err), 0);
		must_serve(&s, PAIRS);
		xb_virtio_net_stop(&s.net, &s.cache);
		must_serve(&s, 0);
		must_be_free(&s.arena);
	}
	unmake(&s);
	assert_null(sim_vhost_wrong());
}

/* The base goes in with a queue and comes out of the module when that stops. */
static void a_pair_that_was_stopped_goes_on_where_it_was(void **state)
{
	const struct xb_virtio_transport_ops *ops;
	struct xb_virtqueue queues[2];
	struct xb_error err = {0};
	struct stack s;

	(void)state;
	sim_vhost_fail(0, 0);
	tap_options = plain;
	assert_int_equal(make(&s, &err), 0);
	ops = s.user.transport.ops;
	assert_int_equal(ops->get_queue(&s.user.transport, XB_VQ_RX(1), queues), -EINVAL);
	assert_int_equal(xb_virtio_net_start(&s.net, 2, &s.cache, &err), 0);
	assert_true(sim_vhost_serves_at(0, 0));
	sim_vhost_advance(100);
	assert_int_equal(ops->set_pairs(&s.user.transport, 1, &err), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(ops->get_queue(&s.user.transport, 2 + i, &queues[i]), 0);
		assert_int_equal(queues[i].base, 100 + i);
		assert_int_equal(queues[i].size, 64);
		assert_false(queues[i].packed);
		queues[i].base += 7;
		assert_int_equal(ops->set_queue(&s.user.transport, 2 + i, &queues[i], &err), 0);
	}
	assert_int_equal(ops->get_queue(&s.user.transport, 2 * PAIRS, queues), -EINVAL);
	assert_int_equal(ops->set_pairs(&s.user.transport, 2, &err), 0);
	assert_int_equal(sim_vhost_serving_count(), 2);
	assert_true(sim_vhost_serves_at(107, 108));
	unmake(&s);
	assert_null(sim_vhost_wrong());
}

/* Down to the requests; the rings themselves are tested on a device in this process. */
static void a_module_with_packed_rings_gets_them_where_they_are_asked_for(void **state)
{
	const uint64_t all = sim_vhost_features;

	(void)state;
	sim_vhost_fail(0, 0);
	tap_options = plain;
	for (unsigned i = 0; i < 4; i++) {
		bool can = i & 1, both = i == 3;
		struct xb_error err = {0};
		struct xb_virtqueue queue;
		struct stack s;

		packed = i & 2;
		sim_vhost_features = can ? all | 1ull << VIRTIO_F_RING_PACKED : all;
		assert_int_equal(make(&s, &err), 0);
		assert_int_equal(xb_virtio_net_start(&s.net, 1, &s.cache, &err), 0);
		assert_int_equal(s.net.features >> VIRTIO_F_RING_PACKED & 1, both);
		assert_int_equal(s.kernel.features >> VIRTIO_F_RING_PACKED & 1, both);
		assert_int_equal(
			s.user.transport.ops->get_queue(&s.user.transport, XB_VQ_TX(0), &queue), 0);
		assert_int_equal(queue.packed, both);
		assert_true(sim_vhost_serves_at(both ? 0x80008000u : 0, both ? 0x80008000u : 0));
		unmake(&s);
	}
	packed = false;
	sim_vhost_features = all;
	assert_null(sim_vhost_wrong());
}

/* A split queue of 16, as it is laid out by vring_init. */
static struct xb_virtqueue a_queue(const uint8_t *mem)
{
	const struct xb_iova_map same = {0};

	return (struct xb_virtqueue){.size = 16,
				     .desc = xb_iova_of(same, mem),
				     .driver = xb_iova_of(same, mem + 256),
				     .device = xb_iova_of(same, mem + 4096)};
}

static void what_the_module_offers_beyond_rings_is_never_acknowledged(void **state)
{
	const uint64_t all = sim_vhost_features;
	const uint64_t rings = XB_F(VIRTIO_F_VERSION_1) | XB_F(VIRTIO_F_RING_PACKED) |
			       XB_F(VIRTIO_RING_F_EVENT_IDX) | XB_F(VIRTIO_RING_F_INDIRECT_DESC) |
			       XB_F(VIRTIO_NET_F_MRG_RXBUF);
	static _Alignas(4096) uint8_t mem[8192];
	struct xb_vhost_region region = {mem, sizeof(mem), -1};
	int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct xb_vhost_vring vring = {a_queue(mem), event, -1, event};
	const struct xb_vhost_vring vrings[2] = {vring, vring};
	struct xb_error err = {0};
	uint32_t bases[2];
	struct stack s;

	(void)state;
	sim_vhost_fail(0, 0);
	tap_options = plain;
	sim_vhost_features = UINT64_MAX;
	assert_int_equal(make(&s, &err), 0);
	assert_int_equal(xb_virtio_net_start(&s.net, 1, &s.cache, &err), 0);
	assert_int_equal(s.kernel.backend.ops->features(&s.kernel.backend) & ~XB_F_OFFLOADS, rings);
	xb_virtio_net_stop(&s.net, &s.cache);
	/* whatever it is asked for */
	assert_int_equal(
		s.kernel.backend.ops->configure(&s.kernel.backend, UINT64_MAX, &region, 1, &err),
		0);
	assert_int_equal(s.kernel.backend.ops->start_pair(&s.kernel.backend, 0, vrings, &err), 0);
	assert_int_equal(s.kernel.backend.ops->stop_pair(&s.kernel.backend, 0, bases), 0);
	unmake(&s);
	close(event);
	sim_vhost_features = all;
	assert_int_equal(sim_vhost_acknowledged() & ~rings, 0);
	assert_int_equal(sim_vhost_acknowledged(), rings);
	assert_null(sim_vhost_wrong());
}

static void without_a_thread_for_its_worker_it_is_not_there(void **state)
{
	const struct xb_tap_options options = {.ifname = "xbt0", .queues = 1};
	unsigned before = count_fds();
	struct xb_vhost_kernel kernel;
	struct xb_error err = {0};
	struct xb_tap tap;

	(void)state;
	sim_vhost_fail(0, 0);
	assert_int_equal(xb_tap_init(&tap, &options, &err), 0);
	sim_vhost_fail(3, EAGAIN); /* after open and VHOST_GET_FEATURES */
	assert_int_equal(xb_vhost_kernel_init(&kernel, &tap, NULL, 0, 1, &err), -EAGAIN);
	assert_true(sim_vhost_failed_request() == VHOST_SET_OWNER);
	assert_int_equal(sim_vhost_open_count(), 0);
	sim_vhost_fail(0, 0);
	xb_tap_fini(&tap);
	assert_int_equal(count_fds(), before);
}

static void descriptors_handed_in_are_used_and_used_again(void **state)
{
	int fds[2] = {open("/dev/vhost-net", O_RDWR | O_CLOEXEC),
		      open("/dev/vhost-net", O_RDWR | O_CLOEXEC)};
	const struct xb_tap_options options = {.ifname = "xbt0", .queues = 2};
	struct xb_vhost_kernel kernel;
	struct xb_error err = {0};
	struct xb_tap tap;

	(void)state;
	sim_vhost_fail(0, 0);
	assert_int_equal(xb_tap_init(&tap, &options, &err), 0);
	assert_int_equal(xb_vhost_kernel_init(&kernel, &tap, fds, 2, 2, &err), 0);
	assert_int_equal(sim_vhost_open_count(), 2);
	for (unsigned i = 0; i < 20; i++) {
		static _Alignas(4096) uint8_t mem[2][8192];
		struct xb_vhost_region region = {(uint8_t *)mem, sizeof(mem), -1};
		struct xb_vhost_vring vrings[2];
		int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		uint32_t bases[2];

		for (unsigned v = 0; v < 2; v++) {
			vrings[v] = (struct xb_vhost_vring){a_queue(mem[v]), event, -1, event};
		}
		assert_int_equal(kernel.backend.ops->configure(&kernel.backend, 1ull << 32, &region,
							       1, &err),
				 0);
		for (unsigned p = 0; p < 2; p++)
			assert_int_equal(
				kernel.backend.ops->start_pair(&kernel.backend, p, vrings, &err),
				0);
		assert_int_equal(sim_vhost_serving_count(), 2);
		for (unsigned p = 2; p--;)
			assert_int_equal(kernel.backend.ops->stop_pair(&kernel.backend, p, bases),
					 0);
		assert_int_equal(sim_vhost_open_count(), 2); /* none closed, none opened */
		close(event);
	}
	xb_vhost_kernel_fini(&kernel);
	xb_tap_fini(&tap);
	assert_int_equal(sim_vhost_open_count(), 0);
	assert_null(sim_vhost_wrong());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_call_that_fails_is_a_clean_error),
		cmocka_unit_test(so_it_is_with_an_address_that_was_asked_for),
		cmocka_unit_test(so_it_is_with_a_tap_that_is_to_persist),
		cmocka_unit_test(so_it_is_with_a_tap_that_was_handed_in),
		cmocka_unit_test(it_can_be_started_again_after_each_failure),
		cmocka_unit_test(a_pair_that_was_stopped_goes_on_where_it_was),
		cmocka_unit_test(a_module_with_packed_rings_gets_them_where_they_are_asked_for),
		cmocka_unit_test(what_the_module_offers_beyond_rings_is_never_acknowledged),
		cmocka_unit_test(without_a_thread_for_its_worker_it_is_not_there),
		cmocka_unit_test(descriptors_handed_in_are_used_and_used_again),
	};

	if (unshare(CLONE_NEWNET) < 0) {
		fprintf(stderr, "skipped: no network namespace of our own: %s\n", strerror(errno));
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
