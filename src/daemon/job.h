/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A job: work of the control thread that takes longer than a moment, as a state with a deadline.
 *
 * Theory. The control thread never waits. Where something has to be waited for (another process, a
 * worker that is to let go of a queue, the kernel that gives frames back), the work so far ends in
 * a state: a function that looks whether what it waits for has happened. The loop calls it, soon
 * and then at growing intervals, and whenever somebody pokes the job; between two calls the loop
 * serves all others. A state function never waits. It does one of these and returns:
 *
 *      xb_job_enter   goes on to another state, which is called in the loop's next turn
 *      xb_job_again   looks again, after 1, 2, 4 … 16 ms
 *      nothing        is called when it is poked, or at the deadline
 *      xb_job_rest    is done
 *
 *      rest ──enter──► state A ──enter──► state B ──rest──► rest
 *                       └─ again ─┘        └ poked, or late
 *
 * Each state has a deadline. What happens then is the state's own decision: it asks xb_job_is_late.
 * Whoever may change what a job works on asks first whether that is busy; a job expects that all
 * else has changed between two calls.
 */
#ifndef XB_DAEMON_JOB_H
#define XB_DAEMON_JOB_H

#include "daemon/loop.h"

#define XB_JOB_NO_LIMIT 0u

struct xb_job {
	struct xb_timer timer; /* first */
	struct xb_loop *loop;
	void (*state)(struct xb_job *job); /* NULL: at rest */
	const char *doing;                 /* what it waits for, for people; NULL: at rest */
	uint64_t deadline_ns;              /* of the state; UINT64_MAX: it has none */
	unsigned pause_ms;                 /* before the next look */
};

/** Goes on in `state`, for at most `limit_ms` (XB_JOB_NO_LIMIT: as long as it takes). The loop
 * calls it in its next turn.
 *
 * @doing: what a person reads in `status` meanwhile, such as "attaching"; a constant.
 */
void xb_job_enter(struct xb_job *job, struct xb_loop *loop, const char *doing, unsigned limit_ms,
		  void (*state)(struct xb_job *job));

/** Looks again in a moment, at the deadline at the latest. */
void xb_job_again(struct xb_job *job);

/** Looks now: something has happened. At rest, nothing comes of it. */
void xb_job_poke(struct xb_job *job);

/** Is done, or is called off. What the state had begun its owner takes back. */
void xb_job_rest(struct xb_job *job);

static inline bool xb_job_is_busy(const struct xb_job *job)
{
	return job->state;
}

/** Whether the state's deadline has passed. */
bool xb_job_is_late(const struct xb_job *job);

#endif
