#include "userspace/worker/queue.h"

#include <errno.h>
#include "userspace/shared/stats.h"

static void hold(struct fg_queue *queue, uint64_t address)
{
	queue->held[queue->held_count++] = address;
}

/*
 * When did a frame that is seen now come in? After the last look at the ring, unless that one
 * left frames behind: then after the look before. The earlier time is taken, so that a time in
 * the queue is never reported too short.
 */
static uint64_t arrival(struct fg_queue *queue, uint32_t taken, uint64_t now_ns)
{
	uint64_t since = queue->backlog_ns ? queue->backlog_ns : queue->looked_ns;

	queue->backlog_ns = taken == FG_QUEUE_BATCH ? (since ? since : now_ns) : 0;
	queue->looked_ns = now_ns;
	return since ? since : now_ns;
}

/* The payload of frame `index` as a message, or none when the frame is not one of ours. */
static bool to_message(struct fg_queue *queue, uint32_t index, uint64_t arrived_ns,
		       struct fg_message *message)
{
	const struct fg_xsk_frame *received = &queue->received[index];
	struct fg_frame *frame = &queue->frames[index];
	uint32_t payload, room;

	if (fg_frame_parse(frame, fg_xsk_bytes(queue->xsk, received->address), received->length))
		return false;
	payload = frame->transport + 8;
	room = FG_FRAME_BYTES - received->address % FG_FRAME_BYTES - payload;
	*message = (struct fg_message){
		.bytes = frame->bytes + payload,
		.length = frame->payload_bytes,
		.capacity = room > frame->payload_bytes ? room : frame->payload_bytes,
		.arrived_ns = arrived_ns,
		.tag = index,
		.queue = queue,
	};
	return true;
}

/* Through the socket, by a call of its own: such replies are few, and wait for nothing. */
static void send_by_detour(struct fg_queue *queue, const struct fg_message *message)
{
	bool sent = !fg_detour_send(queue->detour, &queue->frames[message->tag], message->length);

	fg_stats_add(sent ? &queue->stats->detoured : &queue->stats->send_failed, 1);
	hold(queue, queue->received[message->tag].address);
}

static void kick(struct fg_queue *queue)
{
	uint32_t waiting = fg_ring_count(&queue->xsk->tx);

	if (fg_xsk_kick(queue->xsk) == -ENXIO)
		fg_stats_add(&queue->stats->send_failed, waiting);
}

/* What the engine keeps leaves the arrays to the next that are taken. */
static void move_kept(struct fg_queue *queue)
{
	struct fg_engine *engine = queue->engine;

	for (uint32_t i = 0; i < engine->kept_count; i++) {
		struct fg_message *message = fg_engine_kept(engine, engine->kept[i]);
		uint32_t to = FG_QUEUE_BATCH + engine->kept[i];

		queue->received[to] = queue->received[message->tag];
		queue->frames[to] = queue->frames[message->tag];
		message->tag = to;
	}
}

void fg_queue_reply(struct fg_queue *queue)
{
	struct fg_engine *engine = queue->engine;
	struct fg_xsk_frame replies[FG_ENGINE_MAX_MESSAGES];
	uint32_t sending = 0, sent;

	for (uint32_t i = 0; i < engine->done_count; i++) {
		const struct fg_message *message = engine->done[i];
		const struct fg_frame *frame;
		uint64_t address;

		if (message->queue != queue)
			continue;
		frame = &queue->frames[message->tag];
		address = queue->received[message->tag].address;
		if (!message->length)
			hold(queue, address);
		else if (fg_detour_is_needed(queue->detour, frame, message->length))
			send_by_detour(queue, message);
		else
			replies[sending++] = (struct fg_xsk_frame){
				.address = address,
				.length = fg_frame_answer(frame, message->length, queue->ip_id++),
			};
	}
	if (!sending)
		return;
	sent = fg_xsk_send(queue->xsk, replies, sending);
	fg_stats_add(&queue->stats->send_failed, sending - sent);
	for (uint32_t i = sent; i < sending; i++)
		hold(queue, replies[i].address);
	kick(queue);
}

uint32_t fg_queue_serve(struct fg_queue *queue, uint64_t now_ns)
{
	uint32_t taken, messages = 0, room = FG_QUEUE_HELD - queue->held_count;
	uint64_t arrived_ns;

	taken = fg_xsk_receive(queue->xsk, queue->received,
			       room < FG_QUEUE_BATCH ? room : FG_QUEUE_BATCH);
	arrived_ns = arrival(queue, taken, now_ns);
	if (!taken)
		return 0;
	for (uint32_t i = 0; i < taken; i++) {
		if (to_message(queue, i, arrived_ns, &queue->messages[messages])) {
			messages++;
			continue;
		}
		hold(queue, queue->received[i].address);
		fg_stats_add(&queue->stats->not_ours, 1);
	}
	fg_stats_add(&queue->stats->xsk_received, taken);
	fg_engine_begin(queue->engine, queue->messages, messages, now_ns);
	move_kept(queue);
	do {
		fg_queue_reply(queue);
	} while (fg_engine_step(queue->engine));
	return taken;
}

void fg_queue_tidy(struct fg_queue *queue)
{
	if (fg_ring_count(&queue->xsk->tx))
		kick(queue);
	if (fg_umem_recycle(queue->xsk->umem, queue->xsk->slot + 1, queue->held, queue->held_count))
		queue->held_count = 0;
	fg_umem_wake(queue->xsk->umem);
}

void fg_queue_woke(struct fg_queue *queue, uint64_t now_ns)
{
	queue->looked_ns = now_ns;
}

bool fg_queue_idle(const struct fg_queue *queue)
{
	return !fg_ring_count(&queue->xsk->rx) && !fg_ring_count(&queue->xsk->tx) &&
	       !queue->held_count;
}
