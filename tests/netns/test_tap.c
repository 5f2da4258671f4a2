/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The TAP itself: how it is made, joined, handed in, left and lost. Everything in a network
 * namespace of the test's own.
 */
#include "core/offload.h"
#include "support/skip.h"
#include "tap_env.h"
#include "vhost/tap.h"

#include <arpa/inet.h>
#include <cap-ng.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#define QUEUE (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE)

static bool exists(const char *name)
{
	return if_nametoindex(name) != 0;
}

/* A queue, opened as somebody else would. */
static int open_queue(const char *name, int flags)
{
	struct ifreq req = {.ifr_flags = (short)flags};
	int fd = open("/dev/net/tun", O_RDWR);

	assert_true(fd >= 0);
	strcpy(req.ifr_name, name);
	assert_int_equal(ioctl(fd, TUNSETIFF, &req), 0);
	return fd;
}

static struct xb_tap open_tap(const char *name, unsigned queues)
{
	struct xb_tap_options options = {.ifname = name, .queues = queues};
	struct xb_error err = {0};
	struct xb_tap tap;
	char text[512];

	if (xb_tap_init(&tap, &options, &err) < 0)
		fail_msg("%s", xb_error_text(&err, text, sizeof(text)));
	return tap;
}

/* Fails as it should, and says it with `word` somewhere. */
static void assert_refused(const struct xb_tap_options *options, int code, const char *word)
{
	struct xb_error err = {0};
	struct xb_tap tap;
	char text[512];

	assert_int_equal(xb_tap_init(&tap, options, &err), code);
	assert_int_equal(err.code, code);
	xb_error_text(&err, text, sizeof(text));
	if (!strstr(text, word))
		fail_msg("no '%s' in: %s", word, text);
}

/* Runs `body` in a child without any capability; its assertions end it with a failure. */
static void without_capabilities(void (*body)(void *arg), void *arg)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		capng_clear(CAPNG_SELECT_BOTH);
		if (capng_apply(CAPNG_SELECT_BOTH) < 0)
			_exit(2);
		body(arg);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

#define child_check(condition)                                                          \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			_exit(1);                                                       \
		}                                                                       \
	} while (0)

static void a_tap_that_we_made_goes_with_us(void **state)
{
	struct xb_tap tap = open_tap("t0", 1);

	(void)state;
	assert_true(exists("t0"));
	assert_true(tap.made);
	assert_false(tap.handed_in);
	assert_string_equal(tap.name, "t0");
	assert_int_equal(tap.n_queues, 1);
	xb_tap_fini(&tap);
	assert_false(exists("t0"));
	xb_tap_fini(&tap);
}

static void a_name_that_is_none_is_refused(void **state)
{
	struct xb_tap_options options = {.queues = 1};

	(void)state;
	assert_refused(&options, -EINVAL, "empty");
	options.ifname = "";
	assert_refused(&options, -EINVAL, "empty");
	options.ifname = "sixteencharacter";
	assert_refused(&options, -EINVAL, "at most 15 characters");
	for (const char *const *name =
		     (const char *const[]){"tap%d", "a/b", "a:b", "a b", "..", NULL};
	     *name; name++) {
		options.ifname = *name;
		assert_refused(&options, -EINVAL, "can't be the name of a TAP");
	}
	options.ifname = "fifteencharacte";
	options.queues = 0;
	assert_refused(&options, -EINVAL, "0 queues");
	options.queues = XB_TAP_QUEUES_MAX + 1;
	assert_refused(&options, -EINVAL, "257 queues");
	assert_false(exists("fifteencharacte"));
}

