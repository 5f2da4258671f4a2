/* SPDX-License-Identifier: BSD-2-Clause */
#include "gate/extension.h"

#include "core/cleanup.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stddef.h>

/* Type ids in the BTF of our two programs: main and slot, both int (struct xdp_md *). */
struct types {
	int btf_fd;
	int main_id;
	int slot_id;
};

/* Makes and loads the types. Returns 0 or -errno. */
static int make_types(struct types *ret_types)
{
	struct btf *btf = btf__new_empty();
	struct types types;
	const void *raw;
	__u32 raw_bytes;
	int number, context, pointer, prototype;

	if (!btf)
		return -ENOMEM;
	number = btf__add_int(btf, "int", sizeof(int), BTF_INT_SIGNED);
	context = btf__add_struct(btf, "xdp_md", sizeof(struct xdp_md));
	pointer = btf__add_ptr(btf, context);
	prototype = btf__add_func_proto(btf, number);
	btf__add_func_param(btf, "ctx", pointer);
	types.main_id = btf__add_func(btf, "xb_main", BTF_FUNC_GLOBAL, prototype);
	types.slot_id = btf__add_func(btf, "xb_slot", BTF_FUNC_GLOBAL, prototype);
	raw = btf__raw_data(btf, &raw_bytes);
	types.btf_fd = raw && types.slot_id > 0 ? bpf_btf_load(raw, raw_bytes, NULL) : -ENOMEM;
	btf__free(btf);
	if (types.btf_fd < 0)
		return types.btf_fd;
	*ret_types = types;
	return 0;
}

/* A program with a function that can be replaced, as libxdp's dispatcher has them. */
static int load_target(const struct types *types)
{
	const struct bpf_insn code[] = {
		{.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_CALL, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	const struct bpf_func_info functions[] = {
		{.insn_off = 0, .type_id = (__u32)types->main_id},
		{.insn_off = 2, .type_id = (__u32)types->slot_id},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_btf_fd = (__u32)types->btf_fd,
		    .func_info = functions, .func_info_rec_size = sizeof(functions[0]),
		    .func_info_cnt = 2);

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "xb_try", "Dual BSD/GPL", code,
			     sizeof(code) / sizeof(code[0]), &opts);
}

static int load_extension(const struct types *types, int target_fd, const struct bpf_insn *code,
			  size_t n)
{
	const struct bpf_func_info function = {.insn_off = 0, .type_id = (__u32)types->slot_id};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_btf_fd = (__u32)types->btf_fd,
		    .func_info = &function, .func_info_rec_size = sizeof(function),
		    .func_info_cnt = 1, .attach_prog_fd = (__u32)target_fd,
		    .attach_btf_id = (__u32)types->slot_id);

	return bpf_prog_load(BPF_PROG_TYPE_EXT, "xb_try", "Dual BSD/GPL", code, n, &opts);
}

static int load_plain(const struct types *types, int target_fd)
{
	const struct bpf_insn code[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_DROP},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return load_extension(types, target_fd, code, sizeof(code) / sizeof(code[0]));
}

/* One that may move the packet's metadata, which the function in whose place it is does not. */
static bool takes_changing(const struct types *types, int target_fd)
{
	const struct bpf_insn code[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_2},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_xdp_adjust_meta},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	xb_auto_fd int fd = load_extension(types, target_fd, code, sizeof(code) / sizeof(code[0]));

	return fd >= 0;
}

/* libxdp finds programs by their ids. */
static int find_by_id(int prog_fd)
{
	struct bpf_prog_info info = {0};
	__u32 info_bytes = sizeof(info);
	xb_auto_fd int fd = -1;

	if (bpf_obj_get_info_by_fd(prog_fd, &info, &info_bytes) < 0)
		return -errno;
	fd = bpf_prog_get_fd_by_id(info.id);
	return fd < 0 ? -errno : 0;
}

/* Replaces the function of a program of ours by another one. */
static int try_all(struct xb_extensions *to)
{
	struct types types;
	xb_auto_fd int btf_fd = -1;
	xb_auto_fd int target_fd = -1;
	xb_auto_fd int extension_fd = -1;
	xb_auto_fd int link_fd = -1;
	int ret = make_types(&types);

	to->step = "loading types";
	if (ret < 0)
		return ret;
	btf_fd = types.btf_fd;
	to->step = "loading a program with types";
	target_fd = load_target(&types);
	if (target_fd < 0)
		return target_fd;
	to->step = "loading";
	extension_fd = load_plain(&types, target_fd);
	if (extension_fd < 0)
		return extension_fd;
	to->step = "attaching";
	link_fd = bpf_raw_tracepoint_open(NULL, extension_fd);
	if (link_fd < 0)
		return link_fd;
	to->may_change_data = takes_changing(&types, target_fd);
	to->step = "finding a program by its id";
	return find_by_id(target_fd);
}

void xb_extensions_try(struct xb_extensions *ret_extensions)
{
	struct xb_extensions found = {0};

	found.code = try_all(&found);
	*ret_extensions = found;
}
