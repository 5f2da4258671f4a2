/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/arena.h"
#include "support/must.h"
#include "support/room.h"

/* cmocka wants these first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define FRAMES 1024u

static void arena_new(struct xb_arena *arena, uint32_t frames, size_t ring_bytes)
{
	struct xb_error err = {0};

	assert_int_equal(xb_arena_init(arena, frames, ring_bytes, &err), 0);
}

static void all_frames_can_be_taken_once_and_no_more(void **state)
{
	static struct xb_frame *taken[FRAMES];
	struct xb_arena arena;
	struct xb_cache cache;
	uint32_t owners[XB_OWNER_COUNT];

	(void)state;
	arena_new(&arena, FRAMES - 5, 0); /* rounded up */
	assert_int_equal(arena.n_frames, FRAMES);
	xb_cache_init(&cache, &arena);
	for (unsigned i = 0; i < FRAMES; i++) {
		taken[i] = xb_frame_alloc(&cache);
		assert_non_null(taken[i]);
		assert_int_equal(taken[i]->head, XB_FRAME_HEADROOM);
		assert_int_equal(taken[i]->count, 1);
		assert_int_equal(taken[i]->bytes, 0);
		assert_int_equal(xb_frame_owner(taken[i]), XB_OWNER_WORKER);
		memset(taken[i]->base, (int)i, XB_FRAME_BYTES);
	}
	assert_null(xb_frame_alloc(&cache));
	assert_null(xb_packet_copy(&cache, taken[0]));
	for (unsigned i = 0; i < FRAMES; i++) { /* nobody shares memory */
		assert_int_equal(taken[i]->base[0], (uint8_t)i);
		assert_int_equal(taken[i]->base[XB_FRAME_BYTES - 1], (uint8_t)i);
		assert_ptr_equal(xb_arena_frame(&arena, xb_arena_off(&arena, taken[i]->base + 99)),
				 taken[i]);
	}
	xb_arena_count(&arena, owners);
	assert_int_equal(owners[XB_OWNER_WORKER], FRAMES);
	for (unsigned i = 0; i < FRAMES; i++)
		xb_packet_free(&cache, taken[i]);
	must_be_free(&arena);
	xb_cache_fini(&cache);
	xb_arena_fini(&arena);
	xb_arena_fini(&arena); /* a second time is allowed */
}

/* In a process of its own; returns how it ended. */
static int free_elsewhere(struct xb_cache *cache, struct xb_frame *pkt)
{
	const struct rlimit no_core = {0};
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		setrlimit(RLIMIT_CORE, &no_core);
		signal(SIGABRT, SIG_DFL); /* cmocka's handlers are for its own process */
		signal(SIGILL, SIG_DFL);
		xb_packet_free(cache, pkt);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void a_frame_of_another_arena_is_not_taken_back(void **state)
{
	struct xb_arena arena[2];
	struct xb_cache cache[2];
	struct xb_frame *pkt[2];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		arena_new(&arena[i], 64, 0);
		xb_cache_init(&cache[i], &arena[i]);
		pkt[i] = xb_frame_alloc(&cache[i]);
	}
	for (unsigned i = 0; i < 2; i++)
		assert_true(WIFSIGNALED(free_elsewhere(&cache[i], pkt[!i])));
	/* nor one that comes later in a packet */
	pkt[1]->next = pkt[0];
	xb_frame_give(pkt[0], XB_OWNER_WORKER, XB_OWNER_REST);
	assert_true(WIFSIGNALED(free_elsewhere(&cache[1], pkt[1])));
	xb_frame_give(pkt[0], XB_OWNER_REST, XB_OWNER_WORKER);
	pkt[1]->next = NULL;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(free_elsewhere(&cache[i], pkt[i]), 0);
		xb_packet_free(&cache[i], pkt[i]);
		must_be_free(&arena[i]);
		xb_cache_fini(&cache[i]);
		xb_arena_fini(&arena[i]);
	}
}

static void many_are_taken_together_or_not_at_all(void **state)
{
	struct xb_frame *some[96], *more[XB_BUNDLE];
	struct xb_arena arena;
	struct xb_cache cache;

	(void)state;
	arena_new(&arena, 96, 0);
	xb_cache_init(&cache, &arena);
	assert_true(xb_frame_alloc_many(&cache, some, 90));
	assert_false(xb_frame_alloc_many(&cache, more, 7));
	assert_true(xb_frame_alloc_many(&cache, more, 6));
	assert_null(xb_frame_alloc(&cache));
	for (unsigned i = 0; i < 90; i++)
		xb_packet_free(&cache, some[i]);
	for (unsigned i = 0; i < 6; i++)
		xb_packet_free(&cache, more[i]);
	must_be_free(&arena);
	xb_cache_fini(&cache);
	xb_arena_fini(&arena);
}

static struct xb_frame *chain_of(struct xb_cache *cache, struct rnd *rnd, unsigned frames)
{
	struct xb_frame *pkt = NULL, *last = NULL;