static void it_has_up_to_256_queues(void **state)
{
	struct xb_error err = {0};
	struct xb_tap tap = open_tap("t1", 12);

	(void)state;
	assert_int_equal(tap.n_queues, 12);
	assert_int_equal(xb_tap_set_queues(&tap, 256, &err), 0);
	assert_int_equal(xb_tap_set_queues(&tap, 257, &err), -EINVAL);
	assert_int_equal(xb_tap_set_queues(&tap, 0, &err), -EINVAL);
	assert_int_equal(tap.n_queues, 256);
	for (unsigned q = 0; q < 256; q++) {
		struct ifreq req = {0};
		char byte;

		assert_int_equal(ioctl(xb_tap_queue_fd(&tap, q), TUNGETIFF, &req), 0);
		assert_true(read(xb_tap_queue_fd(&tap, q), &byte, 1) < 0);
		assert_int_equal(errno, EAGAIN);
	}
	assert_int_equal(xb_tap_set_queues(&tap, 3, &err), 0);
	assert_int_equal(tap.n_queues, 3);
	xb_tap_fini(&tap);
	assert_false(exists("t1"));
}

static void properties_are_set_and_read_back(void **state)
{
	static const uint8_t mac[6] = {2, 0, 0x5e, 1, 2, 3};
	struct xb_tap_options options = {.ifname = "t2", .queues = 2, .mac = mac, .mtu = 9000};
	struct xb_error err = {0};
	struct xb_tap tap;
	uint8_t got[6];
	unsigned n = 0;
	bool up = true;

	(void)state;
	assert_int_equal(xb_tap_init(&tap, &options, &err), 0);
	assert_int_equal(xb_tap_get_mac(&tap, got), 0);
	assert_memory_equal(got, mac, 6);
	assert_int_equal(xb_tap_get_mtu(&tap, &n), 0);
	assert_int_equal(n, 9000);
	assert_int_equal(xb_tap_get_ifindex(&tap, &n), 0);
	assert_int_equal(n, if_nametoindex("t2"));
	assert_int_equal(xb_tap_get_up(&tap, &up), 0);
	assert_false(up);
	assert_int_equal(xb_tap_set_up(&tap, true), 0);
	assert_int_equal(xb_tap_get_up(&tap, &up), 0);
	assert_true(up);
	sh("ip link show t2 | grep -q LOWER_UP");
	assert_int_equal(xb_tap_set_carrier(&tap, false), 0);
	sh("ip link show t2 | grep -q NO-CARRIER");
	/* a renamed one is found under its new name */
	sh("ip link set t2 down; ip link set t2 name t2b");
	assert_int_equal(xb_tap_set_mtu(&tap, 1400), 0);
	sh("ip link show t2b | grep -q 'mtu 1400'");
	assert_int_equal(xb_tap_set_queues(&tap, 3, &err), 0);
	xb_tap_fini(&tap);

	options.mtu = 70000;
	assert_refused(&options, -EINVAL, "65521");
	options.mtu = 0;
	options.mac = (const uint8_t[6]){1, 0, 0, 0, 0, 1};
	assert_refused(&options, -EADDRNOTAVAIL, "group address");
	assert_false(exists("t2"));
}

static void a_persistent_tap_outlives_us_and_is_joined_again(void **state)
{
	struct xb_tap tap = open_tap("t3", 2);
	unsigned index = if_nametoindex("t3");
	struct xb_error err = {0};

	(void)state;
	assert_int_equal(xb_tap_persist(&tap, &err), 0);
	xb_tap_fini(&tap);
	assert_int_equal(if_nametoindex("t3"), index);

	tap = open_tap("t3", 4);
	assert_false(tap.made);
	assert_true(tap.multi_queue);
	assert_int_equal(tap.n_queues, 4);
	xb_tap_fini(&tap);
	assert_int_equal(if_nametoindex("t3"), index);
	sh("ip link del t3");
}

static void a_single_queue_tap_serves_one_queue(void **state)
{
	struct xb_tap_options options = {.ifname = "t4", .queues = 2};
	struct xb_error err = {0};
	struct xb_tap tap;

	(void)state;
	sh("ip tuntap add t4 mode tap");
	assert_refused(&options, -EINVAL, "multi_queue");
	tap = open_tap("t4", 1);
	assert_false(tap.made);
	assert_false(tap.multi_queue);
	assert_int_equal(xb_tap_set_queues(&tap, 2, &err), -EINVAL);
	assert_non_null(strstr(err.hint, "multi_queue"));
	xb_tap_fini(&tap);
	assert_true(exists("t4"));
	sh("ip link del t4");
}

