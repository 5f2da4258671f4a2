/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/capture.h"

#include "core/cleanup.h"
#include "core/clock.h"
#include "core/l4.h"
#include "core/memfd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- memory ---- */

/* A ring as it is mapped: the page of its tail, the page of its head, the records twice. */
static size_t view_bytes(uint32_t ring_bytes)
{
	return 2 * XB_CAPTURE_PAGE + 2 * (size_t)ring_bytes;
}

static bool map_at(uint8_t *at, size_t bytes, bool writes, int fd, uint64_t from)
{
	int prot = PROT_READ | (writes ? PROT_WRITE : 0);

	return mmap(at, bytes, prot, MAP_SHARED | MAP_FIXED, fd, (off_t)from) != MAP_FAILED;
}

int xb_capture_map(struct xb_capture_tap *tap, const int fds[XB_CAPTURE_FDS], unsigned thread,
		   uint32_t ring_bytes, enum xb_capture_side side)
{
	const bool writer = side == XB_CAPTURE_WRITER;
	uint64_t from = thread * XB_CAPTURE_RING_AT(ring_bytes);
	uint8_t *view = mmap(NULL, view_bytes(ring_bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			     -1, 0);
	uint8_t *ring = view + XB_CAPTURE_PAGE;
	uint8_t *data = ring + XB_CAPTURE_PAGE;

	if (view == MAP_FAILED)
		return -errno;
	if (!map_at(view, XB_CAPTURE_PAGE, !writer, fds[XB_CAPTURE_TAILS],
		    (uint64_t)thread * XB_CAPTURE_PAGE) ||
	    !map_at(ring, XB_CAPTURE_PAGE + ring_bytes, writer, fds[XB_CAPTURE_RECORDS], from) ||
	    !map_at(data + ring_bytes, ring_bytes, writer, fds[XB_CAPTURE_RECORDS],
		    from + XB_CAPTURE_PAGE)) {
		int code = -errno;

		munmap(view, view_bytes(ring_bytes));
		return code;
	}
	*tap = (struct xb_capture_tap){.tail = (struct xb_capture_tail *)view,
				       .ring = (struct xb_capture_ring *)ring,
				       .data = data};
	return 0;
}

void xb_capture_unmap(struct xb_capture_tap *tap, uint32_t ring_bytes)
{
	if (tap->tail)
		munmap(tap->tail, view_bytes(ring_bytes));
	*tap = (struct xb_capture_tap){0};
}

/* Maps all rings, and then keeps others from writing what is written here. */
static int map_all(struct xb_capture *capture, const int fds[XB_CAPTURE_FDS], unsigned n_threads)
{
	int ret = 0;

	for (unsigned i = 0; !ret && i < n_threads; i++, capture->n_taps++)
		ret = xb_capture_map(&capture->taps[i], fds, i, capture->ring_bytes,
				     XB_CAPTURE_WRITER);
	return ret ? ret : xb_memfd_seal_writes(fds[XB_CAPTURE_RECORDS]);
}

int xb_capture_new(const struct xb_capture_filter *filter, unsigned n_threads, uint32_t ring_bytes,
		   struct xb_capture **ret_capture, int ret_fds[XB_CAPTURE_FDS])
{
	xb_auto_fd int records = xb_memfd_make("xbridge-capture",
					       n_threads * XB_CAPTURE_RING_AT(ring_bytes), 0);
	xb_auto_fd int tails = xb_memfd_make("xbridge-capture", n_threads * (size_t)XB_CAPTURE_PAGE,
					     0);
	const int fds[XB_CAPTURE_FDS] = {
		[XB_CAPTURE_RECORDS] = records, [XB_CAPTURE_TAILS] = tails};
	struct xb_capture *capture = calloc(1, sizeof(*capture));
	int ret = records < 0 ? records : tails < 0 ? tails : 0;

	if (!capture)
		return -ENOMEM;
	*capture = (struct xb_capture){.filter = *filter, .ring_bytes = ring_bytes};
	capture->taps = calloc(n_threads, sizeof(*capture->taps));
	if (!capture->taps)
		ret = -ENOMEM;
	if (!ret)
		ret = map_all(capture, fds, n_threads);
	if (ret < 0) {
		xb_capture_free(capture);
		return ret;
	}
	*ret_capture = capture;
	ret_fds[XB_CAPTURE_RECORDS] = XB_TAKE_FD(records);
	ret_fds[XB_CAPTURE_TAILS] = XB_TAKE_FD(tails);
	return 0;
}

void xb_capture_free(struct xb_capture *capture)
{
	for (unsigned i = 0; i < capture->n_taps; i++)
		xb_capture_unmap(&capture->taps[i], capture->ring_bytes);
	free(capture->taps);
	free(capture);
}

/* ---- writing ---- */

/* Room for a record, or NULL where there is none. */
static struct xb_capture_record *reserve(const struct xb_capture *capture,
					 const struct xb_capture_tap *tap, uint32_t record_bytes)
{
	uint64_t tail = atomic_load_explicit(&tap->tail->read, memory_order_acquire);
	uint64_t used = tap->head - tail;

	if (used > capture->ring_bytes || capture->ring_bytes - used < record_bytes) {
		atomic_fetch_add_explicit(&tap->ring->lost, 1, memory_order_relaxed);
		return NULL;
	}
	return (struct xb_capture_record *)(tap->data + tap->head % capture->ring_bytes);
}

/* Writes a record into a capture's ring of this thread, with the first `n` bytes of `pkt`, or,
 * where that is NULL, of `data`. */
static void write_one(struct xb_capture *capture, unsigned thread,
		      const struct xb_capture_record *what, const struct xb_frame *pkt,
		      const void *data, uint32_t n)
{
	struct xb_capture_tap *tap = &capture->taps[thread];
	uint32_t cut = n < capture->filter.snap ? n : capture->filter.snap;
	uint32_t record_bytes = (uint32_t)(sizeof(*what) + cut + 7) & ~7u;
	struct xb_capture_record *record = reserve(capture, tap, record_bytes);

	if (!record)
		return;
	*record = *what;
	record->record_bytes = record_bytes;
	record->n = cut;
	if (pkt)
		xb_packet_read(pkt, (uint8_t *)(record + 1), cut);
	else if (cut)
		memcpy(record + 1, data, cut);
	tap->head += record_bytes;
	atomic_store_explicit(&tap->ring->head, tap->head, memory_order_release);
}

static void write_all(const struct xb_cache *cache, const struct xb_capture_record *record,
		      const struct xb_frame *pkt, const void *data, uint32_t n)
{
	const struct xb_captures *captures = cache->captures;

	for (unsigned i = 0; captures && i < captures->n; i++) {
		struct xb_capture *capture = captures->list[i];
		const struct xb_capture_filter *filter = &capture->filter;

		if (filter->port >= 0 && filter->port != record->port)
			continue;
		if (filter->drops && record->drop == XB_CAPTURE_NO_DROP)
			continue;
		write_one(capture, cache->thread, record, pkt, data, n);
	}
}

void xb_capture_write(const struct xb_cache *cache, const struct xb_capture_event *event,
		      const struct xb_frame *pkt, uint32_t bytes)
{
	struct xb_capture_record record = {
		.time_ns = xb_clock_ns(CLOCK_REALTIME),
		.bytes = bytes,
		.port = event->port,
		.from = event->port,
		.queue = event->queue,
		.way = (uint16_t)event->way,
		.drop = event->drop == XB_DROP_COUNT ? XB_CAPTURE_NO_DROP : (uint16_t)event->drop,
	};

	if (pkt) {
		if (event->way == XB_CAPTURE_OUT)
			record.from = pkt->in_port;
		record.rule = pkt->fate.rule;
		record.verdict = pkt->fate.verdict;
		record.stage = pkt->fate.stage;
		record.gso_size = pkt->offload.gso_size;
	}
	write_all(cache, &record, pkt, NULL, pkt ? bytes : 0);
}

void xb_capture_put(const struct xb_cache *cache, const struct xb_capture_record *record,
		    const void *data, uint32_t n)
{
	write_all(cache, record, NULL, data, n);
}

void xb_capture_lose(const struct xb_cache *cache, uint64_t lost)
{
	const struct xb_captures *captures = cache->captures;

	for (unsigned i = 0; captures && i < captures->n; i++)
		atomic_fetch_add_explicit(&captures->list[i]->taps[cache->thread].ring->lost, lost,
					  memory_order_relaxed);
}
