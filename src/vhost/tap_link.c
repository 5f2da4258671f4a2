/* SPDX-License-Identifier: BSD-2-Clause */
#include "vhost/tap_link.h"

#include "core/calls.h"
#include "core/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/magic.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>

XB_CALL(control, setns);

/* How often a thread tries to get back where it was, for want of memory. */
#define HOME_TRIES 100u

/* ---- a look at a link ---- */

/* The answer to one RTM_GETLINK: some 2 KiB, more where the link has many virtual functions. */
#define ANSWER_BYTES 32768u

struct request {
	struct nlmsghdr head;
	struct ifinfomsg info;
	struct rtattr name_attr;
	char name[IFNAMSIZ];
};

static int ask(int fd, const char *ifname)
{
	unsigned short attr_bytes = (unsigned short)RTA_LENGTH(strlen(ifname) + 1);
	struct request request = {
		.head = {.nlmsg_len = (uint32_t)(offsetof(struct request, name_attr) +
						 RTA_ALIGN(attr_bytes)),
			 .nlmsg_type = RTM_GETLINK,
			 .nlmsg_flags = NLM_F_REQUEST},
		.info = {.ifi_family = AF_UNSPEC},
		.name_attr = {.rta_len = attr_bytes, .rta_type = IFLA_IFNAME},
	};

	memcpy(request.name, ifname, strlen(ifname) + 1);
	return send(fd, &request, request.head.nlmsg_len, 0) < 0 ? -errno : 0;
}

/* The attribute `type` among `len` bytes of attributes; NULL where it is not there. */
static const struct rtattr *find_attr(const void *attrs, int len, unsigned short type)
{
	const struct rtattr *attr = attrs;

	for (; RTA_OK(attr, len); attr = RTA_NEXT(attr, len))
		if ((attr->rta_type & NLA_TYPE_MASK) == type)
			return attr;
	return NULL;
}

static const struct rtattr *nested(const struct rtattr *attr, unsigned short type)
{
	return attr ? find_attr(RTA_DATA(attr), (int)RTA_PAYLOAD(attr), type) : NULL;
}

static uint32_t number(const struct rtattr *attr)
{
	uint32_t value = 0;

	if (attr)
		memcpy(&value, RTA_DATA(attr),
		       RTA_PAYLOAD(attr) < sizeof(value) ? RTA_PAYLOAD(attr) : sizeof(value));
	return value;
}

static void read_link(const struct nlmsghdr *head, struct xb_tap_link *link)
{
	const struct ifinfomsg *info = NLMSG_DATA(head);
	const struct rtattr *linkinfo = find_attr(IFLA_RTA(info), (int)IFLA_PAYLOAD(head),
						  IFLA_LINKINFO);
	const struct rtattr *kind = nested(linkinfo, IFLA_INFO_KIND);
	const struct rtattr *data = nested(linkinfo, IFLA_INFO_DATA);

	link->exists = true;
	if (!kind || RTA_PAYLOAD(kind) < sizeof("tun") || strcmp(RTA_DATA(kind), "tun") != 0)
		return;
	link->tap = number(nested(data, IFLA_TUN_TYPE)) == IFF_TAP;
	link->multi_queue = number(nested(data, IFLA_TUN_MULTI_QUEUE));
	link->persist = number(nested(data, IFLA_TUN_PERSIST));
	link->held = number(nested(data, IFLA_TUN_NUM_QUEUES)) +
		     number(nested(data, IFLA_TUN_NUM_DISABLED_QUEUES));
}

int xb_tap_link_find(const char *ifname, struct xb_tap_link *ret_link)
{
	xb_auto_fd int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	xb_auto_free struct nlmsghdr *answer = malloc(ANSWER_BYTES);
	struct xb_tap_link link = {0};
	ssize_t len;
	int ret;

	if (fd < 0)
		return -errno;
	if (!answer)
		return -ENOMEM;
	ret = ask(fd, ifname);
	if (ret < 0)
		return ret;
	len = recv(fd, answer, ANSWER_BYTES, 0);
	if (len < 0)
		return -errno;
	if (!NLMSG_OK(answer, (size_t)len))
		return -EPROTO;
	if (answer->nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *error = NLMSG_DATA(answer);

		if (error->error != -ENODEV)
			return error->error < 0 ? error->error : -EPROTO;
	} else {
		read_link(answer, &link);
	}
	*ret_link = link;
	return 0;
}

/* ---- namespaces ---- */

static bool path_of(const char *netns, char path[PATH_MAX])
{
	int len = snprintf(path, PATH_MAX, "%s%s", strchr(netns, '/') ? "" : "/run/netns/", netns);

	return netns[0] && len < PATH_MAX;
}

static struct xb_netns_id id_of(const struct stat *st)
{
	return (struct xb_netns_id){.dev = st->st_dev, .ino = st->st_ino};
}

struct xb_netns_id xb_netns_id(int netns_fd)
{
	struct stat st;

	if ((netns_fd >= 0 ? fstat(netns_fd, &st) : stat("/proc/thread-self/ns/net", &st)) < 0)
		return (struct xb_netns_id){0};
	return id_of(&st);
}

int xb_netns_id_of(const char *netns, struct xb_netns_id *ret_id)
{
	char path[PATH_MAX];
	struct statfs fs;
	struct stat st;

	*ret_id = (struct xb_netns_id){0};
	if (!path_of(netns, path))
		return -EINVAL;
	if (stat(path, &st) < 0 || statfs(path, &fs) < 0)
		return -errno;
	if (fs.f_type != NSFS_MAGIC)
		return -EINVAL; /* a name without its mount */
	*ret_id = id_of(&st);
	return 0;
}

int xb_netns_open(const char *netns, int *ret_fd, struct xb_error *err)
{
	char path[PATH_MAX];
	int fd, ret;

	if (!path_of(netns, path))
		return xb_fail(err, -EINVAL, "open the network namespace '%.40s'", netns);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		ret = xb_fail(err, -errno, "open the network namespace %s", path);
		if (ret == -ENOENT)
			xb_hint(err,
				"`ip netns list` shows those that exist; a path such as /proc/PID/ns/net works, too");
		else if (ret == -EACCES || ret == -EPERM)
			xb_hint(err,
				"as root; another process's takes CAP_SYS_PTRACE, unless it is named: "
				"ip netns attach NAME PID, then --netns NAME");
		return ret;
	}
	*ret_fd = fd;
	return 0;
}

int xb_netns_enter(int netns_fd, int *ret_home, struct xb_error *err)
{
	xb_auto_fd int home = -1;
	int ret;

	if (netns_fd < 0) {
		*ret_home = -1;
		return 0;
	}
	home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (home < 0)
		return xb_fail(err, -errno, "open this thread's network namespace");
	if (setns(netns_fd, CLONE_NEWNET) < 0) {
		ret = xb_fail(err, -errno, "enter the TAP's network namespace");
		if (ret == -EPERM)
			xb_hint(err, "it needs CAP_SYS_ADMIN; or hand the TAP in with --tap-fd");
		else if (ret == -EINVAL)
			xb_hint(err, "the file given is not a network namespace");
		return ret;
	}
	*ret_home = XB_TAKE_FD(home);
	return 0;
}

int xb_netns_leave(int home, struct xb_error *err)
{
	xb_auto_fd int fd = home;

	/* a thread that stays elsewhere would look for uplinks there from now on */
	for (unsigned tries = 0; fd >= 0 && setns(fd, CLONE_NEWNET) < 0; tries++)
		if (tries == HOME_TRIES)
			return xb_fail(err, -errno, "return from the TAP's network namespace");
	return 0;
}
