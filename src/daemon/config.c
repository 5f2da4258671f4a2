/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/config.h"

#include "daemon/config_value.h"
#include "steer/text.h"
#include "steer/verdict.h"
#include "steer/words.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_SIZE_DEFAULT 1024u
#define STALL_MS_DEFAULT   1000u
#define CPU_MAX            1023u /* highest number of a CPU: what cpu_set_t holds */

/* ---- one setter for each option ---- */

static int set_name(struct xb_config *config, const char *value, struct xb_error *err)
{
	int ret = xb_value_not_reserved(value, err);

	return ret < 0 ? ret
		       : xb_value_text(value, config->name, sizeof(config->name), "a name", err);
}

static int set_config(struct xb_config *config, const char *value, struct xb_error *err)
{
	return xb_value_text(value, config->file, sizeof(config->file), "a path", err);
}

static int set_vhost_net(struct xb_config *config, const char *value, struct xb_error *err)
{
	(void)value, (void)err;
	config->kernel.backend = XB_KERNEL_VHOST_NET;
	return 0;
}

static int set_tap(struct xb_config *config, const char *value, struct xb_error *err)
{
	(void)value, (void)err;
	config->kernel.backend = XB_KERNEL_TAP;
	return 0;
}

static int set_ifname(struct xb_config *config, const char *value, struct xb_error *err)
{
	return xb_value_ifname(value, config->kernel.ifname, err);
}

static int set_queues(struct xb_config *config, const char *value, struct xb_error *err)
{
	return xb_value_number(value, 1, XB_QUEUES_MAX, &config->kernel.queues, err);
}

static int set_queue_size(struct xb_config *config, const char *value, struct xb_error *err)
{
	unsigned size;
	int ret = xb_value_number(value, 64, 32768, &size, err);

	if (ret < 0 || size & (size - 1))
		return xb_value_refuse(err, value, "a power of two from 64 to 32768");
	config->kernel.queue_size = size;
	return 0;
}

static int set_mac(struct xb_config *config, const char *value, struct xb_error *err)
{
	int ret;

	if (!strcmp(value, "uplink")) {
		config->kernel.mac_source = XB_MAC_UPLINK;
		return 0;
	}
	ret = xb_value_mac(value, config->kernel.mac, err);
	if (!ret)
		config->kernel.mac_source = XB_MAC_GIVEN;
	return ret;
}

static int set_mtu(struct xb_config *config, const char *value, struct xb_error *err)
{
	return xb_value_number(value, 68, 65521, &config->kernel.mtu, err);
}

static int set_netns(struct xb_config *config, const char *value, struct xb_error *err)
{
	return xb_value_text(value, config->kernel.netns, sizeof(config->kernel.netns),
			     "a network namespace's name or path", err);
}

static int set_persist(struct xb_config *config, const char *value, struct xb_error *err)
{
	(void)value, (void)err;
	config->kernel.persist = true;
	return 0;
}

static int set_tap_fd(struct xb_config *config, const char *value, struct xb_error *err)
{
	return xb_value_fds(value, &config->kernel.tap_fds, err);
}

static int set_vhost_fd(struct xb_config *config, const char *value, struct xb_error *err)
{
	return xb_value_fds(value, &config->kernel.vhost_fds, err);
}

static int set_offload(struct xb_config *config, const char *value, struct xb_error *err)
{
	return xb_value_offload(value, &config->kernel.offload, err);
}

static int set_no_offload(struct xb_config *config, const char *value, struct xb_error *err)
{
	(void)value, (void)err;
	config->kernel.offload = (struct xb_offload_set){0};
	return 0;
}

static int set_no_kernel(struct xb_config *config, const char *value, struct xb_error *err)
{
	(void)value, (void)err;
	config->no_kernel = true;
	return 0;
}

static int set_rule(struct xb_config *config, const char *value, struct xb_error *err)
{
	struct xb_rule_source source = {.given = config->rules.n + 1};
	struct xb_error why = {0};
	struct xb_rule rule;
	int ret = xb_rule_parse_places(value, &rule, &source.places, &why);

	if (!ret)
		ret = xb_rule_list_add(&config->rules, &rule, source, &why);
	if (ret < 0) /* it begins with "rule, " where it says at which character */
		xb_fail(err, ret, "%u, '%.100s'%s%s", source.given, value,
			strncmp(why.what, "rule,", 5) ? ": " : "",
			strncmp(why.what, "rule,", 5) ? why.what : why.what + 4);
	return ret;
}

