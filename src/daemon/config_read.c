/* SPDX-License-Identifier: BSD-2-Clause */
/* A configuration is read: a file line by line, and `run`'s arguments; then the whole is checked.
 */
#include "core/cleanup.h"
#include "daemon/config.h"
#include "daemon/config_value.h"
#include "gate/pins.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LINE_BYTES 4096u
#define PATH_SHOWN 240u /* characters of a file's name in what is said of it, its last ones */

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
		return xb_fail(err, -EINVAL, "config: a configuration file can't name another one");
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

int xb_config_load(struct xb_config *config, const char *path, int fd, struct xb_error *err)
{
	size_t len = strlen(path);
	const char *shown = path + (len > PATH_SHOWN ? len - PATH_SHOWN : 0);
	FILE *file = fd < 0 ? fopen(path, "re") : fdopen(fd, "r");
	char line[LINE_BYTES];
	int ret = 1;

	if (!file) {
		xb_fail(err, -errno, "open %s: %s", shown, strerror(errno));
		xb_cleanup_close(&fd);
		return err->code;
	}
	xb_config_begin_source(config);
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
		return xb_fail(
			err, -EINVAL,
			"tap-fd: the interface exists already, so ifname, netns and persist can't be used with it");
	if (kernel->mac_source != XB_MAC_STABLE || kernel->mtu)
		return xb_fail(
			err, -EINVAL,
			"tap-fd: the interface exists already, so mac and mtu can't be used with it; set them on the interface (ip link set)");
	return 0;
}

/* One descriptor can't be a TAP's queue and a vhost-net device. */
static int check_descriptors(const struct xb_kernel_config *kernel, struct xb_error *err)
{
	for (unsigned t = 0; t < kernel->tap_fds.n; t++)
		for (unsigned v = 0; v < kernel->vhost_fds.n; v++)
			if (kernel->tap_fds.fds[t] == kernel->vhost_fds.fds[v])
				return xb_fail(err, -EINVAL,
					       "tap-fd and vhost-fd: descriptor %d is named twice",
					       kernel->tap_fds.fds[t]);
	return 0;
}

static unsigned default_queues(const struct xb_kernel_config *kernel)
{
	unsigned n = kernel->tap_fds.n ? kernel->tap_fds.n : 1;

	if (kernel->vhost_fds.n && kernel->vhost_fds.n < n)
		n = kernel->vhost_fds.n;
	return n < XB_QUEUES_MAX ? n : XB_QUEUES_MAX;
}

static bool has_uplink(const struct xb_config *config, const char *ifname)
{
	for (unsigned i = 0; i < config->n_uplinks; i++)
		if (!strcmp(config->uplinks[i].options.ifname, ifname))
			return true;
	return false;
}

/* Further kernel ports: what one says alone can't be checked against the others before. */
static int check_kernels(struct xb_config *config, struct xb_error *err)
{
	for (unsigned i = 0; i < config->n_kernels; i++) {
		struct xb_kernel_config *kernel = &config->kernels[i];

		kernel->backend = config->kernel.backend;
		kernel->queue_size = config->kernel.queue_size;
		kernel->offload = config->kernel.offload;
		if (!config->no_kernel && !strcmp(kernel->ifname, config->kernel.ifname))
			return xb_fail(err, -EINVAL, "kernel '%s': it is the first one's name",
				       kernel->ifname);
		if (has_uplink(config, kernel->ifname))
			return xb_fail(err, -EINVAL, "'%s' is both uplink and kernel port",
				       kernel->ifname);
		if (kernel->carrier[0] && !has_uplink(config, kernel->carrier))
			return xb_fail(err, -EINVAL, "kernel %s: there is no uplink '%s'",
				       kernel->ifname, kernel->carrier);
		if (kernel->mac_source == XB_MAC_UPLINK && !config->n_uplinks)
			return xb_fail(err, -EINVAL, "kernel %s: mac=uplink: there is no uplink",
				       kernel->ifname);
	}
	return 0;
}

int xb_config_finish(struct xb_config *config, struct xb_error *err)
{
	struct xb_kernel_config *kernel = &config->kernel;

	if (check_handed_in(kernel, err) < 0 || check_descriptors(kernel, err) < 0)
		return -EINVAL;
	if (!kernel->queues)
		kernel->queues = default_queues(kernel);
	if (kernel->vhost_fds.n && kernel->backend == XB_KERNEL_TAP)
		return xb_fail(err, -EINVAL, "vhost-fd can't be used with tap");
	if (kernel->mac_source == XB_MAC_UPLINK && !config->n_uplinks)
		return xb_fail(err, -EINVAL, "mac uplink: there is no uplink");
	if (!kernel->ifname[0] && !kernel->tap_fds.n)
		strcpy(kernel->ifname, "tap0");
	if (!config->name[0])
		snprintf(config->name, sizeof(config->name), "%s",
			 kernel->ifname[0] ? kernel->ifname : "xbridge");
	if (!xb_pin_name_ok(config->name)) /* it names pins and a socket */
		return xb_fail(
			err, -EINVAL,
			"name '%s': letters, digits and _-.@+ are expected, no '/', and no '.' at the beginning",
			config->name);
	if (!xb_config_knows_verdict(config, config->verdict_word))
		return xb_fail(err, -EINVAL, "default '%s': %s is expected", config->verdict_word,
			       XB_VERDICT_EXPECTED);
	if (check_kernels(config, err) < 0)
		return -EINVAL;
	for (unsigned i = 0; i < config->n_uplinks; i++) {
		config->uplinks[i].options.stall_ns = (uint64_t)config->stall_ms * 1000000u;
		config->uplinks[i].options.lends_mac = i == 0 &&
						       kernel->mac_source == XB_MAC_UPLINK;
		if (!strcmp(config->uplinks[i].options.ifname, kernel->ifname))
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
			return xb_config_refuse_option(argv[i], true, err);
		memcpy(name, argv[i] + 2, len - 2);
		name[len - 2] = '\0';
		takes = xb_config_takes_value(name);
		if (takes < 0) /* before the next word, which may be its value */
			return xb_config_refuse_option(argv[i], true, err);
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

int xb_config_parse(struct xb_config *config, int argc, char **argv, int file_fd,
		    struct xb_error *err)
{
	xb_auto_fd int fd = file_fd;
	int ret;

	xb_config_init(config);
	ret = parse_args(config, argc, argv, true, err);

	if (!ret && config->file[0])
		ret = xb_config_load(config, config->file, XB_TAKE_FD(fd), err);
	xb_config_begin_source(config);
	if (!ret)
		ret = parse_args(config, argc, argv, false, err);
	return ret ? ret : xb_config_finish(config, err);
}

int xb_config_parse_port(struct xb_config *config, int argc, const char *const *argv,
			 struct xb_error *err)
{
	int ret = 0;

	xb_config_init(config);
	for (int i = 0; !ret && i < argc; i += 2) {
		const char *name = strncmp(argv[i], "--", 2) ? "" : argv[i] + 2;

		if (!xb_config_is_port(name))
			ret = xb_fail(err, -EINVAL, "'%.64s' describes no port", argv[i]);
		else
			ret = xb_config_set(config, name, i + 1 < argc ? argv[i + 1] : NULL, err);
	}
	if (!ret && config->n_uplinks + config->n_kernels != 1)
		ret = xb_fail(err, -EINVAL, "one port at a time is expected, as --uplink eth1");
	return ret;
}
