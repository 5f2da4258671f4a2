/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/config.h"

#include "daemon/rule_text.h"
#include "daemon/rule_words.h"
#include "xsk/pins.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_SIZE_DEFAULT 1024u
#define STALL_MS_DEFAULT   1000u
#define LINE_BYTES         4096u
#define VERDICT_EXPECTED   "pass, bridge, drop, kernel or the name of an uplink"
#define PATH_SHOWN         240u /* characters of a file's name in what is said of it, its last ones */

/* ---- values ---- */

static int bad(struct xb_error *err, const char *value, const char *expected)
{
	return xb_fail(err, -EINVAL, "'%.64s': %s is expected", value, expected);
}

static int parse_number(const char *value, unsigned min, unsigned max, unsigned *ret_number,
			struct xb_error *err)
{
	char *end;
	unsigned long long number;

	errno = 0;
	number = strtoull(value, &end, 10);
	if (!isdigit((unsigned char)*value) || *end || errno || number < min || number > max)
		return xb_fail(err, -EINVAL, "'%.64s': a number from %u to %u is expected", value,
			       min, max);
	*ret_number = (unsigned)number;
	return 0;
}

static int parse_name(const char *value, char *ret_name, size_t bytes, const char *what,
		      struct xb_error *err)
{
	size_t len = strlen(value);

	if (!len || len >= bytes)
		return xb_fail(err, -EINVAL, "'%.64s': %s of 1 to %zu characters is expected",
			       value, what, bytes - 1);
	memcpy(ret_name, value, len + 1);
	return 0;
}

static int parse_mac(const char *value, uint8_t ret_mac[6], struct xb_error *err)
{
	uint8_t mac[6];

	if (!xb_word_mac(value, mac) || mac[0] & 1)
		return bad(err, value, "'uplink' or a unicast MAC address like 02:00:00:00:00:01");
	memcpy(ret_mac, mac, sizeof(mac));
	return 0;
}

static int parse_fds(const char *value, struct xb_fd_list *ret_list, struct xb_error *err)
{
	struct xb_fd_list list = {0};
	char word[16];
	const char *at = value;

	while (*at) {
		size_t len = strcspn(at, ",");
		unsigned fd;

		if (!len || len >= sizeof(word) || list.n == XB_TAP_QUEUES_MAX)
			return bad(err, value, "a list of descriptors like 3,4");
		memcpy(word, at, len);
		word[len] = '\0';
		if (parse_number(word, 0, 1u << 20, &fd, err) < 0)
			return bad(err, value, "a list of descriptors like 3,4");
		list.fds[list.n++] = (int)fd;
		at += len + (at[len] == ',');
	}
	*ret_list = list;
	return 0;
}

/* A word of a fixed set; its index, or -1. */
static int one_of(const char *word, const char *const *words)
{
	for (int i = 0; words[i]; i++)
		if (!strcmp(word, words[i]))
			return i;
	return -1;
}

/* Words that mean something else where a port can be named. */
static int refuse_reserved(const char *value, struct xb_error *err)
{
	static const char *const reserved[] = {"pass", "bridge", "drop", "kernel", NULL};

	if (one_of(value, reserved) >= 0)
		return xb_fail(err, -EINVAL,
			       "'%s': another name is expected; pass, bridge, drop and kernel are "
			       "words of rules",
			       value);
	if (strchr(value, '#'))
		return xb_fail(err, -EINVAL,
			       "'%.64s': a name without '#' is expected, which starts a comment",
			       value);
	return 0;
}

static int parse_ifname(const char *value, char ret_name[IFNAMSIZ], struct xb_error *err)
{
	int ret = refuse_reserved(value, err);

	return ret < 0 ? ret : parse_name(value, ret_name, IFNAMSIZ, "an interface's name", err);
}

/* ---- one setter for each option ---- */