static void an_interface_of_another_kind_is_left_alone(void **state)
{
	struct xb_tap_options options = {.ifname = "lo", .queues = 1};

	(void)state;
	assert_refused(&options, -EINVAL, "is not a TAP");
	sh("ip tuntap add t5 mode tun");
	options.ifname = "t5";
	assert_refused(&options, -EINVAL, "is not a TAP");
	sh("ip link del t5");
}

static void a_tap_that_another_program_holds_is_busy(void **state)
{
	struct xb_tap_options options = {.ifname = "t6", .queues = 1};
	int fd = open_queue("t6", QUEUE);

	(void)state;
	assert_refused(&options, -EBUSY, "another program holds it");
	sh("ip -d link show t6 | grep -q 'numqueues 1 '");
	close(fd);
	fd = open_queue("t6", QUEUE & ~IFF_MULTI_QUEUE);
	assert_refused(&options, -EBUSY, "another program holds it");
	close(fd);
}

static void it_is_made_in_another_namespace(void **state)
{
	struct xb_tap_options options = {.queues = 1, .mtu = 1300};
	struct xb_error err = {0};
	struct xb_tap tap;
	char name[32], before[64] = "", after[64] = "";
	bool up = false;

	(void)state;
	snprintf(name, sizeof(name), "xbt-tap-%d", (int)getpid());
	options.ifname = "t7";
	options.netns = "xbt-no-such";
	assert_refused(&options, -ENOENT, "ip netns list");
	options.netns = "/dev/null";
	assert_refused(&options, -EINVAL, "not a network namespace");
	options.netns = name;
	sh("ip netns add %s", name);
	assert_true(readlink("/proc/thread-self/ns/net", before, sizeof(before) - 1) > 0);
	assert_int_equal(xb_tap_init(&tap, &options, &err), 0);
	assert_true(readlink("/proc/thread-self/ns/net", after, sizeof(after) - 1) > 0);
	assert_string_equal(before, after);
	assert_false(exists("t7"));
	sh("ip -n %s link show t7 | grep -q 'mtu 1300'", name);
	assert_int_equal(xb_tap_set_queues(&tap, 4, &err), 0);
	assert_int_equal(xb_tap_set_up(&tap, true), 0);
	assert_int_equal(xb_tap_get_up(&tap, &up), 0);
	assert_true(up);
	sh("ip -n %s -d link show t7 | grep -q 'numqueues 4 '", name);
	xb_tap_fini(&tap);
	sh("ip netns del %s", name);
}

static void use_handed_in(void *arg)
{
	const int *fds = arg;
	struct xb_tap_options options = {.fds = fds, .n_fds = 3, .queues = 3};
	struct xb_error err = {0};
	struct xb_tap tap;
	unsigned mtu = 0;

	child_check(xb_tap_init(&tap, &options, &err) == 0);
	child_check(tap.handed_in && !tap.made && !tap.macvtap && tap.n_queues == 3);
	child_check(!strcmp(tap.name, "t8"));
	child_check(xb_tap_set_queues(&tap, 1, &err) == 0);
	child_check(xb_tap_set_queues(&tap, 3, &err) == 0);
	child_check(xb_tap_set_queues(&tap, 4, &err) == -EINVAL);
	child_check(xb_tap_set_offload(&tap, tap.takes) == 0 && tap.gives == tap.takes);
	child_check(xb_tap_get_mtu(&tap, &mtu) == 0 && mtu == 1234);
	child_check(xb_tap_set_up(&tap, true) == -EPERM);
	child_check(xb_tap_set_queues(&tap, 2, &err) == 0);
	xb_tap_fini(&tap);
}

static void queues_handed_in_need_no_privilege(void **state)
{
	int fds[3];

	(void)state;
	for (int q = 0; q < 3; q++)
		fds[q] = open_queue("t8", QUEUE);
	sh("ip link set t8 mtu 1234");
	without_capabilities(use_handed_in, fds);
	for (int q = 0; q < 3; q++)
		close(fds[q]);
	assert_false(exists("t8"));
}