static int set_default(struct xb_config *config, const char *value, struct xb_error *err)
{
	size_t len = strlen(value);

	if (!len || len >= sizeof(config->verdict_word))
		return xb_value_refuse(err, value, XB_VERDICT_EXPECTED);
	memcpy(config->verdict_word, value, len + 1); /* which ports there are shows later */
	return 0;
}

static int set_workers(struct xb_config *config, const char *value, struct xb_error *err)
{
	return xb_value_number(value, 1, XB_WORKERS_MAX, &config->workers, err);
}

/* N or N-M, up to the next comma. Returns whether it is that. */
static bool read_cpus(const char *at, struct xb_range *ret_range)
{
	char word[16];
	size_t len = strcspn(at, ",");

	if (len >= sizeof(word))
		return false;
	memcpy(word, at, len);
	word[len] = '\0';
	return xb_word_range(word, CPU_MAX, ret_range);
}

static int set_cpus(struct xb_config *config, const char *value, struct xb_error *err)
{
	const char *at = value;
	unsigned n = 0;

	while (*at) {
		struct xb_range range;

		if (!read_cpus(at, &range) || n + (range.last - range.first) >= XB_CPUS_MAX)
			return xb_value_refuse(err, value, "a list of CPUs like 2,4-6");
		for (unsigned cpu = range.first; cpu <= range.last; cpu++) {
			for (unsigned i = 0; i < n; i++)
				if (config->cpus[i] == cpu)
					return xb_fail(err, -EINVAL,
						       "'%.64s': CPU %u is named twice", value,
						       cpu);
			config->cpus[n++] = cpu;
		}
		at += strcspn(at, ",");
		at += *at == ',';
	}
	config->n_cpus = n;
	if (!n || xb_value_ends_open(value))
		return xb_value_refuse(err, value, "a list of CPUs like 2,4-6");
	return 0;
}

static int set_frames(struct xb_config *config, const char *value, struct xb_error *err)
{
	return xb_value_number(value, 1024, 4u << 20, &config->frames, err);
}

static int set_stall_ms(struct xb_config *config, const char *value, struct xb_error *err)
{
	return xb_value_number(value, 100, 60000, &config->stall_ms, err);
}

static int set_bpffs(struct xb_config *config, const char *value, struct xb_error *err)
{
	if (*value != '/')
		return xb_value_refuse(err, value, "a path from / on");
	return xb_value_text(value, config->bpffs, sizeof(config->bpffs), "a path", err);
}

static int set_log_format(struct xb_config *config, const char *value, struct xb_error *err)
{
	bool json = !strcmp(value, "json");

	if (!json && strcmp(value, "text") != 0)
		return xb_value_refuse(err, value, "text or json");
	config->log_json = json;
	return 0;
}

/* ---- the table ---- */

