/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/frame_file.h"

#include <errno.h>
#include <pcap/pcap.h>
#include <stdlib.h>

struct xb_frame_file {
	pcap_t *pcap;
	const char *path;
	unsigned n; /* frames read */
};

static int check_link_type(const struct xb_frame_file *file, struct xb_error *err)
{
	int type = pcap_datalink(file->pcap);
	const char *name = pcap_datalink_val_to_name(type);

	if (type == DLT_EN10MB)
		return 0;
	xb_fail(err, -EINVAL, "read %s: it holds %s, not Ethernet frames", file->path,
		name ? name : "something else");
	return -EINVAL;
}

int xb_frame_file_open(const char *path, struct xb_frame_file **ret_file, struct xb_error *err)
{
	struct xb_frame_file *file = calloc(1, sizeof(*file));
	char why[PCAP_ERRBUF_SIZE];
	int ret = 0;

	if (!file)
		return xb_fail(err, -ENOMEM, "read %s", path);
	file->path = path;
	file->pcap = pcap_open_offline(path, why);
	if (!file->pcap)
		ret = xb_fail(err, -EINVAL, "read %s: %s", path, why);
	if (!ret)
		ret = check_link_type(file, err);
	if (ret < 0) {
		xb_frame_file_close(file);
		return ret;
	}
	*ret_file = file;
	return 0;
}

void xb_frame_file_close(struct xb_frame_file *file)
{
	if (file->pcap)
		pcap_close(file->pcap);
	free(file);
}

int xb_frame_file_next(struct xb_frame_file *file, struct xb_filed_frame *ret_frame,
		       struct xb_error *err)
{
	struct pcap_pkthdr *header;
	const u_char *data;

	switch (pcap_next_ex(file->pcap, &header, &data)) {
	case 1:
		file->n++;
		*ret_frame = (struct xb_filed_frame){data, header->caplen, header->len};
		return 1;
	case PCAP_ERROR_BREAK:
		return 0;
	default:
		return xb_fail(err, -EINVAL, "read %s, packet %u: %s", file->path, file->n + 1,
			       pcap_geterr(file->pcap));
	}
}
