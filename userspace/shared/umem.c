#include "userspace/shared/umem.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static size_t shared_bytes(uint32_t frames)
{
	size_t bytes = sizeof(struct fg_umem_shared) + frames;

	return (bytes + 4095) & ~(size_t)4095;
}

static int map_frames(struct fg_umem *umem, uint32_t frames)
{
	size_t area_bytes = (size_t)frames * FG_FRAME_BYTES;
	uint8_t *map;
	int fd;

	umem->map_bytes = area_bytes + shared_bytes(frames);
	fd = memfd_create("flipgate-umem", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, umem->map_bytes)) {
		close(fd);
		return -errno;
	}
	map = mmap(NULL, umem->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	close(fd);
	if (map == MAP_FAILED)
		return -errno;
	umem->area = map;
	umem->shared = (struct fg_umem_shared *)(map + area_bytes);
	umem->frames = frames;
	return 0;
}

static int register_frames(struct fg_umem *umem)
{
	struct xdp_umem_reg registration = {
		.addr = (uintptr_t)umem->area,
		.len = (uint64_t)umem->frames * FG_FRAME_BYTES,
		.chunk_size = FG_FRAME_BYTES,
	};

	if (setsockopt(umem->owner, SOL_XDP, XDP_UMEM_REG, &registration, sizeof(registration)))
		return -errno;
	return 0;
}

static void fill_all(struct fg_umem *umem)
{
	for (uint32_t i = 0; i < umem->frames; i++)
		*fg_ring_address(&umem->fill, i) = (uint64_t)i * FG_FRAME_BYTES;
	atomic_store_explicit(umem->fill.producer, umem->frames, memory_order_release);
}

