//go:build ignore
/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Sockets that connect or send to the address of a service are led to one of its endpoints, before any packet exists;
 * what they ask for their peer, or receive from it, bears the address of the service again.
 *
 * An address is 16 bytes, that of IPv4 mapped into IPv6; a port is in the order of the machine; padding is zero. */
#include "kernel.h"

struct addr {
	__u32 word[4];	/* in network order */
};

/* frontends: which set answers at an address? */
struct frontend {
	struct addr addr;
	__u16 port;
	__u8 proto;
	__u8 pad;
};
struct set {
	__u64 id;
	__u32 count;	/* of slots; without any, who connects is refused */
	__u32 pad;
};

/* slots: the members of a set. A set that is in use never changes: another one takes its place. */
struct slot {
	__u64 set;
	__u32 index;
	__u32 pad;
};

/* backends: where a member is. */
struct backend {
	struct addr addr;
	__u16 port;
	__u8 terminating;
	__u8 pad;
};

/* peers, replies: which end did a socket ask for that got this one? */
struct asked {
	__u64 socket;
	struct frontend got;
	__u32 pad;
};

struct {
	VALUE(type, MAP_HASH);
	VALUE(map_flags, NO_PREALLOC);
	VALUE(max_entries, 32768);
	TYPE(key, struct frontend);
	TYPE(value, struct set);
} frontends SEC(".maps");

struct {
	VALUE(type, MAP_HASH);
	VALUE(map_flags, NO_PREALLOC);
	VALUE(max_entries, 131072);
	TYPE(key, struct slot);
	TYPE(value, __u64);
} slots SEC(".maps");

struct {
	VALUE(type, MAP_HASH);
	VALUE(map_flags, NO_PREALLOC);
	VALUE(max_entries, 65536);
	TYPE(key, __u64);
	TYPE(value, struct backend);
} backends SEC(".maps");

/* netns: the network namespaces that are this node's, by cookie, and the address by which they are known. The programs
 * leave the sockets of all others alone. */
struct {
	VALUE(type, MAP_HASH);
	VALUE(map_flags, NO_PREALLOC);
	VALUE(max_entries, 4096);
	TYPE(key, __u64);
	TYPE(value, struct addr);
} netns SEC(".maps");

/* peers are those of connected sockets. What is forgotten here lets a socket see its endpoint as its peer. */
struct {
	VALUE(type, MAP_LRU_HASH);
	VALUE(max_entries, 16384);
	TYPE(key, struct asked);
	TYPE(value, struct frontend);
} peers SEC(".maps");

/* replies are those of sockets that send without being connected, which take an answer only from whom they asked. They
 * stand apart, so that many connections do not let them be forgotten. */
struct {
	VALUE(type, MAP_LRU_HASH);
	VALUE(max_entries, 8192);
	TYPE(key, struct asked);
	TYPE(value, struct frontend);
} replies SEC(".maps");

/* What a cgroup program returns. */
enum { REFUSE = 0, PASS = 1 };

INLINE __u16 swap(__u16 port)
{
	return __builtin_bswap16(port);
}

INLINE struct frontend end(struct bpf_sock_addr *ctx, struct addr addr)
{
	return (struct frontend){ .addr = addr, .port = swap(ctx->user_port), .proto = ctx->protocol };
}

INLINE struct frontend end4(struct bpf_sock_addr *ctx)
{
	return end(ctx, (struct addr){ { 0, 0, __builtin_bswap32(0xffff), ctx->user_ip4 } });
}

INLINE struct frontend end6(struct bpf_sock_addr *ctx)
{
	return end(ctx, (struct addr){ { ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3] } });
}

INLINE void set4(struct bpf_sock_addr *ctx, const struct frontend *e)
{
	ctx->user_ip4 = e->addr.word[3];
	ctx->user_port = swap(e->port);
}

INLINE void set6(struct bpf_sock_addr *ctx, const struct frontend *e)
{
	ctx->user_ip6[0] = e->addr.word[0];
	ctx->user_ip6[1] = e->addr.word[1];
	ctx->user_ip6[2] = e->addr.word[2];
	ctx->user_ip6[3] = e->addr.word[3];
	ctx->user_port = swap(e->port);
}

