/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/run.h"

#include "core/cleanup.h"
#include "daemon/control.h"
#include "daemon/door_kernel.h"
#include "daemon/doors.h"
#include "daemon/filter.h"
#include "daemon/instance.h"
#include "daemon/links.h"
#include "daemon/log.h"
#include "daemon/name_lock.h"
#include "daemon/privileges.h"
#include "daemon/reload.h"
#include "daemon/troubles.h"
#include "gate/bpffs.h"
#include "steer/net_names.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef XB_HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#define notify(state) sd_notify(0, state)
#else
#define notify(state) ((void)(state))
#endif

#define TICK_MS 1000u

/* The map `fdb` is to be at most a second old, however busy this thread is in between, and what
 * goes wrong is to be noticed within two. */
#define MIRROR_MS 500u

/* The daemon: an instance and what its control thread listens to. */
struct daemon {
	struct xb_instance instance;
	struct xb_control control;
	struct xb_watch signals, ticks, mirror, links, netns_links;
	struct xb_netns_id watched; /* the namespace of netns_links */
	bool failed;                /* it could not start */
};

#define daemon_of(watch, member) \
	((struct daemon *)((char *)(watch)-offsetof(struct daemon, member)))

static void on_ended(struct xb_instance *instance)
{
	instance->loop.stop = true;
}

static void end(struct daemon *daemon)
{
	struct xb_instance *instance = &daemon->instance;

	if (instance->ready)
		notify("STOPPING=1");
	xb_control_hang_up(&daemon->control);
	xb_instance_end(instance, on_ended);
}

/* Doormen, and what they have left behind. */
static void reap(struct daemon *daemon)
{
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
		xb_doorman_reaped(&daemon->instance.doorman, pid);
		xb_reader_reaped(&daemon->instance.reader, pid);
		xb_deputy_reaped(&daemon->instance.deputy, pid);
	}
}

