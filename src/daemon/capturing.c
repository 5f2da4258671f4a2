/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/capturing.h"

#include "daemon/doors.h"
#include "daemon/json.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

static_assert(XB_CAPTURE_FDS <= XB_CONTROL_FDS_MAX, "a reply carries them");

/* What a thread may be ahead of the client: some 10 ms of 10 Gbit/s. */
#define RING_BYTES (16u << 20)

static struct json_object *port_of(const struct xb_port *port)
{
	struct json_object *to = json_object_new_object();

	xb_json_add_u64(to, "id", port->id);
	xb_json_add(to, "name", json_object_new_string(port->name));
	return to;
}

static struct json_object *describe(const struct xb_instance *instance,
				    const struct xb_capture *capture)
{
	struct json_object *to = json_object_new_object();
	struct json_object *ports = json_object_new_array();

	xb_json_add_u64(to, "rings", capture->n_taps);
	xb_json_add_u64(to, "ring_bytes", capture->ring_bytes);
	xb_for_each_door(instance, door)
	{
		xb_json_push(ports, port_of(door->port));
	}
	xb_json_add(to, "ports", ports);
	return to;
}

/* ---- what the XDP programs drop ---- */

static struct xb_instance *instance_of(struct xb_watch *watch)
{
	return (struct xb_instance *)((char *)watch - offsetof(struct xb_instance, drops_watch));
}

static void on_drop(void *arg, const struct xb_dropped *frame)
{
	const struct xb_instance *instance = arg;
	struct xb_capture_record record = {
		.time_ns = frame->time_ns + instance->boot_ns,
		.bytes = frame->bytes,
		.rule = frame->rule,
		.port = frame->port,
		.from = frame->port,
		.queue = frame->queue,
		.way = XB_CAPTURE_IN,
		.verdict = frame->verdict,
		.stage = frame->stage,
		.drop = frame->limited ? XB_DROP_LIMIT : XB_DROP_VERDICT,
		.by_program = 1,
	};

	xb_capture_put(&instance->cache, &record, frame->data, frame->n);
}

static void on_drops(struct xb_watch *watch, uint32_t events)
{
	struct xb_instance *instance = instance_of(watch);

	(void)events;
	xb_capture_lose(&instance->cache, xb_drop_feed_read(instance->drops));
}

/* CLOCK_REALTIME when CLOCK_MONOTONIC was 0. */
static uint64_t boot_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec - xb_now_ns();
}

static int watch_drops(struct xb_instance *instance, struct xb_error *err)
{
	int ret;

	if (!instance->gate_open || instance->drops)
		return 0;
	instance->boot_ns = boot_ns();
	ret = xb_drop_feed_open(&instance->gate, on_drop, instance, &instance->drops, err);
	if (ret < 0)
		return ret;
	ret = xb_loop_add(&instance->loop, &instance->drops_watch, xb_drop_feed_fd(instance->drops),
			  EPOLLIN, on_drops);
	if (ret == 0)
		return 0;
	xb_drop_feed_close(instance->drops);
	instance->drops = NULL;
	return xb_fail(err, ret, "watch what the XDP program drops");
}

void xb_capturing_unwatch(struct xb_instance *instance)
{
	if (!instance->drops)
		return;
	xb_loop_del(&instance->loop, &instance->drops_watch);
	xb_capture_lose(&instance->cache, xb_drop_feed_close(instance->drops));
	instance->drops = NULL;
}

/* ---- all of it ---- */

/* Frees what no thread writes to any more. */
void xb_capturing_free_left(struct xb_instance *instance)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < instance->n_captures_left; i++) {
		struct xb_capture_left *left = &instance->captures_left[i];

		if (!instance->workers.worker || xb_instance_is_quiet(instance, left->change))
			xb_capture_free(left->capture);
		else
			instance->captures_left[kept++] = *left;
	}
	instance->n_captures_left = kept;
}

static void leaving(struct xb_job *job)
{
	struct xb_instance *instance =
		(struct xb_instance *)((char *)job - offsetof(struct xb_instance, captures_job));

	xb_capturing_free_left(instance);
	if (instance->n_captures_left)
		xb_job_again(job);
	else
		xb_job_rest(job);
}

/* Threads may write there until they see that it is gone. */
static void leave(struct xb_instance *instance, struct xb_capture *capture)
{
	if (instance->workers.worker) {
		instance->captures_left[instance->n_captures_left++] = (struct xb_capture_left){
			.capture = capture, .change = xb_instance_publish(instance)};
		xb_job_enter(&instance->captures_job, &instance->loop, "freeing", XB_JOB_NO_LIMIT,
			     leaving);
	} else { /* all of it is about to end */
		instance->cache.captures = NULL;
		xb_capture_free(capture);
	}
}

static void stop(struct xb_instance *instance, void *what)
{
	struct xb_captures *captures = &instance->captures;
	unsigned i = 0;

	if (captures->n == 1)
		xb_capturing_unwatch(instance);
	else if (instance->drops)
		on_drops(&instance->drops_watch, 0); /* what it has still to get */
	while (captures->list[i] != what)
		i++;
	captures->list[i] = captures->list[--captures->n];
	instance->captures_began_ns[i] = instance->captures_began_ns[captures->n];
	leave(instance, what);
}

int xb_capturing_start(struct xb_instance *instance, const struct xb_capture_filter *filter,
		       struct json_object **ret_result, struct xb_hold *hold, struct xb_error *err)
{
	struct xb_captures *captures = &instance->captures;
	struct xb_capture *capture;
	int fds[XB_CAPTURE_FDS];
	int ret;

	xb_capturing_free_left(instance);
	if (captures->n == XB_CAPTURES_MAX ||
	    captures->n + instance->n_captures_left == XB_CAPTURES_LEFT_MAX) {
		xb_refuse(err, -EBUSY, "%u captures are running, and that is the most",
			  XB_CAPTURES_MAX);
		xb_hint(err, "end one of them first");
		return -EBUSY;
	}
	/* one more thread than workers: the control thread handles packets, too */
	ret = xb_capture_new(filter, instance->workers.n + 1, RING_BYTES, &capture, fds);
	if (ret < 0)
		return xb_fail(err, ret, "make memory for a capture");
	instance->captures_began_ns[captures->n] = xb_now_ns();
	captures->list[captures->n++] = capture;
	xb_instance_publish(instance);
	if (watch_drops(instance, err) < 0) {
		stop(instance, capture);
		for (unsigned i = 0; i < XB_CAPTURE_FDS; i++)
			close(fds[i]);
		return err->code;
	}
	*ret_result = describe(instance, capture);
	*hold = (struct xb_hold){.n_fds = XB_CAPTURE_FDS, .release = stop, .what = capture};
	memcpy(hold->fds, fds, sizeof(fds));
	return 0;
}