static const struct option {
	const char *name; /* with its dashes */
	const char *arg;  /* NULL: takes none */
	const char *help;
	int (*set)(struct xb_config *config, const char *value, struct xb_error *err);
} options[] = {
	{"--name", "NAME", "name of the instance; default: the interface's", set_name},
	{"--config", "FILE",
	 "read options from FILE, one a line, without dashes; # starts a comment", set_config},
	{"--vhost-net", NULL, "reach the kernel through vhost-net, or fail", set_vhost_net},
	{"--tap", NULL,
	 "reach the kernel through the TAP alone; default: vhost-net where there is one", set_tap},
	{"--ifname", "IFACE", "name of the kernel's interface; default: tap0", set_ifname},
	{"--queues", "N",
	 "queue pairs of the kernel's interface; default: 1, or as many as are handed in",
	 set_queues},
	{"--queue-size", "N", "descriptors of each virtqueue, a power of two; default: 1024",
	 set_queue_size},
	{"--mac", "MAC|uplink",
	 "address of the kernel's interface: MAC, or the uplink's own; default: a stable one, or its own where it was there before",
	 set_mac},
	{"--mtu", "BYTES",
	 "MTU of the kernel's interface; default: the uplink's, or its own where it was there before",
	 set_mtu},
	{"--netns", "NAME|PATH", "network namespace of the kernel's interface", set_netns},
	{"--persist", NULL, "the kernel's interface stays, with its addresses and routes, on exit",
	 set_persist},
	{"--tap-fd", "FD[,FD...]", "use these open queues of a TAP or macvtap", set_tap_fd},
	{"--vhost-fd", "FD[,FD...]",
	 "use these open vhost-net descriptors, one for each queue pair", set_vhost_fd},
	{"--offload", "LIST|none",
	 "what is left undone between xbridge and the kernel's interfaces, of csum (checksums), tso "
	 "(TCP segments that the kernel sends), gro (those that are joined for it) and uso (UDP, both "
	 "ways); all but csum take csum; default: all that the kernel can",
	 set_offload},
	{"--no-offload", NULL, "the same as --offload none", set_no_offload},
	{"--kernel", "IFNAME[,OPTION...]",
	 "one more interface of the kernel; options: queues=N, mac=MAC|uplink, mtu=N, "
	 "netns=NAME|PATH, carrier=UPLINK (the uplink whose carrier, MTU and, with mac=uplink, "
	 "address it has), domain=NAME",
	 xb_config_add_kernel},
	{"--no-kernel", NULL, "no interface of the kernel, but for those of --kernel",
	 set_no_kernel},
	{"--uplink", "IFACE[,OPTION...]",
	 "read IFACE through AF_XDP; options: shared (default), dedicated, csum=auto|trust|verify, "
	 "xdp=auto|native|generic (in the driver or above it; beside other XDP programs that "
	 "libxdp has loaded) or xdp=exclusive (alone), mode=auto|copy|zerocopy, "
	 "tx=auto|xdp|packet (packet: TCP segments leave whole, through a packet socket, for the "
	 "driver to cut; auto: packet where AF_XDP has no zero copy), domain=NAME (frames are "
	 "bridged among the ports of one domain)",
	 xb_config_add_uplink},
	{"--rule", "RULE", "a rule of the steering table, see `steer add`", set_rule},
	{"--default", "VERDICT",
	 "what becomes of a frame that nothing else decides: bridge (default), "
	 "pass, drop, kernel or an uplink's name",
	 set_default},
	{"--workers", "N",
	 "threads that move packets; default: one for each queue, at most one for "
	 "each CPU",
	 set_workers},
	{"--cpus", "LIST",
	 "CPUs to pin the workers to, like 2,4-6; default: not pinned, on all CPUs that the cpuset "
	 "and the affinity of xbridge allow",
	 set_cpus},
	{"--frames", "N", "frames of 4096 bytes in the arena; default: as many as the rings need",
	 set_frames},
	{"--log-format", "text|json",
	 "how log lines are written; json: {\"time\", \"level\", \"message\"}, one per line",
	 set_log_format},
	{"--stall-ms", "MS",
	 "frames pass to the uplink's own stack when xbridge has not looked for "
	 "so long; default: 1000",
	 set_stall_ms},
	{"--bpffs", "PATH",
	 "pin programs and maps in the BPF file system at PATH; default: /sys/fs/bpf, which "
	 "`ip netns exec` hides",
	 set_bpffs},
};

#define N_OPTIONS (sizeof(options) / sizeof(options[0]))
static_assert(N_OPTIONS <= 64, "`given` of struct xb_config has a bit for each");

/* Characters by which a word may differ from the option that was meant. */
#define MISTYPED_MAX 2u

static const struct option *find_option(const char *name)
{
	for (size_t i = 0; i < N_OPTIONS; i++)
		if (!strcmp(options[i].name + strlen("--"), name))
			return &options[i];
	return NULL;
}

int xb_config_refuse_option(const char *word, bool dashed, struct xb_error *err)
{
	const char *name = word + strspn(word, "-");
	size_t len = strcspn(name, "=");
	unsigned least = MISTYPED_MAX + 1;
	const char *nearest = NULL;

	for (size_t i = 0; i < N_OPTIONS; i++) {
		unsigned distance = xb_value_distance(name, len, options[i].name + strlen("--"));

		if (distance < least && distance < len) {
			least = distance;
			nearest = options[i].name + (dashed ? 0 : strlen("--"));
		}
	}
	return xb_fail(err, -ENOENT, "there is no option '%.*s'%s%s%s",
		       (int)(name - word + (len < 64 ? len : 64)), word,
		       nearest ? "; did you mean '" : "", nearest ? nearest : "",
		       nearest ? "'?" : "");
}