	for (unsigned i = 0; i < frames; i++) {
		struct xb_frame *frame = xb_frame_alloc(cache);
		uint32_t len = 1 + rnd_below(rnd, 1300), head = 256 + rnd_below(rnd, 2000);

		if (!frame) {
			xb_packet_free(cache, pkt);
			return NULL;
		}
		xb_packet_init(frame, head, len);
		for (uint32_t b = 0; b < len; b++)
			xb_frame_data(frame)[b] = (uint8_t)rnd_next(rnd);
		if (!pkt)
			pkt = frame;
		else
			xb_packet_append(pkt, last, frame);
		last = frame;
	}
	return pkt;
}

static uint32_t bytes_of(const struct xb_frame *pkt, uint8_t *buf)
{
	uint32_t n = 0;

	for (; pkt; n += pkt->len, pkt = pkt->next)
		memcpy(buf + n, xb_frame_data(pkt), pkt->len);
	return n;
}

static void a_copy_has_the_same_bytes_and_all_that_is_known(void **state)
{
	static uint8_t a[XB_PACKET_BYTES_MAX], b[XB_PACKET_BYTES_MAX];
	struct rnd rnd = rnd_seed();
	struct xb_arena arena;
	struct xb_cache cache;

	(void)state;
	arena_new(&arena, 256, 0);
	xb_cache_init(&cache, &arena);
	for (unsigned round = 0; round < 200; round++) {
		struct xb_frame *pkt = chain_of(&cache, &rnd, 1 + rnd_below(&rnd, 48)), *copy;
		unsigned frames = 0;

		assert_non_null(pkt);
		pkt->in_port = 7;
		pkt->fate = (struct xb_fate){.verdict = 3, .stage = 1, .rule = 99};
		pkt->offload = (struct xb_offload){.csum = XB_CSUM_PARTIAL, .csum_start = 34};
		copy = xb_packet_copy(&cache, pkt);
		assert_non_null(copy);
		assert_int_equal(copy->bytes, pkt->bytes);
		assert_int_equal(bytes_of(copy, b), bytes_of(pkt, a));
		assert_memory_equal(a, b, pkt->bytes);
		assert_int_equal(copy->in_port, 7);
		assert_memory_equal(&copy->fate, &pkt->fate, sizeof(pkt->fate));
		assert_memory_equal(&copy->offload, &pkt->offload, sizeof(pkt->offload));
		assert_int_equal(copy->head, XB_FRAME_HEADROOM);
		for (const struct xb_frame *frame = copy; frame; frame = frame->next)
			frames++;
		assert_int_equal(copy->count, frames);
		xb_packet_free(&cache, pkt);
		xb_packet_free(&cache, copy);
	}
	must_be_free(&arena);
	xb_cache_fini(&cache);
	xb_arena_fini(&arena);
}

static void a_copy_that_runs_out_of_frames_leaves_nothing_behind(void **state)
{
	struct rnd rnd = rnd_seed();
	struct xb_frame *pkt;
	struct xb_arena arena;
	struct xb_cache cache;
	uint32_t owners[XB_OWNER_COUNT];

	(void)state;
	arena_new(&arena, 32, 0);
	xb_cache_init(&cache, &arena);
	pkt = chain_of(&cache, &rnd, 30); /* two are left, more are needed */
	assert_non_null(pkt);
	assert_null(xb_packet_copy(&cache, pkt));
	xb_arena_count(&arena, owners);
	assert_int_equal(owners[XB_OWNER_POOL], 2);
	xb_packet_free(&cache, pkt);
	must_be_free(&arena);
	xb_cache_fini(&cache);
	xb_arena_fini(&arena);
}

static void ring_room_is_handed_out_once_zeroed_and_page_aligned(void **state)
{
	struct xb_arena arena;
	uint8_t *a, *b, *c;

	(void)state;
	arena_new(&arena, 32, 4 * 4096);
	a = xb_arena_ring_alloc(&arena, 4096);
	b = xb_arena_ring_alloc(&arena, 4097);
	c = xb_arena_ring_alloc(&arena, 1);
	assert_non_null(a);
	assert_non_null(b);
	assert_non_null(c);
	assert_null(xb_arena_ring_alloc(&arena, 1));
	assert_int_equal((uintptr_t)b % 4096, 0);
	memset(b, 1, 2 * 4096);
	xb_arena_ring_free(&arena, b, 4097);
	assert_null(xb_arena_ring_alloc(&arena, 3 * 4096));
	b = xb_arena_ring_alloc(&arena, 2 * 4096);
	assert_non_null(b);
	for (unsigned i = 0; i < 2 * 4096; i++)
		assert_int_equal(b[i], 0);
	assert_true(xb_arena_off(&arena, b).bytes + 2 * 4096 <= arena.bytes);
	assert_null(xb_arena_frame(&arena, xb_arena_off(&arena, a)));
	xb_arena_ring_free(&arena, NULL, 4096);
	xb_arena_fini(&arena);
}

