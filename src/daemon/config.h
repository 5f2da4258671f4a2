/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an instance is asked to be: filled from `run`'s options and from a configuration file, which
 * has the same options, one a line, without dashes.
 *
 * One table (config.c) is the grammar of both; --help, the manual and completion are made from it.
 */
#ifndef XB_DAEMON_CONFIG_H
#define XB_DAEMON_CONFIG_H

#include "core/error.h"
#include "core/port.h"
#include "gate/bpffs.h"
#include "gate/gate.h"
#include "steer/list.h"
#include "vhost/tap.h"
#include "xsk/uplink.h"

#include <stdbool.h>
#include <stdint.h>

#define XB_CPUS_MAX    256u
#define XB_WORKERS_MAX 64u

enum xb_kernel_backend {
	XB_KERNEL_AUTO,      /* vhost-net where there is one, else the TAP alone */
	XB_KERNEL_VHOST_NET, /* or fail */
	XB_KERNEL_TAP,
};

enum xb_mac_source {
	XB_MAC_STABLE, /* made from the machine's id and the instance's name */
	XB_MAC_GIVEN,
	XB_MAC_UPLINK, /* the first uplink's */
};

/** Descriptors that were handed in. */
struct xb_fd_list {
	unsigned n;
	int fds[XB_TAP_QUEUES_MAX];
};

/** A port to this host's kernel. */
struct xb_kernel_config {
	char domain[XB_NAME_BYTES]; /* "": the default one */
	char carrier[IF_NAMESIZE]; /* the uplink that it follows; "": the first one, and the carrier
				      of any */
	enum xb_kernel_backend backend;
	char ifname[IFNAMSIZ];
	unsigned queues; /* queue pairs; 0, until xb_config_finish: not said */
	unsigned queue_size;
	enum xb_mac_source mac_source;
	uint8_t mac[6];
	unsigned mtu; /* 0: the uplink's */
	char netns[256];
	bool persist;
	struct xb_offload_set offload;
	struct xb_fd_list tap_fds, vhost_fds;
};

/** Kernel ports beside the first. */
#define XB_KERNELS_MAX 16u

/** An uplink. */
struct xb_uplink_config {
	struct xb_uplink_options options;
	char domain[XB_NAME_BYTES];
};

struct xb_config {
	char name[XB_INSTANCE_BYTES]; /* of the instance; "": the interface's */
	char file[4096];              /* --config; "": none */
	bool no_kernel;               /* there is none */
	struct xb_kernel_config kernel;
	unsigned n_kernels;
	struct xb_kernel_config kernels[XB_KERNELS_MAX]; /* --kernel */
	unsigned n_uplinks;
	struct xb_uplink_config uplinks[XB_UPLINKS_MAX];
	char verdict_word[IFNAMSIZ]; /* the default verdict as it was last read: `steer default`
					leaves it */
	struct xb_rule_list rules;
	unsigned workers; /* 0: the smaller of CPUs and the most queues of a port */
	unsigned n_cpus;  /* 0: not pinned */
	unsigned cpus[XB_CPUS_MAX];
	unsigned frames; /* 0: enough for all rings, and as much again as packets on their way need
			  */
	unsigned stall_ms;
	bool log_json;              /* --log-format */
	char bpffs[XB_BPFFS_BYTES]; /* where it is mounted */
	uint64_t given; /* the options that the source which is being read has given, by place */
};

void xb_config_init(struct xb_config *config);

/** Frees what it holds. */
void xb_config_fini(struct xb_config *config);

/** A file or the command line begins: it may say again, and otherwise, what another source has
 * said. */
void xb_config_begin_source(struct xb_config *config);

/**
 * Sets one option.
 *
 * @name:  without dashes.
 * @value: NULL where none was given.
 *
 * Returns 0; -ENOENT (no such option), -EINVAL (the value; missing or surplus; given before by this
 * source, or its opposite), with `err` saying what is expected.
 */
int xb_config_set(struct xb_config *config, const char *name, const char *value,
		  struct xb_error *err);

/** Says that there is no such option, and which may have been meant. `word` is as it was written;
 * `dashed`: where options have dashes. Returns -ENOENT. */
int xb_config_refuse_option(const char *word, bool dashed, struct xb_error *err);

/** Whether the option of this name takes a value: 1, 0, or -ENOENT. */
int xb_config_takes_value(const char *name);

/** Whether the option of this name describes a port. */
bool xb_config_is_port(const char *name);

/** Reads `path` into `config`. Errors name file and line. `fd`, which is taken over, is the open
 * file; -1: it is opened by its name. */
int xb_config_load(struct xb_config *config, const char *path, int fd, struct xb_error *err);

/** Checks what one option alone can't tell, and fills in what depends on others. */
int xb_config_finish(struct xb_config *config, struct xb_error *err);

/** Initialises `config` from `run`'s arguments, and the configuration file where one is named; what
 * is said on the command line comes after the file and so overrides it. `file_fd` is as in
 * xb_config_load. */
int xb_config_parse(struct xb_config *config, int argc, char **argv, int file_fd,
		    struct xb_error *err);

/** Initialises `config` from the options of one port, as `run` takes them: the only ones that are
 * allowed. Returns 0, or -EINVAL or -ENOENT. */
int xb_config_parse_port(struct xb_config *config, int argc, const char *const *argv,
			 struct xb_error *err);

/** A row of the option table, for whoever explains or completes it. */
struct xb_config_option {
	const char *dashed; /* "--name" */
	const char *arg;    /* what it takes; NULL: nothing */
	const char *help;
	bool port; /* `port add` takes it, too */
};

/** The option of that number, from 0 on. False: there are no more. */
bool xb_config_option_at(unsigned n, struct xb_config_option *ret_option);

/** Whether a default verdict is a word that it may be, or one of the ports of this configuration.
 */
bool xb_config_knows_verdict(const struct xb_config *config, const char *word);

#endif