static int set_name(struct xb_config *config, const char *value, struct xb_error *err)
{
	int ret = refuse_reserved(value, err);

	return ret < 0 ? ret : parse_name(value, config->name, sizeof(config->name), "a name", err);
}

static int set_config(struct xb_config *config, const char *value, struct xb_error *err)
{
	return parse_name(value, config->file, sizeof(config->file), "a path", err);
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
	return parse_ifname(value, config->kernel.ifname, err);
}

static int set_queues(struct xb_config *config, const char *value, struct xb_error *err)
{
	return parse_number(value, 1, XB_QUEUES_MAX, &config->kernel.queues, err);
}

static int set_queue_size(struct xb_config *config, const char *value, struct xb_error *err)
{
	unsigned size;
	int ret = parse_number(value, 64, 32768, &size, err);

	if (ret < 0 || size & (size - 1))
		return bad(err, value, "a power of two from 64 to 32768");
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
	ret = parse_mac(value, config->kernel.mac, err);
	if (!ret)
		config->kernel.mac_source = XB_MAC_GIVEN;
	return ret;
}

static int set_mtu(struct xb_config *config, const char *value, struct xb_error *err)
{
	return parse_number(value, 68, 65521, &config->kernel.mtu, err);
}

static int set_netns(struct xb_config *config, const char *value, struct xb_error *err)
{
	return parse_name(value, config->kernel.netns, sizeof(config->kernel.netns),
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
	return parse_fds(value, &config->kernel.tap_fds, err);
}

static int set_vhost_fd(struct xb_config *config, const char *value, struct xb_error *err)
{
	return parse_fds(value, &config->kernel.vhost_fds, err);
}

static int set_no_offload(struct xb_config *config, const char *value, struct xb_error *err)
{
	(void)value, (void)err;
	config->kernel.offload = false;
	return 0;
}

/* One word of an uplink behind its interface. */
static int set_uplink_word(struct xb_uplink_options *uplink, const char *word, struct xb_error *err)
{
	static const char *const sharing[] = {"auto", "shared", "dedicated", NULL};
	static const char *const csum[] = {"csum=auto", "csum=trust", "csum=verify", NULL};
	static const char *const xdp[] = {"xdp=auto", "xdp=native", "xdp=generic", NULL};
	static const char *const mode[] = {"mode=auto", "mode=copy", "mode=zerocopy", NULL};
	static const char *const tx[] = {"tx=xdp", "tx=packet", NULL};
	int i;

	if ((i = one_of(word, sharing)) >= 0)
		uplink->sharing = (enum xb_sharing)i;
	else if ((i = one_of(word, csum)) >= 0)
		uplink->csum = (enum xb_csum_policy)i;
	else if ((i = one_of(word, xdp)) >= 0)
		uplink->xdp.mode = (enum xb_xdp_mode)i;
	else if (!strcmp(word, "xdp=exclusive")) /* in whichever mode */
		uplink->xdp.exclusive = true;
	else if ((i = one_of(word, mode)) >= 0)
		uplink->mode = (enum xb_xsk_mode)i;
	else if ((i = one_of(word, tx)) >= 0)
		uplink->tx = (enum xb_uplink_tx)i;
	else
		return bad(err, word,
			   "shared, dedicated, csum=trust|verify, "
			   "xdp=auto|native|generic|exclusive, mode=auto|copy|zerocopy or "
			   "tx=xdp|packet");
	return 0;
}

static int set_uplink(struct xb_config *config, const char *value, struct xb_error *err)
{
	struct xb_uplink_options uplink = {.fill_frames = XB_UPLINK_RING_DEFAULT};
	char words[256];
	char *save = NULL;
	char *word;
	int ret;

	if (config->n_uplinks == XB_UPLINKS_MAX)
		return xb_fail(err, -EINVAL, "'%.64s': more than %u uplinks", value,
			       XB_UPLINKS_MAX);
	ret = parse_name(value, words, sizeof(words), "an uplink", err);
	if (ret < 0)
		return ret;
	word = strtok_r(words, ",", &save);
	ret = parse_ifname(word ? word : "", uplink.ifname, err);
	while (!ret && (word = strtok_r(NULL, ",", &save)))
		ret = set_uplink_word(&uplink, word, err);
	if (ret < 0)
		return ret;
	for (unsigned i = 0; i < config->n_uplinks; i++)
		if (!strcmp(config->uplinks[i].ifname, uplink.ifname))
			return xb_fail(err, -EINVAL, "'%s': named twice", uplink.ifname);
	config->uplinks[config->n_uplinks++] = uplink;
	return 0;
}

static int set_rule(struct xb_config *config, const char *value, struct xb_error *err)
{
	struct xb_rule_source source = {0};
	struct xb_rule rule;
	int ret = xb_rule_parse_places(value, &rule, &source.places, err);

	return ret < 0 ? ret : xb_rule_list_add(&config->rules, &rule, source, err);
}

static int set_default(struct xb_config *config, const char *value, struct xb_error *err)
{
	size_t len = strlen(value);

	if (!len || len >= sizeof(config->verdict_word))
		return bad(err, value, VERDICT_EXPECTED);
	memcpy(config->verdict_word, value, len + 1); /* which ports there are shows later */
	return 0;
}

static int set_workers(struct xb_config *config, const char *value, struct xb_error *err)
{
	return parse_number(value, 1, XB_WORKERS_MAX, &config->workers, err);
}

static int set_cpus(struct xb_config *config, const char *value, struct xb_error *err)
{
	const char *at = value;
	unsigned n = 0;

	while (*at) {
		char *end;
		unsigned long first = strtoul(at, &end, 10);
		unsigned long last = *end == '-' ? strtoul(end + 1, &end, 10) : first;

		if (!isdigit((unsigned char)*at) || (*end && *end != ',') || last < first ||
		    last >= 1024 || n + (last - first) >= XB_CPUS_MAX)
			return bad(err, value, "a list of CPUs like 2,4-6");
		for (unsigned long cpu = first; cpu <= last; cpu++)
			config->cpus[n++] = (unsigned)cpu;
		at = end + (*end == ',');
	}
	config->n_cpus = n;
	return n ? 0 : bad(err, value, "a list of CPUs like 2,4-6");
}

static int set_frames(struct xb_config *config, const char *value, struct xb_error *err)
{
	return parse_number(value, 1024, 4u << 20, &config->frames, err);
}

static int set_stall_ms(struct xb_config *config, const char *value, struct xb_error *err)
{
	return parse_number(value, 100, 60000, &config->stall_ms, err);
}

/* ---- the table ---- */

static const struct option {
	const char *name;
	const char *arg; /* NULL: takes none */
	const char *help;
	int (*set)(struct xb_config *config, const char *value, struct xb_error *err);
} options[] = {
	{"name", "NAME", "name of the instance; default: the interface's", set_name},
	{"config", "FILE", "read options from FILE, one a line, without dashes; # starts a comment",
	 set_config},
	{"vhost-net", NULL, "reach the kernel through vhost-net, or fail", set_vhost_net},
	{"tap", NULL,
	 "reach the kernel through the TAP alone; default: vhost-net where there is one", set_tap},
	{"ifname", "IFACE", "name of the kernel's interface; default: tap0", set_ifname},
	{"queues", "N",
	 "queue pairs of the kernel's interface; default: 1, or as many as are handed in",
	 set_queues},
	{"queue-size", "N", "descriptors of each virtqueue, a power of two; default: 1024",
	 set_queue_size},
	{"mac", "MAC|uplink",
	 "address of the kernel's interface: MAC, or the uplink's own; default: a stable one",
	 set_mac},
	{"mtu", "BYTES", "MTU of the kernel's interface; default: the uplink's", set_mtu},
	{"netns", "NAME|PATH", "network namespace of the kernel's interface", set_netns},
	{"persist", NULL, "the kernel's interface stays, with its addresses and routes, on exit",
	 set_persist},
	{"tap-fd", "FD[,FD...]", "use these open queues of a TAP or macvtap", set_tap_fd},
	{"vhost-fd", "FD[,FD...]", "use these open vhost-net descriptors, one for each queue pair",
	 set_vhost_fd},
	{"no-offload", NULL, "no checksum and segmentation offload to and from the kernel",
	 set_no_offload},
	{"uplink", "IFACE[,OPTION...]",
	 "read IFACE through AF_XDP; options: shared, dedicated, csum=trust|verify, "
	 "xdp=auto|native|generic (in the driver or above it; beside other XDP programs that "
	 "libxdp has loaded) or xdp=exclusive (alone), mode=auto|copy|zerocopy, tx=xdp|packet "
	 "(packet: TCP segments leave whole, through a packet socket, for the driver to cut)",
	 set_uplink},
	{"rule", "RULE", "a rule of the steering table, see `steer add`", set_rule},
	{"default", "VERDICT",
	 "what becomes of a frame that nothing else decides: bridge (default), "
	 "pass, drop, kernel or an uplink's name",
	 set_default},
	{"workers", "N",
	 "threads that move packets; default: one for each queue, at most one for "
	 "each CPU",
	 set_workers},
	{"cpus", "LIST", "CPUs to pin the workers to, like 2,4-6", set_cpus},
	{"frames", "N", "frames of 4096 bytes in the arena; default: as many as the rings need",
	 set_frames},
	{"stall-ms", "MS",
	 "frames pass to the uplink's own stack when xbridge has not looked for "
	 "so long; default: 1000",
	 set_stall_ms},
};

#define N_OPTIONS (sizeof(options) / sizeof(options[0]))

static const struct option *find_option(const char *name)
{
	for (size_t i = 0; i < N_OPTIONS; i++)
		if (!strcmp(options[i].name, name))
			return &options[i];
	return NULL;
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

int xb_config_set(struct xb_config *config, const char *name, const char *value,
		  struct xb_error *err)
{
	const struct option *option = find_option(name);
	int ret;

	if (!option)
		return xb_fail(err, -ENOENT, "no option '%.64s'", name);
	if (option->arg && !value)
		return xb_fail(err, -EINVAL, "%s: %s is expected", name, option->arg);
	if (!option->arg && value)
		return xb_fail(err, -EINVAL, "%s takes no value, but has '%.64s'", name, value);
	ret = option->set(config, value, err);
	return ret < 0 ? blame(err, name, ret) : 0;
}

static void help_line(FILE *out, const struct option *option)
{
	char left[64];
	const char *text = option->help;
	size_t len = strlen(text);

	snprintf(left, sizeof(left), "--%s%s%s", option->name, option->arg ? " " : "",
		 option->arg ? option->arg : "");
	fprintf(out, "  %-26s", left);
	if (strlen(left) > 25)
		fprintf(out, "\n%28s", "");
	while (len > 62) {
		size_t cut = 62;

		while (cut && text[cut] != ' ')
			cut--;
		fprintf(out, " %.*s\n%28s", (int)cut, text, "");
		text += cut + 1;
		len -= cut + 1;
	}
	fprintf(out, " %s\n", text);
}

/* A dash that is typed is no hyphen in roff. */
static void man_entry(FILE *out, const struct option *option)
{
	fprintf(out, ".TP\n.BR \\-\\-");
	for (const char *p = option->name; *p; p++)
		fprintf(out, "%s%c", *p == '-' ? "\\" : "", *p);
	fprintf(out, " \" \" \\fI%s\\fR\n%s.\n", option->arg ? option->arg : "", option->help);
}

void xb_config_help(FILE *out, bool roff)
{
	for (size_t i = 0; i < N_OPTIONS; i++)
		(roff ? man_entry : help_line)(out, &options[i]);
}

/* ---- the whole ---- */

void xb_config_init(struct xb_config *config)
{
	*config = (struct xb_config){
		.kernel = {.queue_size = QUEUE_SIZE_DEFAULT, .offload = true},
		.verdict_word = "bridge",
		.stall_ms = STALL_MS_DEFAULT,
	};
}

void xb_config_fini(struct xb_config *config)
{
	xb_rule_list_free(&config->rules);
}

int xb_verdict_parse(const struct xb_config *config, const char *word, uint16_t *ret_verdict)
{
	static const char *const words[] = {"pass", "bridge", "drop", NULL};
	int i = one_of(word, words);

	if (i >= 0) {
		*ret_verdict = (uint16_t)(XB_VERDICT_PASS + i);
		return 0;
	}
	if (!*word)
		return -EINVAL;
	if (!strcmp(word, "kernel") || !strcmp(word, config->kernel.ifname)) {
		*ret_verdict = XB_VERDICT_PORT(0);
		return 0;
	}
	for (unsigned u = 0; u < config->n_uplinks; u++) {
		if (strcmp(word, config->uplinks[u].ifname) != 0)
			continue;
		*ret_verdict = XB_VERDICT_PORT(1 + u);
		return 0;
	}
	return -EINVAL;
}

/* One line of a configuration file: "NAME [VALUE]", '#' starts a comment. */
static int load_line(struct xb_config *config, char *line, struct xb_error *err)
{
	char *name, *value, *end;

	line[strcspn(line, "#\n")] = '\0';
	name = line + strspn(line, " \t");
	end = name + strcspn(name, " \t");
	value = end + strspn(end, " \t");
	for (char *last = value + strlen(value); last > value && isspace((unsigned char)last[-1]);)
		*--last = '\0';
	if (!*name)
		return 0;
	*end = '\0';
	if (!strcmp(name, "config"))
		return xb_fail(err, -EINVAL, "config: a file can't name another");
	return xb_config_set(config, name, *value ? value : NULL, err);
}

/* Reads a line, its newline included. 1; 0 behind the last one; -errno. */
static int read_line(FILE *file, char line[LINE_BYTES], struct xb_error *err)
{
	errno = 0;
	if (!fgets(line, (int)LINE_BYTES, file))
		return ferror(file) ? xb_fail(err, errno ? -errno : -EIO, "%s",
					      strerror(errno ? errno : EIO))
				    : 0;
	if (!strchr(line, '\n') && !feof(file))
		return xb_fail(err, -EINVAL, "lines of text of up to %u characters are expected",
			       LINE_BYTES - 2);
	return 1;
}

int xb_config_load(struct xb_config *config, const char *path, struct xb_error *err)
{
	size_t len = strlen(path);
	const char *shown = path + (len > PATH_SHOWN ? len - PATH_SHOWN : 0);
	FILE *file = fopen(path, "re");
	char line[LINE_BYTES];
	int ret = 1;

	if (!file)
		return xb_fail(err, -errno, "open %s: %s", shown, strerror(errno));
	for (unsigned number = 1; ret > 0; number++) {
		struct xb_error why = {0};

		ret = read_line(file, line, &why);
		if (ret > 0 && load_line(config, line, &why) < 0)
			ret = why.code;
		if (ret < 0)
			xb_fail(err, ret, "%s, line %u: %s", shown, number, why.what);
	}
	fclose(file);
	return ret;
}

/* What is handed in is taken as it is. */
static int check_handed_in(const struct xb_kernel_config *kernel, struct xb_error *err)
{
	if (!kernel->tap_fds.n)
		return 0;
	if (kernel->ifname[0] || kernel->netns[0] || kernel->persist)
		return xb_fail(err, -EINVAL,
			       "tap-fd: the interface is there already; ifname, netns and persist "
			       "don't go with it");
	if (kernel->mac_source != XB_MAC_STABLE || kernel->mtu)
		return xb_fail(err, -EINVAL,
			       "tap-fd: the interface is there already; mac and mtu don't go with "
			       "it: set them on the interface (ip link set)");
	return 0;
}

static unsigned default_queues(const struct xb_kernel_config *kernel)
{
	unsigned n = kernel->tap_fds.n ? kernel->tap_fds.n : 1;

	if (kernel->vhost_fds.n && kernel->vhost_fds.n < n)
		n = kernel->vhost_fds.n;
	return n < XB_QUEUES_MAX ? n : XB_QUEUES_MAX;
}

int xb_config_finish(struct xb_config *config, struct xb_error *err)
{
	struct xb_kernel_config *kernel = &config->kernel;

	if (check_handed_in(kernel, err) < 0)
		return -EINVAL;
	if (!kernel->queues)
		kernel->queues = default_queues(kernel);
	if (kernel->vhost_fds.n && kernel->backend == XB_KERNEL_TAP)
		return xb_fail(err, -EINVAL, "vhost-fd doesn't go with tap");
	if (kernel->mac_source == XB_MAC_UPLINK && !config->n_uplinks)
		return xb_fail(err, -EINVAL, "mac uplink: there is no uplink");
	if (!kernel->ifname[0] && !kernel->tap_fds.n)
		strcpy(kernel->ifname, "tap0");
	if (!config->name[0])
		snprintf(config->name, sizeof(config->name), "%s",
			 kernel->ifname[0] ? kernel->ifname : "xbridge");
	if (!xb_pin_name_ok(config->name)) /* it names pins and a socket */
		return xb_fail(err, -EINVAL,
			       "name '%s': letters, digits and _-.@+ are expected, no '/', and no "
			       "'.' in front",
			       config->name);
	if (xb_verdict_parse(config, config->verdict_word, &config->verdict) < 0)
		return xb_fail(err, -EINVAL, "default '%s': %s is expected", config->verdict_word,
			       VERDICT_EXPECTED);
	for (unsigned i = 0; i < config->n_uplinks; i++) {
		config->uplinks[i].stall_ns = (uint64_t)config->stall_ms * 1000000u;
		config->uplinks[i].verdict = config->verdict;
		config->uplinks[i].lends_mac = i == 0 && kernel->mac_source == XB_MAC_UPLINK;
		if (!strcmp(config->uplinks[i].ifname, kernel->ifname))
			return xb_fail(err, -EINVAL, "'%s' is both uplink and ifname",
				       kernel->ifname);
	}
	return 0;
}

static int parse_args(struct xb_config *config, int argc, char **argv, bool file_only,
		      struct xb_error *err)
{
	for (int i = 0; i < argc; i++) {
		char name[32];
		char *value = strchr(argv[i], '=');
		size_t len = value ? (size_t)(value - argv[i]) : strlen(argv[i]);
		int takes, ret;

		if (strncmp(argv[i], "--", 2) || len - 2 >= sizeof(name))
			return xb_fail(err, -ENOENT, "no option '%.64s'", argv[i]);
		memcpy(name, argv[i] + 2, len - 2);
		name[len - 2] = '\0';
		takes = xb_config_takes_value(name);
		if (value)
			value++;
		else if (takes == 1 && i + 1 < argc)
			value = argv[++i];
		if (file_only != !strcmp(name, "config"))
			continue;
		ret = xb_config_set(config, name, value, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int xb_config_parse(struct xb_config *config, int argc, char **argv, struct xb_error *err)
{
	int ret;

	xb_config_init(config);
	ret = parse_args(config, argc, argv, true, err);

	if (!ret && config->file[0])
		ret = xb_config_load(config, config->file, err);
	if (!ret)
		ret = parse_args(config, argc, argv, false, err);
	return ret ? ret : xb_config_finish(config, err);
}