static void an_arena_that_does_not_fit_is_an_error_and_leaks_no_descriptor(void **state)
{
	struct xb_arena arena = {.fd = -7};
	struct xb_error err = {0};
	struct rlimit before, tight;
	int ret, probe, again;

	(void)state;
	probe = dup(0);
	close(probe);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	tight = (struct rlimit){.rlim_cur = 1u << 20, .rlim_max = before.rlim_max};
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	ret = xb_arena_init(&arena, 4096, 0, &err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_true(ret < 0);
	assert_int_equal(err.code, ret);
	assert_non_null(strstr(err.what, "4096 frames"));
	assert_int_equal(arena.fd, -7); /* untouched */
	again = dup(0);
	close(again);
	assert_int_equal(probe, again);
}

static void nobody_shrinks_or_grows_what_an_arena_shares(void **state)
{
	struct xb_arena arena;
	uint8_t *last;

	(void)state;
	arena_new(&arena, 256, 4096);
	last = arena.base + arena.bytes - 1;
	assert_int_equal(ftruncate(arena.fd, 0), -1);
	assert_int_equal(ftruncate(arena.fd, 1 << 30), -1);
	*last = 7;
	assert_int_equal(*last, 7);
	xb_arena_fini(&arena);
}

/* ---- threads ---- */

#define THREADS 4u
#define ROUNDS  20000u

static void *churn(void *arg)
{
	struct xb_arena *arena = arg;
	struct rnd rnd = {(uintptr_t)&rnd | 1};
	struct xb_frame *held[96];
	struct xb_cache cache;
	unsigned n = 0;

	xb_cache_init(&cache, arena);
	for (unsigned round = 0; round < ROUNDS; round++) {
		if (n < 96 && rnd_below(&rnd, 2)) {
			held[n] = xb_frame_alloc(&cache);
			if (!held[n])
				continue;
			/* whoever holds it alone may write it */
			*(void **)held[n]->base = &cache;
			held[n]->bytes = round;
			n++;
		} else if (n) {
			unsigned which = rnd_below(&rnd, n);

			MUST(*(void **)held[which]->base == &cache);
			xb_packet_free(&cache, held[which]);
			held[which] = held[--n];
		}
	}
	while (n)
		xb_packet_free(&cache, held[--n]);
	xb_cache_fini(&cache);
	return NULL;
}

static void frames_taken_and_given_by_many_threads_are_never_shared_or_lost(void **state)
{
	pthread_t thread[THREADS];
	struct xb_arena arena;
	struct xb_cache cache;

	(void)state;
	arena_new(&arena, 256, 0); /* less than all of them could hold: it runs dry */
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, churn, &arena), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	must_be_free(&arena);
	xb_cache_init(&cache, &arena);
	for (unsigned i = 0; i < 256; i++) /* and all are still to be had */
		assert_non_null(xb_frame_alloc(&cache));
	assert_null(xb_frame_alloc(&cache));
	xb_arena_fini(&arena);
}

/* ---- our own bugs ---- */

#ifndef NDEBUG
static void give_twice(struct xb_cache *cache)
{
	struct xb_frame *frame = xb_frame_alloc(cache);

	xb_packet_free(cache, frame);
	xb_packet_free(cache, frame);
}

static void free_while_posted(struct xb_cache *cache)
{
	struct xb_frame *frame = xb_frame_alloc(cache);

	xb_frame_give(frame, XB_OWNER_WORKER, XB_OWNER_TX);
	xb_packet_free(cache, frame);
}

static void free_the_middle_of_a_chain(struct xb_cache *cache)
{
	struct rnd rnd = {1};
	struct xb_frame *pkt = chain_of(cache, &rnd, 3);

	xb_packet_free(cache, pkt->next);
}

static void must_abort(void (*wrong)(struct xb_cache *cache))
{
	struct xb_arena arena;
	struct xb_cache cache;
	pid_t pid;
	int status;

	arena_new(&arena, 64, 0);
	xb_cache_init(&cache, &arena);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct rlimit none = {0};

		setrlimit(RLIMIT_CORE, &none);
		signal(SIGABRT, SIG_DFL);
		fclose(stderr);
		wrong(&cache);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	xb_arena_fini(&arena);
}
#endif

static void a_frame_given_by_who_does_not_own_it_aborts(void **state)
{
	(void)state;
#ifdef NDEBUG
	fprintf(stderr, "skipped: built without assertions\n");
	skip();
#else
	must_abort(give_twice);
	must_abort(free_while_posted);
	must_abort(free_the_middle_of_a_chain);
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_frames_can_be_taken_once_and_no_more),
		cmocka_unit_test(a_frame_of_another_arena_is_not_taken_back),
		cmocka_unit_test(many_are_taken_together_or_not_at_all),
		cmocka_unit_test(a_copy_has_the_same_bytes_and_all_that_is_known),
		cmocka_unit_test(a_copy_that_runs_out_of_frames_leaves_nothing_behind),
		cmocka_unit_test(ring_room_is_handed_out_once_zeroed_and_page_aligned),
		cmocka_unit_test(an_arena_that_does_not_fit_is_an_error_and_leaks_no_descriptor),
		cmocka_unit_test(nobody_shrinks_or_grows_what_an_arena_shares),
		cmocka_unit_test(frames_taken_and_given_by_many_threads_are_never_shared_or_lost),
		cmocka_unit_test(a_frame_given_by_who_does_not_own_it_aborts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
