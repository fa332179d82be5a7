/*
 * frame.h: an Ethernet frame that carries one of our datagrams, turned into its reply in place.
 *
 * The XDP program lets through only what fg_frame_parse accepts: Ethernet without VLAN tags,
 * IPv4 without options or fragments (RFC 791) or IPv6 without extension headers (RFC 8200), UDP
 * (RFC 768). It is parsed again here because a frame says nothing about who let it through.
 */
#ifndef FG_WORKER_FRAME_H
#define FG_WORKER_FRAME_H

#include <stdbool.h>
#include <stdint.h>

struct fg_frame {
	uint8_t *bytes;	    /* Ethernet header; IP follows at once */
	uint16_t transport; /* offset of the UDP header; the payload is 8 bytes further */
	uint16_t payload_bytes;
	bool ipv6;
};

/*
 * Finds the UDP payload in `length` bytes. 0; -EPROTO when it is not such a frame or the lengths
 * disagree; -EBADMSG when the UDP checksum is wrong. A checksum field that holds just the pseudo
 * header's sum is accepted: that is how a sender on this host (veth, virtio) leaves it for
 * hardware that is not there. So is 0 over IPv4: the sender made none.
 */
int fg_frame_parse(struct fg_frame *frame, uint8_t *bytes, uint32_t length);

/*
 * Writes the headers of the answer: addresses and ports swapped, lengths for payload_bytes of
 * payload already in place, TTL 64, both checksums complete. Returns the frame's length.
 * IPv4: routers may fragment it, so `id` should differ from the last ones' to the same client.
 */
uint32_t fg_frame_answer(const struct fg_frame *frame, uint16_t payload_bytes, uint16_t id);

#endif