static void refuse_by_name(void *arg)
{
	struct xb_tap_options options = {.ifname = "t9", .queues = 1};
	struct xb_error err = {0};
	struct xb_tap tap;

	(void)arg;
	child_check(xb_tap_init(&tap, &options, &err) == -EPERM);
	child_check(strstr(err.hint, "CAP_NET_ADMIN") && strstr(err.hint, "--tap-fd"));
}

static void making_one_without_privilege_says_what_is_needed(void **state)
{
	(void)state;
	without_capabilities(refuse_by_name, NULL);
}

static void assert_fds_refused(const int *fds, unsigned n, int code, const char *word)
{
	struct xb_tap_options options = {.fds = fds, .n_fds = n, .queues = n};

	assert_refused(&options, code, word);
	for (unsigned i = 0; i < n; i++)
		assert_true(fcntl(fds[i], F_GETFD) >= 0);
}

static void a_wrong_descriptor_is_named_and_stays_the_callers(void **state)
{
	int bare = open("/dev/net/tun", O_RDWR);
	int null = open("/dev/null", O_RDWR);
	int no_hdr = open_queue("ta", IFF_TAP | IFF_NO_PI);
	int with_pi = open_queue("tb", IFF_TAP | IFF_VNET_HDR);
	int tun = open_queue("tc", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR);
	int good[2] = {open_queue("td", QUEUE), open_queue("te", QUEUE)};
	struct xb_tap_options options = {.fds = good, .n_fds = 1, .queues = 2};

	(void)state;
	assert_fds_refused(&bare, 1, -EBADFD, "TUNSETIFF");
	assert_fds_refused(&null, 1, -ENOTTY, "TAP or macvtap");
	assert_fds_refused(&no_hdr, 1, -EINVAL, "lacks IFF_VNET_HDR");
	assert_fds_refused(&with_pi, 1, -EINVAL, "lacks IFF_NO_PI");
	assert_fds_refused(&tun, 1, -EINVAL, "is a TUN");
	assert_fds_refused(good, 2, -EINVAL, "is a queue of te, not of td");
	assert_fds_refused((const int[]){good[0], good[0]}, 2, -EINVAL, "twice");
	assert_refused(&options, -EINVAL, "descriptor of its own");
	options.queues = 1;
	options.mtu = 1500;
	assert_refused(&options, -EINVAL, "handed in");
	for (const int *fd = (const int[]){bare, null, no_hdr, with_pi, tun, good[0], good[1], -1};
	     *fd >= 0; fd++)
		close(*fd);
}

/* Opens a macvtap by its number, wherever /dev shows it. */
static int open_macvtap(const char *name)
{
	char path[64], line[128];
	unsigned major = 0, minor = 0;
	int fd;
	FILE *file;

	snprintf(line, sizeof(line), "/tmp/xbt-sys-%d", (int)getpid());
	snprintf(path, sizeof(path), "/tmp/xbt-tap-%d", (int)getpid());
	mkdir(line, 0700);
	sh("unshare -m sh -c 'mount -t sysfs none %s && cat %s/class/net/%s/tap*/dev' > %s.dev",
	   line, line, name, path);
	rmdir(line);
	snprintf(line, sizeof(line), "%s.dev", path);
	file = fopen(line, "r");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%u:%u", &major, &minor), 2);
	fclose(file);
	unlink(line);
	assert_int_equal(mknod(path, S_IFCHR | 0600, makedev(major, minor)), 0);
	fd = open(path, O_RDWR);
	unlink(path);
	assert_true(fd >= 0);
	return fd;
}