INLINE int same(const struct frontend *a, const struct frontend *b)
{
	return a->addr.word[3] == b->addr.word[3] && a->addr.word[2] == b->addr.word[2] &&
	       a->addr.word[1] == b->addr.word[1] && a->addr.word[0] == b->addr.word[0] && a->port == b->port;
}

/* Which member? TCP takes any. A UDP socket keeps to one, so that what it sends in one go arrives at one place. */
INLINE __u32 draw(struct bpf_sock_addr *ctx)
{
	if (ctx->protocol == PROTO_TCP)
		return random_u32();
	return socket_cookie(ctx) * 0x9e3779b97f4a7c15ULL >> 32;
}

/* refuse fails the call as if nobody listened. */
INLINE int refuse(void)
{
	set_retval(-ECONNREFUSED);
	return REFUSE;
}

/* choose finds out where a call to `asked` is to go. 0: nowhere else, and the program returns *verdict. */
INLINE int choose(struct bpf_sock_addr *ctx, struct frontend *asked, struct frontend *got, int *verdict)
{
	*verdict = PASS;
	struct set *set = map_lookup(&frontends, asked);
	if (!set)
		return 0;
	__u64 ns = netns_cookie(ctx);
	if (!map_lookup(&netns, &ns))
		return 0;

	__u32 count = set->count;
	struct slot slot = { .set = set->id, .index = count ? draw(ctx) % count : 0 };
	__u64 *id = map_lookup(&slots, &slot);
	struct backend *b = id ? map_lookup(&backends, id) : 0;
	if (!b) {
		*verdict = refuse();
		return 0;
	}
	*got = (struct frontend){ .addr = b->addr, .port = b->port, .proto = asked->proto };
	return 1;
}

INLINE void remember_peer(struct bpf_sock_addr *ctx, struct frontend *asked, struct frontend *got)
{
	struct asked key = { .socket = socket_cookie(ctx), .got = *got };
	map_update(&peers, &key, asked, 0);
}

INLINE void remember_reply(struct bpf_sock_addr *ctx, struct frontend *asked, struct frontend *got)
{
	struct asked key = { .socket = socket_cookie(ctx), .got = *got };
	struct frontend *known = map_lookup(&replies, &key);
	if (!known || !same(known, asked))
		map_update(&replies, &key, asked, 0);
}

/* recall_peer is what a connected socket asked for to get to `got`; 0 if it asked for nothing else. */
INLINE struct frontend *recall_peer(struct bpf_sock_addr *ctx, struct frontend *got)
{
	struct asked key = { .socket = socket_cookie(ctx), .got = *got };
	return map_lookup(&peers, &key);
}

/* recall_sender is what any socket asked for that is answered by `got`; 0 if it asked for nothing else. */
INLINE struct frontend *recall_sender(struct bpf_sock_addr *ctx, struct frontend *got)
{
	struct asked key = { .socket = socket_cookie(ctx), .got = *got };
	struct frontend *reply = map_lookup(&replies, &key);
	return reply ? reply : map_lookup(&peers, &key);
}

/* A call that names an end leads to another one. */
#define OUT(call, v, remember)                                      \
	SEC("cgroup/" #call) int ms_##call(struct bpf_sock_addr *ctx)    \
	{                                                           \
		struct frontend asked = end##v(ctx), got;           \
		int verdict;                                        \
		if (!choose(ctx, &asked, &got, &verdict))           \
			return verdict;                             \
		remember(ctx, &asked, &got);                        \
		set##v(ctx, &got);                                  \
		return PASS;                                        \
	}

/* A call that returns an end shows the one that was asked for. */
#define IN(call, v, recall)                                         \
	SEC("cgroup/" #call) int ms_##call(struct bpf_sock_addr *ctx)    \
	{                                                           \
		struct frontend got = end##v(ctx);                  \
		struct frontend *asked = recall(ctx, &got);         \
		if (asked)                                          \
			set##v(ctx, asked);                         \
		return PASS;                                        \
	}

OUT(connect4, 4, remember_peer)
OUT(connect6, 6, remember_peer)
OUT(sendmsg4, 4, remember_reply)
OUT(sendmsg6, 6, remember_reply)
IN(recvmsg4, 4, recall_sender)
IN(recvmsg6, 6, recall_sender)
IN(getpeername4, 4, recall_peer)
IN(getpeername6, 6, recall_peer)

/* Of the two licences, the one that the kernel asks for. */
char LICENSE[] SEC("license") = "GPL";
