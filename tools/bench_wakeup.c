/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_wakeup COUNT MS: how long a thread that sleeps in poll(2) takes to run when an eventfd
 * wakes it, median of COUNT times with MS of rest before each. Prints milliseconds.
 *
 * Both stay on a CPU of their own, if there are two, as a worker and whoever wakes it do on a host
 * that is otherwise idle. Left to the scheduler they share one in some runs and not in others, and
 * the median of a run would be either of two prices that are far apart.
 */
#define _GNU_SOURCE /* sched_setaffinity */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define COUNT_MAX 1000

struct sleeper {
	int call_fd, answer_fd;
	int count;
	uint64_t woken_ns;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Keeps the calling thread on the nth of the CPUs that it may run on, from 0, if there are as many. */
static void stay_on(int nth)
{
	cpu_set_t allowed, one;

	sched_getaffinity(0, sizeof(allowed), &allowed);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed) || nth--)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

static void *sleeper_main(void *arg)
{
	struct sleeper *sleeper = arg;
	struct pollfd call = {.fd = sleeper->call_fd, .events = POLLIN};
	eventfd_t n;

	stay_on(1);
	for (int i = 0; i < sleeper->count; i++) {
		poll(&call, 1, -1);
		sleeper->woken_ns = now_ns();
		if (eventfd_read(sleeper->call_fd, &n) < 0 ||
		    eventfd_write(sleeper->answer_fd, 1) < 0)
			break;
	}
	return NULL;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	struct sleeper sleeper = {eventfd(0, 0), eventfd(0, 0), argc == 3 ? atoi(argv[1]) : 0, 0};
	uint64_t took_ns[COUNT_MAX];
	pthread_t thread;
	eventfd_t n;

	if (sleeper.count < 1 || sleeper.count > COUNT_MAX) {
		fprintf(stderr, "usage: bench_wakeup COUNT MS (COUNT: 1 to %d)\n", COUNT_MAX);
		return 2;
	}
	if (pthread_create(&thread, NULL, sleeper_main, &sleeper))
		return 1;
	stay_on(0);
	for (int i = 0; i < sleeper.count; i++) {
		uint64_t start_ns;

		usleep((useconds_t)atoi(argv[2]) * 1000);
		start_ns = now_ns();
		if (eventfd_write(sleeper.call_fd, 1) < 0 ||
		    eventfd_read(sleeper.answer_fd, &n) < 0)
			return 1;
		took_ns[i] = sleeper.woken_ns - start_ns;
	}
	pthread_join(thread, NULL);
	qsort(took_ns, (size_t)sleeper.count, sizeof(*took_ns), compare);
	printf("%.4f\n", (double)took_ns[sleeper.count / 2] / 1e6);
	return 0;
}