int xb_config_takes_value(const char *name)
{
	const struct option *option = find_option(name);

	return option ? option->arg != NULL : -ENOENT;
}

/* Puts the option's name in front of what was wrong with its value. */
static int blame(struct xb_error *err, const char *name, int code)
{
	struct xb_error value = *err;

	return xb_fail(err, code, "%s %s", name, value.what);
}

static uint64_t bit_of(const struct option *option)
{
	return 1ull << (option - options);
}

/* Each time they are given adds one. */
static const char *const repeatable[] = {"uplink", "kernel", "rule", NULL};

/* Each describes a port: `port add` takes them, too. */
static const char *const port_options[] = {"uplink", "kernel", NULL};

bool xb_config_is_port(const char *name)
{
	return xb_value_one_of(name, port_options) >= 0;
}

/* One says the opposite of the other. */
static const char *const opposites[][2] = {{"vhost-net", "tap"},
					   {"tap", "vhost-net"},
					   {"offload", "no-offload"},
					   {"no-offload", "offload"}};

/* Notes that an option is given. What one source says twice is a mistake; another source may
 * override it. */
static int give(struct xb_config *config, const struct option *option, struct xb_error *err)
{
	const char *name = option->name + strlen("--");

	if (config->given & bit_of(option) && xb_value_one_of(name, repeatable) < 0)
		return xb_fail(err, -EINVAL, "%s is given twice", name);
	for (size_t i = 0; i < sizeof(opposites) / sizeof(opposites[0]); i++)
		if (!strcmp(name, opposites[i][0]) &&
		    config->given & bit_of(find_option(opposites[i][1])))
			return xb_fail(err, -EINVAL, "%s and %s exclude each other",
				       opposites[i][1], name);
	config->given |= bit_of(option);
	return 0;
}

void xb_config_begin_source(struct xb_config *config)
{
	config->given = 0;
}

int xb_config_set(struct xb_config *config, const char *name, const char *value,
		  struct xb_error *err)
{
	const struct option *option = find_option(name);
	int ret;

	if (!option)
		return xb_config_refuse_option(name, false, err);
	if (option->arg && !value)
		return xb_fail(err, -EINVAL, "%s: %s is expected", name, option->arg);
	if (!option->arg && value)
		return xb_fail(err, -EINVAL, "%s takes no value, but '%.64s' was given", name,
			       value);
	ret = give(config, option, err);
	if (ret < 0)
		return ret;
	ret = option->set(config, value, err);
	return ret < 0 ? blame(err, name, ret) : 0;
}

bool xb_config_option_at(unsigned n, struct xb_config_option *ret_option)
{
	if (n >= N_OPTIONS)
		return false;
	*ret_option = (struct xb_config_option){options[n].name, options[n].arg, options[n].help,
						xb_config_is_port(options[n].name + strlen("--"))};
	return true;
}

/* ---- the whole ---- */

void xb_config_init(struct xb_config *config)
{
	*config = (struct xb_config){
		.kernel = {.queue_size = QUEUE_SIZE_DEFAULT, .offload = XB_OFFLOAD_ALL},
		.verdict_word = XB_VERDICT_DEFAULT,
		.stall_ms = STALL_MS_DEFAULT,
		.bpffs = XB_BPFFS_DEFAULT,
	};
}

void xb_config_fini(struct xb_config *config)
{
	xb_rule_list_free(&config->rules);
}

bool xb_config_knows_verdict(const struct xb_config *config, const char *word)
{
	if (!*word)
		return false;
	if (xb_verdict_named(word, NULL) || !strcmp(word, "kernel") ||
	    !strcmp(word, config->kernel.ifname))
		return true;
	for (unsigned k = 0; k < config->n_kernels; k++)
		if (!strcmp(word, config->kernels[k].ifname))
			return true;
	for (unsigned u = 0; u < config->n_uplinks; u++)
		if (!strcmp(word, config->uplinks[u].options.ifname))
			return true;
	return false;
}
