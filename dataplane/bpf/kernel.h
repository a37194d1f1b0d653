/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs need of the kernel's BPF interface: numbers and layouts that the kernel keeps stable, written down
 * here, so that building depends on no header of the machine. The order of members is the kernel's. */
#pragma once

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

/* A map is described by the types of the members of an anonymous struct. */
#define VALUE(name, val) int(*name)[val]
#define TYPE(name, val) val *name

enum {
	MAP_HASH = 1,
	MAP_LRU_HASH = 9,
};

enum {
	NO_PREALLOC = 1 << 0,	/* of map_flags */
};

enum {
	PROTO_TCP = 6,
	ECONNREFUSED = 111,
};

/* What a sock_addr program sees of a call: an address in network order, and a port, in network order too, in the first
 * half of its word. */
struct bpf_sock_addr {
	__u32 user_family;
	__u32 user_ip4;
	__u32 user_ip6[4];
	__u32 user_port;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 msg_src_ip4;
	__u32 msg_src_ip6[4];
	__u64 sk __attribute__((aligned(8)));	/* struct bpf_sock * */
};

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const map_update)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static __u32 (*const random_u32)(void) = (void *)7;
static __u64 (*const socket_cookie)(void *ctx) = (void *)46;
static __u64 (*const netns_cookie)(void *ctx) = (void *)122;
static int (*const set_retval)(int retval) = (void *)187;
