#include "userspace/shared/ring.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>

int fg_ring_open(struct fg_ring *ring, int fd, enum fg_ring_kind kind, uint32_t entries)
{
	static const struct {
		int option;
		off_t page;
		size_t entry_bytes;
	} kinds[] = {
		[FG_RING_FILL] = {XDP_UMEM_FILL_RING, XDP_UMEM_PGOFF_FILL_RING, sizeof(uint64_t)},
		[FG_RING_COMPLETION] = {XDP_UMEM_COMPLETION_RING, XDP_UMEM_PGOFF_COMPLETION_RING,
					sizeof(uint64_t)},
		[FG_RING_RX] = {XDP_RX_RING, XDP_PGOFF_RX_RING, sizeof(struct xdp_desc)},
		[FG_RING_TX] = {XDP_TX_RING, XDP_PGOFF_TX_RING, sizeof(struct xdp_desc)},
	};
	struct xdp_mmap_offsets offsets;
	const struct xdp_ring_offset *offset;
	socklen_t size = sizeof(offsets);
	size_t bytes;
	char *map;

	if (setsockopt(fd, SOL_XDP, kinds[kind].option, &entries, sizeof(entries)))
		return -errno;
	if (getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &size))
		return -errno;
	offset = kind == FG_RING_FILL	      ? &offsets.fr
		 : kind == FG_RING_COMPLETION ? &offsets.cr
		 : kind == FG_RING_RX	      ? &offsets.rx
					      : &offsets.tx;
	bytes = offset->desc + entries * kinds[kind].entry_bytes;
	map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
		   kinds[kind].page);
	if (map == MAP_FAILED)
		return -errno;
	*ring = (struct fg_ring){
		.producer = (_Atomic uint32_t *)(map + offset->producer),
		.consumer = (_Atomic uint32_t *)(map + offset->consumer),
		.flags = (_Atomic uint32_t *)(map + offset->flags),
		.entries = map + offset->desc,
		.mask = entries - 1,
		.map = map,
		.map_bytes = bytes,
	};
	return 0;
}

void fg_ring_close(struct fg_ring *ring)
{
	if (ring->map)
		munmap(ring->map, ring->map_bytes);
	*ring = (struct fg_ring){0};
}
