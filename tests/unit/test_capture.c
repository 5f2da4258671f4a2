/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rings of captures: what is written comes out whole and in order, what finds no room is
 * counted, and a reader that writes nonsense harms nobody but itself.
 */
#include "core/capture.h"

#include "support/must.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RING_BYTES 8192u

static struct xb_arena arena;
static struct xb_cache cache;
static struct xb_captures captures;
static struct xb_capture *capture;
static struct xb_capture_tap reader;
static int fds[XB_CAPTURE_FDS];

static int setup(void **state)
{
	struct xb_capture_filter filter = {.port = -1, .snap = 4096};

	(void)state;
	MUST(xb_arena_init(&arena, 64, 4096, NULL) == 0);
	xb_cache_init(&cache, &arena);
	MUST(xb_capture_new(&filter, 2, RING_BYTES, &capture, fds) == 0);
	MUST(xb_capture_map(&reader, fds, 1, RING_BYTES, XB_CAPTURE_READER) == 0);
	captures = (struct xb_captures){.n = 1, .list = {capture}};
	cache.captures = &captures;
	cache.thread = 1;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close(fds[XB_CAPTURE_RECORDS]);
	close(fds[XB_CAPTURE_TAILS]);
	xb_capture_unmap(&reader, RING_BYTES);
	xb_capture_free(capture);
	xb_cache_fini(&cache);
	xb_arena_fini(&arena);
	return 0;
}

/* A packet of `len` bytes in several frames, which count up from `first`. */
static struct xb_frame *packet(uint32_t len, uint8_t first)
{
	struct xb_frame *pkt = NULL, *last = NULL;

	for (uint32_t at = 0; at < len || !pkt;) {
		struct xb_frame *frame = xb_frame_alloc(&cache);
		uint32_t n = len - at < 700 ? len - at : 700;

		MUST(frame);
		xb_packet_init(frame, XB_FRAME_HEADROOM, n);
		for (uint32_t i = 0; i < n; i++)
			xb_frame_data(frame)[i] = (uint8_t)(first + at + i);
		if (pkt)
			xb_packet_append(pkt, last, frame);
		else
			pkt = frame;
		last = frame;
		at += n;
	}
	return pkt;
}

static void write_packet(uint32_t len, uint8_t first, enum xb_drop drop)
{
	struct xb_capture_event event = {3, 1, XB_CAPTURE_OUT, drop};
	struct xb_frame *pkt = packet(len, first);

	pkt->in_port = 5;
	pkt->fate = (struct xb_fate){.verdict = 19, .stage = 1, .rule = 77};
	xb_capture(&cache, &event, pkt);
	xb_packet_free(&cache, pkt);
}

static const struct xb_capture_record *next(void)
{
	const struct xb_capture_record *record =
		(const struct xb_capture_record *)(reader.data + reader.head % RING_BYTES);

	if (atomic_load(&reader.ring->head) == reader.head)
		return NULL;
	reader.head += record->record_bytes;
	return record;
}

static void done(void)
{
	atomic_store(&reader.tail->read, reader.head);
}

static void check(const struct xb_capture_record *record, uint32_t len, uint8_t first)
{
	const uint8_t *data = (const uint8_t *)(record + 1);

	assert_non_null(record);
	assert_int_equal(record->bytes, len);
	assert_int_equal(record->n, len);
	assert_int_equal(record->record_bytes % 8, 0);
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(data[i], (uint8_t)(first + i));
}

static void what_is_written_comes_out_whole_and_in_order(void **state)
{
	const struct xb_capture_record *record;

	(void)state;
	srandom(1);
	for (unsigned round = 0; round < 3000; round++) {
		uint32_t len[2] = {(uint32_t)random() % 3000, (uint32_t)random() % 3000};

		for (unsigned i = 0; i < 2; i++)
			write_packet(len[i], (uint8_t)(round + i), XB_DROP_COUNT);
		for (unsigned i = 0; i < 2; i++)
			check(next(), len[i], (uint8_t)(round + i));
		assert_null(next());
		done();
	}
	assert_int_equal(atomic_load(&reader.ring->lost), 0);
	write_packet(60, 0, XB_DROP_TX_FULL);
	record = next();
	assert_int_equal(record->port, 3);
	assert_int_equal(record->from, 5);
	assert_int_equal(record->queue, 1);
	assert_int_equal(record->way, XB_CAPTURE_OUT);
	assert_int_equal(record->verdict, 19);
	assert_int_equal(record->rule, 77);
	assert_int_equal(record->drop, XB_DROP_TX_FULL);
}

