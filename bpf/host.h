/*
 * host.h: is a frame for this host, and does it come from somebody who can be answered?
 *
 * The stack is the judge of both. XDP takes only what the stack would surely deliver, and passes
 * all else up to it; so nothing here must be exact, as long as it errs towards passing. What the
 * stack delivers after all, the socket program gives to the same worker.
 */
#ifndef FG_BPF_HOST_H
#define FG_BPF_HOST_H

#include <stdbool.h>
#include "bpf/abi.h"
#include "bpf/parse.h"

/* Written by user space at any time, and nothing is taken before. */
struct fg_host fg_host;

/* The destination is this interface's own address. Not the rest: broadcast and groups (the stack
 * answers from its own address), other hosts, devices that stand on this one with their own. */
static __always_inline bool fg_is_to_us(const void *frame)
{
	return *(const __u64 *)frame << 16 == *(const volatile __u64 *)&fg_host.mac;
}

/*
 * RFC 1071 without the folding: the header's 16-bit words sum to a multiple of 65535 just when its
 * 32-bit words do. And n is a multiple of the odd number d just when n times the inverse of d
 * (modulo 2^64) is at most (2^64 - 1) / d; both constants are exact.
 */
static __always_inline bool fg_is_header_sound(const struct iphdr *ip)
{
	const __u32 *words = (const __u32 *)ip;
	__u64 sum = (__u64)words[0] + words[1] + words[2] + words[3] + words[4];

	return sum * 0xfffefffefffeffffULL <= 0x0001000100010001ULL;
}

/* Is it one of this host's own addresses, or a broadcast address? Rarely another is taken for one.
 */
static __always_inline bool fg_is_host_address(__u32 folded)
{
	__u32 bit = fg_host_bit(folded);

	return *(const volatile __u64 *)&fg_host.addresses[bit / 64] >> bit % 64 & 1;
}

/* Sources that no reply can reach: 0/8, 127/8, 224/3, port 0, and this host's own. */
static __always_inline bool fg_is_from_nobody_v4(const struct fg_datagram *datagram)
{
	__u8 first = datagram->saddr[3];

	return (__u8)(first - 1) >= 223 || first == 127 || !datagram->sport ||
	       fg_is_host_address(bpf_htonl(0xffff) ^ datagram->saddr[3]);
}

/*
 * The same: ff00::/8, and ::/32, in which ::, ::1 and the mapped addresses lie; these are IPv4's
 * where they stand in a frame of IPv6, and the destination could be such a one as well.
 */
static __always_inline bool fg_is_from_nobody_v6(const struct fg_datagram *datagram)
{
	const __u32 *saddr = datagram->saddr;

	return !saddr[0] || (saddr[0] & 0xff) == 0xff || !datagram->daddr[0] || !datagram->sport ||
	       fg_is_host_address(saddr[0] ^ saddr[1] ^ saddr[2] ^ saddr[3]);
}

#endif
