/* SPDX-License-Identifier: BSD-2-Clause */
#include "steer/list.h"

#include "steer/verdict.h"
#include "steer/words.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Longest line: a rule with all there is takes about half of it. */
#define LINE_BYTES 1024u

static int grow(struct xb_rule_list *list)
{
	size_t room = list->n ? list->n * 2 : 1;
	struct xb_rule *rules = realloc(list->rules, room * sizeof(*rules));
	struct xb_rule_source *sources;

	if (!rules)
		return -ENOMEM;
	list->rules = rules;
	sources = realloc(list->sources, room * sizeof(*sources));
	if (!sources)
		return -ENOMEM;
	list->sources = sources;
	return 0;
}

int xb_rule_list_add(struct xb_rule_list *list, const struct xb_rule *rule,
		     struct xb_rule_source source, struct xb_error *err)
{
	if (list->n == XB_RULES_MAX)
		return xb_refuse(
			err, -E2BIG,
			"there are more than %u rules, which is the most that a table holds",
			XB_RULES_MAX);
	/* it is full at each power of two */
	if (!(list->n & (list->n - 1)) && grow(list) < 0)
		return xb_fail(err, -ENOMEM, "keep %u rules", list->n + 1);
	list->rules[list->n] = *rule;
	list->sources[list->n++] = source;
	return 0;
}

void xb_rule_list_remove(struct xb_rule_list *list, unsigned i)
{
	list->n--;
	memmove(&list->rules[i], &list->rules[i + 1], (list->n - i) * sizeof(*list->rules));
	memmove(&list->sources[i], &list->sources[i + 1], (list->n - i) * sizeof(*list->sources));
}

int xb_rule_list_set_verdict(struct xb_rule_list *list, const char *word, unsigned line,
			     struct xb_error *err)
{
	if (!xb_word_port(word, list->verdict)) {
		xb_refuse(err, -EINVAL,
			  "default '%.40s': " XB_VERDICTS_NAMED
			  " or the name of a port is expected",
			  word);
		return -EINVAL;
	}
	list->verdict_line = line;
	return 0;
}

/* Cuts a comment off, which starts at a '#' outside quotes. */
static void cut_comment(char *line)
{
	bool quoted = false;

	for (; *line && *line != '\r'; line++) {
		if (quoted && *line == '\\' && line[1])
			line++;
		else if (*line == '"')
			quoted = !quoted;
		else if (*line == '#' && !quoted)
			break;
	}
	*line = '\0';
}

/* The VERDICT of a line `default VERDICT`, or NULL. */
static char *default_in(char *line)
{
	static const char keyword[] = "default";
	char *at = line + strspn(line, " \t");

	if (strncmp(at, keyword, strlen(keyword)) != 0)
		return NULL;
	at += strlen(keyword);
	if (*at && *at != ' ' && *at != '\t')
		return NULL;
	at += strspn(at, " \t");
	at[strcspn(at, " \t")] = '\0';
	return at;
}

/* Returns 0 for a line without a rule, too. */
static int parse_line(struct xb_rule_list *list, char *line, unsigned number, struct xb_error *err)
{
	struct xb_rule_source source = {.line = number};
	struct xb_rule rule;
	char *verdict;
	int ret;

	cut_comment(line);
	if (!line[strspn(line, " \t")])
		return 0;
	verdict = default_in(line);
	if (verdict && list->verdict_line)
		return xb_refuse(err, -EINVAL, "the default verdict was set in line %u",
				 list->verdict_line);
	if (verdict)
		return xb_rule_list_set_verdict(list, verdict, number, err);
	ret = xb_rule_parse_places(line, &rule, &source.places, err);
	return ret < 0 ? ret : xb_rule_list_add(list, &rule, source, err);
}

int xb_rule_list_parse(struct xb_rule_list *list, const char *text, struct xb_error *err)
{
	for (unsigned number = 1; *text; number++) {
		size_t len = strcspn(text, "\n");
		struct xb_error why = {0};
		char line[LINE_BYTES];
		int ret;

		if (len >= sizeof(line))
			return xb_refuse(err, -EINVAL, "line %u: longer than %u characters", number,
					 LINE_BYTES - 1);
		memcpy(line, text, len);
		line[len] = '\0';
		ret = parse_line(list, line, number, &why);
		if (ret < 0)
			return xb_refuse(err, ret, "line %u: %s", number, why.what);
		text += len + (text[len] == '\n');
	}
	return 0;
}

int xb_rule_source_blame(const struct xb_rule_source *source, int code, struct xb_error *err)
{
	struct xb_error why;

	if (!err || (!source->line && !source->given))
		return code;
	why = *err;
	if (source->line)
		xb_fail(err, code, "line %u: %s", source->line, why.what);
	else if (!strncmp(why.what, "rule,", 5)) /* the text goes on with the place in the rule */
		xb_fail(err, code, "rule %u%s", source->given, why.what + 4);
	else
		xb_fail(err, code, "rule %u: %s", source->given, why.what);
	err->whole = why.whole;
	xb_hint(err, "%s", why.hint);
	return code;
}

void xb_rule_list_free(struct xb_rule_list *list)
{
	free(list->rules);
	free(list->sources);
	*list = (struct xb_rule_list){0};
}