static void on_signal(struct xb_watch *watch, uint32_t events)
{
	struct daemon *daemon = daemon_of(watch, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(watch->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGCHLD) {
		reap(daemon);
	} else if (info.ssi_signo == SIGHUP) {
		if (daemon->instance.ready)
			xb_reload(&daemon->instance);
	} else if (!daemon->instance.ending) {
		xb_log(XB_LOG_INFO, "%s: stopping", strsignal((int)info.ssi_signo));
		end(daemon);
	}
}

static void follow_netns(struct daemon *daemon);

/* The service manager waits for it only with WatchdogSec=. */
static void feed_watchdog(void)
{
#ifdef XB_HAVE_SYSTEMD
	if (sd_watchdog_enabled(0, NULL) > 0)
		notify("WATCHDOG=1");
#endif
}

static void on_tick(struct xb_watch *watch, uint32_t events)
{
	struct daemon *daemon = daemon_of(watch, ticks);

	(void)events;
	xb_loop_drain(watch->fd);
	feed_watchdog();
	if (!daemon->instance.ready)
		return;
	xb_instance_tick(&daemon->instance);
	xb_doors_check(&daemon->instance, false);
	follow_netns(daemon);
	xb_control_tick(&daemon->control);
}

static void on_mirror(struct xb_watch *watch, uint32_t events)
{
	(void)events;
	xb_loop_drain(watch->fd);
	if (!daemon_of(watch, mirror)->instance.ready)
		return;
	xb_instance_mirror_fdb(&daemon_of(watch, mirror)->instance);
	xb_instance_watch(&daemon_of(watch, mirror)->instance);
}

static void on_links(struct xb_watch *watch, uint32_t events)
{
	unsigned changed = xb_links_drain(watch->fd);
	struct xb_instance *instance = &daemon_of(watch, links)->instance;

	(void)events;
	if (changed && instance->ready)
		xb_doors_check(instance, changed & XB_LINKS_CHANGED);
}

static void on_netns_links(struct xb_watch *watch, uint32_t events)
{
	(void)events;
	/* there is no uplink there */
	if (xb_links_drain(watch->fd) & XB_LINKS_CHANGED &&
	    daemon_of(watch, netns_links)->instance.ready)
		xb_doors_check(&daemon_of(watch, netns_links)->instance, false);
}

/* ---- setting up ---- */

static int watch_fd(struct daemon *daemon, struct xb_watch *watch, int fd,
		    void (*ready)(struct xb_watch *, uint32_t), struct xb_error *err)
{
	int ret = fd < 0 ? fd : xb_loop_add(&daemon->instance.loop, watch, fd, EPOLLIN, ready);

	if (ret < 0 && fd >= 0)
		close(fd);
	return ret < 0 ? xb_fail(err, ret, "watch a descriptor") : 0;
}

static void unwatch_fd(struct daemon *daemon, struct xb_watch *watch)
{
	int fd = watch->fd;

	xb_loop_del(&daemon->instance.loop, watch);
	if (fd >= 0)
		close(fd);
}

static int signals_fd(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	signal(SIGPIPE, SIG_IGN);
	/* Blocked before any thread is made, so that workers never see them. */
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static int watch_netns(struct daemon *daemon, struct xb_error *err)
{
	int fd = xb_links_open(daemon->instance.config.kernel.netns, err);

	return fd < 0 ? fd : watch_fd(daemon, &daemon->netns_links, fd, on_netns_links, err);
}

/* After the kernel's interface was made in another namespace of the same name: the old one is not
 * held on to. */
static void follow_netns(struct daemon *daemon)
{
	const struct xb_kernel_door *kernel = xb_kernel_door_first(&daemon->instance);
	const struct xb_netns_id *home = kernel ? &kernel->kernel.home.made_in : &daemon->watched;
	struct xb_error err = {0};

	if (xb_netns_id_same(home, &daemon->watched))
		return;
	daemon->watched = *home;
	unwatch_fd(daemon, &daemon->netns_links);
	daemon->netns_links.fd = -1;
	if (watch_netns(daemon, &err) < 0)
		xb_log_error(XB_LOG_WARNING, "changes are seen once a second only", &err);
}

static int listen_all(struct daemon *daemon, struct xb_error *err)
{
	const char *netns = daemon->instance.config.kernel.netns;
	int fd = xb_links_open(NULL, err);
	int ret = fd < 0 ? fd : watch_fd(daemon, &daemon->links, fd, on_links, err);

	if (!ret && netns[0])
		ret = watch_netns(daemon, err);
	if (!ret)
		ret = watch_fd(daemon, &daemon->ticks, xb_loop_timer(TICK_MS), on_tick, err);
	if (!ret && daemon->instance.config.n_uplinks)
		ret = watch_fd(daemon, &daemon->mirror, xb_loop_timer(MIRROR_MS), on_mirror, err);
	return ret;
}

static void say_ready(const struct xb_instance *instance)
{
	const struct xb_door *only = xb_doors_from(instance, 0);

	if (!only)
		xb_log(XB_LOG_NOTICE, "there is no port yet (give --uplink, or leave out "
				      "--no-kernel)");
	else if (!xb_doors_from(instance, only->id + 1u))
		xb_log(XB_LOG_NOTICE,
		       "%s is the only port: nothing to bridge it with yet (give --uplink)",
		       only->port->name);
	xb_log(XB_LOG_INFO, "ready: %s, %u worker%s", instance->config.name, instance->workers.n,
	       instance->workers.n == 1 ? "" : "s");
	notify("READY=1");
}

/* Rules that drop are to outlive us, and bpftool is to see the maps. */
static void look_at_bpffs(struct xb_instance *instance)
{
	instance->bpffs_private = instance->gate_open && xb_bpffs_is_private();
	if (!instance->bpffs_private)
		return;
	xb_log(XB_LOG_WARNING,
	       "the BPF file system at %s is this mount namespace's own, as under `ip netns exec`: "
	       "when the last process here ends, its pins vanish, and rules that drop with them; "
	       "bpftool elsewhere does not see the maps. Start with nsenter --net=/run/netns/NAME, "
	       "which changes nothing else, or give --bpffs PATH",
	       xb_bpffs());
}

static void confine(void)
{
	int ret = xb_filter_use(XB_FILTER_CONTROL);

	if (ret < 0)
		xb_log(XB_LOG_WARNING,
		       "threads may make any system call: the kernel takes no seccomp filter (%s)",
		       strerror(-ret));
}

static int finish_start(struct daemon *daemon, struct xb_error *err)
{
	struct xb_instance *instance = &daemon->instance;
	const struct xb_kernel_door *kernel = xb_kernel_door_first(instance);
	int ret = xb_control_open(&daemon->control, instance, err);

	if (kernel)
		daemon->watched = kernel->kernel.home.made_in;
	look_at_bpffs(instance);
	if (instance->deputy.pid)
		xb_deputy_take_office(&instance->deputy);
	if (!ret)
		ret = xb_privileges_drop_control(&instance->config, err);
	if (!ret)
		ret = xb_kernel_doors_settle(instance, err);
	if (!ret)
		confine();
	return ret;
}

static void on_started(struct xb_instance *instance, const struct xb_error *failed)
{
	struct daemon *daemon = daemon_of(instance, instance);
	struct xb_error err = {0};

	if (!failed && finish_start(daemon, &err) < 0)
		failed = &err;
	if (!failed) {
		say_ready(instance);
		return;
	}
	xb_log_error(XB_LOG_ERROR, "can't start", failed);
	daemon->failed = true;
	instance->ready = false;
	instance->keep_programs = true;
	end(daemon);
}

static int set_up(struct daemon *daemon, struct xb_error *err)
{
	struct xb_instance *instance = &daemon->instance;
	int ret = xb_loop_init(&instance->loop, err);

	if (!ret)
		ret = xb_privileges_seal(err);
	if (!ret)
		ret = xb_filter_init(err);
	if (!ret)
		ret = watch_fd(daemon, &daemon->signals, signals_fd(), on_signal, err);
	if (!ret && instance->config.file[0])
		ret = xb_reader_start(&instance->reader, instance->config.file, err);
	if (!ret && !instance->config.n_uplinks && !instance->config.kernel.tap_fds.n)
		ret = xb_deputy_start(&instance->deputy, instance->config.kernel.ifname, err);
	if (!ret)
		ret = instance->lock_fd = xb_name_lock(instance->config.name, err);
	if (ret < 0)
		return ret;
	if (strcmp(instance->config.bpffs, xb_bpffs()) != 0)
		ret = xb_bpffs_use(instance->config.bpffs, err);
	if (ret < 0)
		return ret;
	xb_privileges_raise_limits();
	ret = listen_all(daemon, err);
	if (!ret)
		xb_instance_start(instance, on_started);
	return ret;
}

static void tear_down(struct daemon *daemon)
{
	if (!daemon->instance.abandoned)
		xb_instance_fini(&daemon->instance);
	xb_reader_stop(&daemon->instance.reader);
	xb_deputy_stop(&daemon->instance.deputy);
	xb_control_hang_up(&daemon->control);
	if (daemon->instance.lock_fd >= 0 && !daemon->instance.left)
		xb_name_leave(daemon->instance.config.name);
	xb_cleanup_close(&daemon->instance.lock_fd);
	if (daemon->instance.abandoned)
		_exit(daemon->failed);
	xb_config_fini(&daemon->instance.config);
	unwatch_fd(daemon, &daemon->signals);
	unwatch_fd(daemon, &daemon->ticks);
	unwatch_fd(daemon, &daemon->mirror);
	unwatch_fd(daemon, &daemon->links);
	unwatch_fd(daemon, &daemon->netns_links);
	xb_loop_fini(&daemon->instance.loop);
}

int xb_run(int argc, char **argv)
{
	static struct daemon daemon; /* large, and there is one */
	struct xb_error err = {0};

	daemon = (struct daemon){
		.signals.fd = -1,
		.ticks.fd = -1,
		.mirror.fd = -1,
		.links.fd = -1,
		.netns_links.fd = -1,
	};
	xb_net_names_load(); /* while anything may be read, and nobody waits */
	xb_control_init(&daemon.control);
	daemon.instance.lock_fd = -1;
	daemon.instance.argc = argc;
	daemon.instance.argv = argv;
	if (xb_config_parse(&daemon.instance.config, argc, argv, -1, &err) < 0) {
		xb_log(XB_LOG_ERROR, "%s; `xbridge run --help` lists the options", err.what);
		xb_config_fini(&daemon.instance.config);
		return 2;
	}
	xb_log_use_json(daemon.instance.config.log_json);
	if (set_up(&daemon, &err) < 0) {
		xb_log_error(XB_LOG_ERROR, "can't start", &err);
		daemon.failed = true;
	} else {
		xb_loop_run(&daemon.instance.loop);
	}
	tear_down(&daemon);
	return daemon.failed;
}
