/* SPDX-License-Identifier: BSD-2-Clause */
#include "steer/verdict.h"

#include "xbridge/steer.h"

#include <assert.h>
#include <string.h>

static const char *const words[] = {"none", "pass", "bridge", "drop"};

#define N_WORDS (sizeof(words) / sizeof(words[0]))

static_assert(XB_VERDICT_NONE == 0 && XB_VERDICT_PASS == 1 && XB_VERDICT_BRIDGE == 2 &&
		      XB_VERDICT_DROP == N_WORDS - 1,
	      "the words are in the order of enum xb_verdict");

const char *xb_verdict_word_at(unsigned n)
{
	return n < N_WORDS - XB_VERDICT_PASS ? words[XB_VERDICT_PASS + n] : NULL;
}

const char *xb_verdict_word(unsigned verdict)
{
	return verdict < N_WORDS ? words[verdict] : "?";
}

bool xb_verdict_named(const char *word, uint16_t *ret_verdict)
{
	for (unsigned verdict = XB_VERDICT_PASS; verdict < N_WORDS; verdict++) {
		if (strcmp(word, words[verdict]) != 0)
			continue;
		if (ret_verdict)
			*ret_verdict = (uint16_t)verdict;
		return true;
	}
	return false;
}
