/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/name_lock.h"

#include "core/calls.h"
#include "core/cleanup.h"
#include "xbridge/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

XB_CALL(control, flock);
XB_CALL(doorman, rmdir);
XB_CALL(doorman, unlink);

#define LOCK_TRIES 100u

struct path {
	char text[256];
};

static struct path path_of(const char *name, const char *suffix)
{
	struct path path;

	snprintf(path.text, sizeof(path.text), "%s/%s.%s", XB_RUN_DIR, name, suffix);
	return path;
}

int xb_name_socket(const char *name, char *path, size_t bytes)
{
	return snprintf(path, bytes, "%s", path_of(name, "sock").text);
}

int xb_name_refuse(struct xb_error *err, const char *step, const char *path)
{
	int ret = xb_fail(err, -errno, "%s %s", step, path);

	if (ret == -ENOSPC || ret == -EDQUOT)
		xb_hint(err,
			"the control socket lives there, and the file system is full: make room");
	else
		xb_hint(err, "the control socket lives there: run as root, or make it writable");
	return ret;
}

/* Is what was locked still what has the name? An instance that ends removes it. */
static bool is_named(int fd, const char *path)
{
	struct stat locked, named;

	return !fstat(fd, &locked) && !stat(path, &named) && locked.st_dev == named.st_dev &&
	       locked.st_ino == named.st_ino;
}

static int lock_file(const char *path, struct xb_error *err)
{
	for (unsigned tries = 0;; tries++) {
		xb_auto_fd int fd = -1;

		if (mkdir(XB_RUN_DIR, 0755) < 0 && errno != EEXIST)
			return xb_name_refuse(err, "make", XB_RUN_DIR);
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0 && errno == ENOENT && tries < LOCK_TRIES)
			continue; /* the last instance went just now, and the folder with it */
		if (fd < 0)
			return xb_name_refuse(err, "open", path);
		if (flock(fd, LOCK_EX | LOCK_NB) < 0)
			return xb_fail(err, -errno, "lock %s", path);
		if (is_named(fd, path))
			return XB_TAKE_FD(fd);
	}
}

int xb_name_lock(const char *name, struct xb_error *err)
{
	int fd = lock_file(path_of(name, "lock").text, err);

	if (fd != -EWOULDBLOCK)
		return fd;
	if (access(path_of(name, "sock").text, F_OK) == 0) {
		xb_refuse(err, -EBUSY, "an instance named '%s' is running already", name);
		xb_hint(err, "stop it, or give this one another --name");
	} else {
		xb_refuse(err, -EBUSY, "an instance named '%s' is starting, or still ending", name);
		xb_hint(err, "try again in some seconds, or give this one another --name");
	}
	return -EBUSY;
}

/* The lock file is removed last, while it is still locked: a process that has opened it meanwhile
 * sees that it no longer has its name (is_named). */
void xb_name_leave(const char *name)
{
	unlink(path_of(name, "sock").text);
	unlink(path_of(name, "lock").text);
	rmdir(XB_RUN_DIR); /* goes with the last instance */
}
