/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/job.h"

#include <stddef.h>

#define NS_PER_MS 1000000ull

#define PAUSE_MIN_MS 1u
#define PAUSE_MAX_MS 16u

static void on_due(struct xb_timer *timer);

static void set_timer(struct xb_job *job, uint64_t at_ns)
{
	if (at_ns == UINT64_MAX)
		xb_loop_forget(job->loop, &job->timer);
	else
		xb_loop_at(job->loop, &job->timer, at_ns, on_due);
}

static void on_due(struct xb_timer *timer)
{
	struct xb_job *job = (struct xb_job *)timer;

	/* where the state says nothing: it is called again at its deadline, unless that was now */
	set_timer(job, xb_job_is_late(job) ? UINT64_MAX : job->deadline_ns);
	job->state(job);
}

void xb_job_enter(struct xb_job *job, struct xb_loop *loop, const char *doing, unsigned limit_ms,
		  void (*state)(struct xb_job *job))
{
	uint64_t now_ns = xb_now_ns();

	job->loop = loop;
	job->state = state;
	job->doing = doing;
	job->deadline_ns = limit_ms ? now_ns + limit_ms * NS_PER_MS : UINT64_MAX;
	job->pause_ms = PAUSE_MIN_MS;
	set_timer(job, now_ns);
}

void xb_job_again(struct xb_job *job)
{
	uint64_t now_ns = xb_now_ns();
	uint64_t at_ns = now_ns + job->pause_ms * NS_PER_MS;

	if (job->pause_ms < PAUSE_MAX_MS)
		job->pause_ms *= 2;
	/* one look at the deadline; one that wants more than that gets its pauses */
	if (now_ns < job->deadline_ns && at_ns > job->deadline_ns)
		at_ns = job->deadline_ns;
	set_timer(job, at_ns);
}

void xb_job_poke(struct xb_job *job)
{
	if (job->state)
		set_timer(job, xb_now_ns());
}

void xb_job_rest(struct xb_job *job)
{
	if (job->loop)
		xb_loop_forget(job->loop, &job->timer);
	job->state = NULL;
	job->doing = NULL;
}

bool xb_job_is_late(const struct xb_job *job)
{
	return xb_now_ns() >= job->deadline_ns;
}
