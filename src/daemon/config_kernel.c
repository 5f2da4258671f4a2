/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/config.h"
#include "daemon/config_value.h"

#include <errno.h>
#include <string.h>

#define WORDS_EXPECTED \
	"queues=N, mac=MAC|uplink, mtu=N, netns=NAME|PATH, carrier=UPLINK or domain=NAME"

static int set_mac(struct xb_kernel_config *kernel, const char *value, struct xb_error *err)
{
	int ret;

	if (!strcmp(value, "uplink")) {
		kernel->mac_source = XB_MAC_UPLINK;
		return 0;
	}
	ret = xb_value_mac(value, kernel->mac, err);
	if (!ret)
		kernel->mac_source = XB_MAC_GIVEN;
	return ret;
}

/* What a kernel port's words choose; each once. */
static const char *const keys[] = {"queues", "mac", "mtu", "netns", "carrier", "domain", NULL};

static int set_value(struct xb_kernel_config *kernel, int key, const char *value,
		     struct xb_error *err)
{
	switch (key) {
	case 0:
		return xb_value_number(value, 1, XB_QUEUES_MAX, &kernel->queues, err);
	case 1:
		return set_mac(kernel, value, err);
	case 2:
		return xb_value_number(value, 68, 65521, &kernel->mtu, err);
	case 3:
		return xb_value_text(value, kernel->netns, sizeof(kernel->netns),
				     "a network namespace's name or path", err);
	case 4:
		return xb_value_ifname(value, kernel->carrier, err);
	default:
		return xb_value_domain(value, kernel->domain, err);
	}
}

static int set_word(struct xb_kernel_config *kernel, char *word, unsigned *given,
		    struct xb_error *err)
{
	char *value = strchr(word, '=');
	int key;

	if (!value)
		return xb_value_refuse(err, word, WORDS_EXPECTED);
	*value++ = '\0';
	key = xb_value_one_of(word, keys);
	if (key < 0)
		return xb_value_refuse(err, word, WORDS_EXPECTED);
	if (*given & 1u << key)
		return xb_fail(err, -EINVAL, "%s is given twice", word);
	*given |= 1u << key;
	return set_value(kernel, key, value, err);
}

int xb_config_add_kernel(struct xb_config *config, const char *value, struct xb_error *err)
{
	struct xb_kernel_config kernel = {
		.queues = 1, .queue_size = config->kernel.queue_size, .offload = XB_OFFLOAD_ALL};
	char words[512];
	char *rest = words;
	unsigned given = 0;
	char *word;
	int ret;

	if (config->n_kernels == XB_KERNELS_MAX)
		return xb_fail(err, -EINVAL, "'%.64s': more than %u kernel ports", value,
			       XB_KERNELS_MAX);
	ret = xb_value_text(value, words, sizeof(words), "a kernel port", err);
	if (ret < 0)
		return ret;
	ret = xb_value_ifname(strsep(&rest, ","), kernel.ifname, err);
	while (!ret && (word = strsep(&rest, ","))) /* an empty one is refused, too */
		ret = set_word(&kernel, word, &given, err);
	if (ret < 0)
		return ret;
	for (unsigned i = 0; i < config->n_kernels; i++)
		if (!strcmp(config->kernels[i].ifname, kernel.ifname) &&
		    !strcmp(config->kernels[i].netns, kernel.netns))
			return xb_fail(err, -EINVAL, "'%s': named twice", kernel.ifname);
	config->kernels[config->n_kernels++] = kernel;
	return 0;
}
