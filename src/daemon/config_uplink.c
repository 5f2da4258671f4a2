/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/config.h"
#include "daemon/config_value.h"

#include <errno.h>
#include <string.h>

/* What the words of an uplink choose. Words of one aspect exclude each other. */
enum aspect { SHARING, CSUM, XDP, EXCLUSIVE, MODE, TX, N_ASPECTS };

/* In the order of the aspect's enum. */
static const char *const words_of[N_ASPECTS][4] = {
	[SHARING] = {"shared", "dedicated"},
	[CSUM] = {"csum=auto", "csum=trust", "csum=verify"},
	[XDP] = {"xdp=auto", "xdp=native", "xdp=generic"},
	[EXCLUSIVE] = {"xdp=exclusive"}, /* in whichever mode */
	[MODE] = {"mode=auto", "mode=copy", "mode=zerocopy"},
	[TX] = {"tx=auto", "tx=xdp", "tx=packet"},
};

#define WORDS_EXPECTED                                                                   \
	"shared, dedicated, csum=auto|trust|verify, xdp=auto|native|generic|exclusive, " \
	"mode=auto|copy|zerocopy, tx=auto|xdp|packet or domain=NAME"

static void choose(struct xb_uplink_options *uplink, enum aspect aspect, int word)
{
	switch (aspect) {
	case SHARING:
		uplink->sharing = (enum xb_sharing)(XB_SHARING_SHARED + (unsigned)word);
		break;
	case CSUM:
		uplink->csum = (enum xb_csum_policy)word;
		break;
	case XDP:
		uplink->xdp.mode = (enum xb_xdp_mode)word;
		break;
	case EXCLUSIVE:
		uplink->xdp.exclusive = true;
		break;
	case MODE:
		uplink->mode = (enum xb_xsk_mode)word;
		break;
	case TX:
		uplink->tx = (enum xb_uplink_tx)word;
		break;
	case N_ASPECTS:
		break;
	}
}

/* One word of an uplink after its interface. `given` has the words before it, by aspect. */
static int set_uplink_word(struct xb_uplink_config *config, const char *word,
			   const char *given[N_ASPECTS], struct xb_error *err)
{
	struct xb_uplink_options *uplink = &config->options;

	if (!strncmp(word, "domain=", 7))
		return xb_value_domain(word + 7, config->domain, err);
	for (enum aspect aspect = 0; aspect < N_ASPECTS; aspect++) {
		int i = xb_value_one_of(word, words_of[aspect]);

		if (i < 0)
			continue;
		if (given[aspect])
			return xb_fail(err, -EINVAL, "'%s,%s': one of these words is expected",
				       given[aspect], word);
		given[aspect] = words_of[aspect][i];
		choose(uplink, aspect, i);
		return 0;
	}
	return xb_value_refuse(err, word, WORDS_EXPECTED);
}

int xb_config_add_uplink(struct xb_config *config, const char *value, struct xb_error *err)
{
	struct xb_uplink_config uplink = {.options = {.fill_frames = XB_UPLINK_RING_DEFAULT}};
	const char *given[N_ASPECTS] = {0};
	char words[256];
	char *rest = words;
	char *word;
	int ret;

	if (config->n_uplinks == XB_UPLINKS_MAX)
		return xb_fail(err, -EINVAL, "'%.64s': more than %u uplinks", value,
			       XB_UPLINKS_MAX);
	ret = xb_value_text(value, words, sizeof(words), "an uplink", err);
	if (ret < 0)
		return ret;
	ret = xb_value_ifname(strsep(&rest, ","), uplink.options.ifname, err);
	while (!ret && (word = strsep(&rest, ","))) /* an empty one is refused, too */
		ret = set_uplink_word(&uplink, word, given, err);
	if (ret < 0)
		return ret;
	for (unsigned i = 0; i < config->n_uplinks; i++)
		if (!strcmp(config->uplinks[i].options.ifname, uplink.options.ifname))
			return xb_fail(err, -EINVAL, "'%s': named twice", uplink.options.ifname);
	config->uplinks[config->n_uplinks++] = uplink;
	return 0;
}