static int bind_owner(struct fg_umem *umem, int ifindex, uint32_t queue, bool copy)
{
	struct sockaddr_xdp address = {
		.sxdp_family = AF_XDP,
		.sxdp_flags = XDP_USE_NEED_WAKEUP | (copy ? XDP_COPY : 0),
		.sxdp_ifindex = ifindex,
		.sxdp_queue_id = queue,
	};

	return bind(umem->owner, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
}

static const char *explain(int code)
{
	switch (-code) {
	case ENETDOWN:
		return "the interface is down: bring it up (ip link set DEV up)";
	case EBUSY:
		return "another process has AF_XDP sockets on this queue: stop it";
	case ENOBUFS:
		return "RLIMIT_MEMLOCK is too small for the frames: raise it (ulimit -l)";
	case EAFNOSUPPORT:
		return "the kernel has no AF_XDP (CONFIG_XDP_SOCKETS)";
	case EPERM:
		return "AF_XDP needs CAP_NET_RAW: run as root";
	default:
		return strerror(-code);
	}
}

int fg_umem_open(struct fg_umem *umem, int ifindex, uint32_t queue, uint32_t frames, bool copy,
		 struct fg_error *error)
{
	int code;

	*umem = (struct fg_umem){.owner = -1};
	umem->owner = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	code = umem->owner < 0 ? -errno : 0;
	if (!code)
		code = map_frames(umem, frames);
	if (!code)
		code = register_frames(umem);
	/* Every frame fits in each ring, so neither can ever overflow. */
	if (!code)
		code = fg_ring_open(&umem->fill, umem->owner, FG_RING_FILL, frames);
	if (!code)
		code = fg_ring_open(&umem->completion, umem->owner, FG_RING_COMPLETION, frames);
	/* A socket needs an rx or tx ring to bind; nothing is ever steered to this one. */
	if (!code)
		code = fg_ring_open(&umem->idle_rx, umem->owner, FG_RING_RX, 2);
	if (!code) {
		fill_all(umem);
		code = bind_owner(umem, ifindex, queue, copy);
	}
	if (code) {
		fg_umem_close(umem);
		return fg_error_set(error, code, "AF_XDP on queue %u: %s", queue, explain(code));
	}
	return 0;
}

void fg_umem_close(struct fg_umem *umem)
{
	fg_ring_close(&umem->idle_rx);
	fg_ring_close(&umem->completion);
	fg_ring_close(&umem->fill);
	if (umem->owner >= 0)
		close(umem->owner);
	if (umem->area)
		munmap(umem->area, umem->map_bytes);
	*umem = (struct fg_umem){.owner = -1};
}

/* A socket that is not bound says so before all else (net/xdp/xsk.c, xsk_check_common). */
bool fg_umem_is_bound(const struct fg_umem *umem)
{
	return recvfrom(umem->owner, NULL, 0, MSG_DONTWAIT, NULL, NULL) >= 0 || errno != ENXIO;
}

/*
 * A move, step by step:
 *   1. write the addresses into the fill ring behind its producer     (invisible)
 *   2. write the journal, then busy = 1
 *   3. ledger = KERNEL for each of them
 *   4. fill producer += count                                         (visible to the kernel)
 *   5. completion consumer = completion_after
 *   6. busy = 0
 * The ledger must change before 4: after it the kernel may fill the frame and another worker may
 * mark it as its own. Whoever finds busy = 1 with the holder dead repeats 3 and 4 when 4 has not
 * happened (the entries of step 1 are still there, for only the lock's holder writes them), and 5.
 */
static void finish_move(struct fg_umem *umem)
{
	struct fg_umem_shared *shared = umem->shared;
	uint32_t before = shared->journal.fill_before;
	/* Once: whoever shares this memory may write to it meanwhile. */
	uint32_t count = *(volatile uint32_t *)&shared->journal.count;
	uint32_t after = before + count;

	if (count <= umem->frames &&
	    atomic_load_explicit(umem->fill.producer, memory_order_acquire) != after) {
		for (uint32_t i = before; i != after; i++)
			fg_umem_mark(umem, *fg_ring_address(&umem->fill, i), FG_FRAME_KERNEL);
		atomic_store_explicit(umem->fill.producer, after, memory_order_release);
	}
	atomic_store_explicit(umem->completion.consumer, shared->journal.completion_after,
			      memory_order_release);
	atomic_store_explicit(&shared->journal.busy, 0, memory_order_release);
}

void fg_umem_wake(const struct fg_umem *umem)
{
	if (atomic_load_explicit(umem->fill.flags, memory_order_relaxed) & XDP_RING_NEED_WAKEUP)
		recvfrom(umem->owner, NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

bool fg_umem_recycle(struct fg_umem *umem, uint8_t holder, const uint64_t *addresses,
		     uint32_t count)
{
	struct fg_umem_shared *shared = umem->shared;
	uint32_t expected = 0, fill, completed, end;

	completed = atomic_load_explicit(umem->completion.consumer, memory_order_relaxed);
	if (!count &&
	    completed == atomic_load_explicit(umem->completion.producer, memory_order_relaxed))
		return true;
	if (!atomic_compare_exchange_strong_explicit(&shared->lock, &expected, holder,
						     memory_order_acquire, memory_order_relaxed))
		return false;
	fill = atomic_load_explicit(umem->fill.producer, memory_order_relaxed);
	shared->journal.fill_before = fill;
	completed = atomic_load_explicit(umem->completion.consumer, memory_order_relaxed);
	end = atomic_load_explicit(umem->completion.producer, memory_order_acquire);
	/* Every worker of the queue can write these words: one that was broken into must not make
	 * the keeper, or another, go round the ring four billion times. */
	if (end - completed > umem->completion.mask + 1)
		completed = end;
	for (; completed != end; completed++)
		*fg_ring_address(&umem->fill, fill++) =
			*fg_ring_address(&umem->completion, completed) &
			~(uint64_t)(FG_FRAME_BYTES - 1);
	for (uint32_t i = 0; i < count; i++)
		*fg_ring_address(&umem->fill, fill++) =
			addresses[i] & ~(uint64_t)(FG_FRAME_BYTES - 1);
	shared->journal.count = fill - shared->journal.fill_before;
	shared->journal.completion_after = end;
	atomic_store_explicit(&shared->journal.busy, 1, memory_order_release);
	finish_move(umem);
	atomic_store_explicit(&shared->lock, 0, memory_order_release);
	/* The driver sets its flag and then looks at the ring; we fill the ring and then look at
	 * the flag (fg_umem_wake): one of the two sees the other's store. */
	atomic_thread_fence(memory_order_seq_cst);
	return true;
}

void fg_umem_recover(struct fg_umem *umem, uint8_t holder)
{
	struct fg_umem_shared *shared = umem->shared;

	if (atomic_load_explicit(&shared->lock, memory_order_acquire) != holder)
		return;
	if (atomic_load_explicit(&shared->journal.busy, memory_order_acquire))
		finish_move(umem);
	atomic_store_explicit(&shared->lock, 0, memory_order_release);
}

uint32_t fg_umem_count(const struct fg_umem *umem, uint8_t mark)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < umem->frames; i++)
		count += atomic_load_explicit(&umem->shared->ledger[i], memory_order_relaxed) ==
			 mark;
	return count;
}
