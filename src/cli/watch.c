/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/watch.h"

#include "cli/client.h"
#include "cli/say.h"
#include "cli/text.h"
#include "daemon/json.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* One look, and when it was. */
struct look {
	struct json_object *stats;
	struct timespec at; /* CLOCK_MONOTONIC */
};

static const char *const counters[] = {"rx_packets", "rx_bytes", "tx_packets", "tx_bytes",
				       "rx_missed"};
#define N_COUNTERS (sizeof(counters) / sizeof(counters[0]))

static double seconds_between(const struct look *before, const struct look *now)
{
	return (double)(now->at.tv_sec - before->at.tv_sec) +
	       (double)(now->at.tv_nsec - before->at.tv_nsec) / 1e9;
}

static uint64_t sum_of_drops(struct json_object *port)
{
	uint64_t sum = 0;

	json_object_object_foreach(xb_json_field(port, "drops"), reason, count) {
		(void)reason;
		sum += json_object_get_uint64(count);
	}
	return sum;
}

/* A counter that was set back, as by `stats reset`, begins anew. */
static double rate(uint64_t before, uint64_t now, double seconds)
{
	return (double)(now >= before ? now - before : now) / seconds;
}

static struct json_object *rates_of(struct json_object *before, struct json_object *now,
				    double seconds)
{
	struct json_object *rates = json_object_new_object();

	for (size_t i = 0; i < N_COUNTERS; i++)
		json_object_object_add(
			rates, counters[i],
			json_object_new_double(rate(xb_json_u64(before, counters[i]),
						    xb_json_u64(now, counters[i]), seconds)));
	json_object_object_add(
		rates, "drops",
		json_object_new_double(rate(sum_of_drops(before), sum_of_drops(now), seconds)));
	return rates;
}

/* Port → counter → per second, for the ports that were there before. */
static struct json_object *all_rates(const struct look *before, const struct look *now)
{
	struct json_object *old = xb_json_field(before->stats, "ports");
	struct json_object *all = json_object_new_object();
	double seconds = seconds_between(before, now);

	json_object_object_foreach(xb_json_field(now->stats, "ports"), name, port) {
		struct json_object *then = xb_json_field(old, name);

		if (then && seconds > 0)
			json_object_object_add(all, name, rates_of(then, port, seconds));
	}
	return all;
}

static void say_time(char *buf, size_t bytes)
{
	time_t now = time(NULL);
	struct tm local;

	localtime_r(&now, &local);
	strftime(buf, bytes, "%Y-%m-%dT%H:%M:%S%z", &local);
}

static void print_json(const struct look *now, struct json_object *rates, const char *time)
{
	json_object_object_add(now->stats, "time", json_object_new_string(time));
	if (rates)
		json_object_object_add(now->stats, "rates", json_object_get(rates));
	puts(json_object_to_json_string_ext(now->stats, JSON_C_TO_STRING_PLAIN));
	fflush(stdout);
}

static double number(struct json_object *of, const char *name)
{
	return json_object_get_double(xb_json_field(of, name));
}

static void print_text(const struct look *now, struct json_object *rates, const char *time)
{
	if (isatty(STDOUT_FILENO))
		printf("\033[H\033[J");
	printf("%s\n", time);
	if (rates) {
		printf("%-15s %10s %11s %10s %11s %10s %10s\n", "per second", "rx packets",
		       "rx Mbit", "tx packets", "tx Mbit", "drops", "rx missed");
		json_object_object_foreach(rates, name, port)
			printf("%-15s %10.0f %11.3f %10.0f %11.3f %10.0f %10.0f\n", name,
			       number(port, "rx_packets"), number(port, "rx_bytes") * 8 / 1e6,
			       number(port, "tx_packets"), number(port, "tx_bytes") * 8 / 1e6,
			       number(port, "drops"), number(port, "rx_missed"));
		printf("\n");
	}
	xb_text_stats(now->stats);
	fflush(stdout);
}

static int look(const struct xb_common *common, int argc, char **argv, struct look *ret_look)
{
	struct xb_error err = {0};
	int status = xb_client_ask(common->name, argc, argv, &ret_look->stats, &err);

	clock_gettime(CLOCK_MONOTONIC, &ret_look->at);
	return status ? xb_say_failure(status, "%s", err.what) : 0;
}

int xb_watch_stats(const struct xb_common *common, int argc, char **argv)
{
	struct look before = {0}, now = {0};
	int status;

	while (!(status = look(common, argc, argv, &now)) && !ferror(stdout)) {
		struct json_object *rates = before.stats ? all_rates(&before, &now) : NULL;
		char time[40];

		say_time(time, sizeof(time));
		(common->json ? print_json : print_text)(&now, rates, time);
		json_object_put(rates);
		json_object_put(before.stats);
		before = now;
		now.stats = NULL;
		sleep(1);
	}
	json_object_put(before.stats);
	return status ? status : 1;
}