static void a_macvtap_is_handed_in_alike(void **state)
{
	struct xb_tap_options options = {.n_fds = 1, .queues = 1};
	struct xb_error err = {0};
	struct xb_tap tap;
	uint8_t mac[6];
	unsigned mtu = 0;
	int fd;

	(void)state;
	if (system("ip link add v0 type veth peer name v1 && "
		   "ip link add link v0 name mv0 type macvtap mode bridge 2>/dev/null") != 0)
		skip_because("this kernel has no macvtap");
	fd = open_macvtap("mv0");
	options.fds = &fd;
	assert_int_equal(xb_tap_init(&tap, &options, &err), 0);
	assert_true(tap.macvtap);
	assert_string_equal(tap.name, "mv0");
	assert_int_equal(xb_tap_get_mac(&tap, mac), 0);
	assert_int_equal(xb_tap_get_mtu(&tap, &mtu), 0);
	assert_int_equal(mtu, 1500);
	assert_int_equal(xb_tap_set_offload(&tap, tap.takes), 0);
	assert_int_equal(xb_tap_steer_to(&tap, 1), -EOPNOTSUPP);
	assert_int_equal(xb_tap_check(&tap), 0);
	sh("ip link del v0");
	assert_int_equal(xb_tap_check(&tap), -ENODEV);
	xb_tap_fini(&tap);
}

static void offloads_are_learned_and_set(void **state)
{
	const uint32_t usual = XB_TAKES_CSUM | XB_TAKES_TSO4 | XB_TAKES_TSO6 | XB_TAKES_ECN;
	struct xb_tap tap = open_tap("tf", 1);

	(void)state;
	assert_int_equal(tap.takes & usual, usual);
	assert_int_equal(tap.gives, 0);
	assert_int_equal(xb_tap_set_offload(&tap, tap.takes), 0);
	assert_int_equal(tap.gives, tap.takes);
	assert_int_equal(xb_tap_set_offload(&tap, XB_TAKES_CSUM | XB_TAKES_TSO4), 0);
	assert_int_equal(tap.gives, XB_TAKES_CSUM | XB_TAKES_TSO4);
	assert_int_equal(xb_tap_set_offload(&tap, XB_TAKES_TSO4), 0);
	assert_int_equal(tap.gives, 0);
	xb_tap_fini(&tap);
}

static void a_deleted_tap_says_so(void **state)
{
	struct xb_error err = {0};
	struct xb_tap tap = open_tap("tg", 2);
	struct pollfd fd = {.fd = xb_tap_queue_fd(&tap, 0), .events = POLLIN};
	unsigned mtu;
	uint8_t mac[6];
	char byte;

	(void)state;
	assert_int_equal(xb_tap_check(&tap), 0);
	sh("ip link del tg");
	assert_int_equal(xb_tap_check(&tap), -ENODEV);
	assert_int_equal(xb_tap_get_mtu(&tap, &mtu), -ENODEV);
	assert_int_equal(xb_tap_get_mac(&tap, mac), -ENODEV);
	assert_int_equal(xb_tap_set_carrier(&tap, true), -ENODEV);
	assert_int_equal(xb_tap_set_offload(&tap, 0), -EBADFD);
	assert_int_equal(xb_tap_steer_to(&tap, 1), -EBADFD);
	assert_int_equal(xb_tap_persist(&tap, &err), -EBADFD);
	assert_int_equal(xb_tap_set_queues(&tap, 3, &err), -EBADFD);
	assert_false(xb_tap_pending(&tap, 0));
	assert_true(read(fd.fd, &byte, 1) < 0);
	assert_int_equal(errno, EBADFD);
	assert_int_equal(poll(&fd, 1, 0), 1);
	assert_true(fd.revents & POLLERR);
	assert_int_equal(xb_tap_set_queues(&tap, 1, &err), 0);
	xb_tap_fini(&tap);
}

/* ---- queues that go while packets come ---- */

#define PACKETS  60000u
#define FLOWS    64u
#define IN_RINGS 200u /* fewer than a queue holds, so that the kernel drops none */

#define PATIENCE_S 30 /* then something was lost */

static _Atomic unsigned sent, received;
static _Atomic bool gave_up;