static void what_finds_no_room_is_counted(void **state)
{
	unsigned n = 0;

	(void)state;
	for (unsigned i = 0; i < 20; i++)
		write_packet(1000, (uint8_t)i, XB_DROP_COUNT);
	for (const struct xb_capture_record *record; (record = next());)
		check(record, 1000, (uint8_t)n++);
	assert_int_equal(n, RING_BYTES / (1000 + sizeof(struct xb_capture_record)));
	assert_int_equal(atomic_load(&reader.ring->lost), 20 - n);
	done();
	write_packet(1000, 99, XB_DROP_COUNT);
	check(next(), 1000, 99);
}

static void a_ring_is_filled_to_its_last_byte(void **state)
{
	const uint32_t whole = 1024 - sizeof(struct xb_capture_record);

	(void)state;
	for (unsigned i = 0; i < RING_BYTES / 1024; i++)
		write_packet(whole, (uint8_t)i, XB_DROP_COUNT);
	assert_int_equal(atomic_load(&reader.ring->lost), 0);
	write_packet(0, 0, XB_DROP_COUNT);
	assert_int_equal(atomic_load(&reader.ring->lost), 1);
	for (unsigned i = 0; i < RING_BYTES / 1024; i++)
		check(next(), whole, (uint8_t)i);
}

static void a_reader_that_writes_nonsense_gets_nothing(void **state)
{
	static const uint64_t tails[] = {1, 8, RING_BYTES + 8, 1ull << 63};

	(void)state;
	for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
		atomic_store(&reader.tail->read, tails[i]);
		write_packet(1000, 0, XB_DROP_COUNT);
		assert_int_equal(atomic_load(&reader.ring->lost), i + 1);
	}
	atomic_store(&reader.tail->read, 0);
	write_packet(1000, 7, XB_DROP_COUNT);
	check(next(), 1000, 7);
}

static bool can_map_for_writing(int fd)
{
	void *page = mmap(NULL, XB_CAPTURE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (page != MAP_FAILED)
		munmap(page, XB_CAPTURE_PAGE);
	return page != MAP_FAILED;
}

static void a_reader_can_write_nothing_but_tails_and_shrink_nothing(void **state)
{
	const int records = fds[XB_CAPTURE_RECORDS], tails = fds[XB_CAPTURE_TAILS];

	(void)state;
	write_packet(1000, 7, XB_DROP_COUNT);
	for (unsigned i = 0; i < XB_CAPTURE_FDS; i++) {
		assert_int_equal(ftruncate(fds[i], 0), -1);
		assert_int_equal(ftruncate(fds[i], 1 << 30), -1);
	}
	assert_true(can_map_for_writing(tails));
	assert_false(can_map_for_writing(records));
	assert_int_equal(pwrite(records, "x", 1, 0), -1);
	assert_int_equal(mprotect(reader.ring, XB_CAPTURE_PAGE, PROT_READ | PROT_WRITE), -1);
	assert_int_equal(fallocate(records, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 20),
			 -1);
	check(next(), 1000, 7);
}

static void a_tail_that_a_reader_takes_away_reads_as_zero(void **state)
{
	(void)state;
	write_packet(1000, 7, XB_DROP_COUNT);
	check(next(), 1000, 7);
	done();
	assert_int_equal(fallocate(fds[XB_CAPTURE_TAILS],
				   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				   2 * XB_CAPTURE_PAGE),
			 0);
	write_packet(1000, 8, XB_DROP_COUNT);
	check(next(), 1000, 8);
	assert_int_equal(atomic_load(&reader.tail->read), 0);
}

static void what_is_not_asked_for_is_not_written(void **state)
{
	(void)state;
	capture->filter.port = 4;
	write_packet(60, 0, XB_DROP_COUNT);
	capture->filter.port = 3;
	capture->filter.drops = true;
	write_packet(60, 0, XB_DROP_COUNT);
	assert_null(next());
	capture->filter.snap = 10;
	write_packet(60, 0, XB_DROP_TX_BAD);
	assert_int_equal(next()->n, 10);
	assert_null(next());
}

static void what_nobody_has_seen_has_a_length_all_the_same(void **state)
{
	struct xb_capture_event event = {3, 0, XB_CAPTURE_IN, XB_DROP_TOO_LONG};
	const struct xb_capture_record *record;

	(void)state;
	xb_capture_write(&cache, &event, NULL, 70000);
	record = next();
	assert_int_equal(record->bytes, 70000);
	assert_int_equal(record->n, 0);
	assert_int_equal(record->from, 3);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_is_written_comes_out_whole_and_in_order),
		TEST(what_finds_no_room_is_counted),
		TEST(a_ring_is_filled_to_its_last_byte),
		TEST(a_reader_that_writes_nonsense_gets_nothing),
		TEST(a_reader_can_write_nothing_but_tails_and_shrink_nothing),
		TEST(a_tail_that_a_reader_takes_away_reads_as_zero),
		TEST(what_is_not_asked_for_is_not_written),
		TEST(what_nobody_has_seen_has_a_length_all_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
