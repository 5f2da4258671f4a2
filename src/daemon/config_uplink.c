/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/config.h"
#include "daemon/config_value.h"

#include <errno.h>
#include <string.h>

/* One word of an uplink behind its interface. */
static int set_uplink_word(struct xb_uplink_options *uplink, const char *word, struct xb_error *err)
{
	static const char *const sharing[] = {"shared", "dedicated", NULL};
	static const char *const csum[] = {"csum=auto", "csum=trust", "csum=verify", NULL};
	static const char *const xdp[] = {"xdp=auto", "xdp=native", "xdp=generic", NULL};
	static const char *const mode[] = {"mode=auto", "mode=copy", "mode=zerocopy", NULL};
	static const char *const tx[] = {"tx=xdp", "tx=packet", NULL};
	int i;

	if ((i = xb_value_one_of(word, sharing)) >= 0)
		uplink->sharing = (enum xb_sharing)(XB_SHARING_SHARED + (unsigned)i);
	else if ((i = xb_value_one_of(word, csum)) >= 0)
		uplink->csum = (enum xb_csum_policy)i;
	else if ((i = xb_value_one_of(word, xdp)) >= 0)
		uplink->xdp.mode = (enum xb_xdp_mode)i;
	else if (!strcmp(word, "xdp=exclusive")) /* in whichever mode */
		uplink->xdp.exclusive = true;
	else if ((i = xb_value_one_of(word, mode)) >= 0)
		uplink->mode = (enum xb_xsk_mode)i;
	else if ((i = xb_value_one_of(word, tx)) >= 0)
		uplink->tx = (enum xb_uplink_tx)i;
	else
		return xb_value_refuse(
			err, word,
			"shared, dedicated, csum=trust|verify, "
			"xdp=auto|native|generic|exclusive, mode=auto|copy|zerocopy or "
			"tx=xdp|packet");
	return 0;
}

int xb_config_add_uplink(struct xb_config *config, const char *value, struct xb_error *err)
{
	struct xb_uplink_options uplink = {.fill_frames = XB_UPLINK_RING_DEFAULT};
	char words[256];
	char *save = NULL;
	char *word;
	int ret;

	if (config->n_uplinks == XB_UPLINKS_MAX)
		return xb_fail(err, -EINVAL, "'%.64s': more than %u uplinks", value,
			       XB_UPLINKS_MAX);
	ret = xb_value_text(value, words, sizeof(words), "an uplink", err);
	if (ret < 0)
		return ret;
	word = strtok_r(words, ",", &save);
	ret = xb_value_ifname(word ? word : "", uplink.ifname, err);
	while (!ret && (word = strtok_r(NULL, ",", &save)))
		ret = set_uplink_word(&uplink, word, err);
	if (ret < 0)
		return ret;
	for (unsigned i = 0; i < config->n_uplinks; i++)
		if (!strcmp(config->uplinks[i].ifname, uplink.ifname))
			return xb_fail(err, -EINVAL, "'%s': named twice", uplink.ifname);
	config->uplinks[config->n_uplinks++] = uplink;
	return 0;
}