static void *send_flows(void *arg)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
	int fds[FLOWS];

	(void)arg;
	to.sin_addr.s_addr = htonl(0x0a4d0002);
	for (unsigned f = 0; f < FLOWS; f++) {
		fds[f] = socket(AF_INET, SOCK_DGRAM, 0);
		if (connect(fds[f], (struct sockaddr *)&to, sizeof(to)) < 0)
			abort();
	}
	for (unsigned i = 0; i < PACKETS; i++) {
		while (atomic_load(&sent) - atomic_load(&received) >= IN_RINGS) {
			if (atomic_load(&gave_up))
				return NULL;
			sched_yield();
		}
		if (send(fds[i % FLOWS], "flow", 4, 0) != 4)
			abort();
		atomic_fetch_add(&sent, 1);
	}
	for (unsigned f = 0; f < FLOWS; f++)
		close(fds[f]);
	return NULL;
}

/* Reads what waits on the queues from `from` on; tells whether queues other than the first had any.
 */
static unsigned drain(const struct xb_tap *tap, unsigned from)
{
	uint8_t packet[2048];
	unsigned n = 0;

	for (unsigned q = from; q < tap->n_queues; q++) {
		while (read(xb_tap_queue_fd(tap, q), packet, sizeof(packet)) > 0) {
			atomic_fetch_add(&received, 1);
			n++;
		}
	}
	return n;
}

static void queues_that_are_steered_off_and_drained_lose_nothing(void **state)
{
	struct xb_error err = {0};
	struct xb_tap tap = open_tap("th", 4);
	time_t deadline = time(NULL) + PATIENCE_S;
	unsigned elsewhere = 0, cycles = 0;
	pthread_t sender;

	(void)state;
	sh("ip addr add 10.77.0.1/24 dev th; ip link set th up; "
	   "ip neigh add 10.77.0.2 lladdr 02:00:00:00:00:02 dev th");
	assert_int_equal(pthread_create(&sender, NULL, send_flows, NULL), 0);
	while (atomic_load(&received) < PACKETS && time(NULL) < deadline) {
		unsigned target = atomic_load(&received) + 3000;

		if (target > PACKETS)
			target = PACKETS;
		while (atomic_load(&received) < target && time(NULL) < deadline) {
			drain(&tap, 0);
			elsewhere += drain(&tap, 1);
		}
		assert_int_equal(xb_tap_steer_to(&tap, 1), 0);
		while (xb_tap_pending(&tap, 1))
			drain(&tap, 1);
		assert_int_equal(xb_tap_set_queues(&tap, 1, &err), 0);
		assert_int_equal(xb_tap_steer_to(&tap, 0), 0);
		drain(&tap, 0);
		assert_int_equal(xb_tap_set_queues(&tap, 4, &err), 0);
		cycles++;
	}
	atomic_store(&gave_up, true);
	pthread_join(sender, NULL);
	assert_int_equal(atomic_load(&received), PACKETS);
	assert_true(elsewhere > 0);
	assert_true(cycles >= 10);
	xb_tap_fini(&tap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tap_that_we_made_goes_with_us),
		cmocka_unit_test(a_name_that_is_none_is_refused),
		cmocka_unit_test(it_has_up_to_256_queues),
		cmocka_unit_test(properties_are_set_and_read_back),
		cmocka_unit_test(a_persistent_tap_outlives_us_and_is_joined_again),
		cmocka_unit_test(a_single_queue_tap_serves_one_queue),
		cmocka_unit_test(an_interface_of_another_kind_is_left_alone),
		cmocka_unit_test(a_tap_that_another_program_holds_is_busy),
		cmocka_unit_test(it_is_made_in_another_namespace),
		cmocka_unit_test(queues_handed_in_need_no_privilege),
		cmocka_unit_test(making_one_without_privilege_says_what_is_needed),
		cmocka_unit_test(a_wrong_descriptor_is_named_and_stays_the_callers),
		cmocka_unit_test(a_macvtap_is_handed_in_alike),
		cmocka_unit_test(offloads_are_learned_and_set),
		cmocka_unit_test(a_deleted_tap_says_so),
		cmocka_unit_test(queues_that_are_steered_off_and_drained_lose_nothing),
	};

	enter_new_netns();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
