/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/change_log.h"

#include "daemon/json.h"
#include "daemon/log.h"
#include "steer/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_SHOWN 400 /* characters of a command, its first ones */
#define NOTE_BYTES  192

uint64_t xb_trial_left_s(const struct xb_steering *steering)
{
	uint64_t now_ns = xb_now_ns();

	return steering->confirm_by_ns > now_ns
		       ? (steering->confirm_by_ns - now_ns - 1) / 1000000000u + 1
		       : 0;
}

static bool is_steer(const char *const *argv, const char *what)
{
	return !strcmp(argv[0], "steer") && (!what || !strcmp(argv[1], what));
}

/* The command as it is typed; NULL for want of memory. */
static char *join_words(int argc, const char *const *argv)
{
	const char *words[3] = {"steer", "load", NULL};

	if (!is_steer(argv, "load"))
		return xb_rule_join(argc, argv);
	return xb_rule_join(2, words);
}

/* What has come of it, where its words don't say so. */
static void write_note(const struct xb_instance *instance, const char *const *argv,
		       struct json_object *result, uint64_t before, char note[NOTE_BYTES])
{
	const struct xb_steering *steering = &instance->steering;
	uint64_t by_ns = steering->confirm_by_ns;
	size_t n = 0;

	note[0] = '\0';
	if (!is_steer(argv, NULL))
		return;
	if (is_steer(argv, "add"))
		n = (size_t)snprintf(note, NOTE_BYTES, ", id %" PRIu64, xb_json_u64(result, "id"));
	n += (size_t)snprintf(note + n, NOTE_BYTES - n, ": %u rules, default %s", steering->now.n,
			      steering->now.word);
	if (by_ns && by_ns != before)
		snprintf(note + n, NOTE_BYTES - n,
			 "; on trial: the table from before comes back in %" PRIu64
			 " s unless `xbridge steer confirm` follows",
			 xb_trial_left_s(steering));
	else if (before && !by_ns)
		snprintf(note + n, NOTE_BYTES - n, "; the trial is over, and %s",
			 is_steer(argv, "revert") ? "the table from before is back"
						  : "this table stays");
}

void xb_say_change(struct xb_instance *instance, int argc, const char *const *argv,
		   struct json_object *result, uint64_t before)
{
	const uint64_t by_ns = instance->steering.confirm_by_ns;
	char *words = join_words(argc, argv);
	char note[NOTE_BYTES];

	write_note(instance, argv, result, before, note);
	if (words)
		xb_log(XB_LOG_INFO, "by command: %.*s%s%s", WORDS_SHOWN, words,
		       strlen(words) > WORDS_SHOWN ? "..." : "", note);
	free(words);
	if (result && by_ns && by_ns != before)
		xb_json_add_u64(result, "confirm_within_s", xb_trial_left_s(&instance->steering));
}
